//! Connections to upstreams: dialled, verified, and pooled while idle.
//!
//! A dial looks up the host and races its addresses (`dialer.rs`, `race.rs`, `addresses.rs`), and does the TLS
//! handshake (`crate::tls`); `dial_error.rs` says what failed. `connection.rs` sends and receives on the connection;
//! `pool.rs` keeps those without a request. HTTP itself is in `crate::proxy`.

mod addresses;
mod connection;
mod dial_error;
mod dialer;
mod pool;
mod race;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;

pub use self::connection::{Reader, ShutdownHandle, Writer};
pub use self::dial_error::{DialError, DialErrorKind};
pub use crate::tls::Alpn;

use crate::config::TrustedRoots;
use crate::dns::resolver::Resolver;
use crate::names::destination::Destination;
use crate::net::conn_limit::ConnLimiter;
use crate::net::context::Context;
use crate::sys;
use crate::tls::TlsConnector;
use crate::upstream::connection::IdleState;
use crate::upstream::dialer::Dialer;
use crate::upstream::pool::{ConnectionPool, PoolKey};

/// What a [`Connector`] is configured with.
pub struct Settings {
    /// The roots that may have signed an upstream's certificate.
    pub roots: TrustedRoots,
    /// Connects every host to this address instead of its own (for tests).
    pub address: Option<SocketAddr>,
    /// The loopback port of runsd's own proxy listeners.
    pub own_port: u16,
    /// Counts the clients' connections. Each may have one upstream connection; idle ones take what is left.
    pub limiter: Arc<ConnLimiter>,
}

/// Dials upstreams, and pools idle connections to them. All threads share it.
pub struct Connector {
    limiter: Arc<ConnLimiter>,
    dialer: Dialer,
    tls: TlsConnector,
    pool: ConnectionPool<IdleConnection>,
}

/// An established connection without a request; over TLS the upstream's certificate is verified.
///
/// In HTTP/1 bytes that come before a request is sent would be taken for its response. So a request needs a
/// [`Connection`], which only [`Connector::get`] and [`Connector::connect`] return: after they checked that nothing has
/// come.
pub struct IdleConnection(Box<Connection>);

/// A connection that was checked just now: what comes next is the response to the request that is sent next. Boxed
/// where it is passed on, because a request does that several times and this has 240 bytes.
pub struct Connection {
    /// The half that receives.
    pub reader: Reader,
    /// The half that sends.
    pub writer: Writer,
    /// Whether the connection has served a request before.
    pub is_reused: bool,
    key: PoolKey,
}

impl Connector {
    /// Reads no file and asks no nameserver; [`Connector::init_tls`] or the first dial does.
    pub fn new(settings: Settings, resolver: Arc<Resolver>) -> Connector {
        let Settings { roots, address, own_port, limiter } = settings;
        Connector {
            dialer: Dialer::new(resolver, limiter.clone(), own_port, address),
            limiter,
            tls: TlsConnector::new(roots),
            pool: ConnectionPool::new(),
        }
    }

    /// Builds what the first dial would have to wait for: the trusted roots and the cipher suites.
    pub fn init_tls(&self) {
        self.tls.init();
    }

    /// Says how many roots are trusted and where they come from.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file of `-ca_file`.
    pub fn describe_roots(&self) -> Result<String, String> {
        self.tls.describe_roots()
    }

    /// Returns a connection for one request over HTTP/1 to `to`: `current`, which the client's last request used, an
    /// idle one from the pool, or a new one.
    ///
    /// Blocks and fails as [`Connector::dial`] does.
    pub fn get(
        &self,
        to: &Destination,
        current: Option<IdleConnection>,
        context: &mut dyn Context,
    ) -> Result<Box<Connection>, DialError> {
        let current = current.and_then(|current| current.check_idle().ok());
        match current.or_else(|| self.get_idle(to)) {
            Some(ready) => Ok(ready),
            None => self.connect(to, context),
        }
    }

    /// Returns a new connection for one request over HTTP/1 to `to`.
    ///
    /// Blocks and fails as [`Connector::dial`] does, and fails when the upstream sent or closed before the request.
    pub fn connect(&self, to: &Destination, context: &mut dyn Context) -> Result<Box<Connection>, DialError> {
        self.dial(to, Alpn::Http1, context)?.check_idle().map_err(|state| {
            let (kind, what) = match state {
                IdleState::Closed => (DialErrorKind::Unavailable, "closed the connection"),
                _ => (DialErrorKind::UnsolicitedBytes, "spoke"),
            };
            DialError::new(kind, format!("{} {what} before it was asked anything", to.host))
        })
    }

    /// Returns the idle connection to `to` that was used last and is still open.
    fn get_idle(&self, to: &Destination) -> Option<Box<Connection>> {
        let key = pool_key(to);
        loop {
            if let Ok(ready) = self.pool.get_idle(&key, Instant::now())?.check_idle() {
                return Some(ready);
            }
            debug!("upstream: {}: an idle connection was closed", to.host);
        }
    }

    /// Adds a connection without a request to the pool.
    pub fn put_idle(&self, mut connection: IdleConnection) {
        connection.0.reader.release_buffers();
        self.pool.put_idle(connection.0.key.clone(), connection, Instant::now());
    }

    /// Dials `to`: lookup, TCP, TLS.
    ///
    /// Blocks: until the connection is established, or `context` is cancelled. Each of the three has its own timeout.
    ///
    /// # Errors
    /// A [`DialError`] that says which step failed; no byte of a request was sent.
    pub fn dial(&self, to: &Destination, alpn: Alpn, context: &mut dyn Context) -> Result<IdleConnection, DialError> {
        // Connections in use and idle ones together stay within the limit, and so within the descriptors.
        self.pool.evict_idle(self.limiter.available());
        let dialed = self.dial_steps(to, alpn, context);
        if dialed.as_ref().is_err_and(|err| err.kind == DialErrorKind::Cancelled) {
            debug!("upstream: {}: given up, because the client left", to.host);
        }
        dialed
    }

    fn dial_steps(&self, to: &Destination, alpn: Alpn, context: &mut dyn Context) -> Result<IdleConnection, DialError> {
        let started = Instant::now();
        let tcp = self.dialer.connect(&to.host, to.port, context)?;
        let connected = started.elapsed();
        // Small writes are gathered by runsd; Nagle's algorithm would delay them.
        let _ = tcp.set_nodelay(true);
        let (reader, writer) = match to.tls {
            true => {
                let established = self.tls.handshake(tcp, &to.host, alpn, HANDSHAKE_TIMEOUT, context);
                connection::from_tls(established.map_err(|err| DialError::from_handshake(&to.host, alpn, &err))?)
            }
            false => connection::from_tcp(tcp),
        };
        sys::tuning::release_unused_stack();
        reader
            .set_read_timeout(Some(READ_TIMEOUT))
            .map_err(|err| DialError::new(DialErrorKind::Internal, err.to_string()))?;
        debug!("upstream: {}: connected in {connected:.1?}, ready in {:.1?}", to.host, started.elapsed());
        Ok(IdleConnection(Box::new(Connection { reader, writer, is_reused: false, key: pool_key(to) })))
    }

    /// Returns the addresses that a dial would try first, in order.
    ///
    /// Blocks: during the lookup.
    ///
    /// # Errors
    /// The lookup failed, or the addresses are those of runsd's own listeners.
    pub fn addresses(&self, to: &Destination) -> Result<Vec<SocketAddr>, DialError> {
        self.dialer.addresses(&to.host, to.port)
    }
}

impl IdleConnection {
    /// Checks that the upstream has neither closed the connection nor sent anything. If it has, the connection is
    /// closed (RFC 9112 section 9.2).
    fn check_idle(mut self) -> Result<Box<Connection>, IdleState> {
        match self.0.reader.check_idle() {
            IdleState::Quiet => Ok(self.0),
            state => {
                let what = if state == IdleState::Data { "data" } else { "the end" };
                debug!("upstream: {}: {what} came before a request", self.0.key.0);
                Err(state)
            }
        }
    }

    /// Returns the two halves, for HTTP/2, where either side may send first.
    pub fn into_halves(self) -> (Reader, Writer) {
        (self.0.reader, self.0.writer)
    }

    /// Whether a request for `to` may be sent on this connection.
    pub fn is_for(&self, to: &Destination) -> bool {
        let (host, port, tls) = &self.0.key;
        (host, *port, *tls) == (&to.host, to.port, to.tls)
    }
}

impl Connection {
    /// Returns the connection for the next request: the response was read to its end.
    pub fn into_idle(mut self: Box<Connection>) -> IdleConnection {
        self.is_reused = true;
        IdleConnection(self)
    }
}

fn pool_key(to: &Destination) -> PoolKey {
    (to.host.clone(), to.port, to.tls)
}

/// How long the TLS handshake may take in all: with the 10 s to connect, a request fails within 20 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(9);

/// How long a read from the upstream blocks before its thread checks that the client is still there.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
