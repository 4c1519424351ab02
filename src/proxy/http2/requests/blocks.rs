//! The client's header blocks: requests and their trailers, whether they are
//! in order, and whether they are looked at.

use std::time::Instant;

use super::Requests;
use crate::proxy::hop::is_hop_by_hop;
use crate::proxy::http2::batch::Batch;
use crate::proxy::http2::frame::{ErrorCode, Fatal};
use crate::proxy::http2::headers::{self, Block, Head, MAX_BLOCK};
use crate::proxy::http2::request::Request;
use crate::proxy::http2::streams::{Side, State};
use crate::proxy::refusal::{Kind, Refusal};
use crate::proxy::syntax::Malformed;
use crate::sync::lock;

impl Requests<'_> {
    /// Goes on with a header block, which may be whole.
    pub(super) fn block(
        &mut self,
        block: Block,
        batch: &mut Batch<'_>,
        now: Instant,
    ) -> Result<Option<Request>, Fatal> {
        if !block.whole {
            self.block = Some(block);
            return Ok(None);
        }
        let tables = self.tables();
        let is_new = block.stream > self.last && !block.stream.is_multiple_of(2);
        let known = self.known.as_ref();
        let mut request = Request {
            fields: Vec::new(),
            head: block.head(),
            body: None,
            fragment: block.fragment,
            tables,
        };
        if let Some(known) = known.filter(|known| is_new && known.is(&request.fragment, tables)) {
            request.body = known.body;
            return self.request(request, batch, now);
        }
        let decoded = self.decoder.decode(&request.fragment, MAX_BLOCK);
        let decoded = decoded.map_err(|_| {
            let reason = "a header block cannot be decompressed";
            Fatal::new(ErrorCode::Compression, reason)
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
        match headers::read_request(&request.fields) {
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
        batch: &mut Batch<'_>,
        now: Instant,
    ) -> Result<Option<Request>, Fatal> {
        let head = request.head;
        if head.end_stream && request.body.is_some_and(|body| body > 0) {
            self.begin_malformed(&request, Malformed::WrongLength, batch, now)?;
            return Ok(None);
        }
        if head.depends_on_itself() {
            self.begin_malformed(&request, Malformed::Dependency, batch, now)?;
            return Ok(None);
        }
        let is_accepted = self.begin_stream(head, false, now)?;
        Ok(is_accepted.then_some(request))
    }

    /// A stream begins with a request that is malformed, and ends with it.
    fn begin_malformed(
        &mut self,
        request: &Request,
        why: Malformed,
        batch: &mut Batch<'_>,
        now: Instant,
    ) -> Result<(), Fatal> {
        if self.begin_stream(request.head, true, now)? {
            let authority = request.authority();
            self.malformed(request.head.stream, authority.as_deref(), why, batch, now);
        }
        Ok(())
    }

    /// A stream begins, and may be over at once; whether it is looked at:
    /// GOAWAY told the client of those that are not.
    fn begin_stream(&mut self, head: Head, is_over: bool, now: Instant) -> Result<bool, Fatal> {
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
            return Err(Fatal::too_much("too many requests after GOAWAY"));
        }
        Ok(is_accepted)
    }

    /// Passes trailers on, if the request they belong to was.
    fn trailers(
        &mut self,
        mut request: Request,
        too_large: bool,
        batch: &mut Batch<'_>,
        now: Instant,
    ) -> Result<(), Fatal> {
        let Head {
            stream: id,
            end_stream,
            ..
        } = request.head;
        if self.may_send(id)? == State::Discarded {
            if end_stream {
                lock(self.streams).discarded_ended(id);
            }
            return Ok(());
        }
        let mut streams = lock(self.streams);
        if too_large || !end_stream || !headers::is_trailer(&request.fields) {
            drop(streams);
            self.stream_error(id, ErrorCode::Protocol, batch, now);
            return Ok(());
        }
        if !streams.received(id, 0, true) {
            drop(streams);
            self.malformed(id, None, Malformed::WrongLength, batch, now);
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

fn too_large() -> Refusal {
    Refusal::new(
        Kind::HttpRequestError(431),
        "the header fields of this request are over 64 KiB; send fewer",
    )
}
