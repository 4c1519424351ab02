//! Connections to upstreams: dialled, verified, and kept while idle.
//!
//! `upstream/dial.rs` connects, to the addresses in the order of
//! `addresses.rs`; the TLS handshake is in `handshake.rs`, with what it
//! encrypts in `crypto.rs` and what it trusts in `trust.rs`; `failure.rs` says
//! why one of these failed. What happens on a connection once it stands is in
//! `stream.rs`, its records are rustls's, by `tls.rs`, and the idle ones are in
//! `pool.rs`. No other room knows rustls.

mod addresses;
pub mod connection;
mod dial_error;
mod dialer;
mod pool;

use crate::tls::{handshake, trust};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use log::{debug, error};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::upstream::connection::Found;
pub use crate::upstream::connection::{Reader, ShutdownHandle, Writer};
pub use crate::upstream::dial_error::{DialError, DialErrorKind};

use crate::config::Trust;
use crate::dns::resolver::Resolver;
use crate::names::destination::Destination;
use crate::net::conn_limit::ConnLimiter;
use crate::net::context::Context;
use crate::sys;
use crate::upstream::dialer::Dialer;
use crate::upstream::pool::{Pool, PoolKey};

/// What dialling needs to know.
pub struct Settings {
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// Every connection goes here instead (for tests).
    pub address: Option<SocketAddr>,
    /// The port of loopback where runsd itself serves.
    pub own_port: u16,
    /// For those we dial for: each may have one connection, beside the idle ones.
    pub limiter: Arc<ConnLimiter>,
}

/// Dials upstreams, and keeps the connections that are idle.
pub struct Upstream {
    settings: Settings,
    dialer: Dialer,
    tls: OnceLock<[Arc<ClientConfig>; 2]>,
    idle: Pool<Connection>,
}

/// The protocol asked for by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    Http1,
    Http2,
}

/// A connection that stands: TLS is done and its certificate verified.
///
/// Whatever comes on it before a request was sent would be taken for the
/// answer, so in HTTP/1 one has to look first: [`Upstream::ready`] and
/// [`Upstream::fresh`] do, and there is no other way to a [`Ready`] one.
pub struct Connection(Box<Parts>);

/// A connection that was looked at just now: what comes from here on is the
/// answer to the request that is sent next.
pub struct Ready(Box<Parts>);

/// What a connection consists of. It stays where it was made: a request hands
/// its connection on several times, and these are 240 bytes.
pub struct Parts {
    pub reader: Reader,
    pub writer: Writer,
    /// Whether it has served a request before.
    pub used: bool,
    key: PoolKey,
}

impl Upstream {
    /// Reads nothing and asks nobody; the first dial or [`Upstream::warm`] does.
    pub fn new(settings: Settings, resolver: Arc<Resolver>) -> Upstream {
        Upstream {
            dialer: Dialer::new(resolver, settings.limiter.clone(), settings.own_port),
            settings,
            tls: OnceLock::new(),
            idle: Pool::new(),
        }
    }

    /// Builds what the first dial would have to: trust and key exchange.
    pub fn warm(&self) {
        self.tls();
    }

    /// A connection for one request to `to`: `held`, an idle one, or a new one.
    pub fn ready(
        &self,
        to: &Destination,
        held: Option<Connection>,
        context: &mut dyn Context,
    ) -> Result<Ready, DialError> {
        let held = held.and_then(|held| held.look().ok());
        match held.or_else(|| self.take(to)) {
            Some(ready) => Ok(ready),
            None => self.fresh(to, context),
        }
    }

    /// The same, certainly a new one.
    pub fn fresh(&self, to: &Destination, context: &mut dyn Context) -> Result<Ready, DialError> {
        let connection = self.dial(to, Alpn::Http1, context)?;
        connection.look().map_err(|found| {
            let (kind, what) = match found {
                Found::End => (DialErrorKind::Unavailable, "closed the connection"),
                _ => (DialErrorKind::UnsolicitedBytes, "spoke"),
            };
            DialError::new(kind, format!("{} {what} before it was asked anything", to.host))
        })
    }

    /// An idle connection to `to` that is still alive, the youngest first.
    fn take(&self, to: &Destination) -> Option<Ready> {
        // By reference would need a borrowed key type; a request comes here
        // only when its client has no connection in hand.
        let key = key(to);
        loop {
            if let Ok(ready) = self.idle.take(&key, Instant::now())?.look() {
                return Some(ready);
            }
            debug!("upstream: {}: an idle connection was closed", to.host);
        }
    }

    /// Keeps a connection on which nothing is under way.
    pub fn put(&self, mut connection: Connection) {
        connection.0.reader.rest();
        self.idle.put(connection.0.key.clone(), connection, Instant::now());
    }

    /// Dials `to`: address, connection, TLS, in this order.
    ///
    /// Blocks: until it is there, or `context` is cancelled.
    ///
    /// # Errors
    /// A [`DialError`] that says which of them failed; nothing of the request was
    /// sent then.
    pub fn dial(&self, to: &Destination, alpn: Alpn, context: &mut dyn Context) -> Result<Connection, DialError> {
        // Those in use and those still idle together are no more than there
        // may be, and descriptors for them.
        self.idle.shrink(self.settings.limiter.available());
        let dialed = self.dial_now(to, alpn, context);
        if dialed.as_ref().is_err_and(|err| err.kind == DialErrorKind::Cancelled) {
            debug!("upstream: {}: given up, because the client left", to.host);
        }
        dialed
    }

    fn dial_now(&self, to: &Destination, alpn: Alpn, context: &mut dyn Context) -> Result<Connection, DialError> {
        let started = Instant::now();
        let tcp = match self.settings.address {
            Some(address) => self.dialer.connect_to(&to.host, address, context)?,
            None => self.dialer.connect(&to.host, to.port, context)?,
        };
        let connected = started.elapsed();
        // Small writes are gathered by us; Nagle would only hold them back.
        let _ = tcp.set_nodelay(true);
        let (reader, writer) = match to.tls {
            true => {
                let session = self.session(to, alpn)?;
                let (reader, writer, got) = handshake::handshake(tcp, session, HANDSHAKE, context)
                    .map_err(|err| DialError::from_handshake(to, alpn, err, HANDSHAKE))?;
                if alpn == Alpn::Http2 && got.as_deref() != Some(b"h2") {
                    return Err(DialError::http1_only(to));
                }
                (reader, writer)
            }
            false => connection::plain(tcp),
        };
        sys::tuning::release_unused_stack();
        reader.patience(Some(PATIENCE)).map_err(|err| DialError::new(DialErrorKind::Internal, err.to_string()))?;
        debug!("upstream: {}: connected in {connected:.1?}, ready in {:.1?}", to.host, started.elapsed());
        Ok(Connection(Box::new(Parts { reader, writer, used: false, key: key(to) })))
    }

    /// The addresses dialling would try first, in order.
    pub fn addresses(&self, to: &Destination) -> Result<Vec<SocketAddr>, DialError> {
        match self.settings.address {
            Some(address) => Ok(vec![address]),
            None => self.dialer.addresses(&to.host, to.port),
        }
    }

    fn session(&self, to: &Destination, alpn: Alpn) -> Result<UnbufferedClientConnection, DialError> {
        let name = ServerName::try_from(to.host.clone()).map_err(|_| {
            DialError::new(
                DialErrorKind::TlsProtocol,
                format!("{:?} is no name that a certificate could have", to.host),
            )
        })?;
        let [http1, http2] = self.tls();
        let config = match alpn {
            Alpn::Http1 => http1,
            Alpn::Http2 => http2,
        };
        UnbufferedClientConnection::new(config.clone(), name)
            .map_err(|err| DialError::new(DialErrorKind::TlsProtocol, format!("{}: {err}", to.host)))
    }

    fn tls(&self) -> &[Arc<ClientConfig>; 2] {
        self.tls.get_or_init(|| {
            // It was looked at before the application started, and is gone now.
            let roots = trust::roots(&self.settings.trust).unwrap_or_else(|sentence| {
                error!("{sentence}; no certificate is trusted");
                (RootCertStore::empty(), String::new())
            });
            trust::configs(roots.0)
        })
    }

    /// How many roots are trusted, and whose they are.
    pub fn trusted(&self) -> Result<String, String> {
        let (roots, whose) = trust::roots(&self.settings.trust)?;
        Ok(format!("{} {whose}", roots.len()))
    }
}

/// Looks whether a file has certificates to trust, before anything depends on
/// them.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_ca_file(path: &Path) -> Result<(), String> {
    trust::read(path).map(drop)
}

impl Connection {
    /// Whether the far end has neither closed nor said anything. If it has,
    /// the connection is closed (RFC 9112 section 9.2).
    fn look(mut self) -> Result<Ready, Found> {
        match self.0.reader.look() {
            Found::Nothing => Ok(Ready(self.0)),
            found => {
                debug!("upstream: {}: {found:?} before a request", self.0.key.0);
                Err(found)
            }
        }
    }

    /// Its two directions, for HTTP/2, where either side may speak first.
    pub fn halves(self) -> (Reader, Writer) {
        (self.0.reader, self.0.writer)
    }

    /// Whether a request for `to` may go here.
    pub fn leads_to(&self, to: &Destination) -> bool {
        let (host, port, tls) = &self.0.key;
        (host, *port, *tls) == (&to.host, to.port, to.tls)
    }
}

impl Ready {
    /// An answer came, and it was whole.
    pub fn rest(mut self) -> Connection {
        self.0.used = true;
        Connection(self.0)
    }
}

impl Deref for Ready {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Ready {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

fn key(to: &Destination) -> PoolKey {
    (to.host.clone(), to.port, to.tls)
}

/// How long the whole TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(9);
/// How long a read waits before the reader looks whether its client is
/// still there.
const PATIENCE: Duration = Duration::from_secs(1);
