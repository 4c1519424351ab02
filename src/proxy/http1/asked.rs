//! What a request asks for, read out of its head.

use std::sync::Arc;
use std::time::SystemTime;

use super::head::{BadHead, Framing, Head};
use super::{Session, rewrite};
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::route::Sent;
use crate::proxy::seen::Seen;
use crate::proxy::syntax::{self, Malformed, Scheme, Target};
use crate::proxy::{Goal, Proxy};
use crate::secret::Secret;

/// What a head asks for.
pub enum Request {
    Forward(Asked),
    /// CONNECT to this authority: the tunnel's other end is this proxy.
    Tunnelled(String),
}

/// What is to be remembered of a request while it is answered.
pub struct Asked {
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
    /// The client waits for leave to send its body.
    pub expects: bool,
    pub upgrade: bool,
    pub bearer: Option<Secret>,
    /// It is sent for the second time, with another token.
    pub again: bool,
    /// For the log, if anybody reads that.
    pub seen: Option<Box<Seen>>,
}

/// Whom an answer of our own is for.
pub struct To {
    pub name: String,
    pub accept: Option<String>,
    pub head_only: bool,
    /// It is clear where the next request starts, and there may be one.
    pub keep: bool,
    pub minor: u8,
}

impl Default for To {
    fn default() -> To {
        To {
            name: "a request".to_owned(),
            accept: None,
            head_only: false,
            keep: false,
            minor: 1,
        }
    }
}

impl To {
    /// Whoever asked for this.
    pub fn asked(asked: &Asked) -> To {
        To {
            name: asked.host.to_string(),
            accept: asked.accept.clone(),
            head_only: asked.head_only,
            keep: asked.keep && asked.is_whole(),
            minor: asked.minor,
        }
    }

    /// Whoever wrote a head that can be read, but not carried out.
    pub fn head(head: &Head, input: &[u8]) -> To {
        let text = |value| String::from_utf8_lossy(value).into_owned();
        let name = head.host(input).ok().flatten().map(text);
        To {
            name: name.unwrap_or_else(|| To::default().name),
            accept: head.get(input, "accept").map(text),
            head_only: head.method(input) == b"HEAD",
            keep: head.keeps_alive(input)
                && matches!(
                    head.request_framing(input),
                    Ok(Framing::None | Framing::Length(0))
                ),
            minor: head.minor,
        }
    }
}

impl Asked {
    /// Its line in the log.
    pub fn log(&self, status: u16, proxy: &Proxy) {
        if let Some(seen) = &self.seen {
            seen.log(status, proxy.here.project());
        }
    }

    /// Whether its head is all of it; many clients say so by a length of 0.
    pub fn is_whole(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// Whether all of it may be sent twice.
    pub fn repeatable(&self) -> bool {
        self.idempotent && self.is_whole() && !self.upgrade
    }
}

impl Session<'_> {
    /// Reads the request's meaning out of its head.
    pub fn understand(&mut self) -> Result<Request, Refusal> {
        let input = self.input.bytes();
        let head = &self.head;
        let framing = head.request_framing(input).map_err(bad_head)?;
        let header = head.host(input).map_err(bad_head)?;
        let method = head.method(input);
        let (host, path) = match syntax::target(method, head.target(input)) {
            Ok(Target::Path(path)) => (header.unwrap_or_default(), path),
            Ok(Target::Url {
                scheme: Scheme::Http,
                authority,
                path,
            }) => {
                // It says nothing here, and is malformed all the same.
                let header = header.filter(|host| !host.is_empty());
                header.map(syntax::authority).transpose()?;
                (authority.text.as_bytes(), path)
            }
            Ok(Target::Url { authority, .. }) => return Err(encrypted(authority.text)),
            Ok(Target::Authority(authority)) => {
                // To one of our names, the tunnel leads right here; the others
                // would make a proxy for everything.
                let goal = self.proxy.goal(authority.text)?;
                // Refused here already where it leads back to runsd.
                self.proxy.upstream.addresses(&goal.destination)?;
                return Ok(Request::Tunnelled(authority.text.to_owned()));
            }
            Err(Malformed::Scheme) => return Err(other_scheme(head.target(input))),
            Err(bad) => return Err(bad.into()),
        };
        let host = match &self.tunnelled {
            Some(authority) if host.is_empty() => authority.as_bytes(),
            _ => host,
        };
        let (host, goal) = match &self.last {
            Some((last, goal)) if last.as_bytes() == host => (last.clone(), goal.clone()),
            _ => {
                let host: Arc<str> = syntax::authority(host)?.text.into();
                let goal = Arc::new(self.proxy.goal(&host)?);
                self.last = Some((host.clone(), goal.clone()));
                (host, goal)
            }
        };
        let sent = Sent::of(head.fields(input));
        let bearer = match goal.foreign {
            true => None,
            false => self.proxy.bearer(&goal, &sent, SystemTime::now())?,
        };
        let asked = Asked {
            head_only: method == b"HEAD",
            idempotent: IDEMPOTENT.contains(&method),
            accept: head
                .get(input, "accept")
                .map(|accept| String::from_utf8_lossy(accept).into_owned()),
            minor: head.minor,
            keep: head.keeps_alive(input),
            framing,
            expects: head.lists(input, "expect", "100-continue"),
            upgrade: head.minor == 1
                && framing == Framing::None
                && head.lists(input, "connection", "upgrade")
                && head.get(input, "upgrade").is_some()
                // A correct answer in HTTP/1.1 is allowed (RFC 7540, 3.2),
                // and HTTP/2 is spoken here without asking first.
                && !head.lists(input, "upgrade", "h2c"),
            bearer,
            goal,
            again: false,
            seen: Seen::new(head.method(input), &host, path, |name| {
                head.get(input, name)
            }),
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

/// The client wants TLS where it would have to speak it itself.
fn encrypted(host: &str) -> Refusal {
    Refusal::new(
        Kind::HttpRequestError(400),
        format!(
            "the request is for https://{host}; ask for http://{host}: \
             runsd adds the TLS on the way to a service"
        ),
    )
}

fn other_scheme(target: &[u8]) -> Refusal {
    let scheme = target.split(|&b| b == b':').next().unwrap_or_default();
    Refusal::new(
        Kind::HttpRequestError(Malformed::Scheme.status()),
        format!(
            "the request is for {:?}, a scheme other than http",
            String::from_utf8_lossy(scheme)
        ),
    )
}

pub fn bad_head(bad: BadHead) -> Refusal {
    Refusal::new(
        Kind::HttpRequestError(bad.status()),
        format!("the request has {bad}"),
    )
}

/// The methods that may be sent twice without harm (RFC 9110 section 9.2.2).
const IDEMPOTENT: [&[u8]; 6] = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"];
