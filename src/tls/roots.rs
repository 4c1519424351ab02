//! Which root certificates are trusted.

use std::path::Path;

use log::warn;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::TrustedRoots;

/// Checks that a file has certificates to trust, before the application starts.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn check_ca_file(path: &Path) -> Result<(), String> {
    read_pem(path).map(drop)
}

/// Loads the roots, and says where they come from. Never trusts more than was configured.
///
/// # Errors
/// A sentence, where the file of [`TrustedRoots::File`] has no certificate.
pub fn load_roots(trusted: &TrustedRoots) -> Result<(RootCertStore, String), String> {
    match trusted {
        TrustedRoots::BuiltIn => {}
        TrustedRoots::File(path) => return Ok((read_pem(path)?, format!("of {}", path.display()))),
        TrustedRoots::FileOrBuiltIn(path) => match read_pem(path) {
            Ok(roots) => return Ok((roots, format!("of {}", path.display()))),
            Err(sentence) => warn!("{sentence}; trusting the built-in roots"),
        },
    }
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    Ok((roots, "of Mozilla, built in".to_owned()))
}

/// Reads the certificates of a PEM file (RFC 7468), at least one. Those that cannot be parsed are left out.
fn read_pem(path: &Path) -> Result<RootCertStore, String> {
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
