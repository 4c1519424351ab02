//! Connects HTTP/2 to what the proxy decides about requests: [`Exchange`] for each of them, one upstream for all.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use log::{Level, log_enabled};

use crate::net::context::ClientContext;
use crate::proxy::Proxy;
use crate::proxy::access_log::RequestLog;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::exchange::{Denial, Exchange, log_error, loggable_host};
use crate::proxy::header_policy::{HeaderEdits, RequestCredentials};
use crate::proxy::hop_by_hop::is_hop_by_hop;
use crate::proxy::http2;
use crate::proxy::http2::hpack::{Field, find};
use crate::proxy::http2::request::{RequestMeta, ResponseHead, authority};
use crate::proxy::router::ResolvedHost;
use crate::secret::Secret;
use crate::sync::lock;
use crate::upstream::{Alpn, Connector, DialErrorKind};

/// The decisions for one client connection.
pub struct Http2Handler<'a> {
    exchange: &'a Exchange,
    upstream: &'a Connector,
    /// A dial is cancelled when this client leaves.
    client: &'a TcpStream,
    /// The host that the upstream was connected for: all requests of the connection have to lead there. Written by
    /// [`http2::Handler::connect`], read by the threads of both directions; never locked across a wait.
    pinned: Mutex<Option<Arc<ResolvedHost>>>,
}

impl<'a> Http2Handler<'a> {
    /// Decides for the connection of `client`.
    pub fn new(proxy: &'a Proxy, client: &'a TcpStream) -> Http2Handler<'a> {
        Http2Handler { exchange: &proxy.exchange, upstream: &proxy.upstream, client, pinned: Mutex::new(None) }
    }

    fn pinned(&self) -> Option<Arc<ResolvedHost>> {
        lock(&self.pinned).clone()
    }

    fn resolve(&self, request: &[Field]) -> Result<Arc<ResolvedHost>, ProxyError> {
        if find(request, ":method") == Some(b"CONNECT") && find(request, ":protocol").is_none() {
            // The front end has no tunnels (RFC 9110 section 15.6.2).
            return Err(request_error(501, "a CONNECT over HTTP/2; use HTTP/1.1 for it"));
        }
        let host = authority(request).ok_or_else(|| request_error(400, "the request has no :authority"))?;
        self.exchange.resolve(host, self.pinned().as_ref())
    }

    fn edit(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        let host = self.resolve(request)?;
        if self.pinned().is_none_or(|pinned| pinned.destination != host.destination) {
            let name = &host.name;
            let details = format!("this connection belongs to another name than {name:?}; open one for each");
            return Err(request_error(421, details));
        }
        let [method, path] = [":method", ":path"].map(|name| find(request, name).unwrap_or_default());
        let log = RequestLog::new(method, &host.name, path, |name| find(request, name));
        // `te` is hop-by-hop, too, but gRPC requires it at each hop.
        request.retain(|field| field.name == b"te" || !is_hop_by_hop(&field.name));
        let edits = self.exchange.header_edits(&host, &credentials(request), SystemTime::now())?;
        let bearer = edits.and_then(|edits| apply(request, &host, edits));
        Ok(RequestMeta { bearer, log })
    }

    fn dial(&self, request: &[Field], client_left: &mut bool) -> Result<http2::UpstreamHalves, ProxyError> {
        let host = self.resolve(request)?;
        // Before the dial: without a token no connection is needed, and after the dial an error body may have no
        // flow control window.
        if !host.is_passthrough {
            self.exchange.token(&host, &credentials(request), SystemTime::now())?;
        }
        // A FIN ends the connection, wherever its bytes are read.
        let mut client = ClientContext::new(self.client, Duration::ZERO);
        let dialed = self.upstream.dial(&host.destination, Alpn::Http2, &mut client);
        *client_left = dialed.as_ref().is_err_and(|err| err.kind == DialErrorKind::Cancelled);
        let (reader, writer) = dialed?.into_halves();
        // The thread that reads the client notices when the client leaves.
        reader.set_read_timeout(None).map_err(|err| ProxyError::new(ErrorType::ProxyInternalError, err.to_string()))?;
        // Probes find an upstream that vanished without a FIN.
        reader.set_keepalive();
        reader.set_user_timeout();
        let shutdown = reader.shutdown_handle();
        *lock(&self.pinned) = Some(host);
        Ok(http2::UpstreamHalves {
            reader: Box::new(reader),
            writer: Box::new(writer),
            close: Box::new(move || shutdown.shutdown()),
        })
    }
}

impl http2::Handler for Http2Handler<'_> {
    fn connect(&self, request: &[Field]) -> Result<http2::UpstreamHalves, ProxyError> {
        let mut client_left = false;
        let dialed = self.dial(request, &mut client_left);
        if let Err(err) = &dialed
            && !client_left
        {
            log_error(&loggable_host(authority(request)), err);
        }
        dialed
    }

    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        self.edit(request).inspect_err(|err| log_error(&loggable_host(authority(request)), err))
    }

    fn can_replay(&self, bearer: Option<&Secret>) -> Option<RequestMeta> {
        if log_enabled!(Level::Trace) {
            return None; // the access log's line needs the decoded fields
        }
        if let Some(token) = bearer
            && !self.exchange.is_current(&*self.pinned()?, token)
        {
            return None;
        }
        Some(RequestMeta { bearer: bearer.cloned(), log: None })
    }

    fn on_response(&self, meta: &RequestMeta, response: &ResponseHead) {
        self.exchange.log_request(meta.log.as_deref(), response.status);
        if response.status == 401
            && let Some(host) = self.pinned()
        {
            // HEADERS were forwarded already, so the request is not sent again.
            self.exchange.on_unauthorized(&host, meta.bearer.as_ref(), response.challenge.as_deref(), false);
        }
    }

    fn on_denial(&self, meta: &RequestMeta, response: &ResponseHead, body: &[u8]) {
        if let Some(host) = self.pinned() {
            self.exchange.log_denial(&Denial {
                host: &host,
                had_token: meta.bearer.is_some(),
                status: response.status,
                challenge: response.challenge.as_deref(),
                body,
            });
        }
    }

    fn on_upstream_lost(&self, err: &ProxyError) {
        if let Some(host) = self.pinned() {
            log_error(&host.name, err);
        }
    }
}

/// Applies `edits` to a request to `host`, and returns its token.
fn apply(request: &mut Vec<Field>, host: &ResolvedHost, edits: HeaderEdits) -> Option<Secret> {
    request.retain(|field| edits.keeps(&field.name) && field.name != b"host");
    let authority = host.authority.as_bytes();
    if find(request, ":authority").is_none() {
        // After `:method`: pseudo-header fields precede the others (RFC 9113 section 8.3).
        request.insert(1.min(request.len()), Field::new(":authority", authority));
    }
    for field in request.iter_mut() {
        match field.name.as_slice() {
            b":authority" => field.value = authority.to_vec(),
            b":scheme" => field.value = if host.destination.tls { b"https".to_vec() } else { b"http".to_vec() },
            _ => {}
        }
    }
    request.extend(edits.added().map(|(name, value)| Field::new(name.to_ascii_lowercase(), value)));
    edits.token
}

fn credentials(request: &[Field]) -> RequestCredentials<'_> {
    RequestCredentials::from_fields(request.iter().map(|field| (&field.name[..], &field.value[..])))
}

fn request_error(status: u16, details: impl Into<String>) -> ProxyError {
    ProxyError::new(ErrorType::HttpRequestError(status), details)
}
