//! A request on its way to its destination: which connection it takes, how
//! its body follows it, and when it is sent once more.

use std::io;
use std::mem;
use std::net::Shutdown;
use std::thread;

use log::debug;

use super::answer::Answered;
use super::asked::Asked;
use super::body::Body;
use super::head::Framing;
use super::upload::{Upload, Uploaded};
use super::{Failed, Next, Over, ROOM, Session, rewrite, tunnel};
use crate::proxy::STACK;
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::upstream::{Alpn, Connection};
use crate::sys;

impl Session<'_> {
    /// Sends the request that stands in `request`, its body after it, and passes
    /// the answer back.
    pub fn forward(&mut self, asked: &mut Asked) -> Result<Next, Failed> {
        let mut request = mem::take(&mut self.request);
        let mut fresh = false;
        let next = loop {
            let mut connection = self.connection(asked, fresh).map_err(Failed::Refused)?;
            self.answer.clear();
            let done = self.attempt(asked, &request, &mut connection);
            match done {
                Err(Failed::Stale) if asked.repeatable() && !fresh => {
                    debug!("proxy: {}: connection was dead; a new one", asked.host);
                    fresh = true;
                }
                Err(Failed::Denied(bearer)) => {
                    debug!("proxy: {}: another token after a 401", asked.host);
                    if let Some(old) = asked.bearer.replace(bearer) {
                        let new = asked.bearer.as_ref().unwrap_or(&old);
                        request = rewrite::with_another(&request, &old, new);
                    }
                    asked.again = true;
                }
                Ok((next, keep)) => {
                    if keep {
                        connection.used = true;
                        self.upstream = Some(connection);
                    }
                    break Ok(next);
                }
                Err(failed) => break Err(failed),
            }
        };
        // Kept, because its room serves the next request.
        if request.capacity() <= ROOM {
            self.request = request;
        }
        next
    }

    fn connection(&mut self, asked: &Asked, fresh: bool) -> Result<Connection, Refusal> {
        let to = &asked.goal.destination;
        if let Some(held) = self.upstream.take() {
            if held.leads_to(to) && !fresh {
                // What cannot be repeated looks first whether anyone is there.
                if asked.repeatable() || held.is_quiet() {
                    return Ok(held);
                }
            } else if !fresh {
                self.proxy.upstream.put(held);
            }
        }
        if !fresh && let Some(idle) = self.proxy.upstream.take(to) {
            return Ok(idle);
        }
        self.proxy.upstream.dial(to, Alpn::Http1)
    }

    /// One try on one connection: what comes next for the client, and whether
    /// the connection can serve again.
    fn attempt(
        &mut self,
        asked: &Asked,
        request: &[u8],
        connection: &mut Connection,
    ) -> Result<(Next, bool), Failed> {
        let whole = match Body::new(asked.framing) {
            None => connection.writer.write_all(request).is_ok(),
            Some(mut body) => match asked.framing {
                Framing::Length(length) if length <= SMALL && !asked.expects => {
                    self.send_small(request, &mut body, connection)?
                }
                // An answer may come before the body is through, and then must
                // not wait behind it.
                _ => return self.attempt_large(asked, request, body, connection),
            },
        };
        if !whole && connection.used && asked.repeatable() {
            return Err(Failed::Stale);
        }
        match self.answer(asked, &mut connection.reader, None) {
            // Whoever was told half a request cannot be told another.
            Ok(Answered::Done { next, keep }) => Ok((next, keep && whole)),
            Ok(Answered::Switched) => {
                self.out.append(&mut self.answer);
                let passed = tunnel::run(self.tcp, self.input.bytes(), &self.out, connection);
                self.out.clear();
                let passed = passed.map_err(|err| Failed::Refused(no_thread("a tunnel", &err)));
                passed.map(|()| (Next::Close, false))
            }
            Err(Failed::Stale) if !connection.used => Err(Failed::Refused(closed(asked))),
            Err(failed) => Err(failed),
        }
    }

    /// The same while a second thread sends the body.
    fn attempt_large(
        &mut self,
        asked: &Asked,
        request: &[u8],
        body: Body,
        connection: &mut Connection,
    ) -> Result<(Next, bool), Failed> {
        let Connection { reader, writer, .. } = connection;
        let upload = Upload::new(self.tcp, mem::take(&mut self.input), body, reader.aborter());
        let result = thread::scope(|scope| -> Result<_, Failed> {
            let job = &upload;
            let thread = thread::Builder::new()
                .name("upload".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, sys::held(move || job.run(request, writer)))
                .map_err(|err| Failed::Refused(no_thread("a large body", &err)))?;
            let answered = self.answer(asked, reader, Some(&upload));
            let complete = upload.is_complete();
            if !complete {
                // The upstream has said what it had to say. What the client
                // still sends is read, so that it gets to read the answer.
                reader.abort();
                upload.drain();
                if answered.is_ok() {
                    let _ = self.tcp.shutdown(Shutdown::Write);
                }
            }
            if answered.is_ok() || complete {
                let _ = thread.join();
            }
            Ok((answered, complete))
        });
        let outcome = upload.outcome();
        self.input = upload.into_input();
        let (answered, complete) = result?;
        match (outcome, answered) {
            (Some(Uploaded::ClientGone), _) => Err(Failed::Over),
            (Some(Uploaded::Bad(bad)), Err(_)) => Err(Failed::Refused(Refusal::new(
                Kind::HttpRequestError(400),
                bad.to_string(),
            ))),
            (_, Ok(Answered::Done { next, keep })) if complete => Ok((next, keep)),
            (_, Ok(_)) => Ok((Next::Close, false)),
            // A body is on its way, or gone: it cannot be sent again.
            (_, Err(Failed::Stale)) => Err(Failed::Refused(closed(asked))),
            (_, Err(failed)) => Err(failed),
        }
    }

    /// Sends a small body together with its head; whether all of it went out.
    fn send_small(
        &mut self,
        request: &[u8],
        body: &mut Body,
        connection: &mut Connection,
    ) -> Result<bool, Over> {
        let mut first = Some(request);
        loop {
            let bytes = self.input.bytes();
            // A body of known length has nothing in it that could be bad.
            let (n, done) = body.take(bytes, |_| {}).map_err(|_| Over)?;
            let sent = match first.take() {
                Some(request) => connection.writer.write_parts(&[request, &bytes[..n]]),
                None => connection.writer.write_all(&bytes[..n]),
            };
            self.input.consume(n);
            if sent.is_err() {
                return Ok(false);
            }
            if done {
                return Ok(true);
            }
            loop {
                match self.input.fill(self.tcp) {
                    Ok(0) => {
                        connection.reader.abort();
                        return Err(Over);
                    }
                    Ok(_) => break,
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                    Err(err) => {
                        connection.reader.abort();
                        return Err(err.into());
                    }
                }
            }
        }
    }
}

fn no_thread(what: &str, err: &io::Error) -> Refusal {
    Refusal::new(
        Kind::ConnectionLimitReached,
        format!("no thread for {what}: {err}"),
    )
}

pub fn closed(asked: &Asked) -> Refusal {
    Refusal::new(
        Kind::ConnectionTerminated,
        format!(
            "{} closed the connection without an answer",
            asked.goal.destination.host
        ),
    )
}

/// The largest body that is sent by the thread that reads the answer.
const SMALL: u64 = 64 * 1024;
