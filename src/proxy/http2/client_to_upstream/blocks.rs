//! The client's header blocks: requests and their trailers, whether they are
//! in order, and whether they are looked at.

use std::time::Instant;

use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::hop_by_hop::is_hop_by_hop;
use crate::proxy::http2::client_to_upstream::Requests;
use crate::proxy::http2::frame::{ConnectionError, ErrorCode};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::header_block;
use crate::proxy::http2::header_block::{Head, HeaderBlock, MAX_BLOCK};
use crate::proxy::http2::replay::Request;
use crate::proxy::http2::stream_table::{Side, State};
use crate::proxy::syntax::RequestError;
use crate::sync::lock;

impl Requests<'_> {
    /// Goes on with a header block, which may be whole.
    pub(super) fn block(
        &mut self,
        block: HeaderBlock,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) -> Result<Option<Request>, ConnectionError> {
        if !block.whole {
            self.block = Some(block);
            return Ok(None);
        }
        let tables = self.tables();
        let is_new = block.stream > self.last && !block.stream.is_multiple_of(2);
        let known = self.known.as_ref();
        let mut request =
            Request { fields: Vec::new(), head: block.head(), body: None, fragment: block.fragment, tables };
        if let Some(known) = known.filter(|known| is_new && known.is(&request.fragment, tables)) {
            request.body = known.body;
            return self.request(request, batch, now);
        }
        let decoded = self.decoder.decode(&request.fragment, MAX_BLOCK);
        let decoded = decoded.map_err(|_| {
            let reason = "a header block cannot be decompressed";
            ConnectionError::new(ErrorCode::COMPRESSION_ERROR, reason)
        })?;
        request.fields = decoded.fields;
        if !is_new {
            self.trailers(request, decoded.too_large, batch, now)?;
            return Ok(None);
        }
        if decoded.too_large {
            self.last = request.head.stream;
            lock(self.streams).began(self.last);
            self.refuse(&request, &too_large());
            return Ok(None);
        }
        match header_block::read_request(&request.fields) {
            Ok(body) => {
                request.body = body;
                self.request(request, batch, now)
            }
            Err(bad) => {
                self.begin_malformed(&request, bad, batch, now)?;
                Ok(None)
            }
        }
    }

    /// A request whose fields are in order.
    fn request(
        &mut self,
        request: Request,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) -> Result<Option<Request>, ConnectionError> {
        let head = request.head;
        if head.end_stream && request.body.is_some_and(|body| body > 0) {
            self.begin_malformed(&request, RequestError::WrongLength, batch, now)?;
            return Ok(None);
        }
        if head.depends_on_itself() {
            self.begin_malformed(&request, RequestError::Dependency, batch, now)?;
            return Ok(None);
        }
        let is_accepted = self.begin_stream(head, false, now)?;
        Ok(is_accepted.then_some(request))
    }

    /// A stream begins with a request that is malformed, and ends with it.
    fn begin_malformed(
        &mut self,
        request: &Request,
        why: RequestError,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if self.begin_stream(request.head, true, now)? {
            let authority = request.authority();
            self.malformed(request.head.stream, authority.as_deref(), why, batch, now);
        }
        Ok(())
    }

    /// A stream begins, and may be over at once; whether it is looked at:
    /// GOAWAY told the client of those that are not.
    fn begin_stream(&mut self, head: Head, is_over: bool, now: Instant) -> Result<bool, ConnectionError> {
        self.last = head.stream;
        let mut streams = lock(self.streams);
        streams.began(head.stream);
        self.has_room = streams.has_room();
        let is_accepted = streams.accepts(head.stream);
        if (is_over || !is_accepted) && !head.end_stream {
            streams.discard(head.stream);
        }
        drop(streams);
        if !is_accepted && !self.floods.late.take(now) {
            return Err(ConnectionError::calm("too many requests after GOAWAY"));
        }
        Ok(is_accepted)
    }

    /// Passes trailers on, if the request they belong to was.
    fn trailers(
        &mut self,
        mut request: Request,
        too_large: bool,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let Head { stream: id, end_stream, .. } = request.head;
        if self.may_send(id)? == State::Discarded {
            if end_stream {
                lock(self.streams).discarded_ended(id);
            }
            return Ok(());
        }
        let mut streams = lock(self.streams);
        if too_large || !end_stream || !header_block::is_trailer(&request.fields) {
            drop(streams);
            self.stream_error(id, ErrorCode::PROTOCOL_ERROR, batch, now);
            return Ok(());
        }
        if !streams.received(id, 0, true) {
            drop(streams);
            self.malformed(id, None, RequestError::WrongLength, batch, now);
            lock(self.streams).discarded_ended(id);
            return Ok(());
        }
        streams.ended(id, Side::Client);
        let max_frame = streams.upstream_max_frame;
        let waits = streams.is_waiting(id);
        drop(streams);
        request.fields.retain(|field| !is_hop_by_hop(&field.name));
        if waits {
            self.waiting.trailers(request.head, request.fields);
            return Ok(());
        }
        self.send(request.head, &request.fields, max_frame, batch);
        Ok(())
    }
}

fn too_large() -> ProxyError {
    ProxyError::new(ErrorType::HttpRequestError(431), "the header fields of this request are over 64 KiB; send fewer")
}
