//! A request on its way to its upstream: which connection it takes, who sends its body, and when it is sent again.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::thread;

use log::debug;

use super::client::{Client, ClientGone, NonBlocking};
use super::connection::Buffers;
use super::input::RequestBody;
use super::request::RequestContext;
use super::response::{Outcome, ResponseRelay};
use super::rewrite;
use super::route::Route;
use super::upload::{Upload, UploadOutcome};
use crate::proxy::STACK_SIZE;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::secret::Secret;
use crate::upstream::{Connection, DialError, DialErrorKind, Reader};

/// Forwards one request, whose head is in [`Buffers::to_upstream`].
pub struct Forwarder<'a, 'c> {
    /// Who gets the response.
    pub client: &'a mut Client<'c>,
    /// Where the upstream's connection comes from, and goes to.
    pub route: &'a mut Route<'c>,
    /// Those of the client's connection.
    pub buffers: &'a mut Buffers,
    /// The request.
    pub request: &'a mut RequestContext,
}

/// What became of a request that was forwarded.
pub enum Forwarded {
    /// The client has its response. `keep_client`: and was told that it may send another request.
    Relayed { keep_client: bool },
    /// 101: the connection speaks another protocol from here on. The client has not got the 101, which is in
    /// [`Buffers::to_client`].
    Upgraded(Box<Connection>),
}

/// Why an attempt brought no response. Nothing of one was sent to the client.
pub enum AttemptError {
    /// The client gets this error.
    Proxy(ProxyError),
    /// The upstream closed the connection before a byte of the response.
    StaleConnection,
    /// The upstream did not accept the token; here is another one.
    TokenRejected(Secret),
    /// The client is gone, or its connection has to be closed.
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

impl From<ProxyError> for AttemptError {
    fn from(err: ProxyError) -> AttemptError {
        AttemptError::Proxy(err)
    }
}

impl From<ClientGone> for AttemptError {
    fn from(_: ClientGone) -> AttemptError {
        AttemptError::ClientGone
    }
}

impl Forwarder<'_, '_> {
    /// Sends the request, and relays its response.
    ///
    /// Blocks: until the response is relayed to its end.
    ///
    /// # Errors
    /// Why there is no response.
    pub fn run(mut self, body: &mut RequestBody) -> Result<Forwarded, AttemptError> {
        // The upstream need not hear of a body that is malformed already.
        body.scan().map_err(ProxyError::from)?;
        let mut is_new = false;
        loop {
            let mut upstream = self.route.connect(&self.request.target, self.client.tcp, is_new)?;
            match self.attempt(body, &mut upstream) {
                Ok(Outcome::Relayed { keep_client, keep_upstream }) => {
                    if keep_upstream {
                        self.route.keep(upstream);
                    }
                    return Ok(Forwarded::Relayed { keep_client });
                }
                Ok(Outcome::Upgraded) => return Ok(Forwarded::Upgraded(upstream)),
                Err(AttemptError::StaleConnection) if self.request.is_replayable() && !is_new => {
                    debug!("proxy: {}: the connection was closed before a response; a new one", self.host());
                    is_new = true;
                }
                Err(AttemptError::TokenRejected(token)) => {
                    debug!("proxy: {}: 401; sent again with another token", self.host());
                    self.replace_token(token);
                }
                Err(err) => return Err(err),
            }
        }
    }

    fn host(&self) -> &str {
        &self.request.traits.host
    }

    fn replace_token(&mut self, new: Secret) {
        if let Some(edits) = &mut self.request.edits {
            rewrite::replace_token(&mut self.buffers.to_upstream, edits, new);
        }
        self.request.token_replaced = true;
    }

    /// Sends the request on one connection, and relays its response.
    fn attempt(&mut self, body: &mut RequestBody, upstream: &mut Connection) -> Result<Outcome, AttemptError> {
        // Many clients send a head and then its body: mostly the body has come by now, and needs no thread.
        if !body.is_complete() && body.has_room() && body.fill(NonBlocking(self.client.tcp)).is_ok() {
            body.scan().map_err(ProxyError::from)?;
        }
        if !body.is_complete() {
            return self.attempt_with_upload(body, upstream);
        }
        // The body stays where it is, for another attempt.
        let sent = match body.bytes() {
            [] => upstream.writer.write_all(&self.buffers.to_upstream),
            body => upstream.writer.write_all(&[&self.buffers.to_upstream, body].concat()),
        };
        if sent.is_err() && upstream.is_reused && self.request.is_replayable() {
            return Err(AttemptError::StaleConnection);
        }
        match self.relay(&mut upstream.reader, None) {
            // An upstream that has got half a request cannot get another one.
            Ok(Outcome::Relayed { keep_client, keep_upstream }) => {
                Ok(Outcome::Relayed { keep_client, keep_upstream: keep_upstream && sent.is_ok() })
            }
            Err(AttemptError::StaleConnection) if !upstream.is_reused => Err(closed(self.request).into()),
            outcome => outcome,
        }
    }

    /// The same while another thread sends the body.
    fn attempt_with_upload(
        &mut self,
        body: &mut RequestBody,
        upstream: &mut Connection,
    ) -> Result<Outcome, AttemptError> {
        let Connection { reader, writer, .. } = upstream;
        let client = self.client.tcp;
        let upload = &Upload::new(client, self.request.framing, reader.shutdown_handle());
        let head_and_body = [&self.buffers.to_upstream, body.bytes()].concat();
        let (outcome, is_complete) = thread::scope(|scope| {
            let thread = thread::Builder::new().name("upload".to_owned()).stack_size(STACK_SIZE);
            thread
                .spawn_scoped(scope, move || upload.run(head_and_body, body, writer))
                .map_err(|err| no_thread("a large body", &err))?;
            let outcome = self.relay(reader, Some(upload));
            let is_complete = upload.is_complete();
            if !is_complete {
                upload.stop();
                // Tells a client that still sends to stop.
                if outcome.is_ok() {
                    let _ = client.shutdown(Shutdown::Write);
                }
            }
            Ok::<_, AttemptError>((outcome, is_complete))
        })?;
        match (upload.outcome(), outcome) {
            (Some(UploadOutcome::ClientGone), _) => Err(AttemptError::ClientGone),
            (Some(UploadOutcome::Malformed(bad)), Err(AttemptError::StaleConnection | AttemptError::Proxy(_))) => {
                Err(ProxyError::from(bad).into())
            }
            (_, Ok(_)) if !is_complete => Ok(Outcome::Relayed { keep_client: false, keep_upstream: false }),
            // The body, or a part of it, was sent and dropped: it cannot be sent again.
            (_, Err(AttemptError::StaleConnection)) => Err(closed(self.request).into()),
            (_, outcome) => outcome,
        }
    }

    fn relay(&mut self, reader: &mut Reader, upload: Option<&Upload<'_>>) -> Result<Outcome, AttemptError> {
        let relay = ResponseRelay {
            exchange: &self.route.proxy.exchange,
            client: self.client,
            request: self.request,
            upload,
            reader,
            head: &mut self.buffers.response_head,
            to_client: &mut self.buffers.to_client,
        };
        relay.run()
    }
}

/// The error where a thread for `what` cannot be started.
pub fn no_thread(what: &str, err: &io::Error) -> ProxyError {
    ProxyError::new(ErrorType::ConnectionLimitReached, format!("no thread for {what}: {err}"))
}

/// The error where the upstream got the request, and closed the connection before a byte of the response.
pub fn closed(request: &RequestContext) -> ProxyError {
    let host = &request.target.destination.host;
    ProxyError::new(ErrorType::ConnectionTerminated, format!("{host} closed the connection without a response"))
}
