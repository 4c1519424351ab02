//! What both directions of a connection share: its streams, settings, and its end.

use std::time::Instant;

use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode, to_usize};
use crate::proxy::http2::rate_limit::TokenBucket;
use crate::proxy::http2::request::RequestMeta;
use crate::proxy::http2::response_block::ResponseFields;
use crate::proxy::http2::settings_sync::{MAX_CLIENT_STREAMS, SettingsSync};
use crate::proxy::http2::stream_table::{Side, Stream, StreamTable};

/// The state of a connection. Read and written by both of its threads, under one lock that neither keeps while it
/// blocks.
pub struct ConnState {
    /// The streams.
    pub streams: StreamTable,
    /// The settings of both ends.
    pub settings: SettingsSync,
    /// The last stream of the last GOAWAY that the client was sent; no request above it is processed.
    last_accepted: u32,
    /// GOAWAY was sent because of resets; the connection ends with its last active stream.
    draining: bool,
    /// Nothing is forwarded to the upstream any more, and the client was sent GOAWAY, where it could be.
    pub is_closed: bool,
    /// Requests that the client may take back before their response starts.
    early_resets: TokenBucket,
    /// The client took back more than that.
    has_too_many_resets: bool,
}

impl ConnState {
    /// A connection that starts `now`.
    pub fn new(now: Instant) -> ConnState {
        ConnState {
            streams: StreamTable::default(),
            settings: SettingsSync::new(),
            last_accepted: u32::MAX,
            draining: false,
            is_closed: false,
            early_resets: TokenBucket::new(MAX_EARLY_RESETS, EARLY_RESETS_PER_SECOND, now),
            has_too_many_resets: false,
        }
    }

    /// Whether a request is processed: no GOAWAY excluded it.
    pub fn accepts(&self, id: u32) -> bool {
        !self.is_closed && id <= self.last_accepted
    }

    /// Whether the upstream takes one more stream.
    pub fn has_capacity(&self) -> bool {
        self.streams.has_capacity(self.settings.upstream_max_streams)
    }

    /// Whether the client has all streams open that SETTINGS allow it.
    pub fn is_full(&self) -> bool {
        self.streams.active.len() >= self.settings.upstream_max_streams.max(to_usize(MAX_CLIENT_STREAMS))
    }

    /// Makes a pending request an open stream; `false` where the upstream takes no more, or the connection is closed.
    pub fn open_pending(&mut self, id: u32) -> bool {
        let can_open = self.has_capacity() && !self.is_closed;
        if let Some(stream) = self.streams.active.get_mut(id).filter(|_| can_open) {
            stream.is_pending = false;
        }
        can_open
    }

    /// The upstream sent a header block; returns the request's [`RequestMeta`] where its final response starts.
    ///
    /// # Errors
    /// What the upstream may not send in the state of the stream.
    pub fn on_response_block(
        &mut self,
        id: u32,
        fields: &ResponseFields,
        end_stream: bool,
    ) -> Result<Option<RequestMeta>, ConnectionError> {
        // The block has the size update that the client expects.
        self.settings.client_size_update = None;
        let Some(stream) = self.streams.active.get_mut(id) else {
            return Ok(None);
        };
        let mut request = None;
        if stream.receive_response(fields, end_stream)? {
            // Each response allows one more reset: their share counts, not their number.
            self.early_resets.refund();
            request = stream.meta.take();
        }
        if end_stream {
            self.streams.end(id, Side::Upstream);
        }
        Ok(request)
    }

    /// The client sent RST_STREAM.
    pub fn on_client_reset(&mut self, id: u32, now: Instant) {
        // A pending request has cost the upstream nothing.
        if self.streams.active.remove(id).is_some_and(|stream| !stream.response_started && !stream.is_pending) {
            self.count_early_reset(now);
        }
    }

    /// The upstream sent RST_STREAM, which counts as a reset by the client where its code blames the client
    /// (CVE-2025-8671).
    pub fn on_upstream_reset(&mut self, id: u32, code: u32, now: Instant) {
        let stream = self.streams.reset(id);
        let is_clients_fault = CLIENT_FAULTS.map(ErrorCode::code).contains(&code);
        if is_clients_fault && stream.is_some_and(|stream| !stream.response_started) {
            self.count_early_reset(now);
        }
    }

    /// runsd resets a stream because of a frame of the client; returns whether the stream was active. Counts as a reset
    /// by the client (CVE-2025-8671).
    pub fn reset(&mut self, id: u32, now: Instant) -> bool {
        self.count_early_reset(now);
        self.streams.reset(id).is_some()
    }

    /// A request that is taken back before its response costs the client nothing and the upstream a lot
    /// (CVE-2023-44487).
    fn count_early_reset(&mut self, now: Instant) {
        if !self.early_resets.take(now) {
            self.has_too_many_resets = true;
        }
    }

    /// The upstream asks for no more of a request, by RST_STREAM with NO_ERROR; returns whether its response is
    /// complete, so that runsd discards the rest of the request.
    pub fn discard_after_response(&mut self, id: u32) -> bool {
        // The client will get credit of a whole window more, which must not overflow its window.
        let has_headroom = self.settings.upstream_initial_window <= 1 << 30;
        let stream = self.streams.active.get(id);
        let is_complete = stream.is_some_and(|stream| stream.upstream_ended && !stream.client_ended);
        if is_complete && has_headroom {
            self.streams.active.remove(id);
            self.streams.discard_body(id);
        }
        is_complete && has_headroom
    }

    /// The upstream sent GOAWAY; returns the last stream for the client's.
    pub fn on_upstream_goaway(&mut self, last: u32) -> u32 {
        let last = self.lower_last_accepted(last);
        self.streams.reset_above(last);
        last
    }

    /// The last stream of a GOAWAY is never above that of the one before (RFC 9113 section 6.8).
    fn lower_last_accepted(&mut self, last: u32) -> u32 {
        self.last_accepted = self.last_accepted.min(last);
        self.last_accepted
    }

    /// Appends GOAWAY for the client, which may open no more streams.
    pub fn write_goaway(&mut self, out: &mut Vec<u8>, error: ConnectionError) {
        let last = self.lower_last_accepted(self.streams.last_id());
        frame::write_goaway(out, last, error);
    }

    /// Appends GOAWAY, once, for a client that takes most of its requests back. Active streams go on to their end.
    pub fn write_goaway_on_resets(&mut self, out: &mut Vec<u8>) {
        if self.has_too_many_resets && !self.is_closed && !self.draining {
            self.draining = true;
            self.write_goaway(out, ConnectionError::calm("too many requests were taken back"));
        }
    }

    /// Whether the last active stream ended after GOAWAY because of resets.
    pub fn is_drained(&self) -> bool {
        self.draining && self.streams.active.len() == 0
    }

    /// Closes the connection; returns the streams that were active, by ascending id.
    pub fn close(&mut self) -> Vec<(u32, Stream)> {
        self.is_closed = true;
        std::mem::take(&mut self.streams.active).into_vec()
    }
}

/// Error codes by which an upstream says that the client broke the protocol.
const CLIENT_FAULTS: [ErrorCode; 5] = [
    ErrorCode::PROTOCOL_ERROR,
    ErrorCode::FLOW_CONTROL_ERROR,
    ErrorCode::STREAM_CLOSED,
    ErrorCode::FRAME_SIZE_ERROR,
    ErrorCode::ENHANCE_YOUR_CALM,
];

/// Requests that a client may take back at once before their responses start: far more than deadlines of honest calls
/// cancel together. Each response allows one more.
const MAX_EARLY_RESETS: u64 = 1000;

/// Requests a second that a client may take back in the long run, whatever the responses.
const EARLY_RESETS_PER_SECOND: u64 = 100;
