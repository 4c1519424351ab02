//! The answer on its way back: interim ones, the final one, and its body.

use std::io::{self, Write as _};
use std::mem;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::body::Body;
use super::head::{BadHead, Framing, Head};
use super::rewrite::Response;
use super::upload::Upload;
use super::{Failed, Next, Session};
use crate::proxy::Refused;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::route::{is_invalid_token, location_back};
use crate::proxy::upstream::{Reader, send};
use crate::sys::{self, Peer};

/// What came of waiting for an answer.
pub enum Answered {
    /// It was passed on; `keep`: the upstream's connection can serve again.
    Done { next: Next, keep: bool },
    /// 101: what follows is no HTTP any more; its first bytes are in `answer`,
    /// and the 101 itself, for the client, in `out`.
    Switched,
}

impl Session<'_> {
    /// Passes on interim answers and the final one.
    ///
    /// As long as nothing was passed on, an end of the connection is
    /// [`Failed::Stale`].
    pub fn answer(
        &mut self,
        asked: &Asked,
        reader: &mut Reader,
        upload: Option<&Upload<'_>>,
    ) -> Result<Answered, Failed> {
        let mut head = mem::take(&mut self.answer_head);
        let answered = self.pass(asked, &mut head, reader, upload);
        self.answer_head = head;
        answered
    }

    fn pass(
        &mut self,
        asked: &Asked,
        head: &mut Head,
        reader: &mut Reader,
        upload: Option<&Upload<'_>>,
    ) -> Result<Answered, Failed> {
        loop {
            let end = self.read_answer(asked, head, reader)?;
            let status = head.status(&self.answer);
            let switches = status == 101 && asked.upgrade;
            if status == 101 && !asked.upgrade {
                return Err(Failed::Refused(Refusal::new(
                    Kind::HttpUpgradeFailed,
                    format!("{} switched protocols unasked", asked.goal.destination.host),
                )));
            }
            if status >= 200 {
                return self.final_answer(asked, head, end, reader, upload);
            }
            if asked.minor > 0 {
                self.out.clear();
                let response = Response {
                    head,
                    input: &self.answer,
                    framing: Framing::None,
                    minor: asked.minor,
                    keep: true,
                    location: None,
                };
                response.write(&mut self.out);
                if !switches {
                    self.send_down(reader)?;
                }
            }
            self.answer.drain(..end);
            if switches {
                asked.log(101, self.proxy);
                return Ok(Answered::Switched);
            }
        }
    }

    fn final_answer(
        &mut self,
        asked: &Asked,
        head: &Head,
        end: usize,
        reader: &mut Reader,
        upload: Option<&Upload<'_>>,
    ) -> Result<Answered, Failed> {
        let status = head.status(&self.answer);
        let challenge = head.get(&self.answer, "www-authenticate");
        if let (401, Some(bearer)) = (status, &asked.bearer)
            && challenge.is_some_and(is_invalid_token)
        {
            // Who was not let in has done nothing yet: any method may come again.
            if !asked.again && upload.is_none() && asked.is_whole() {
                if let Some(other) = self.proxy.another(&asked.goal, bearer) {
                    return Err(Failed::Denied(other));
                }
            } else {
                self.proxy.forget(&asked.goal, bearer);
            }
        }
        let framing = head
            .response_framing(&self.answer, asked.head_only)
            .map_err(|bad| Failed::Refused(bad_answer(asked, bad)))?;
        let through = upload.is_none_or(Upload::is_complete);
        let unchunk = asked.minor == 0 && framing == Framing::Chunked;
        let is_wanted = self.permit.is_wanted();
        let keep = asked.keep && through && framing != Framing::Close && !unchunk && !is_wanted;
        let location = head
            .get(&self.answer, "location")
            .filter(|_| !asked.goal.foreign)
            .and_then(|location| std::str::from_utf8(location).ok())
            .and_then(|location| location_back(location, &asked.goal.destination, &asked.host));
        self.out.clear();
        let response = Response {
            head,
            input: &self.answer,
            framing,
            minor: asked.minor,
            keep,
            location,
        };
        response.write(&mut self.out);
        let reusable = through && framing != Framing::Close && head.keeps_alive(&self.answer);
        asked.log(status, self.proxy);
        let no = (matches!(status, 401 | 403 | 404) && !asked.goal.foreign).then(|| No {
            asked,
            status,
            challenge: challenge.map(<[u8]>::to_vec),
        });
        self.answer.drain(..end);
        let Some(body) = Body::new(framing) else {
            self.send_down(reader)?;
            // Bytes after an answer that has no body belong to nobody.
            let nothing_left = self.answer.is_empty() && reader.pieces().next().is_none();
            let keep_upstream = reusable && nothing_left;
            return Ok(done(keep, keep_upstream));
        };
        let clean = self.pass_body(body, unchunk, no, reader)?;
        Ok(done(keep, reusable && clean))
    }

    /// Passes a body as it comes; whether nothing came after its end.
    fn pass_body(
        &mut self,
        mut body: Body,
        unchunk: bool,
        mut no: Option<No<'_>>,
        reader: &mut Reader,
    ) -> Result<bool, Failed> {
        loop {
            // What it says may come with its head or after it.
            if let Some(no) = no.take_if(|_| !self.answer.is_empty()) {
                self.proxy.refused(&Refused {
                    goal: &no.asked.goal,
                    name: &no.asked.host,
                    ours: no.asked.bearer.is_some(),
                    status: no.status,
                    challenge: no.challenge.as_deref(),
                    body: &self.answer,
                });
            }
            let mut carried = Vec::new();
            let taken = body.take(&self.answer, |data| {
                if unchunk {
                    carried.extend_from_slice(data);
                }
            });
            // The client has the head already: all that can be said now is
            // that the answer is not whole, by closing.
            let (n, ended) = taken.map_err(|_| self.cut(reader))?;
            if self.out.is_empty() && !unchunk {
                (&mut &*self.tcp)
                    .write_all(&self.answer[..n])
                    .map_err(|_| gone(reader))?;
            } else {
                match unchunk {
                    true => self.out.extend_from_slice(&carried),
                    false => self.out.extend_from_slice(&self.answer[..n]),
                }
                self.send_down(reader)?;
            }
            if ended {
                return Ok(self.answer.len() == n && reader.pieces().next().is_none());
            }
            self.answer.clear();
            if no.is_none() && !unchunk {
                return self.pass_rest(body, reader);
            }
            loop {
                match self.receive(reader) {
                    Ok(0) if matches!(body, Body::Close) => return Ok(false),
                    Ok(0) => return Err(self.cut(reader)),
                    Ok(_) => break,
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                        self.look_around(reader)?;
                    }
                    Err(_) => return Err(self.cut(reader)),
                }
            }
        }
    }

    /// The same for the rest of a body, straight from where TLS left it.
    fn pass_rest(&mut self, mut body: Body, reader: &mut Reader) -> Result<bool, Failed> {
        loop {
            match reader.fill() {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.look_around(reader)?;
                    continue;
                }
                Err(_) => return Err(self.cut(reader)),
            }
            let (mut passed, mut ended, mut bad) = (0, false, false);
            let parts = reader.pieces().map_while(|piece| {
                if ended {
                    return None;
                }
                let taken = body.take(piece, |_| {});
                bad = taken.is_err();
                let (n, done) = taken.ok()?;
                passed += n;
                ended = done;
                Some(&piece[..n])
            });
            let sent = send(self.tcp, parts);
            sent.map_err(|_| gone(reader))?;
            reader.consume(passed);
            match (ended, passed) {
                _ if bad => return Err(self.cut(reader)),
                (true, _) => return Ok(reader.pieces().next().is_none()),
                (false, 0) if matches!(body, Body::Close) => return Ok(false),
                (false, 0) => return Err(self.cut(reader)),
                (false, _) => {}
            }
        }
    }

    fn read_answer(
        &mut self,
        asked: &Asked,
        head: &mut Head,
        reader: &mut Reader,
    ) -> Result<usize, Failed> {
        loop {
            match head.read_response(&self.answer) {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => {}
                Err(bad) => return Err(Failed::Refused(bad_answer(asked, bad))),
            }
            match self.receive(reader) {
                Ok(n) if n > 0 => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.look_around(reader)?,
                _ if self.answer.is_empty() => return Err(Failed::Stale),
                _ => {
                    return Err(Failed::Refused(Refusal::new(
                        Kind::HttpResponseIncomplete,
                        format!("{} broke off its answer", asked.goal.destination.host),
                    )));
                }
            }
        }
    }

    /// Reads more behind what `answer` holds, and no more than one piece: what
    /// follows a head can go without a stop here.
    fn receive(&mut self, reader: &mut Reader) -> io::Result<usize> {
        reader.fill()?;
        let n = match reader.pieces().next() {
            Some(piece) => {
                self.answer.extend_from_slice(piece);
                piece.len()
            }
            None => 0,
        };
        reader.consume(n);
        Ok(n)
    }

    fn send_down(&mut self, reader: &Reader) -> Result<(), Failed> {
        let sent = (&mut &*self.tcp).write_all(&self.out);
        self.out.clear();
        sent.map_err(|_| gone(reader))
    }

    /// While the upstream is silent: is the client still there?
    ///
    /// One that only ended its own direction may wait for its answer. It looks
    /// just like one that left, so it is waited with for a while.
    fn look_around(&mut self, reader: &Reader) -> Result<(), Failed> {
        let gone_for_good = match sys::peer(self.tcp.as_fd()) {
            Peer::Open => false,
            Peer::Ended => {
                let since = *self.ended.get_or_insert_with(Instant::now);
                since.elapsed() > HALF_CLOSED
            }
            Peer::Broken => true,
        };
        match gone_for_good {
            true => Err(gone(reader)),
            false => Ok(()),
        }
    }

    /// An answer broke off after its head was passed on.
    fn cut(&self, reader: &Reader) -> Failed {
        reader.abort();
        sys::reset_on_close(self.tcp.as_fd());
        Failed::Over
    }
}

/// An answer that says no, until it is seen who gave it.
struct No<'a> {
    asked: &'a Asked,
    status: u16,
    challenge: Option<Vec<u8>>,
}

fn done(keep: bool, keep_upstream: bool) -> Answered {
    Answered::Done {
        next: match keep {
            true => Next::Request,
            false => Next::Close,
        },
        keep: keep_upstream,
    }
}

/// The client is gone, and the service should know.
fn gone(reader: &Reader) -> Failed {
    reader.abort();
    Failed::Over
}

fn bad_answer(asked: &Asked, bad: BadHead) -> Refusal {
    let host = &asked.goal.destination.host;
    let kind = match bad {
        BadHead::TooLarge => Kind::HttpResponseHeaderSectionSize,
        BadHead::TransferEncoding => Kind::HttpResponseTransferCoding,
        _ => Kind::HttpProtocolError,
    };
    Refusal::new(kind, format!("{host} answered with {bad}"))
}

/// How long a client that sends nothing more may wait for its answer.
const HALF_CLOSED: Duration = Duration::from_secs(10);
