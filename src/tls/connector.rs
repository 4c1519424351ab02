//! The configuration that all TLS connections share.

use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use log::error;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::config::TrustedRoots;
use crate::net::context::Context;
use crate::tls::error::HandshakeError;
use crate::tls::handshake::{Established, handshake};
use crate::tls::provider::provider;
use crate::tls::roots::load_roots;
use crate::tls::session::TlsSession;

/// The protocol that runsd offers by ALPN (RFC 7301): exactly one in each handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`
    Http1,
    /// `h2`
    Http2,
}

/// Opens TLS connections. All of them share the trusted roots and the store of session tickets.
pub struct TlsConnector {
    roots: TrustedRoots,
    /// For [`Alpn::Http1`] and [`Alpn::Http2`]. Built by the first thread that needs it.
    configs: OnceLock<[Arc<ClientConfig>; 2]>,
}

impl TlsConnector {
    /// Reads no file; [`TlsConnector::init`] or the first handshake does.
    pub fn new(roots: TrustedRoots) -> TlsConnector {
        TlsConnector { roots, configs: OnceLock::new() }
    }

    /// Builds what the first handshake would have to wait for: the trusted roots and the cipher suites.
    pub fn init(&self) {
        self.configs();
    }

    /// Says how many roots are trusted and where they come from, as `146 of Mozilla, built in`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file of `-ca_file`.
    pub fn describe_roots(&self) -> Result<String, String> {
        let (roots, origin) = load_roots(&self.roots)?;
        Ok(format!("{} {origin}", roots.len()))
    }

    /// Does the TLS handshake on `tcp` with the server `host`, and verifies its certificate.
    ///
    /// Blocks: until it is done, for `timeout` in all, or until `context` is cancelled.
    ///
    /// # Errors
    /// [`HandshakeError`] says what failed. With [`Alpn::Http2`] a server that does not agree to `h2` is an error.
    pub fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        alpn: Alpn,
        timeout: Duration,
        context: &mut dyn Context,
    ) -> Result<Established, HandshakeError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HandshakeError::NotAServerName)?;
        let [http1, http2] = self.configs();
        let config = match alpn {
            Alpn::Http1 => http1,
            Alpn::Http2 => http2,
        };
        let session = TlsSession::new(Arc::clone(config), name)?;
        let established = handshake(tcp, session, timeout, context)?;
        // A server without ALPN speaks HTTP/1.1.
        if alpn == Alpn::Http2 && established.session.alpn_protocol() != Some(b"h2") {
            return Err(HandshakeError::NoApplicationProtocol);
        }
        Ok(established)
    }

    fn configs(&self) -> &[Arc<ClientConfig>; 2] {
        self.configs.get_or_init(|| {
            // `check_ca_file` read the file before the application started; it can be gone since.
            let (roots, _) = load_roots(&self.roots).unwrap_or_else(|sentence| {
                error!("{sentence}; no certificate is trusted");
                (RootCertStore::empty(), String::new())
            });
            let mut http1 = ClientConfig::builder_with_provider(Arc::new(provider()))
                .with_safe_default_protocol_versions()
                .expect("ring has suites for TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            // A clone shares the store of session tickets, so that either resumes the sessions of both.
            let mut http2 = http1.clone();
            http1.alpn_protocols = vec![b"http/1.1".to_vec()];
            http2.alpn_protocols = vec![b"h2".to_vec()];
            [Arc::new(http1), Arc::new(http2)]
        })
    }
}
