//! The client's header blocks: requests and trailers.
//!
//! ```text
//!  HEADERS, CONTINUATION ─► receive_block ─┬─ the last one again ──────────────────────┐
//!                                          ├─ decode ─► validate ─► receive_request ◄──┘
//!                                          │                         ├─ replay: the same octets as the last time
//!                                          │                         ├─ forward_request: rewrite, then send or pend
//!                                          │                         └─ the thread connects, then forward_request
//!                                          └─ decode ─► receive_trailers
//! ```

use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::hop_by_hop::is_hop_by_hop;
use crate::proxy::http2::client_to_upstream::{ClientToUpstream, UpstreamState};
use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::header_block::{self, HeaderBlock, HeadersFrame, MAX_FIELDS_LEN};
use crate::proxy::http2::hpack::{self, Decoder, Encoder, Field};
use crate::proxy::http2::replay::ReplayEntry;
use crate::proxy::http2::request::{Request, RequestMeta, RequestTraits, TableVersions};
use crate::proxy::http2::stream_table::{Side, State, Stream};
use crate::proxy::http2::validation;
use crate::proxy::syntax::RequestError;
use crate::sync::lock;

/// The header blocks of one direction: HPACK's tables, and what depends on them.
pub struct HeaderCodec {
    decoder: Decoder,
    /// Writes the blocks for the upstream.
    pub encoder: Encoder,
    /// A header block of which CONTINUATION is missing.
    pub partial_block: Option<HeaderBlock>,
    /// The last request that changed no table.
    replay: Option<ReplayEntry>,
}

impl HeaderCodec {
    /// The tables of a new connection.
    pub fn new() -> HeaderCodec {
        let decoder = Decoder::new(hpack::DEFAULT_TABLE_SIZE);
        HeaderCodec { decoder, encoder: Encoder::new(), partial_block: None, replay: None }
    }

    fn table_versions(&self) -> TableVersions {
        (self.decoder.table_version(), self.encoder.table_version())
    }
}

impl ClientToUpstream<'_> {
    /// Processes a header block, which may be incomplete; returns a request that needs an upstream.
    pub(super) fn receive_block(
        &mut self,
        block: HeaderBlock,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<Option<Request>, ConnectionError> {
        if !block.end_headers {
            self.codec.partial_block = Some(block);
            return Ok(None);
        }
        let HeaderBlock { headers, block, .. } = block;
        let tables = self.codec.table_versions();
        let is_request = headers.stream_id > self.last_id && !headers.stream_id.is_multiple_of(2);
        let mut request = Request { headers, fields: Vec::new(), content_length: None, block, tables };
        if let Some(replay) =
            self.codec.replay.as_ref().filter(|entry| is_request && entry.matches(&request.block, tables))
        {
            request.content_length = replay.request.content_length;
            return self.receive_request(request, true, splicer);
        }
        let decoded = self.codec.decoder.decode(&request.block, MAX_FIELDS_LEN);
        let decoded = decoded.map_err(|_| {
            let reason = "a header block cannot be decompressed";
            ConnectionError::new(ErrorCode::COMPRESSION_ERROR, reason)
        })?;
        request.fields = decoded.fields;
        if !is_request {
            return self.receive_trailers(headers, request.fields, decoded.too_large, splicer).map(|()| None);
        }
        if decoded.too_large {
            self.last_id = headers.stream_id;
            lock(self.conn).streams.use_id(self.last_id);
            self.reject(&request, &too_large());
            return Ok(None);
        }
        match validation::validate_request(&request.fields) {
            Ok(content_length) => {
                request.content_length = content_length;
                self.receive_request(request, false, splicer)
            }
            Err(error) => self.receive_malformed(&request, error, splicer).map(|()| None),
        }
    }

    /// Processes a request with valid fields, which are not decoded where it `is_repeated`; returns it where it needs an
    /// upstream.
    fn receive_request(
        &mut self,
        mut request: Request,
        is_repeated: bool,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<Option<Request>, ConnectionError> {
        let headers = request.headers;
        if headers.end_stream && request.content_length.is_some_and(|len| len > 0) {
            return self.receive_malformed(&request, RequestError::LengthMismatch, splicer).map(|()| None);
        }
        if headers.depends_on_itself() {
            return self.receive_malformed(&request, RequestError::SelfDependency, splicer).map(|()| None);
        }
        let Some(has_capacity) = self.start_stream(headers, false)? else {
            return Ok(None);
        };
        if is_repeated {
            if has_capacity && !self.has_pending() && self.replay(&request, splicer) {
                return Ok(None);
            }
            // The table is as it was, so the fields are the same and valid.
            let decoded = self.codec.decoder.decode(&request.block, MAX_FIELDS_LEN);
            request.fields = decoded.map(|decoded| decoded.fields).unwrap_or_default();
        }
        match &self.upstream {
            UpstreamState::Connected { .. } => self.forward_request(request, splicer),
            UpstreamState::Idle { failure: Some((authority, error)), .. }
                if authority.as_deref() == request.authority() =>
            {
                let error = error.clone();
                self.reject(&request, &error);
            }
            UpstreamState::Idle { .. } => return Ok(Some(request)),
        }
        Ok(None)
    }

    /// Resets the stream of a malformed request, which was not used before.
    fn receive_malformed(
        &mut self,
        request: &Request,
        error: RequestError,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<(), ConnectionError> {
        if self.start_stream(request.headers, true)?.is_some() {
            self.reset_malformed(request.headers.stream_id, request.authority(), error, splicer);
        }
        Ok(())
    }

    /// Uses the id of a new stream. Returns `None` for a request that GOAWAY excluded, or else whether the upstream takes
    /// one more.
    fn start_stream(&mut self, headers: HeadersFrame, is_malformed: bool) -> Result<Option<bool>, ConnectionError> {
        let id = headers.stream_id;
        self.last_id = id;
        let mut conn = lock(self.conn);
        conn.streams.use_id(id);
        let is_accepted = conn.accepts(id);
        if (is_malformed || !is_accepted) && !headers.end_stream {
            conn.streams.discard_in_flight(id);
        }
        if !is_accepted && !self.limits.late_requests.take(self.now) {
            return Err(ConnectionError::calm("too many requests after GOAWAY"));
        }
        Ok(is_accepted.then(|| conn.has_capacity()))
    }

    /// Sends the block of the last request again; `false` where the handler would not rewrite this one to the same.
    fn replay(&mut self, request: &Request, splicer: &mut FrameSplicer<'_>) -> bool {
        let Some(entry) = self.codec.replay.take() else {
            return false;
        };
        let Some(meta) = self.handler.can_replay(entry.bearer.as_ref()) else {
            return false;
        };
        match self.open_stream(request, entry.traits, meta) {
            Opened::Open { max_frame } => {
                header_block::write(splicer.insert(), request.headers, &entry.sent_block, max_frame);
            }
            Opened::Pending => {
                // The upstream lowered its limit in between, and there are no fields to keep.
                let id = request.headers.stream_id;
                frame::write_rst_stream(&mut self.to_client.frames, id, ErrorCode::REFUSED_STREAM);
                lock(self.conn).streams.reset(id);
            }
            Opened::Refused => {}
        }
        self.codec.replay = Some(entry);
        true
    }

    /// Has the handler rewrite a request, and sends it, or rejects it.
    pub(super) fn forward_request(&mut self, mut request: Request, splicer: &mut FrameSplicer<'_>) {
        let meta = match self.handler.rewrite(&mut request.fields) {
            Ok(meta) => meta,
            Err(error) => return self.reject(&request, &error),
        };
        let (traits, bearer) = (request.traits(), meta.bearer.clone());
        match self.open_stream(&request, traits, meta) {
            Opened::Open { max_frame } => {
                let sent_block = self.send(request.headers, &request.fields, max_frame, splicer);
                let request = Request { fields: Vec::new(), ..request };
                let entry = ReplayEntry { request, sent_block, traits, bearer };
                self.codec.replay = Some(entry).filter(|entry| entry.is_valid(self.codec.table_versions()));
            }
            Opened::Pending => self.pending.push(request),
            Opened::Refused => {}
        }
    }

    fn open_stream(&mut self, request: &Request, traits: RequestTraits, meta: RequestMeta) -> Opened {
        let HeadersFrame { stream_id: id, end_stream, .. } = request.headers;
        let mut conn = lock(self.conn);
        let is_accepted = conn.accepts(id);
        let is_pending = self.has_pending() || !conn.has_capacity();
        if !is_accepted || (is_pending && conn.is_full()) {
            // GOAWAY came while the handler decided, and the client may not know. Or the client has more streams than it
            // was allowed (RFC 9113 section 5.1.2); it may send the request again (section 8.7).
            if !end_stream {
                conn.streams.discard_in_flight(id);
            }
            if is_accepted {
                frame::write_rst_stream(&mut self.to_client.frames, id, ErrorCode::REFUSED_STREAM);
            }
            return Opened::Refused;
        }
        let stream = Stream {
            traits,
            meta: Some(meta),
            response_started: false,
            client_ended: end_stream,
            upstream_ended: false,
            is_pending,
            body_left: request.content_length,
            response_left: None,
        };
        conn.streams.active.insert(id, stream);
        match is_pending {
            true => Opened::Pending,
            false => Opened::Open { max_frame: conn.settings.upstream_max_frame },
        }
    }

    /// Forwards trailers, if their request was.
    fn receive_trailers(
        &mut self,
        headers: HeadersFrame,
        mut fields: Vec<Field>,
        too_large: bool,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<(), ConnectionError> {
        let HeadersFrame { stream_id: id, end_stream, .. } = headers;
        if self.check_may_send(id)? == State::Discarded {
            if end_stream {
                lock(self.conn).streams.close_discarded(id);
            }
            return Ok(());
        }
        if too_large || !end_stream || !validation::is_valid_trailers(&fields) {
            self.reset_stream(id, ErrorCode::PROTOCOL_ERROR, splicer);
            return Ok(());
        }
        let mut conn = lock(self.conn);
        if !conn.streams.receive_data(id, 0, true) {
            drop(conn);
            self.reset_malformed(id, None, RequestError::LengthMismatch, splicer);
            lock(self.conn).streams.close_discarded(id);
            return Ok(());
        }
        conn.streams.end(id, Side::Client);
        let max_frame = conn.settings.upstream_max_frame;
        let is_pending = conn.streams.is_pending(id);
        drop(conn);
        fields.retain(|field| !is_hop_by_hop(&field.name));
        match is_pending {
            true => self.pending.add_trailers(headers, fields),
            false => drop(self.send(headers, &fields, max_frame, splicer)),
        }
        Ok(())
    }

    /// Encodes and sends a header block; returns it.
    pub(super) fn send(
        &mut self,
        headers: HeadersFrame,
        fields: &[Field],
        max_frame: usize,
        splicer: &mut FrameSplicer<'_>,
    ) -> Vec<u8> {
        let mut block = Vec::with_capacity(256);
        self.codec.encoder.encode(fields, &mut block);
        header_block::write(splicer.insert(), headers, &block, max_frame);
        block
    }
}

/// What a request came to.
enum Opened {
    /// It is sent, in frames of at most that many octets.
    Open { max_frame: usize },
    /// It waits for capacity.
    Pending,
    /// The client may send it again.
    Refused,
}

fn too_large() -> ProxyError {
    ProxyError::new(ErrorType::HttpRequestError(431), "the header fields of this request are over 64 KiB; send fewer")
}
