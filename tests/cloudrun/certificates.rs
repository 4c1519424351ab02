//! The test authority, and the certificates of the servers.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring::sign::any_ecdsa_type;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::body::Problem;
use crate::world::World;

/// The TLS settings of the front end, and the authority's certificate in PEM.
pub fn make(world: Arc<World>) -> Result<(Arc<ServerConfig>, String), Problem> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "the miniature's authority");
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    let authority = Issuer::new(params, key);

    let leaves = Leaves {
        front_end: leaf(FRONT_END, Some(&authority), ALWAYS)?,
        expired: leaf(FRONT_END, Some(&authority), (2001, 2002))?,
        not_yet: leaf(FRONT_END, Some(&authority), (3001, 3002))?,
        billing: leaf(BILLING, Some(&authority), ALWAYS)?,
        nobody: leaf(&["invalid2.invalid"], None, ALWAYS)?,
        world,
    };
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(leaves));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(4096);
    Ok((Arc::new(config), pem))
}

/// Chooses by SNI, as the real one; without it, a certificate nobody trusts.
#[derive(Debug)]
struct Leaves {
    front_end: Arc<CertifiedKey>,
    expired: Arc<CertifiedKey>,
    not_yet: Arc<CertifiedKey>,
    billing: Arc<CertifiedKey>,
    nobody: Arc<CertifiedKey>,
    world: Arc<World>,
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let mode = self.world.mode("frontend");
        let chosen = match name.as_deref() {
            _ if mode == "bad-cert" => &self.nobody,
            _ if mode == "wrong-name" => &self.billing,
            _ if mode == "expired" => &self.expired,
            _ if mode == "not-yet" => &self.not_yet,
            Some(name) if name.ends_with(".run.app") => &self.front_end,
            Some(name) if BILLING.contains(&name) => &self.billing,
            _ => &self.nobody,
        };
        Some(chosen.clone())
    }
}

/// Good from the start of the one year to that of the other.
fn leaf(
    names: &[&str],
    by: Option<&Issuer<'_, KeyPair>>,
    (from, to): (i32, i32),
) -> Result<Arc<CertifiedKey>, Problem> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = match by {
        Some(authority) => params.signed_by(&key, authority)?,
        None => params.self_signed(&key)?,
    };
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, any_ecdsa_type(&der)?)))
}

/// As rcgen has it by itself.
const ALWAYS: (i32, i32) = (1975, 4096);

/// A wildcard stands for one label only. These are the regions tests use.
const FRONT_END: &[&str] = &[
    "*.run.app",
    "*.a.run.app",
    "*.us-east1.run.app",
    "*.us-central1.run.app",
    "*.us-west1.run.app",
    "*.europe-west1.run.app",
    "*.europe-west12.run.app",
    "*.europe-north1.run.app",
    "*.asia-east1.run.app",
    "*.northamerica-northeast1.run.app",
];

/// Servers that are not on Cloud Run.
const BILLING: &[&str] = &[
    "billing.example.com",
    "dual.example.com",
    "hole.example.com",
    "holes.example.com",
    "six.example.com",
    "several.example.com",
    "alias.example.com",
];
