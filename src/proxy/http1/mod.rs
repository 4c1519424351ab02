//! One HTTP/1 connection of the application: requests in, answers back.
//!
//! Here is the connection and its requests one after the other; what one of
//! them asks for is read in `asked`, `forward` brings it to its destination,
//! and `answer` brings the answer back.

mod answer;
mod asked;
pub mod body;
mod forward;
pub mod head;
mod input;
mod probe;
mod rewrite;
mod tunnel;
mod upload;

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;

use self::asked::{Request, To, bad_head};
use self::forward::closed;
use self::head::Head;
use self::input::Input;
use super::conn_limit::Permit;
use super::refusal::{Kind, Refusal};
use super::upstream::Connection;
use super::{Goal, Proxy};
use crate::secret::Secret;
use crate::sys;

pub use self::probe::ask;

/// Serves the connection until one side closes it. `first` are the bytes that
/// were read to see that it is HTTP/1.
pub fn serve(proxy: &Proxy, permit: &Permit, first: Vec<u8>) {
    let mut session = Session {
        proxy,
        permit,
        tcp: permit.tcp(),
        input: Input::new(first),
        head: Head::default(),
        answer_head: Head::default(),
        request: Vec::new(),
        out: Vec::new(),
        answer: Vec::new(),
        last: None,
        tunnelled: None,
        ended: None,
        upstream: None,
    };
    while let Ok(Next::Request) = session.exchange() {}
    if let Some(connection) = session.upstream.take() {
        proxy.upstream.put(connection);
    }
}

struct Session<'a> {
    proxy: &'a Proxy,
    permit: &'a Permit,
    tcp: &'a TcpStream,
    input: Input,
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

/// What an exchange leaves behind.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

/// The connection is over: its client is gone, or no answer would be whole.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over
    }
}

/// Why an attempt brought no answer.
pub enum Failed {
    Refused(Refusal),
    /// The connection had died before; another one may do.
    Stale,
    /// Its token was not accepted; here is another one.
    Denied(Secret),
    Over,
}

impl From<Over> for Failed {
    fn from(_: Over) -> Failed {
        Failed::Over
    }
}

impl Session<'_> {
    /// One request and its answer.
    fn exchange(&mut self) -> Result<Next, Over> {
        let Some(end) = self.read_head()? else {
            return Ok(Next::Close);
        };
        let mut asked = match self.understand() {
            Ok(Request::Forward(asked)) => asked,
            Ok(Request::Tunnelled) => {
                self.input.consume(end);
                (&mut &*self.tcp).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                return Ok(Next::Request);
            }
            Err(refusal) => {
                let mut to = To::head(&self.head, self.input.bytes());
                // Who wrote this wrong may mean something else by the rest, too.
                to.keep &= !matches!(refusal.kind, Kind::HttpRequestError(_));
                self.input.consume(end);
                return self.refuse(&refusal, &to);
            }
        };
        self.input.consume(end);
        match self.forward(&mut asked) {
            Ok(next) => Ok(next),
            Err(Failed::Over) => Err(Over),
            Err(Failed::Stale | Failed::Denied(_)) => {
                self.refuse(&closed(&asked), &To::asked(&asked))
            }
            Err(Failed::Refused(refusal)) => self.refuse(&refusal, &To::asked(&asked)),
        }
    }

    /// Answers in the upstream's place. Only after a whole request without a
    /// body is it clear where the next one starts.
    fn refuse(&mut self, refusal: &Refusal, to: &To) -> Result<Next, Over> {
        warn!("proxy: {}: {}", to.name, refusal.reason());
        let keep = to.keep && !self.permit.is_wanted();
        let mut answer = refusal.to_http1(to.accept.as_deref(), to.head_only, !keep);
        if keep && to.minor == 0 {
            answer = rewrite::kept_alive(&answer);
        }
        (&mut &*self.tcp).write_all(&answer)?;
        if keep {
            return Ok(Next::Request);
        }
        input::linger(self.tcp);
        Ok(Next::Close)
    }

    /// Reads until a whole head stands at the start of the input; `None` when
    /// the client is done.
    fn read_head(&mut self) -> Result<Option<usize>, Over> {
        loop {
            match self.head.read_request(self.input.bytes()) {
                Ok(Some(end)) => return Ok(Some(end)),
                Ok(None) => {}
                Err(bad) => {
                    self.refuse(&bad_head(bad), &To::default())?;
                    return Ok(None);
                }
            }
            if self.input.bytes().is_empty() {
                self.permit.set_idle();
            }
            let got = match self.input.fill(self.tcp) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    // A client that pauses lends its connection to others,
                    // and waits without waking us every second.
                    if let Some(connection) = self.upstream.take() {
                        self.proxy.upstream.put(connection);
                    }
                    if self.input.bytes().is_empty() {
                        self.input.rest();
                        self.request = Vec::new();
                        self.out = Vec::new();
                        self.head = Head::default();
                        self.answer_head = Head::default();
                        self.answer = Vec::new();
                    }
                    sys::memory::shrink_stack();
                    let _ = self.tcp.set_read_timeout(None);
                    let got = self.input.fill(self.tcp);
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
