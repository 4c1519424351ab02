//! The cryptography of TLS: ring, without private keys.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;

/// All of ring's cipher suites, key exchange groups and signature algorithms.
pub fn provider() -> CryptoProvider {
    CryptoProvider { key_provider: &NoPrivateKeys, ..ring::default_provider() }
}

/// runsd shows no client certificate, so it needs no code that reads private keys and signs; the linker drops ring's.
#[derive(Debug)]
struct NoPrivateKeys;

impl KeyProvider for NoPrivateKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("private keys are not used".to_owned()))
    }
}
