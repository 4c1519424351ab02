//! Where the requests of one client connection go: nearly always where the one before went, so that is remembered,
//! together with its upstream connection.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::net::context::ClientContext;
use crate::proxy::Proxy;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::router::ResolvedHost;
use crate::upstream::{Connection, DialError, IdleConnection};

/// The route of the last request.
pub struct Route<'a> {
    /// What all connections share.
    pub proxy: &'a Proxy,
    /// The authority of the CONNECT request inside of which this connection is.
    connect_authority: Option<String>,
    /// Where the last request went.
    last: Option<Arc<ResolvedHost>>,
    /// The idle connection of the last request, while the client is busy. The pool has it afterwards.
    upstream: Option<IdleConnection>,
}

impl<'a> Route<'a> {
    /// For a connection that is inside of a CONNECT to `connect_authority`, if any.
    pub fn new(proxy: &'a Proxy, connect_authority: Option<String>) -> Route<'a> {
        Route { proxy, connect_authority, last: None, upstream: None }
    }

    /// Resolves the value of `Host`. Inside of a CONNECT a request may omit it.
    ///
    /// Blocks: until the metadata server has responded, where the name leaves out what only it knows.
    ///
    /// # Errors
    /// The host is missing, malformed, or does not lead anywhere.
    pub fn resolve(&mut self, host: Option<&[u8]>) -> Result<Arc<ResolvedHost>, ProxyError> {
        let connect_authority = self.connect_authority.as_deref().map(str::as_bytes);
        let host = host.filter(|host| !host.is_empty()).or(connect_authority).or(host);
        // Correct in HTTP/1.0, but such a request leads nowhere.
        let no_host = || ProxyError::new(ErrorType::DestinationNotFound, "the request has no Host header");
        let host = self.proxy.exchange.resolve(host.ok_or_else(no_host)?, self.last.as_ref())?;
        Ok(Arc::clone(self.last.insert(host)))
    }

    /// Returns a connection for one request to `target`: that of the last request if it leads there, an idle one of
    /// the pool, or a new one; certainly a new one if `is_new`.
    ///
    /// Blocks: until the connection is established, or `client` is gone.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(
        &mut self,
        target: &ResolvedHost,
        client: &TcpStream,
        is_new: bool,
    ) -> Result<Box<Connection>, DialError> {
        let mut context = ClientContext::new(client, MAX_HALF_CLOSED);
        let (pool, to) = (&self.proxy.upstream, &target.destination);
        if is_new {
            return pool.connect(to, &mut context);
        }
        if self.upstream.as_ref().is_some_and(|upstream| !upstream.is_for(to)) {
            self.release();
        }
        pool.get(to, self.upstream.take(), &mut context)
    }

    /// Keeps an upstream connection for the next request: the last one was sent whole, and its response was read to
    /// its end.
    pub fn keep(&mut self, upstream: Box<Connection>) {
        self.upstream = Some(upstream.into_idle());
    }

    /// Lends the upstream connection to other clients.
    pub fn release(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            self.proxy.upstream.put_idle(upstream);
        }
    }
}

/// How long a dial goes on for a client that sent FIN, where the kernel does not say whether it still reads. A dial
/// takes milliseconds, and most clients that send FIN have given up.
const MAX_HALF_CLOSED: Duration = Duration::from_secs(1);
