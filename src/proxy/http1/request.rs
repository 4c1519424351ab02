//! What a request asks for, read out of its head.

use std::sync::Arc;
use std::time::SystemTime;

use crate::proxy::access_log::RequestLog;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::header_policy::RequestCredentials;
use crate::proxy::http1::head::{Framing, Head, HeadError};
use crate::proxy::http1::{ClientConnection, rewrite};
use crate::proxy::syntax;
use crate::proxy::syntax::{RequestError, Scheme, Target};
use crate::proxy::{Goal, Proxy, name_of};
use crate::secret::Secret;
use crate::upstream::DialErrorKind;

/// What a head asks for.
pub enum Request {
    Forward(RequestContext),
    /// CONNECT to this authority: the tunnel's other end is this proxy.
    Tunnelled(String),
}

/// What is to be remembered of a request while it is answered.
pub struct RequestContext {
    pub goal: Arc<Goal>,
    pub host: Arc<str>,
    /// By HEAD: its answer has no body.
    pub head_only: bool,
    /// By a method that may be sent twice without harm.
    pub idempotent: bool,
    pub accept: Option<String>,
    pub minor: u8,
    pub keep: bool,
    pub framing: Framing,
    pub upgrade: bool,
    pub bearer: Option<Secret>,
    /// It is sent for the second time, with another token.
    pub again: bool,
    /// For the log, if anybody reads that.
    pub seen: Option<Box<RequestLog>>,
}

/// Whom an answer of our own is for.
pub struct ErrorContext {
    pub name: String,
    pub accept: Option<String>,
    pub head_only: bool,
    /// There may be another request, where it is clear where that begins.
    pub keep: bool,
    pub minor: u8,
}

impl Default for ErrorContext {
    fn default() -> ErrorContext {
        ErrorContext { name: name_of(None), accept: None, head_only: false, keep: false, minor: 1 }
    }
}

impl ErrorContext {
    /// Whoever asked for this.
    pub fn asked(asked: &RequestContext) -> ErrorContext {
        ErrorContext {
            name: asked.host.to_string(),
            accept: asked.accept.clone(),
            head_only: asked.head_only,
            keep: asked.keep,
            minor: asked.minor,
        }
    }

    /// Whoever wrote a head that can be read, but not carried out.
    pub fn head(head: &Head, input: &[u8]) -> ErrorContext {
        let text = |value| String::from_utf8_lossy(value).into_owned();
        ErrorContext {
            name: name_of(head.host(input).ok().flatten()),
            accept: head.get(input, "accept").map(text),
            head_only: head.method(input) == b"HEAD",
            keep: head.keeps_alive(input),
            minor: head.minor_version,
        }
    }
}

impl RequestContext {
    /// Its line in the log.
    pub fn log(&self, status: u16, proxy: &Proxy) {
        if let Some(seen) = &self.seen {
            seen.log(status, proxy.here.project());
        }
    }

    /// Whether its head is all of it; many clients say so by a length of 0.
    pub fn is_whole(&self) -> bool {
        self.framing.is_empty()
    }

    /// Whether all of it may be sent twice.
    pub fn repeatable(&self) -> bool {
        self.idempotent && self.is_whole() && !self.upgrade
    }
}

impl ClientConnection<'_> {
    /// Reads the request's meaning out of its head.
    pub fn understand(&mut self, input: &[u8]) -> Result<Request, ProxyError> {
        let head = &self.head;
        let method = head.method(input);
        let framing = framing(head, input)?;
        let (host, path) = match resource(head, input)? {
            Resource::At { host, path } => (host, path),
            Resource::Tunnel(authority) => {
                // Its other end is here; the others would make a proxy for all.
                let goal = self.proxy.goal(authority)?;
                // Refused here already where it leads back to runsd.
                if let Err(err) = self.proxy.upstream.addresses(&goal.destination)
                    && err.kind == DialErrorKind::Loop
                {
                    return Err(err.into());
                }
                return Ok(Request::Tunnelled(authority.to_owned()));
            }
        };
        let host = match &self.tunnelled {
            Some(authority) if host.is_none_or(<[u8]>::is_empty) => Some(authority.as_bytes()),
            _ => host,
        };
        let (host, goal) = lead(&mut self.last, self.proxy, host)?;
        let sent = RequestCredentials::of(head.fields(input));
        let bearer = match goal.foreign {
            true => None,
            false => self.proxy.bearer(&goal, &sent, SystemTime::now())?,
        };
        let accept = head.get(input, "accept");
        let asked = RequestContext {
            head_only: method == b"HEAD",
            idempotent: IDEMPOTENT.contains(&method),
            accept: accept.map(|accept| String::from_utf8_lossy(accept).into_owned()),
            minor: head.minor_version,
            keep: head.keeps_alive(input),
            framing,
            upgrade: upgrades(head, input, framing),
            bearer,
            goal,
            again: false,
            seen: RequestLog::new(method, &host, path, |name| head.get(input, name)),
            host,
        };
        let changes = match asked.goal.foreign {
            true => None,
            false => Some(self.proxy.router.rewrite(&sent, asked.bearer.as_ref())),
        };
        self.request.clear();
        let request = rewrite::Request {
            head,
            input,
            path,
            authority: &asked.goal.authority,
            framing: asked.framing,
            upgrade: asked.upgrade,
            bearer: asked.bearer.as_ref(),
            changes: changes.as_ref(),
        };
        request.write(&mut self.request);
        Ok(Request::Forward(asked))
    }
}

/// How the body ends on its way up.
fn framing(head: &Head, input: &[u8]) -> Result<Framing, ProxyError> {
    match head.request_framing(input).map_err(bad_head)? {
        // RFC 9110 section 8.6; some servers answer 411 without one.
        Framing::None if EXPECT_CONTENT.contains(&head.method(input)) => Ok(Framing::Length(0)),
        framing => Ok(framing),
    }
}

/// Whether it asks for another protocol that the upstream may speak. A length
/// of 0 is no body: many clients send one along.
fn upgrades(head: &Head, input: &[u8], framing: Framing) -> bool {
    head.minor_version == 1
        && framing.is_empty()
        && head.list_contains(input, "connection", "upgrade")
        && rewrite::protocols(head, input).next().is_some()
}

/// What a request is for.
enum Resource<'a> {
    /// Inside a tunnel the host is known.
    At {
        host: Option<&'a [u8]>,
        path: &'a [u8],
    },
    Tunnel(&'a str),
}

fn resource<'a>(head: &Head, input: &'a [u8]) -> Result<Resource<'a>, ProxyError> {
    let header = head.host(input).map_err(bad_head)?;
    let target = head.target(input);
    match syntax::target(head.method(input), target) {
        Ok(Target::Path(path)) => Ok(Resource::At { host: header, path }),
        Ok(Target::Url { scheme: Scheme::Http, authority, path }) => {
            // It says nothing here, and is refused all the same where it could
            // not be one (RFC 9112 section 3.2).
            if let Some(header) = header.filter(|header| !header.is_empty()) {
                syntax::authority(header)?;
            }
            let host = Some(authority.text.as_bytes());
            Ok(Resource::At { host, path })
        }
        Ok(Target::Url { authority, .. }) => Err(encrypted(authority.text)),
        Ok(Target::Authority(authority)) => match framing(head, input)? {
            framing if framing.is_empty() => Ok(Resource::Tunnel(authority.text)),
            // Who else reads it may take what follows for its body, or may not
            // (RFC 9110 section 9.3.6).
            _ => Err(bad_head(HeadError::ConnectWithBody)),
        },
        Err(RequestError::Scheme) => Err(other_scheme(target)),
        Err(bad) => Err(bad.into()),
    }
}

/// The host as text, and where it leads: nearly always where the last one did.
fn lead(
    last: &mut Option<(Arc<str>, Arc<Goal>)>,
    proxy: &Proxy,
    host: Option<&[u8]>,
) -> Result<(Arc<str>, Arc<Goal>), ProxyError> {
    // Correct in HTTP/1.0, but it leads nowhere.
    let host = host.ok_or_else(|| ProxyError::new(ErrorType::DestinationNotFound, "the request has no Host header"))?;
    if let Some((last, goal)) = last
        && last.as_bytes() == host
    {
        return Ok((last.clone(), goal.clone()));
    }
    let host: Arc<str> = syntax::authority(host)?.text.into();
    let goal = Arc::new(proxy.goal(&host)?);
    Ok(last.insert((host, goal)).clone())
}

/// The client wants TLS where it would have to speak it itself.
fn encrypted(host: &str) -> ProxyError {
    ProxyError::new(
        ErrorType::HttpRequestError(400),
        format!(
            "the request is for https://{host}; ask for http://{host}: \
             runsd adds the TLS on the way to a service"
        ),
    )
}

fn other_scheme(target: &[u8]) -> ProxyError {
    let scheme = target.split(|&b| b == b':').next().unwrap_or_default();
    let scheme = &scheme[..scheme.len().min(syntax::MAX_SHOWN)];
    ProxyError::new(
        ErrorType::HttpRequestError(RequestError::Scheme.status()),
        format!("the request is for {:?}, a scheme other than http", String::from_utf8_lossy(scheme)),
    )
}

pub fn bad_head(bad: HeadError) -> ProxyError {
    ProxyError::new(ErrorType::HttpRequestError(bad.status()), format!("the request has {bad}"))
}

/// The methods that anticipate content.
const EXPECT_CONTENT: [&[u8]; 3] = [b"POST", b"PUT", b"PATCH"];
/// The methods that may be sent twice without harm (RFC 9110 section 9.2.2).
const IDEMPOTENT: [&[u8]; 6] = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"];
