//! A request on its way to its destination: which connection it takes, how
//! its body follows it, and when it is sent once more.

use std::io;
use std::mem;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use log::debug;

use super::body::ChunkError;
use super::upload::{Upload, Uploaded};
use super::{AttemptError, ClientConnection, Next, ROOM, rewrite};
use crate::net::context::ClientContext;
use crate::proxy::STACK;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::http1::request::RequestContext;
use crate::proxy::http1::request_body::RequestBody;
use crate::proxy::http1::response::{Answered, RequestCredentials};
use crate::upstream::{Parts, Ready};

impl ClientConnection<'_> {
    /// Sends the request that stands in `request`, its body after it, and passes
    /// the answer back.
    pub fn forward(&mut self, asked: &mut RequestContext, body: &mut RequestBody) -> Result<Next, AttemptError> {
        // What is wrong with the body already is nothing to trouble anyone with.
        body.scan().map_err(bad_body)?;
        let mut request = mem::take(&mut self.request);
        let mut fresh = false;
        let next = loop {
            let mut connection = self.connection(asked, fresh)?;
            self.answer.clear();
            let done = self.attempt(asked, &request, body, &mut connection);
            match done {
                Err(AttemptError::StaleConnection) if asked.repeatable() && !fresh => {
                    debug!("proxy: {}: connection was dead; a new one", asked.host);
                    fresh = true;
                }
                Err(AttemptError::TokenRejected(bearer)) => {
                    debug!("proxy: {}: another token after a 401", asked.host);
                    if let Some(old) = asked.bearer.replace(bearer) {
                        let new = asked.bearer.as_ref().unwrap_or(&old);
                        request = rewrite::with_another(&request, &old, new);
                    }
                    asked.again = true;
                }
                Ok(Answered::Done { keep, again }) => {
                    if again {
                        self.upstream = Some(connection.rest());
                    }
                    break Ok(match keep {
                        true => Next::Request,
                        false => Next::Close,
                    });
                }
                Ok(Answered::Switched) => break Ok(Next::Tunnel(connection)),
                Err(failed) => break Err(failed),
            }
        };
        // Kept, because its room serves the next request.
        if request.capacity() <= ROOM {
            self.request = request;
        }
        next
    }

    fn connection(&mut self, asked: &RequestContext, fresh: bool) -> Result<Ready, AttemptError> {
        let to = &asked.goal.destination;
        let mut client = ClientContext::new(self.tcp, HALF_CLOSED);
        if fresh {
            return Ok(self.proxy.upstream.fresh(to, &mut client)?);
        }
        let mut held = self.upstream.take();
        if let Some(other) = held.take_if(|held| !held.leads_to(to)) {
            self.proxy.upstream.put(other);
        }
        Ok(self.proxy.upstream.ready(to, held, &mut client)?)
    }

    /// One try on one connection.
    fn attempt(
        &mut self,
        asked: &RequestContext,
        request: &[u8],
        body: &mut RequestBody,
        connection: &mut Ready,
    ) -> Result<Answered, AttemptError> {
        // Many clients write a head and then its body: mostly that is here by
        // now, and needs no thread.
        if !body.is_whole() && body.fill_now(self.tcp).is_ok() {
            body.scan().map_err(bad_body)?;
        }
        if !body.is_whole() {
            // An answer may come before the body is through, and then must
            // not wait behind it (RFC 9112 section 9.5).
            return self.attempt_upload(asked, request, body, connection);
        }
        // Not used up: what follows it is found by `RequestBody::finish`.
        let sent = match body.bytes() {
            [] => connection.writer.write_all(request),
            bytes => connection.writer.write_all(&[request, bytes].concat()),
        };
        if sent.is_err() && connection.used && asked.repeatable() {
            return Err(AttemptError::StaleConnection);
        }
        match self.answer(RequestCredentials { asked, reader: &mut connection.reader, upload: None }) {
            // Whoever was told half a request cannot be told another.
            Ok(Answered::Done { keep, again }) => Ok(Answered::Done { keep, again: again && sent.is_ok() }),
            Err(AttemptError::StaleConnection) if !connection.used => Err(AttemptError::Proxy(closed(asked))),
            answered => answered,
        }
    }

    /// The same while a second thread sends the body.
    fn attempt_upload(
        &mut self,
        asked: &RequestContext,
        request: &[u8],
        body: &mut RequestBody,
        connection: &mut Ready,
    ) -> Result<Answered, AttemptError> {
        let Parts { reader, writer, .. } = &mut **connection;
        let upload = Upload::new(self.tcp, asked.framing, reader.aborter());
        let (answered, complete) = thread::scope(|scope| -> Result<_, AttemptError> {
            let job = &upload;
            thread::Builder::new()
                .name("upload".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, move || job.run(request, body, writer))
                .map_err(|err| AttemptError::Proxy(no_thread("a large body", &err)))?;
            let upload = Some(job);
            let answered = self.answer(RequestCredentials { asked, reader, upload });
            let complete = job.is_complete();
            if !complete {
                job.stop();
                // The client that still sends gets to know that no more is wanted.
                if answered.is_ok() {
                    let _ = self.tcp.shutdown(Shutdown::Write);
                }
            }
            Ok((answered, complete))
        })?;
        match (upload.outcome(), answered) {
            (Some(Uploaded::ClientGone), _) => Err(AttemptError::ClientGone),
            (Some(Uploaded::Bad(bad)), Err(AttemptError::StaleConnection | AttemptError::Proxy(_))) => {
                Err(bad_body(bad))
            }
            (_, Ok(_)) if !complete => Ok(Answered::Done { keep: false, again: false }),
            // A body is on its way, or gone: it cannot be sent again.
            (_, Err(AttemptError::StaleConnection)) => Err(AttemptError::Proxy(closed(asked))),
            (_, answered) => answered,
        }
    }
}

fn bad_body(bad: ChunkError) -> AttemptError {
    let details = format!("the request has {bad}");
    AttemptError::Proxy(ProxyError::new(ErrorType::HttpRequestError(400), details))
}

pub fn no_thread(what: &str, err: &io::Error) -> ProxyError {
    ProxyError::new(ErrorType::ConnectionLimitReached, format!("no thread for {what}: {err}"))
}

pub fn closed(asked: &RequestContext) -> ProxyError {
    ProxyError::new(
        ErrorType::ConnectionTerminated,
        format!("{} closed the connection without an answer", asked.goal.destination.host),
    )
}

/// How long a client that sent FIN is waited with while its upstream is
/// dialled, where the kernel does not say whether it is still there to read: a
/// dial takes milliseconds, and most that send FIN have given up.
const HALF_CLOSED: Duration = Duration::from_secs(1);
