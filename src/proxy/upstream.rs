//! Connections to the far end: dialled, verified, and kept while idle.
//!
//! The TLS handshake is in `upstream/handshake.rs`, with what it encrypts in
//! `crypto.rs`, and what happens on a connection once it stands in `stream.rs`
//! beside it. Nobody else knows rustls.

mod crypto;
mod handshake;
mod incoming;
mod record;
mod stream;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, warn};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};

pub use stream::{Aborter, Reader, Writer, send};

use super::conn_limit::ConnLimiter;
use super::refusal::{Kind, Refusal};
use crate::destination::Destination;
use crate::dns::resolve::{ResolveError, Resolver};
use crate::sys;

/// What dialling needs to know.
pub struct Settings {
    /// PEM file whose certificates replace the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// Every connection goes here instead (for tests).
    pub address: Option<SocketAddr>,
    /// For those we dial for: each may have one connection, beside the idle ones.
    pub limiter: Arc<ConnLimiter>,
}

/// Dials far ends, and keeps the connections that are idle.
pub struct Upstream {
    settings: Settings,
    resolver: Arc<Resolver>,
    tls: OnceLock<[Arc<ClientConfig>; 2]>,
    idle: Mutex<HashMap<Key, Vec<Idle>>>,
}

/// The protocol asked for by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    Http1,
    Http2,
}

/// A connection that stands: TLS is done and its certificate verified.
pub struct Connection {
    pub reader: Reader,
    pub writer: Writer,
    /// Whether it has served a request before.
    pub used: bool,
    key: Key,
}

/// One certificate may cover all services, so only the very same host shares
/// a connection.
type Key = (String, u16, bool);

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Upstream {
    /// Reads nothing and asks nobody; the first dial or [`Upstream::warm`] does.
    pub fn new(settings: Settings, resolver: Arc<Resolver>) -> Upstream {
        Upstream {
            settings,
            resolver,
            tls: OnceLock::new(),
            idle: Mutex::new(HashMap::new()),
        }
    }

    /// Builds what the first dial would have to: trust and key exchange.
    pub fn warm(&self) {
        self.tls();
    }

    /// An idle connection to `to` that is still alive, the youngest first.
    pub fn take(&self, to: &Destination) -> Option<Connection> {
        loop {
            let idle = {
                let mut pool = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                // By reference would need a borrowed key type; a request
                // comes here only when its client has no connection in hand.
                pool.get_mut(&key(to))?.pop()?
            };
            if idle.since.elapsed() < IDLE && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
            debug!("upstream: {}: an idle connection was closed", to.host);
        }
    }

    /// Keeps a connection on which nothing is under way.
    pub fn put(&self, mut connection: Connection) {
        connection.reader.rest();
        let mut dead = Vec::new();
        let mut pool = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let since = Instant::now();
        // Nothing may depend on a timer here (the CPU is taken away between
        // requests), so each arrival sweeps out what has grown old.
        for kept in pool.values_mut() {
            let old = kept.partition_point(|idle| since.duration_since(idle.since) > IDLE);
            dead.extend(kept.drain(..old));
        }
        let kept = pool.entry(connection.key.clone()).or_default();
        if kept.len() == MOST_IDLE {
            dead.push(kept.remove(0));
        }
        kept.push(Idle { connection, since });
        // Closing takes system calls, which nobody should wait for.
        drop(pool);
    }

    /// Dials `to`: address, connection, TLS, in this order.
    ///
    /// Each failure is a [`Refusal`] that says which of them it was.
    pub fn dial(&self, to: &Destination, alpn: Alpn) -> Result<Connection, Refusal> {
        self.make_room();
        let started = Instant::now();
        let tcp = self.connect(to)?;
        let connected = started.elapsed();
        // Small writes are gathered by us; Nagle would only hold them back.
        let _ = tcp.set_nodelay(true);
        let (reader, writer) = match to.tls {
            true => {
                let session = self.session(to, alpn)?;
                let (reader, writer, got) = handshake::handshake(tcp, session, HANDSHAKE)
                    .map_err(|err| tls_refusal(to, &err))?;
                if alpn == Alpn::Http2 && got.as_deref() != Some(b"h2") {
                    return Err(Refusal::new(
                        Kind::TlsProtocolError,
                        format!("{} does not offer HTTP/2 (h2) by ALPN", to.host),
                    ));
                }
                (reader, writer)
            }
            false => stream::plain(tcp),
        };
        sys::memory::shrink_stack();
        reader
            .patience(Some(PATIENCE))
            .map_err(|err| Refusal::new(Kind::ProxyInternalError, err.to_string()))?;
        debug!(
            "upstream: {}: connected in {connected:.1?}, ready in {:.1?}",
            to.host,
            started.elapsed()
        );
        Ok(Connection {
            reader,
            writer,
            used: false,
            key: key(to),
        })
    }

    /// Closes idle connections, so that those in use and those still idle
    /// together are no more than there may be, and descriptors for them.
    fn make_room(&self) {
        let free = self.settings.limiter.available();
        let mut closed = Vec::new();
        let mut pool = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = pool.values().map(Vec::len).sum();
        let mut more = all.saturating_sub(free);
        for kept in pool.values_mut() {
            let some = more.min(kept.len());
            closed.extend(kept.drain(..some));
            more -= some;
        }
        drop(pool);
    }

    /// The addresses dialling would try, in order.
    pub fn addresses(&self, to: &Destination) -> Result<Vec<SocketAddr>, Refusal> {
        if let Some(address) = self.settings.address {
            return Ok(vec![address]);
        }
        self.resolver
            .resolve(&to.host, to.port)
            .map_err(|err| resolve_refusal(&err))
    }

    /// By IPv6 where there is no IPv4 address, or all of them refuse.
    fn connect(&self, to: &Destination) -> Result<TcpStream, Refusal> {
        let addresses = self.addresses(to)?;
        let refusal = match Self::connect_any(to, &addresses) {
            Ok(tcp) => return Ok(tcp),
            Err(refusal) => refusal,
        };
        // After silence there is no time left to try others.
        let is_refused = refusal.kind != Kind::ConnectionTimeout;
        if self.settings.address.is_some() || !is_refused || addresses.iter().any(|at| at.is_ipv6())
        {
            return Err(refusal);
        }
        // What IPv4 met says more, if this fails too.
        let others = self.resolver.resolve_v6(&to.host, to.port);
        Self::connect_any(to, &others).map_err(|_| refusal)
    }

    fn connect_any(to: &Destination, addresses: &[SocketAddr]) -> Result<TcpStream, Refusal> {
        let mut refusal = None;
        for (at, address) in addresses.iter().enumerate() {
            // A first connect can take a minute after a cold start with
            // Direct VPC egress, so the last address is given that long.
            let limit = match at + 1 == addresses.len() {
                true => CONNECT,
                false => CONNECT_NEXT,
            };
            match TcpStream::connect_timeout(address, limit) {
                Ok(tcp) => return Ok(tcp),
                Err(err) => {
                    let (kind, what) = match err.kind() {
                        io::ErrorKind::ConnectionRefused => {
                            (Kind::ConnectionRefused, "refused the connection".to_owned())
                        }
                        // Accepted and ended before we could look.
                        io::ErrorKind::ConnectionReset => {
                            (Kind::ConnectionRefused, "reset the connection".to_owned())
                        }
                        io::ErrorKind::TimedOut => (
                            Kind::ConnectionTimeout,
                            format!("did not answer within {} s", limit.as_secs()),
                        ),
                        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => (
                            Kind::DestinationIpUnroutable,
                            "cannot be reached from here".to_owned(),
                        ),
                        _ => (
                            Kind::DestinationUnavailable,
                            format!("cannot be connected to: {err}"),
                        ),
                    };
                    let details = format!("{} at {address} {what}", to.host);
                    refusal = Some(Refusal::new(kind, details));
                }
            }
        }
        Err(refusal
            .unwrap_or_else(|| Refusal::new(Kind::DnsError, format!("{} has no address", to.host))))
    }

    fn session(&self, to: &Destination, alpn: Alpn) -> Result<UnbufferedClientConnection, Refusal> {
        let name = ServerName::try_from(to.host.clone()).map_err(|_| {
            Refusal::new(
                Kind::TlsProtocolError,
                format!("{:?} is no name that a certificate could have", to.host),
            )
        })?;
        let [http1, http2] = self.tls();
        let config = match alpn {
            Alpn::Http1 => http1,
            Alpn::Http2 => http2,
        };
        UnbufferedClientConnection::new(config.clone(), name)
            .map_err(|err| Refusal::new(Kind::TlsProtocolError, format!("{}: {err}", to.host)))
    }

    fn tls(&self) -> &[Arc<ClientConfig>; 2] {
        self.tls.get_or_init(|| {
            let roots = self.roots();
            let provider = Arc::new(crypto::provider());
            let mut http1 = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring has suites for TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            // By our own records, which are made with them.
            http1.enable_secret_extraction = true;
            // Clones share the store of sessions, so either resumes both.
            let mut http2 = http1.clone();
            http1.alpn_protocols = vec![b"http/1.1".to_vec()];
            http2.alpn_protocols = vec![b"h2".to_vec()];
            [Arc::new(http1), Arc::new(http2)]
        })
    }

    /// How many roots are trusted.
    pub fn trusted(&self) -> usize {
        self.roots().len()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.settings.ca_file {
            match CertificateDer::pem_file_iter(path) {
                Ok(certificates) => {
                    roots.add_parsable_certificates(certificates.flatten());
                }
                Err(err) => warn!("cannot read the certificates of {}: {err}", path.display()),
            }
            if !roots.is_empty() {
                return roots;
            }
            warn!(
                "no certificate in {}; trusting the built-in roots",
                path.display()
            );
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots
    }
}

impl Connection {
    /// Whether the far end has neither closed nor said anything.
    pub fn is_quiet(&self) -> bool {
        self.reader.is_quiet()
    }

    /// Whether a request for `to` may go here.
    pub fn leads_to(&self, to: &Destination) -> bool {
        (self.key.0.as_str(), self.key.1, self.key.2) == (&to.host, to.port, to.tls)
    }
}

fn key(to: &Destination) -> Key {
    (to.host.clone(), to.port, to.tls)
}

fn resolve_refusal(err: &ResolveError) -> Refusal {
    let kind = match err {
        ResolveError::TimedOut { .. } => Kind::DnsTimeout,
        _ => Kind::DnsError,
    };
    Refusal::new(kind, err.to_string())
}

/// rustls reports through `io::Error`; what it said is inside.
fn tls_refusal(to: &Destination, err: &io::Error) -> Refusal {
    let inner = err
        .get_ref()
        .and_then(|err| err.downcast_ref::<rustls::Error>());
    let (kind, what) = match inner {
        Some(rustls::Error::InvalidCertificate(why)) => (
            Kind::TlsCertificateError,
            format!("its certificate is not valid: {why:?}"),
        ),
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => (
            Kind::TlsAlertReceived,
            "it does not offer the HTTP/2 or HTTP/1.1 that was asked for, by ALPN".to_owned(),
        ),
        Some(rustls::Error::AlertReceived(alert)) => (
            Kind::TlsAlertReceived,
            format!("it ended the TLS handshake with {alert:?}"),
        ),
        Some(other) => (Kind::TlsProtocolError, other.to_string()),
        None if err.kind() == io::ErrorKind::TimedOut => (
            Kind::ConnectionReadTimeout,
            format!("silence in the TLS handshake for {} s", HANDSHAKE.as_secs()),
        ),
        None if err.kind() == io::ErrorKind::UnexpectedEof => (
            Kind::ConnectionTerminated,
            "it closed the connection in the TLS handshake".to_owned(),
        ),
        None => (
            Kind::ConnectionTerminated,
            format!("the TLS handshake broke off: {err}"),
        ),
    };
    Refusal::new(kind, format!("{}: {what}", to.host))
}

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// How many idle connections one host may have.
const MOST_IDLE: usize = 128;
/// How long the only, or the last, address may take to accept.
const CONNECT: Duration = Duration::from_secs(75);
/// How long an address may take while there is another to try.
const CONNECT_NEXT: Duration = Duration::from_secs(3);
/// How long the whole TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(9);
/// How long a read waits before the reader looks whether its client is
/// still there.
const PATIENCE: Duration = Duration::from_secs(1);
