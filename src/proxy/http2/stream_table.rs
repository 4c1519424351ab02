//! The streams of one connection, which have the same ids towards the client and towards the upstream.
//!
//! A stream that the client initiates (RFC 9113 section 5.1), with the two states that a proxy adds: a *pending* request
//! waits until the upstream takes one more stream, and of a *discarded* stream the client may still send frames that
//! the upstream must not see.
//!
//! ```text
//!                 capacity at the upstream
//!  idle ─HEADERS─┬────────────────────────► open ──────END_STREAM of one side──────► half-closed
//!   │            │                           ▲ │                                      │   │
//!   │            └──no capacity──► pending ──┘ │ RST_STREAM of the upstream or of     │   │ END_STREAM of
//!   │                                 │        │ runsd, GOAWAY below it               │   │ the other side
//!   │ HEADERS that runsd              ▼        ▼                                      │   │
//!   └─responds to or resets──────► discarded ◄────────while the client may send───────┘   │
//!                                     │                                                   ▼
//!                                     └────END_STREAM or RST_STREAM of the client──────► closed
//! ```
//!
//! RST_STREAM of the client closes a stream in each state. An id below the last one that the client never used stays
//! idle ([`StreamTable::state`] remembers those ranges).

use std::collections::VecDeque;

use crate::proxy::http2::frame::{ConnectionError, ErrorCode};
use crate::proxy::http2::request::{RequestMeta, RequestTraits};
use crate::proxy::http2::response_block::ResponseFields;
use crate::proxy::http2::stream_map::StreamMap;

/// All streams of a connection.
#[derive(Default)]
pub struct StreamTable {
    /// Streams that are open, half-closed or pending.
    pub active: StreamMap<Stream>,
    /// Discarded streams, at most [`MAX_DISCARDED`], with the octets of DATA that runsd discarded of each; `usize::MAX`
    /// where the client will send only what it sent before it learns of the end.
    discarded: StreamMap<usize>,
    /// The highest id that was evicted from `discarded`.
    last_evicted: u32,
    /// The highest id that the client used.
    last_id: u32,
    /// Ranges below `last_id` that the client skipped, at most [`MAX_SKIPPED_RANGES`].
    skipped: VecDeque<(u32, u32)>,
}

/// A stream that is open, half-closed or pending.
#[derive(Debug)]
pub struct Stream {
    /// What an error response depends on.
    pub traits: RequestTraits,
    /// The handler's, until the response starts.
    pub meta: Option<RequestMeta>,
    /// The final header section of the response (not 1xx) has started.
    pub response_started: bool,
    /// The client sent END_STREAM.
    pub client_ended: bool,
    /// The upstream sent END_STREAM.
    pub upstream_ended: bool,
    /// The request waits in runsd; the upstream does not know the stream.
    pub is_pending: bool,
    /// Octets of the request's body that must follow, where `content-length` says so.
    pub body_left: Option<u64>,
    /// Octets of the response's body that must follow, where that is known.
    pub response_left: Option<u64>,
}

impl Stream {
    /// Applies a header block of the upstream (RFC 9113 section 8.1); returns whether the final response starts.
    ///
    /// # Errors
    /// What the upstream may not send in this state.
    pub fn receive_response(&mut self, fields: &ResponseFields, end_stream: bool) -> Result<bool, ConnectionError> {
        self.check_response_open()?;
        match fields.status {
            None if !self.response_started => Err(ConnectionError::protocol("its response has no :status")),
            None if !end_stream => Err(ConnectionError::protocol("its trailers do not end the response")),
            None => self.count_response(0, true).map(|()| false),
            Some(_) if self.response_started => Err(ConnectionError::protocol("a response has two heads")),
            Some(100..200) if end_stream => Err(ConnectionError::protocol("an interim response ends the stream")),
            Some(100..200) => Ok(false),
            Some(status) => {
                self.response_left = match status {
                    // RFC 9110 section 6.4.1; a 2xx to CONNECT has no length either.
                    204 | 304 => Some(0),
                    _ if self.traits.is_head => Some(0),
                    200..300 if self.traits.is_connect => None,
                    _ => fields.content_length,
                };
                self.count_response(0, end_stream)?;
                self.response_started = true;
                Ok(true)
            }
        }
    }

    /// Counts DATA of the response.
    fn receive_response_data(&mut self, len: usize, end_stream: bool) -> Result<(), ConnectionError> {
        self.check_response_open()?;
        if !self.response_started {
            return Err(ConnectionError::protocol("a body without a response"));
        }
        self.count_response(len, end_stream)
    }

    fn check_response_open(&self) -> Result<(), ConnectionError> {
        match self.upstream_ended {
            true => Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, "a frame behind the end of a response")),
            false => Ok(()),
        }
    }

    fn count_response(&mut self, len: usize, end_stream: bool) -> Result<(), ConnectionError> {
        match count_body(&mut self.response_left, len, end_stream) {
            true => Ok(()),
            false => Err(ConnectionError::protocol("a response has another length than it said")),
        }
    }
}

/// Counts `len` octets of a body of which `left` must follow; `false` when they contradict that
/// (RFC 9113 section 8.1.1).
fn count_body(left: &mut Option<u64>, len: usize, end_stream: bool) -> bool {
    let Some(before) = *left else {
        return true;
    };
    *left = before.checked_sub(u64::try_from(len).unwrap_or(u64::MAX));
    left.is_some_and(|left| left == 0 || !end_stream)
}

/// The state of a stream with regard to frames of the client (RFC 9113 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never used.
    Idle,
    /// Open or pending: the client may send on the stream.
    Open,
    /// The client ended its side.
    HalfClosed,
    /// Closed, but the client may not know.
    Discarded,
    /// Closed, and the client knows.
    Closed,
}

/// A side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's: requests.
    Client,
    /// The upstream's: responses.
    Upstream,
}

impl StreamTable {
    /// The highest id that the client used; 0 before the first.
    pub fn last_id(&self) -> u32 {
        self.last_id
    }

    /// The client uses an id, which must be above all before it.
    pub fn use_id(&mut self, id: u32) {
        let next = if self.last_id == 0 { 1 } else { self.last_id + 2 };
        if id > next {
            self.skipped.push_back((next, id - 2));
            if self.skipped.len() > MAX_SKIPPED_RANGES {
                self.skipped.pop_front();
            }
        }
        self.last_id = id;
    }

    /// Whether the upstream knows fewer than `max` streams.
    pub fn has_capacity(&self, max: usize) -> bool {
        // Mostly the first comparison decides, and nothing is counted.
        self.active.len() < max || self.active.iter().filter(|(_, stream)| !stream.is_pending).count() < max
    }

    /// Whether a request waits until the upstream takes one more stream.
    pub fn is_pending(&self, id: u32) -> bool {
        self.active.get(id).is_some_and(|stream| stream.is_pending)
    }

    /// Whether the upstream may send on a stream of the client: its request was sent, or it was closed since.
    pub fn is_known_to_upstream(&self, id: u32) -> bool {
        self.active.get(id).map_or(!id.is_multiple_of(2) && id <= self.last_id, |stream| !stream.is_pending)
    }

    /// The state of a stream with regard to frames of the client.
    pub fn state(&self, id: u32) -> State {
        if let Some(stream) = self.active.get(id) {
            return if stream.client_ended { State::HalfClosed } else { State::Open };
        }
        let is_skipped = |&(from, to): &(u32, u32)| from <= id && id <= to;
        // Even ids are the upstream's (RFC 9113 section 5.1.1), which may not push.
        if id.is_multiple_of(2) || id > self.last_id || self.skipped.iter().any(is_skipped) {
            State::Idle
        } else if id <= self.last_evicted || self.discarded.get(id).is_some() {
            State::Discarded
        } else {
            State::Closed
        }
    }

    /// Counts DATA of an active stream; `false` when its length contradicts `content-length`.
    pub fn receive_data(&mut self, id: u32, len: usize, end_stream: bool) -> bool {
        self.active.get_mut(id).is_none_or(|stream| count_body(&mut stream.body_left, len, end_stream))
    }

    /// Counts DATA of the upstream on a stream that it knows. One that is not active was reset, of which the upstream
    /// may not know, or else the client sees what is wrong.
    ///
    /// # Errors
    /// What the upstream may not send in the state of the stream.
    pub fn receive_response_data(&mut self, id: u32, len: usize, end_stream: bool) -> Result<(), ConnectionError> {
        match self.active.get_mut(id) {
            Some(stream) => stream.receive_response_data(len, end_stream)?,
            None => return Ok(()),
        }
        if end_stream {
            self.end(id, Side::Upstream);
        }
        Ok(())
    }

    /// A side sent END_STREAM.
    pub fn end(&mut self, id: u32, side: Side) {
        let Some(stream) = self.active.get_mut(id) else {
            return;
        };
        match side {
            Side::Client => stream.client_ended = true,
            Side::Upstream => stream.upstream_ended = true,
        }
        if stream.client_ended && stream.upstream_ended {
            self.active.remove(id);
        }
    }

    /// Closes an active stream, of which the client learns by RST_STREAM or GOAWAY.
    pub fn reset(&mut self, id: u32) -> Option<Stream> {
        let stream = self.active.remove(id)?;
        if !stream.client_ended {
            self.discard_in_flight(id);
        }
        Some(stream)
    }

    /// Closes all active streams above `last`, of which the client learns by GOAWAY.
    pub fn reset_above(&mut self, last: u32) {
        let ids: Vec<u32> = self.active.iter().map(|(id, _)| id).filter(|&id| id > last).collect();
        for id in ids {
            self.reset(id);
        }
    }

    /// Discards the rest of a request that the client may send to its end: it got its response.
    pub fn discard_body(&mut self, id: u32) {
        self.discard(id, 0);
    }

    /// Discards what the client sent before it learns of RST_STREAM or GOAWAY.
    pub fn discard_in_flight(&mut self, id: u32) {
        self.discard(id, usize::MAX);
    }

    fn discard(&mut self, id: u32, discarded_len: usize) {
        self.discarded.insert(id, discarded_len);
        if self.discarded.len() > MAX_DISCARDED
            && let Some((id, _)) = self.discarded.pop_first()
        {
            self.last_evicted = self.last_evicted.max(id);
        }
    }

    /// Counts `len` octets of discarded DATA; returns the sum, where the table still has the stream.
    pub fn count_discarded(&mut self, id: u32, len: usize) -> Option<usize> {
        let sum = self.discarded.get_mut(id)?;
        *sum = sum.saturating_add(len);
        Some(*sum)
    }

    /// The client ended a discarded stream.
    pub fn close_discarded(&mut self, id: u32) {
        self.discarded.remove(id);
    }
}

/// The number of discarded streams that are remembered: ten times as many as a client may have open, so that an evicted
/// one is long forgotten by the client. Frames of an evicted stream and of all below it are discarded.
const MAX_DISCARDED: usize = 1000;

/// The number of skipped ranges that are remembered. Common clients skip no id; a frame on an id of a forgotten range
/// counts as one on a closed stream.
const MAX_SKIPPED_RANGES: usize = 64;
