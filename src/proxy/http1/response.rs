//! Relays the response to one request: interim responses, the final one, and its body.
//!
//! ```text
//!           1xx: relayed                    no body
//!          ┌───────────┐                ┌─────────────────────────────▶ Relayed
//!          ▼           │                │                                  ▲
//! upstream ─▶ read_head ─▶ final head ──┴─▶ body: relayed as it comes ─────┘ end of the body
//!               │    │           │                     │
//!               │    └ 101       └ 401 invalid_token   └ cut: RST to the client ─▶ ClientGone
//!               │      ▼           ▼
//!               │   Upgraded     TokenRejected, if another token may help and nothing was relayed
//!               └ closed before a byte of it ─▶ StaleConnection
//! ```
//!
//! The response is parsed where it was received, in the buffer of the [`Reader`]: what is unread there behind the
//! response belongs to no request, and there is no other place for it.

use std::fmt;
use std::io;

use log::warn;

use super::body::Body;
use super::client::Client;
use super::forward::{AttemptError, closed};
use super::head::{Framing, Head, HeadError, Progress};
use super::request::RequestContext;
use super::rewrite::Response;
use super::upload::{Upload, UploadOutcome};
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::exchange::{Denial, Exchange};
use crate::upstream::Reader;

/// How a response ended.
pub enum Outcome {
    /// It was relayed. `keep_client`: the client was told that it may send another request; `keep_upstream`: the
    /// upstream's connection can take another request.
    Relayed { keep_client: bool, keep_upstream: bool },
    /// 101: what is unread is of another protocol. The 101 is in `to_client`, and was not sent.
    Upgraded,
}

/// Relays the response to one request that was sent.
pub struct ResponseRelay<'a, 'c> {
    /// What both protocols decide.
    pub exchange: &'a Exchange,
    /// Who gets the response.
    pub client: &'a mut Client<'c>,
    /// The request.
    pub request: &'a RequestContext,
    /// The thread that sends the request's body, if the body had not come when the request was sent.
    pub upload: Option<&'a Upload<'a>>,
    /// The upstream's connection. Nothing was unread when the request was sent.
    pub reader: &'a mut Reader,
    /// Reads the heads.
    pub head: &'a mut Head,
    /// What goes to the client in the next write.
    pub to_client: &'a mut Vec<u8>,
}

impl ResponseRelay<'_, '_> {
    /// Relays interim responses and the final one.
    ///
    /// Blocks: until the end of the response, or until the client is gone.
    ///
    /// # Errors
    /// [`AttemptError::StaleConnection`] if the connection ended before a byte of a response: only then may the request
    /// be sent again.
    pub fn run(mut self) -> Result<Outcome, AttemptError> {
        let request = self.request;
        for interim in 0..=MAX_INTERIM {
            let end = match self.read_head() {
                Err(AttemptError::StaleConnection) if interim > 0 => return Err(closed(request).into()),
                end => end?,
            };
            let status = self.head.status(self.reader.unread());
            if status >= 200 {
                return self.relay_final(end, status, interim == 0);
            }
            if status == 101 && !request.upgrade {
                return Err(self.error(ErrorType::HttpUpgradeFailed, "switched protocols unasked"));
            }
            if interim == MAX_INTERIM {
                break;
            }
            self.to_client.clear();
            // HTTP/1.0 has no interim responses (RFC 9110 section 15.2).
            if request.traits.minor_version > 0 {
                self.write_head(Framing::None, true);
            }
            self.reader.consume(end);
            if status == 101 {
                self.exchange.log_request(request.log.as_deref(), status);
                return Ok(Outcome::Upgraded);
            }
            self.flush_to_client()?;
            // Nothing may have been sent, and then nothing else shows that the client is gone.
            self.client.check_alive()?;
        }
        let details = format!("sent more than {MAX_INTERIM} interim responses (1xx)");
        Err(self.error(ErrorType::HttpProtocolError, &details))
    }

    /// Reads until a whole head is unread; returns where the head ends.
    fn read_head(&mut self) -> Result<usize, AttemptError> {
        let mut progress = Progress::default();
        loop {
            match self.head.read_response(self.reader.unread(), &mut progress) {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => {}
                Err(bad) => return Err(self.malformed_head(bad)),
            }
            match self.reader.fill_more() {
                Ok(1..) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.client.check_alive()?,
                _ if self.reader.unread().is_empty() => return Err(AttemptError::StaleConnection),
                _ => return Err(self.error(ErrorType::HttpResponseIncomplete, "broke off its response")),
            }
        }
    }

    /// Relays the final response. `is_first`: no interim response was relayed before.
    fn relay_final(&mut self, head_end: usize, status: u16, is_first: bool) -> Result<Outcome, AttemptError> {
        let request = self.request;
        let input = self.reader.unread();
        let challenge = self.head.get(input, "www-authenticate");
        if status == 401 {
            let can_replay = is_first && !request.token_replaced && request.framing.is_empty();
            let other = self.exchange.on_unauthorized(&request.target, request.token(), challenge, can_replay);
            if let Some(other) = other {
                return Err(AttemptError::TokenRejected(other));
            }
        }
        let framing =
            self.head.response_framing(input, request.traits.is_head).map_err(|bad| self.malformed_head(bad))?;
        let is_sent = self.upload.is_none_or(Upload::is_complete_soon);
        let has_end = framing != Framing::UntilClose;
        // HTTP/1.0 has no chunks.
        let unchunk = request.traits.minor_version == 0 && framing == Framing::Chunked;
        let is_keep_alive_off = self.client.permit.is_keep_alive_off();
        let keep_client = request.traits.keep_alive && is_sent && has_end && !unchunk && !is_keep_alive_off;
        let keep_upstream = is_sent && has_end && self.head.keeps_alive(input);
        let is_denial = matches!(status, 401 | 403 | 404) && !request.target.is_passthrough;
        let denial = is_denial.then(|| PendingDenial { status, challenge: challenge.map(<[u8]>::to_vec) });
        self.to_client.clear();
        self.write_head(framing, keep_client);
        self.exchange.log_request(request.log.as_deref(), status);
        self.reader.consume(head_end);
        self.relay_body(framing, unchunk, denial)?;
        Ok(Outcome::Relayed { keep_client, keep_upstream })
    }

    /// Sends `to_client`, which has the response's head, and relays the body to its end. What came behind it stays
    /// unread, and keeps another request from using the connection: [`crate::upstream::IdleConnection`].
    fn relay_body(
        &mut self,
        framing: Framing,
        unchunk: bool,
        mut denial: Option<PendingDenial>,
    ) -> Result<(), AttemptError> {
        let Some(mut body) = Body::new(framing) else {
            return self.flush_to_client();
        };
        let mut is_head_sent = false;
        loop {
            let unread = self.reader.unread();
            // The start of the body may come with the head or after it.
            if let Some(denial) = denial.take_if(|_| !unread.is_empty()) {
                denial.report(self.exchange, self.request, unread);
            }
            // Copied behind the head, to go with it in one write, or straight to the client.
            let copies = !is_head_sent || unchunk;
            let limit = if copies { unread.len().min(MAX_COPY) } else { unread.len() };
            let keep_content = |content: &[u8]| {
                if unchunk {
                    self.to_client.extend_from_slice(content);
                }
            };
            let (n, is_end) = match body.decode(&unread[..limit], keep_content) {
                Ok(decoded) => decoded,
                Err(bad) if is_head_sent => return Err(self.abort_response(&bad)),
                Err(bad) => return Err(self.error(ErrorType::HttpProtocolError, &format!("answered with {bad}"))),
            };
            if !copies {
                self.client.send(&unread[..n])?;
            } else {
                if !unchunk {
                    self.to_client.extend_from_slice(&unread[..n]);
                }
                self.flush_to_client()?;
            }
            is_head_sent = true;
            self.reader.consume(n);
            if is_end {
                return Ok(());
            }
            if !self.wait_for_body()? {
                return match framing {
                    Framing::UntilClose => Ok(()),
                    _ => Err(self.abort_response(&"the connection was closed in its middle")),
                };
            }
        }
    }

    /// Waits until something is unread; false at the end of the connection.
    fn wait_for_body(&mut self) -> Result<bool, AttemptError> {
        loop {
            match self.reader.fill() {
                Ok(()) => return Ok(!self.reader.unread().is_empty()),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.client.check_alive()?,
                Err(err) => return Err(self.abort_response(&err)),
            }
        }
    }

    /// Appends the head for the client to `to_client`.
    fn write_head(&mut self, framing: Framing, keep_alive: bool) {
        let RequestContext { traits, target, .. } = self.request;
        let response = Response {
            head: self.head,
            input: self.reader.unread(),
            framing,
            minor_version: traits.minor_version,
            keep_alive,
            renamed: (!target.is_passthrough).then_some((&target.destination, &traits.host)),
        };
        response.write(self.to_client);
    }

    fn flush_to_client(&mut self) -> Result<(), AttemptError> {
        self.client.send(self.to_client)?;
        self.to_client.clear();
        Ok(())
    }

    /// Has the client's connection closed: the client has the head of a response that is not whole, and cannot be told
    /// otherwise.
    fn abort_response(&self, why: &dyn fmt::Display) -> AttemptError {
        // Unless the client left first, and the upload thread shut the upstream down for that.
        if self.upload.and_then(Upload::outcome) != Some(UploadOutcome::ClientGone) {
            let (host, upstream) = (&self.request.traits.host, &self.request.target.destination.host);
            warn!("proxy: {host}: the response of {upstream} was cut: {why}");
        }
        self.client.reset_on_close();
        AttemptError::ClientGone
    }

    fn malformed_head(&self, bad: HeadError) -> AttemptError {
        let kind = match bad {
            HeadError::TooLarge => ErrorType::HttpResponseHeaderSectionSize,
            HeadError::NotChunkedLast | HeadError::UnsupportedCoding => ErrorType::HttpResponseTransferCoding,
            _ => ErrorType::HttpProtocolError,
        };
        self.error(kind, &format!("answered with {bad}"))
    }

    /// An error about the upstream, of which nothing was relayed.
    fn error(&self, kind: ErrorType, what: &str) -> AttemptError {
        let host = &self.request.target.destination.host;
        AttemptError::Proxy(ProxyError::new(kind, format!("{host} {what}")))
    }
}

/// A 401, 403 or 404, until the start of its body shows whether the front end sent it.
struct PendingDenial {
    status: u16,
    /// `WWW-Authenticate`.
    challenge: Option<Vec<u8>>,
}

impl PendingDenial {
    fn report(self, exchange: &Exchange, request: &RequestContext, body: &[u8]) {
        exchange.log_denial(&Denial {
            host: &request.target,
            had_token: request.token().is_some(),
            status: self.status,
            challenge: self.challenge.as_deref(),
            body,
        });
    }
}

/// Bounds the interim responses to one request: one in less than four seconds for an hour, the longest that Cloud Run
/// lets a request take.
pub const MAX_INTERIM: usize = 1000;
/// Bounds what is copied of a body to go with the head in one write, in bytes: a TLS record.
const MAX_COPY: usize = 16 * 1024;
