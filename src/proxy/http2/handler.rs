//! What the proxy decides about requests, as HTTP/2 asks for it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use log::{Level, log_enabled};

use crate::net::context::ClientContext;
use crate::proxy::access_log::RequestLog;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::header_policy::{
    AUTHORIZATION, HeaderEdit, RequestCredentials, SERVERLESS, USER_AGENT, is_invalid_token,
};
use crate::proxy::hop_by_hop::is_hop_by_hop;
use crate::proxy::http2;
use crate::proxy::http2::Field;
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::proxy::{Denial, Goal, Proxy, say};
use crate::secret::Secret;
use crate::sync::lock;
use crate::upstream::{Alpn, DialErrorKind};

/// The decisions for one connection.
pub struct Handler<'a> {
    proxy: &'a Proxy,
    /// The connection itself: a dial ends when the client leaves.
    client: &'a TcpStream,
    /// The authority of the connection, and where it leads: all its requests
    /// are for the same.
    opened: Mutex<Option<Opened>>,
}

struct Opened {
    asked: String,
    goal: Arc<Goal>,
}

impl<'a> Handler<'a> {
    /// For one connection.
    pub fn new(proxy: &'a Proxy, client: &'a TcpStream) -> Handler<'a> {
        Handler { proxy, client, opened: Mutex::new(None) }
    }

    /// Never held while anything is asked of anyone: the thread that passes
    /// the answers needs it too.
    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        lock(&self.opened)
    }

    /// What the upstream was opened as, and where it is.
    fn way(&self) -> Option<(String, Arc<Goal>)> {
        let opened = self.opened();
        let opened = opened.as_ref()?;
        Some((opened.asked.clone(), opened.goal.clone()))
    }

    fn leads_to(&self, goal: &Goal) -> bool {
        let opened = self.opened();
        opened.as_ref().is_some_and(|opened| opened.goal.destination == goal.destination)
    }

    fn goal(&self, request: &[Field]) -> Result<(String, Arc<Goal>), ProxyError> {
        if field(request, ":method") == Some(b"CONNECT") && field(request, ":protocol").is_none() {
            return Err(no_tunnel());
        }
        let asked = authority(request)?;
        if let Some(opened) = &*self.opened()
            && opened.asked == asked
        {
            return Ok((asked, opened.goal.clone()));
        }
        let goal = self.proxy.goal(&asked)?;
        Ok((asked, Arc::new(goal)))
    }
}

impl Handler<'_> {
    fn rewritten(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        let (asked, goal) = self.goal(request)?;
        if !self.leads_to(&goal) {
            return Err(misdirected(&asked));
        }
        let [method, path] = [":method", ":path"].map(|name| field(request, name).unwrap_or_default());
        let mut note =
            RequestMeta { bearer: None, log: RequestLog::new(method, &asked, path, |name| field(request, name)) };
        // `te` is for the next hop too, but gRPC wants to hear it at each.
        request.retain(|field| field.name == b"te" || !is_hop_by_hop(&field.name));
        if goal.foreign {
            return Ok(note);
        }
        let sent = sent(request);
        let bearer = self.proxy.bearer(&goal, &sent, SystemTime::now())?;
        let changes = self.proxy.router.rewrite(&sent, bearer.as_ref());
        request.retain(|field| match field.name.as_slice() {
            b"host" => false,
            name if name == AUTHORIZATION.as_bytes() => changes.authorization == HeaderEdit::Keep,
            name if name == SERVERLESS.as_bytes() => changes.serverless == HeaderEdit::Keep,
            name => name != USER_AGENT.as_bytes(),
        });
        for field in request.iter_mut() {
            match field.name.as_slice() {
                b":authority" => field.value = goal.authority.clone().into_bytes(),
                b":scheme" => field.value = if goal.destination.tls { b"https".to_vec() } else { b"http".to_vec() },
                _ => {}
            }
        }
        if !request.iter().any(|field| field.name == b":authority") {
            // After :method and before the ordinary fields, where it belongs.
            request.insert(1.min(request.len()), Field::new(":authority", goal.authority.as_bytes()));
        }
        request.push(Field::new(USER_AGENT, changes.user_agent));
        if let Some(bearer) = &bearer {
            for (change, name) in [(changes.authorization, AUTHORIZATION), (changes.serverless, SERVERLESS)] {
                if change == HeaderEdit::Set {
                    request.push(Field::new(name, bearer.expose().as_bytes()));
                }
            }
        }
        note.bearer = bearer;
        Ok(note)
    }
}

impl http2::Handler for Handler<'_> {
    fn connect(&self, request: &[Field]) -> Result<http2::UpstreamHalves, ProxyError> {
        let mut left = false;
        let mut open = || -> Result<_, ProxyError> {
            let (asked, goal) = self.goal(request)?;
            // First, because after it a refusal has no room for its sentence,
            // and without it a connection would be for nothing.
            if !goal.foreign {
                self.proxy.bearer(&goal, &sent(request), SystemTime::now())?;
            }
            // FIN is the end of it, as wherever this connection is read.
            let mut client = ClientContext::new(self.client, Duration::ZERO);
            let upstream = &self.proxy.upstream;
            let connection = upstream.dial(&goal.destination, Alpn::Http2, &mut client).inspect_err(|err| {
                left = err.kind == DialErrorKind::Cancelled;
            })?;
            let (reader, writer) = connection.into_halves();
            // The thread that reads the client notices when it leaves.
            reader
                .set_read_timeout(None)
                .map_err(|err| ProxyError::new(ErrorType::ProxyInternalError, err.to_string()))?;
            // One that was cut while nobody looked is not silence for long.
            reader.set_keepalive();
            reader.set_user_timeout();
            let upstream = reader.shutdown_handle();
            *self.opened() = Some(Opened { asked, goal });
            Ok(http2::UpstreamHalves {
                reader: Box::new(reader),
                writer: Box::new(writer),
                close: Box::new(move || upstream.shutdown()),
            })
        };
        let opened = open();
        if let Err(refusal) = &opened
            && !left
        {
            say(&name(request), refusal);
        }
        opened
    }

    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        self.rewritten(request).inspect_err(|refusal| say(&name(request), refusal))
    }

    fn can_replay(&self, bearer: Option<&Secret>) -> Option<RequestMeta> {
        if log_enabled!(Level::Trace) {
            return None; // its line needs what the fields say
        }
        let Some(old) = bearer else {
            return Some(RequestMeta::default());
        };
        let goal = self.opened().as_ref()?.goal.clone();
        let audience = goal.destination.audience.as_deref()?;
        let new = self.proxy.tokens.bearer(audience, SystemTime::now()).ok()?;
        (new == *old).then_some(RequestMeta { bearer: Some(new), log: None })
    }

    fn on_response(&self, note: &RequestMeta, answer: &ResponseHead) {
        if let Some(log) = &note.log {
            log.log(answer.status, self.proxy.here.project());
        }
        if let (401, Some(bearer), Some(challenge)) = (answer.status, &note.bearer, &answer.challenge)
            && is_invalid_token(challenge)
            && let Some((_, goal)) = self.way()
        {
            self.proxy.forget(&goal, bearer);
        }
    }

    fn on_denial(&self, note: &RequestMeta, answer: &ResponseHead, body: &[u8]) {
        let Some((name, goal)) = self.way() else {
            return;
        };
        if !goal.foreign {
            self.proxy.refused(&Denial {
                goal: &goal,
                name: &name,
                ours: note.bearer.is_some(),
                status: answer.status,
                challenge: answer.challenge.as_deref(),
                body,
            });
        }
    }

    fn on_upstream_lost(&self, refusal: &ProxyError) {
        if let Some((name, _)) = self.way() {
            say(&name, refusal);
        }
    }
}

/// The authority of a request (RFC 9113 section 8.3.1: or its Host).
fn authority(request: &[Field]) -> Result<String, ProxyError> {
    let find = |name: &[u8]| request.iter().find(|field| field.name == name);
    let field = find(b":authority").or_else(|| find(b"host"));
    let field =
        field.ok_or_else(|| ProxyError::new(ErrorType::HttpRequestError(400), "the request has no :authority"))?;
    String::from_utf8(field.value.clone()).map_err(|_| {
        ProxyError::new(ErrorType::HttpRequestError(400), "a host that is not of letters, digits and dashes")
    })
}

fn sent(request: &[Field]) -> RequestCredentials<'_> {
    let headers = request.iter();
    RequestCredentials::of(headers.map(|field| (&field.name[..], &field.value[..])))
}

fn field<'a>(request: &'a [Field], name: &str) -> Option<&'a [u8]> {
    let field = request.iter().find(|field| field.name == name.as_bytes());
    field.map(|field| &field.value[..])
}

fn misdirected(asked: &str) -> ProxyError {
    ProxyError::new(
        ErrorType::HttpRequestError(421),
        format!("this connection belongs to another name than {asked:?}; open one for each"),
    )
}

/// A tunnel inside of HTTP/2: the front end has none (RFC 9110 section 15.6.2).
fn no_tunnel() -> ProxyError {
    ProxyError::new(ErrorType::HttpRequestError(501), "a CONNECT over HTTP/2; use HTTP/1.1 for it")
}

/// The authority of a request as the application wrote it, for people.
fn name(request: &[Field]) -> String {
    let field = field(request, ":authority").or_else(|| field(request, "host"));
    String::from_utf8_lossy(field.unwrap_or(b"a request")).into_owned()
}
