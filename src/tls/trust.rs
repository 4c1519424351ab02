//! Which certificates are trusted, and how TLS is spoken with them.

use std::path::Path;
use std::sync::Arc;

use log::warn;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::Trust;
use crate::tls::provider;

/// What is trusted, and whose that is.
///
/// Never more than was asked for. `SSL_CERT_FILE` may be there for others, so
/// where that has no certificates the built-in roots are trusted.
///
/// # Errors
/// A sentence, when the file of `-ca_file` has none.
pub fn roots(trust: &Trust) -> Result<(RootCertStore, String), String> {
    let of = |path: &Path| format!("of {}", path.display());
    match trust {
        Trust::BuiltIn => {}
        Trust::Only(path) => return Ok((read(path)?, of(path))),
        Trust::Found(path) => match read(path) {
            Ok(roots) => return Ok((roots, of(path))),
            Err(sentence) => warn!("{sentence}; trusting the built-in roots"),
        },
    }
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    Ok((roots, "of Mozilla, built in".to_owned()))
}

/// The certificates of a PEM file, one at least.
///
/// # Errors
/// A sentence, when there is none.
pub fn read(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|err| format!("cannot read the certificates of {shown}: {err}"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.flatten());
    match roots.is_empty() {
        true => Err(format!("no certificate in {shown}")),
        false => Ok(roots),
    }
}

/// For HTTP/1.1, and for HTTP/2.
pub fn configs(roots: RootCertStore) -> [Arc<ClientConfig>; 2] {
    let provider = Arc::new(provider::provider());
    let mut http1 = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Clones share the store of sessions, so either resumes both.
    let mut http2 = http1.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    http2.alpn_protocols = vec![b"h2".to_vec()];
    [Arc::new(http1), Arc::new(http2)]
}
