//! Interprets a request's head: where the request goes, and what has to be known of it until it has its response.

use std::sync::Arc;
use std::time::SystemTime;

use super::body::ChunkError;
use super::head::{Framing, Head, HeadError};
use super::rewrite;
use super::route::Route;
use crate::proxy::access_log::RequestLog;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::exchange::loggable_host;
use crate::proxy::header_policy::{HeaderEdits, RequestCredentials};
use crate::proxy::router::ResolvedHost;
use crate::proxy::syntax::{self, RequestError, RequestTarget, Scheme};
use crate::secret::Secret;
use crate::upstream::DialErrorKind;

/// What a head asks for.
pub enum Request {
    /// To be sent to an upstream.
    Forward(RequestContext),
    /// CONNECT to this authority, whose other end is runsd itself.
    Connect(String),
}

/// A request that is forwarded.
pub struct RequestContext {
    /// What the response depends on.
    pub traits: RequestTraits,
    /// Where the request goes.
    pub target: Arc<ResolvedHost>,
    /// How the request's body is delimited.
    pub framing: Framing,
    /// The method may be sent twice without harm (RFC 9110 section 9.2.2).
    is_idempotent: bool,
    /// The request asks for another protocol, which the upstream may speak.
    pub upgrade: bool,
    /// How the head was changed; `None` if it is forwarded as it is.
    pub edits: Option<HeaderEdits>,
    /// The upstream rejected a first token, and this is the second one.
    pub token_replaced: bool,
    /// `None` if requests are not logged.
    pub log: Option<Box<RequestLog>>,
}

/// What the response to a request depends on, whether an upstream sends it or runsd.
pub struct RequestTraits {
    /// What the client calls the upstream.
    pub host: Arc<str>,
    /// `Accept`.
    pub accept: Option<String>,
    /// The method is HEAD: the response has no body.
    pub is_head: bool,
    /// The client may send another request on the connection.
    pub keep_alive: bool,
    /// That of the request's HTTP version.
    pub minor_version: u8,
}

impl Default for RequestTraits {
    /// Those of a request whose head is malformed.
    fn default() -> RequestTraits {
        let host = loggable_host(None).into();
        RequestTraits { host, accept: None, is_head: false, keep_alive: false, minor_version: 1 }
    }
}

impl RequestTraits {
    fn new(host: Arc<str>, head: &Head, input: &[u8]) -> RequestTraits {
        RequestTraits {
            host,
            accept: head.get(input, "accept").map(|accept| String::from_utf8_lossy(accept).into_owned()),
            is_head: head.method(input) == b"HEAD",
            keep_alive: head.keeps_alive(input),
            minor_version: head.minor_version,
        }
    }

    /// Those of a request that can be parsed, but not forwarded.
    pub fn of_rejected(head: &Head, input: &[u8]) -> RequestTraits {
        let host = loggable_host(head.host(input).ok().flatten());
        RequestTraits::new(host.into(), head, input)
    }
}

impl RequestContext {
    /// Whether the whole request may be sent twice.
    pub fn is_replayable(&self) -> bool {
        self.is_idempotent && self.framing.is_empty() && !self.upgrade
    }

    /// The token that was sent, as a header value.
    pub fn token(&self) -> Option<&Secret> {
        self.edits.as_ref()?.token.as_ref()
    }
}

/// Interprets the head in `input`. Of a request that is to be forwarded, `out` gets the head for the upstream.
///
/// Blocks: until the metadata server has responded, where it is asked for a token, or for what a name leaves out.
///
/// # Errors
/// Why the request cannot be forwarded.
pub fn interpret(head: &Head, input: &[u8], route: &mut Route<'_>, out: &mut Vec<u8>) -> Result<Request, ProxyError> {
    let proxy = route.proxy;
    let method = head.method(input);
    let framing = match head.request_framing(input)? {
        // RFC 9110 section 8.6: a user agent sends a length with these. Some servers respond 411 without one.
        Framing::None if ANTICIPATE_CONTENT.contains(&method) => Framing::Length(0),
        framing => framing,
    };
    let (host, path) = match resource(head, input, framing)? {
        Resource::At { host, path } => (host, path),
        Resource::Tunnel(authority) => {
            // Its other end is runsd: to any other authority it would make runsd a proxy for everything.
            let target = proxy.exchange.resolve(authority.as_bytes(), None)?;
            return match proxy.upstream.addresses(&target.destination) {
                Err(err) if err.kind == DialErrorKind::Loop => Err(err.into()),
                _ => Ok(Request::Connect(authority.to_owned())),
            };
        }
    };
    let target = route.resolve(host)?;
    let credentials = RequestCredentials::from_fields(head.fields(input));
    let request = RequestContext {
        log: RequestLog::new(method, &target.name, path, |name| head.get(input, name)),
        traits: RequestTraits::new(Arc::clone(&target.name), head, input),
        framing,
        is_idempotent: IDEMPOTENT.contains(&method),
        upgrade: head.minor_version == 1
            && framing.is_empty()
            && head.list_contains(input, "connection", "upgrade")
            && rewrite::upgrade_protocols(head, input).next().is_some(),
        edits: proxy.exchange.header_edits(&target, &credentials, SystemTime::now())?,
        token_replaced: false,
        target,
    };
    out.clear();
    rewrite::Request { head, input, path, context: &request }.write(out);
    Ok(Request::Forward(request))
}

/// What a request's target and `Host` name.
enum Resource<'a> {
    At {
        host: Option<&'a [u8]>,
        path: &'a [u8],
    },
    /// Of CONNECT.
    Tunnel(&'a str),
}

fn resource<'a>(head: &Head, input: &'a [u8], framing: Framing) -> Result<Resource<'a>, ProxyError> {
    let host = head.host(input)?;
    let target = head.target(input);
    match syntax::parse_target(head.method(input), target) {
        Ok(RequestTarget::Path(path)) => Ok(Resource::At { host, path }),
        Ok(RequestTarget::Url { scheme: Scheme::Http, authority, path }) => {
            // `Host` is ignored here, and rejected all the same if it is malformed (RFC 9112 section 3.2).
            if let Some(host) = host.filter(|host| !host.is_empty()) {
                syntax::parse_authority(host)?;
            }
            Ok(Resource::At { host: Some(authority.text.as_bytes()), path })
        }
        // The client would have to speak TLS itself.
        Ok(RequestTarget::Url { authority, .. }) => {
            let host = authority.text;
            Err(bad_request(format!(
                "the request is for https://{host}; ask for http://{host}: \
                 runsd adds the TLS on the way to a service"
            )))
        }
        Ok(RequestTarget::Authority(authority)) if framing.is_empty() => Ok(Resource::Tunnel(authority.text)),
        // Another recipient may or may not take what follows for a body (RFC 9110 section 9.3.6).
        Ok(RequestTarget::Authority(_)) => Err(HeadError::ConnectWithBody.into()),
        Err(RequestError::Scheme) => {
            let scheme = target.split(|&b| b == b':').next().unwrap_or_default();
            let scheme = String::from_utf8_lossy(&scheme[..scheme.len().min(syntax::MAX_SHOWN)]);
            Err(bad_request(format!("the request is for {scheme:?}, a scheme other than http")))
        }
        Err(bad) => Err(bad.into()),
    }
}

fn bad_request(details: String) -> ProxyError {
    ProxyError::new(ErrorType::HttpRequestError(400), details)
}

impl From<HeadError> for ProxyError {
    fn from(bad: HeadError) -> ProxyError {
        ProxyError::new(ErrorType::HttpRequestError(bad.status()), format!("the request has {bad}"))
    }
}

impl From<ChunkError> for ProxyError {
    fn from(bad: ChunkError) -> ProxyError {
        bad_request(format!("the request has {bad}"))
    }
}

/// The methods whose requests mostly have a body.
const ANTICIPATE_CONTENT: [&[u8]; 3] = [b"POST", b"PUT", b"PATCH"];
/// The idempotent methods (RFC 9110 section 9.2.2).
const IDEMPOTENT: [&[u8]; 6] = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"];
