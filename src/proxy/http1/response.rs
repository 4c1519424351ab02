//! The answer on its way back: interim ones, the final one, and its body.

use std::fmt;
use std::io::{self, Write as _};
use std::mem;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use log::warn;

use crate::proxy::Denial;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::header_policy::is_invalid_token;
use crate::proxy::http1::body::Body;
use crate::proxy::http1::forward::closed;
use crate::proxy::http1::head::{Framing, Head, HeadError, Progress};
use crate::proxy::http1::request::RequestContext;
use crate::proxy::http1::rewrite::Response;
use crate::proxy::http1::upload::{Upload, Uploaded};
use crate::proxy::http1::{AttemptError, ClientConnection};
use crate::sys;
use crate::sys::peer::{PeerState, peer_state};
use crate::upstream::Reader;

/// What came of waiting for an answer.
pub enum Answered {
    /// It was passed on. `keep`: the client was told that it may ask again;
    /// `again`: the upstream's connection can serve again.
    Done { keep: bool, again: bool },
    /// 101: what follows is no HTTP any more; its first bytes are in `answer`,
    /// and the 101 itself, for the client, in `out`.
    Switched,
}

/// A request that was sent, and where its answer comes from.
pub struct RequestCredentials<'a> {
    pub asked: &'a RequestContext,
    pub reader: &'a mut Reader,
    /// Its body may still be on its way.
    pub upload: Option<&'a Upload<'a>>,
}

impl ClientConnection<'_> {
    /// Passes on interim answers and the final one.
    ///
    /// As long as no byte of an answer has come, an end of the connection is
    /// [`AttemptError::StaleConnection`]: only then may the request be sent once more.
    pub fn answer(&mut self, mut sent: RequestCredentials<'_>) -> Result<Answered, AttemptError> {
        let mut head = mem::take(&mut self.answer_head);
        let answered = self.pass(&mut sent, &mut head);
        self.answer_head = head;
        answered
    }

    fn pass(&mut self, sent: &mut RequestCredentials<'_>, head: &mut Head) -> Result<Answered, AttemptError> {
        let asked = sent.asked;
        let host = &asked.goal.destination.host;
        for interim in 0..=MAX_INTERIM {
            let end = match self.read_answer(sent, head) {
                Err(AttemptError::StaleConnection) if interim > 0 => {
                    return Err(AttemptError::Proxy(closed(asked)));
                }
                end => end?,
            };
            let status = head.status(&self.answer);
            let switches = status == 101 && asked.upgrade;
            if status == 101 && !asked.upgrade {
                return Err(AttemptError::Proxy(ProxyError::new(
                    ErrorType::HttpUpgradeFailed,
                    format!("{host} switched protocols unasked"),
                )));
            }
            if status >= 200 {
                let replay = interim == 0 && sent.upload.is_none();
                return self.final_answer(sent, head, end, replay);
            }
            if interim == MAX_INTERIM {
                break;
            }
            if asked.minor > 0 {
                self.out.clear();
                let response = Response {
                    head,
                    input: &self.answer,
                    framing: Framing::None,
                    minor: asked.minor,
                    keep: true,
                    renamed: None,
                };
                response.write(&mut self.out);
                if !switches {
                    self.send_down(sent.reader)?;
                }
            }
            self.answer.drain(..end);
            if switches {
                asked.log(101, self.proxy);
                return Ok(Answered::Switched);
            }
            // One who gets nothing of them would not be missed otherwise.
            self.look_around(sent.reader)?;
        }
        Err(AttemptError::Proxy(ProxyError::new(
            ErrorType::HttpProtocolError,
            format!("{host} sent more than {MAX_INTERIM} interim answers (1xx)"),
        )))
    }

    /// `replay`: nothing was passed on that a second answer could contradict.
    fn final_answer(
        &mut self,
        sent: &mut RequestCredentials<'_>,
        head: &Head,
        end: usize,
        replay: bool,
    ) -> Result<Answered, AttemptError> {
        let asked = sent.asked;
        let status = head.status(&self.answer);
        let challenge = head.get(&self.answer, "www-authenticate");
        if status == 401 && challenge.is_some_and(is_invalid_token) {
            self.denied(asked, replay)?;
        }
        let framing = head
            .response_framing(&self.answer, asked.head_only)
            .map_err(|bad| AttemptError::Proxy(bad_answer(asked, bad)))?;
        let through = sent.upload.is_none_or(Upload::is_complete_soon);
        let unchunk = asked.minor == 0 && framing == Framing::Chunked;
        let is_wanted = self.permit.is_wanted();
        let keep = asked.keep && through && framing != Framing::UntilClose && !unchunk && !is_wanted;
        self.out.clear();
        let response = Response {
            head,
            input: &self.answer,
            framing,
            minor: asked.minor,
            keep,
            renamed: (!asked.goal.foreign).then_some((&asked.goal.destination, &asked.host)),
        };
        response.write(&mut self.out);
        let reusable = through && framing != Framing::UntilClose && head.keeps_alive(&self.answer);
        asked.log(status, self.proxy);
        let no = (matches!(status, 401 | 403 | 404) && !asked.goal.foreign).then(|| No {
            asked,
            status,
            challenge: challenge.map(<[u8]>::to_vec),
        });
        self.answer.drain(..end);
        let Some(body) = Body::new(framing) else {
            self.send_down(sent.reader)?;
            // Bytes after an answer that has no body belong to nobody.
            let clean = self.answer.is_empty() && sent.reader.unread().is_empty();
            let again = reusable && clean;
            return Ok(Answered::Done { keep, again });
        };
        let clean = self.pass_body(body, unchunk, no, sent)?;
        let again = reusable && clean;
        Ok(Answered::Done { keep, again })
    }

    /// A token was called invalid: [`AttemptError::TokenRejected`] where there is another one,
    /// and the request can be sent with that.
    fn denied(&self, asked: &RequestContext, replay: bool) -> Result<(), AttemptError> {
        let Some(bearer) = &asked.bearer else {
            return Ok(());
        };
        // Who was not let in has done nothing yet: any method may come again.
        if asked.again || !replay || !asked.is_whole() {
            self.proxy.forget(&asked.goal, bearer);
            return Ok(());
        }
        match self.proxy.another(&asked.goal, bearer) {
            Some(other) => Err(AttemptError::TokenRejected(other)),
            None => Ok(()),
        }
    }

    /// Passes a body as it comes; whether nothing came after its end.
    fn pass_body(
        &mut self,
        mut body: Body,
        unchunk: bool,
        mut no: Option<No<'_>>,
        sent: &mut RequestCredentials<'_>,
    ) -> Result<bool, AttemptError> {
        loop {
            // What it says may come with its head or after it.
            if let Some(no) = no.take_if(|_| !self.answer.is_empty()) {
                self.proxy.refused(&Denial {
                    goal: &no.asked.goal,
                    name: &no.asked.host,
                    ours: no.asked.bearer.is_some(),
                    status: no.status,
                    challenge: no.challenge.as_deref(),
                    body: &self.answer,
                });
            }
            let mut carried = Vec::new();
            let taken = body.decode(&self.answer, |data| {
                if unchunk {
                    carried.extend_from_slice(data);
                }
            });
            let (n, ended) = taken.map_err(|bad| match self.out.is_empty() {
                true => self.cut(sent, &bad),
                false => {
                    let host = &sent.asked.goal.destination.host;
                    let details = format!("{host} answered with {bad}");
                    AttemptError::Proxy(ProxyError::new(ErrorType::HttpProtocolError, details))
                }
            })?;
            if self.out.is_empty() && !unchunk {
                (&mut &*self.tcp).write_all(&self.answer[..n]).map_err(|_| gone(sent.reader))?;
            } else {
                match unchunk {
                    true => self.out.extend_from_slice(&carried),
                    false => self.out.extend_from_slice(&self.answer[..n]),
                }
                self.send_down(sent.reader)?;
            }
            if ended {
                return Ok(self.answer.len() == n && sent.reader.unread().is_empty());
            }
            self.answer.clear();
            if no.is_none() && !unchunk {
                return self.pass_rest(body, sent);
            }
            if !self.receive_body(&body, sent)? {
                return Ok(false);
            }
        }
    }

    /// Waits for more of a body; `false` where the end of the connection is
    /// the body's end.
    fn receive_body(&mut self, body: &Body, sent: &mut RequestCredentials<'_>) -> Result<bool, AttemptError> {
        loop {
            match self.receive(sent.reader) {
                Ok(0) if matches!(body, Body::UntilClose) => return Ok(false),
                Ok(0) => return Err(self.cut(sent, &ENDED)),
                Ok(_) => return Ok(true),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.look_around(sent.reader)?;
                }
                Err(err) => return Err(self.cut(sent, &err)),
            }
        }
    }

    /// The same for the rest of a body, straight from where TLS left it.
    fn pass_rest(&mut self, mut body: Body, sent: &mut RequestCredentials<'_>) -> Result<bool, AttemptError> {
        loop {
            match sent.reader.fill() {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.look_around(sent.reader)?;
                    continue;
                }
                Err(err) => return Err(self.cut(sent, &err)),
            }
            let bytes = sent.reader.unread();
            let (passed, ended) = body.decode(bytes, |_| {}).map_err(|bad| self.cut(sent, &bad))?;
            (&mut &*self.tcp).write_all(&bytes[..passed]).map_err(|_| gone(sent.reader))?;
            sent.reader.consume(passed);
            match (ended, passed) {
                (true, _) => return Ok(sent.reader.unread().is_empty()),
                (false, 0) if matches!(body, Body::UntilClose) => return Ok(false),
                (false, 0) => return Err(self.cut(sent, &ENDED)),
                (false, _) => {}
            }
        }
    }

    fn read_answer(&mut self, sent: &mut RequestCredentials<'_>, head: &mut Head) -> Result<usize, AttemptError> {
        let mut progress = Progress::default();
        loop {
            match head.read_response(&self.answer, &mut progress) {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => {}
                Err(bad) => return Err(AttemptError::Proxy(bad_answer(sent.asked, bad))),
            }
            match self.receive(sent.reader) {
                Ok(n) if n > 0 => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.look_around(sent.reader)?,
                _ if self.answer.is_empty() => return Err(AttemptError::StaleConnection),
                _ => {
                    return Err(AttemptError::Proxy(ProxyError::new(
                        ErrorType::HttpResponseIncomplete,
                        format!("{} broke off its answer", sent.asked.goal.destination.host),
                    )));
                }
            }
        }
    }

    /// Reads more behind what `answer` holds, and no more than a head mostly
    /// needs: what follows it can go without a stop here.
    fn receive(&mut self, reader: &mut Reader) -> io::Result<usize> {
        reader.fill()?;
        let bytes = reader.unread();
        let n = bytes.len().min(ONE_READ);
        self.answer.extend_from_slice(&bytes[..n]);
        reader.consume(n);
        Ok(n)
    }

    fn send_down(&mut self, reader: &Reader) -> Result<(), AttemptError> {
        let sent = (&mut &*self.tcp).write_all(&self.out);
        self.out.clear();
        sent.map_err(|_| gone(reader))
    }

    /// While the upstream is silent: is the client still there?
    fn look_around(&mut self, reader: &Reader) -> Result<(), AttemptError> {
        let gone_for_good = match peer_state(self.tcp) {
            PeerState::Alive => false,
            PeerState::FinReceived => {
                let since = *self.ended.get_or_insert_with(Instant::now);
                since.elapsed() > HALF_CLOSED
            }
            PeerState::Closed => true,
        };
        match gone_for_good {
            true => Err(gone(reader)),
            false => Ok(()),
        }
    }

    /// An answer broke off after its head was passed on: all that the client
    /// can still be told is that it is not whole, by closing.
    fn cut(&self, sent: &RequestCredentials<'_>, why: &dyn fmt::Display) -> AttemptError {
        // Unless it was the client who left, and the upstream that was told.
        if sent.upload.and_then(Upload::outcome) != Some(Uploaded::ClientGone) {
            let asked = sent.asked;
            warn!("proxy: {}: the answer of {} was cut: {why}", asked.host, asked.goal.destination.host);
        }
        sent.reader.abort();
        sys::tcp::set_linger_zero(self.tcp.as_fd());
        AttemptError::ClientGone
    }
}

/// An answer that says no, until it is seen who gave it.
struct No<'a> {
    asked: &'a RequestContext,
    status: u16,
    challenge: Option<Vec<u8>>,
}

/// The client is gone, and the service should know.
fn gone(reader: &Reader) -> AttemptError {
    reader.abort();
    AttemptError::ClientGone
}

fn bad_answer(asked: &RequestContext, bad: HeadError) -> ProxyError {
    let host = &asked.goal.destination.host;
    let kind = match bad {
        HeadError::TooLarge => ErrorType::HttpResponseHeaderSectionSize,
        HeadError::NotChunkedLast | HeadError::UnsupportedCoding => ErrorType::HttpResponseTransferCoding,
        _ => ErrorType::HttpProtocolError,
    };
    ProxyError::new(kind, format!("{host} answered with {bad}"))
}

/// How many interim answers one request may have: one in less than four
/// seconds for an hour, the longest that Cloud Run lets a request take.
pub const MAX_INTERIM: usize = 1000;
/// Bytes taken at once while a head is read, or looked at: those of a TLS record.
const ONE_READ: usize = 16 * 1024;
const ENDED: &str = "the connection was closed in its middle";
/// How long a client that sends nothing more may wait for its answer, where
/// nothing tells whether it is still there to read it.
const HALF_CLOSED: Duration = Duration::from_secs(10);
