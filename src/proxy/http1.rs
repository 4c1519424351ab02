//! One HTTP/1 connection of the application: requests in, answers back.
//!
//! Here is the connection and its requests one after the other; what one of
//! them asks for is read in `asked`, `forward` brings it to its destination,
//! and `answer` brings the answer back.

pub mod body;
mod forward;
pub mod head;
mod probe;
mod request;
mod request_body;
mod response;
mod rewrite;
mod tunnel;
mod upload;

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::forward::{closed, no_thread};
use self::head::{Framing, Head, HeadError, Progress};
use super::{Goal, Proxy, say};
use crate::net::conn_limit::Permit;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::http1::request::{ErrorContext, Request, RequestContext, bad_head};
use crate::proxy::http1::request_body::{Input, RequestBody, Unfinished};
use crate::secret::Secret;
use crate::sys;
use crate::upstream::{Connection, DialError, DialErrorKind, Ready};

pub use self::probe::ask;

#[cfg(test)]
mod tests;

/// Inside of a CONNECT that was answered here.
pub struct Tunnel {
    pub authority: String,
    /// What the client has said in it already.
    pub first: Vec<u8>,
}

/// Serves the connection until one side closes it, or a CONNECT begins it
/// anew. `first` are the bytes that were read to see that it is HTTP/1;
/// `tunnelled` is the authority of the CONNECT that it is in.
pub fn serve(proxy: &Proxy, permit: &Permit, first: Vec<u8>, tunnelled: Option<String>) -> Option<Tunnel> {
    let mut session = ClientConnection {
        proxy,
        permit,
        tcp: permit.tcp(),
        head: Head::default(),
        answer_head: Head::default(),
        request: Vec::new(),
        out: Vec::new(),
        answer: Vec::new(),
        last: None,
        tunnelled,
        ended: None,
        upstream: None,
    };
    let mut input = Input::new(first);
    let tunnel = loop {
        match session.exchange(input) {
            Ok(After::Request(next)) => input = next,
            Ok(After::Tunnel(tunnel)) => break Some(tunnel),
            Ok(After::Close) | Err(ClientGone) => break None,
        }
    };
    if let Some(connection) = session.upstream.take() {
        proxy.upstream.put(connection);
    }
    tunnel
}

struct ClientConnection<'a> {
    proxy: &'a Proxy,
    permit: &'a Permit,
    tcp: &'a TcpStream,
    head: Head,
    /// The same for answers; kept for its room.
    answer_head: Head,
    /// The head that is about to be sent up.
    request: Vec<u8>,
    /// What is about to be sent down.
    out: Vec<u8>,
    /// What the upstream sent and the client has not got yet.
    answer: Vec<u8>,
    /// The last Host and where it led: nearly always the next one too.
    last: Option<(Arc<str>, Arc<Goal>)>,
    /// The authority of a CONNECT that was answered by this very connection.
    tunnelled: Option<String>,
    /// Since when the client sends nothing more.
    ended: Option<Instant>,
    /// The connection of the last request, while the client is busy.
    upstream: Option<Connection>,
}

/// What the connection is for after an exchange.
enum After {
    /// The next request, which begins here.
    Request(Input),
    /// What a CONNECT leads to, in a protocol of the client's choice.
    Tunnel(Tunnel),
    Close,
}

impl From<Option<Input>> for After {
    fn from(next: Option<Input>) -> After {
        next.map_or(After::Close, After::Request)
    }
}

/// What comes after an answer.
pub enum Next {
    /// The client was told that it may ask again.
    Request,
    Close,
    /// The two sides speak of something else from here on.
    Tunnel(Ready),
}

/// The connection is over: its client is gone, or no answer would be whole.
struct ClientGone;

impl From<io::Error> for ClientGone {
    fn from(_: io::Error) -> ClientGone {
        ClientGone
    }
}

/// Why an attempt brought no answer.
pub enum AttemptError {
    Proxy(ProxyError),
    /// The connection had died before; another one may do.
    StaleConnection,
    /// Its token was not accepted; here is another one.
    TokenRejected(Secret),
    ClientGone,
}

impl From<DialError> for AttemptError {
    fn from(err: DialError) -> AttemptError {
        match err.kind {
            DialErrorKind::Cancelled => AttemptError::ClientGone,
            _ => AttemptError::Proxy(err.into()),
        }
    }
}

impl From<ClientGone> for AttemptError {
    fn from(_: ClientGone) -> AttemptError {
        AttemptError::ClientGone
    }
}

impl ClientConnection<'_> {
    /// One request and its answer.
    fn exchange(&mut self, mut input: Input) -> Result<After, ClientGone> {
        let end = match self.read_head(&mut input)? {
            Some(Ok(end)) => end,
            Some(Err(bad)) => {
                let next = self.refuse(&bad_head(bad), &ErrorContext::default(), Err(Unfinished))?;
                return Ok(next.into());
            }
            None => return Ok(After::Close),
        };
        let next = match self.understand(input.bytes()) {
            Ok(Request::Forward(asked)) => {
                let body = input.into_body(end, asked.framing);
                self.serve(asked, body)?
            }
            Ok(Request::Tunnelled(authority)) => {
                // Nothing of it is a body: `understand` refuses one that has any.
                (&mut &*self.tcp).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                let first = input.bytes()[end..].to_vec();
                return Ok(After::Tunnel(Tunnel { authority, first }));
            }
            Err(refusal) => {
                let to = ErrorContext::head(&self.head, input.bytes());
                let next = match refusal.kind {
                    // Who wrote this wrong may mean something else by the rest, too.
                    ErrorType::HttpRequestError(_) => Err(Unfinished),
                    _ => self.body(input, end).finish(),
                };
                self.refuse(&refusal, &to, next)?
            }
        };
        Ok(next.into())
    }

    /// The body of a request that is answered here.
    fn body(&self, input: Input, head_end: usize) -> RequestBody {
        // One that nobody can read has no end.
        let framing = self.head.request_framing(input.bytes());
        input.into_body(head_end, framing.unwrap_or(Framing::UntilClose))
    }

    /// Has a request carried out.
    fn serve(&mut self, mut asked: RequestContext, mut body: RequestBody) -> Result<Option<Input>, ClientGone> {
        let refusal = match self.forward(&mut asked, &mut body) {
            Err(AttemptError::ClientGone) => return Err(ClientGone),
            Err(AttemptError::StaleConnection | AttemptError::TokenRejected(_)) => closed(&asked),
            Err(AttemptError::Proxy(refusal)) => refusal,
            Ok(next) => {
                return Ok(match (next, body.finish()) {
                    (Next::Request, Ok(input)) => Some(input),
                    (Next::Tunnel(mut connection), Ok(input)) => {
                        self.out.append(&mut self.answer);
                        let sent = input.into_buffer();
                        let run = tunnel::run(self.tcp, sent, &self.out, &mut connection);
                        let Err(err) = run else { return Ok(None) };
                        let refusal = no_thread("a tunnel", &err);
                        return self.refuse(&refusal, &ErrorContext::asked(&asked), Err(Unfinished));
                    }
                    // Otherwise what came behind it would make the kernel reset it.
                    (Next::Close, Ok(input)) if input.bytes().is_empty() && sys::tcp::is_idle(self.tcp.as_fd()) => None,
                    _ => {
                        request_body::linger(self.tcp);
                        None
                    }
                });
            }
        };
        self.refuse(&refusal, &ErrorContext::asked(&asked), body.finish())
    }

    /// Answers in the upstream's place. `next` is where the next request
    /// begins, if that is clear.
    fn refuse(
        &mut self,
        refusal: &ProxyError,
        to: &ErrorContext,
        next: Result<Input, Unfinished>,
    ) -> Result<Option<Input>, ClientGone> {
        say(&to.name, refusal);
        let keep = to.keep && !self.permit.is_wanted();
        let next = next.ok().filter(|_| keep);
        let mut answer = refusal.to_http1(to.accept.as_deref(), to.head_only, next.is_none());
        if next.is_some() && to.minor == 0 {
            answer = rewrite::kept_alive(&answer);
        }
        (&mut &*self.tcp).write_all(&answer)?;
        if next.is_none() {
            request_body::linger(self.tcp);
        }
        Ok(next)
    }

    /// Reads until a whole head stands at the start of the input; `None` when
    /// the client is done.
    fn read_head(&mut self, input: &mut Input) -> Result<Option<Result<usize, HeadError>>, ClientGone> {
        let mut progress = Progress::default();
        loop {
            match self.head.read_request(input.bytes(), &mut progress) {
                Ok(Some(end)) => return Ok(Some(Ok(end))),
                Ok(None) => {}
                Err(bad) => return Ok(Some(Err(bad))),
            }
            if input.bytes().is_empty() {
                self.permit.set_idle();
            }
            let got = match input.fill(self.tcp) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    // A client that pauses lends its connection to others,
                    // and waits without waking us every second.
                    if let Some(connection) = self.upstream.take() {
                        self.proxy.upstream.put(connection);
                    }
                    if input.bytes().is_empty() {
                        input.rest();
                        self.request = Vec::new();
                        self.out = Vec::new();
                        self.head = Head::default();
                        progress = Progress::default();
                        self.answer_head = Head::default();
                        self.answer = Vec::new();
                    }
                    sys::tuning::release_unused_stack();
                    let _ = self.tcp.set_read_timeout(None);
                    let got = input.fill(self.tcp);
                    let _ = self.tcp.set_read_timeout(Some(PATIENCE));
                    got?
                }
                got => got?,
            };
            if got == 0 || !self.permit.set_busy() {
                return Ok(None);
            }
        }
    }
}

/// The largest buffer kept between requests.
const ROOM: usize = 64 * 1024;
/// How long a read waits before it looks around.
pub const PATIENCE: Duration = Duration::from_secs(1);
