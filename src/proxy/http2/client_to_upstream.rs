//! From the client to the upstream, frame by frame: what passes, what stays
//! here, and what is wrong. Bytes in, bytes out; `mod.rs` has the sockets.
//!
//! Before there is an upstream, the client's settings are acknowledged here,
//! since some clients ask for nothing until they are, and kept for later.

use std::sync::Mutex;
use std::time::Instant;

use crate::proxy::{name_of, say};

use crate::proxy::error::ProxyError;
use crate::proxy::http2::early_frames::EarlyFrames;
use crate::proxy::http2::frame;
use crate::proxy::http2::frame::{ConnectionError, ErrorCode, Frame, FrameHeader, flag, frame_type, setting, to_usize};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::header_block;
use crate::proxy::http2::header_block::{Head, HeaderBlock, MAX_BLOCK};
use crate::proxy::http2::hpack;
use crate::proxy::http2::hpack::{Decoder, Encoder, Field};
use crate::proxy::http2::local_response;
use crate::proxy::http2::rate_limit::FrameLimits;
use crate::proxy::http2::replay::{ReplayEntry, Request, Tables};
use crate::proxy::http2::request::RequestMeta;
use crate::proxy::http2::stream_table::{RequestTraits, Side, State, StreamTable};
use crate::proxy::syntax::RequestError;
use crate::secret::Secret;
use crate::sync::lock;

mod blocks;
mod control;
mod waiting;

use crate::proxy::http2::client_to_upstream::waiting::Waiting;

/// The requests of one connection.
pub struct Requests<'a> {
    streams: &'a Mutex<StreamTable>,
    decoder: Decoder,
    encoder: Encoder,
    /// A header block that waits for its CONTINUATION.
    block: Option<HeaderBlock>,
    /// The client's SETTINGS came, as they must before anything else.
    greeted: bool,
    /// The client acknowledged the SETTINGS of runsd's own.
    acknowledged: bool,
    /// What the upstream will be told first; `None` once it was.
    held: Option<EarlyFrames>,
    /// The first request went up, and the upstream has not said yet how many
    /// it takes.
    settling: bool,
    /// The last stream that the client began, as `streams` has it for others.
    last: u32,
    /// Whether the upstream took one more stream when that one began.
    has_room: bool,
    /// Requests that wait for room at the upstream.
    waiting: Waiting,
    /// The last request that both tables knew all of.
    known: Option<ReplayEntry>,
    floods: FrameLimits,
    /// Octets of DATA that stayed here, to be given back to the client.
    swallowed: usize,
    /// For the client.
    down: Vec<u8>,
}

impl<'a> Requests<'a> {
    pub fn new(streams: &'a Mutex<StreamTable>, now: Instant) -> Requests<'a> {
        let mut down = Vec::new();
        // At once: some clients wait for it. Until the upstream has said how
        // many streams it takes, a client may open as many as most do; it
        // would see the rest refused.
        frame::write_settings(&mut down, &[(setting::MAX_CONCURRENT_STREAMS, STREAMS)]);
        Requests {
            streams,
            decoder: Decoder::new(hpack::DEFAULT_TABLE_SIZE),
            encoder: Encoder::new(),
            block: None,
            greeted: false,
            acknowledged: false,
            held: Some(EarlyFrames::new()),
            settling: false,
            last: 0,
            has_room: true,
            waiting: Waiting::default(),
            known: None,
            floods: FrameLimits::new(now),
            swallowed: 0,
            down,
        }
    }

    /// Walks on through `batch`, to its last whole frame, or to a request
    /// about which somebody else has to decide.
    pub fn next(&mut self, batch: &mut FrameSplicer<'_>, now: Instant) -> Result<Next, ConnectionError> {
        loop {
            let max = lock(self.streams).upstream_max_frame_ever;
            let Some(frame) = frame::parse(batch.rest(), max)? else {
                return Ok(Next::More);
            };
            if self.settling && frame.header.frame_type == frame_type::HEADERS && frame.header.stream_id > self.last {
                return Ok(Next::Settle);
            }
            if !self.greeted && (frame.header.frame_type != frame_type::SETTINGS || frame.header.has(flag::ACK)) {
                return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
            }
            if let Some(request) = self.frame(&frame, batch, now)? {
                return Ok(Next::Request(request));
            }
        }
    }

    /// Whether there is no upstream yet.
    pub fn waits(&self) -> bool {
        self.held.is_some()
    }

    /// There is an upstream now: what it is told first.
    pub fn open(&mut self, batch: &mut FrameSplicer<'_>) {
        if let Some(held) = self.held.take() {
            held.write(batch.out());
            self.settling = true;
        }
    }

    /// The upstream has said how many streams it takes, or was given time to.
    pub fn settled(&mut self) {
        self.settling = false;
    }

    /// Passes a request up, its fields rewritten, or has it wait.
    pub fn pass(&mut self, request: Request, note: RequestMeta, batch: &mut FrameSplicer<'_>) {
        let asked = local_response::asked(&request.fields);
        let bearer = note.bearer.clone();
        match self.begin(request.head, asked, request.body, note) {
            Begun::Up(max_frame) => {
                let passed = self.send(request.head, &request.fields, max_frame, batch);
                let tables = self.tables();
                self.known = ReplayEntry::new(request, passed, tables, asked, bearer);
            }
            Begun::Waiting => self.waiting.push(request.head, request.fields),
            Begun::Not => {}
        }
    }

    /// Passes a request up if it is known and `again` says that it would be
    /// rewritten as before, with the same token; else it has its fields from
    /// here on.
    pub fn pass_known(
        &mut self,
        request: &mut Request,
        again: impl FnOnce(Option<&Secret>) -> Option<RequestMeta>,
        batch: &mut FrameSplicer<'_>,
    ) -> bool {
        let Some(known) = self.known.take_if(|_| request.fields.is_empty()) else {
            return false;
        };
        let waits = self.has_waiting() || !self.has_room;
        let note = match waits {
            true => None,
            false => again(known.bearer.as_ref()),
        };
        let Some(note) = note else {
            // Its table is as it was, so it reads as it did.
            let decoded = self.decoder.decode(&request.fragment, MAX_BLOCK);
            request.fields = decoded.map(|decoded| decoded.fields).unwrap_or_default();
            return false;
        };
        match self.begin(request.head, known.asked, request.body, note) {
            Begun::Up(max_frame) => {
                header_block::write(batch.out(), request.head, &known.passed, max_frame);
            }
            // The upstream lowered its number this very moment.
            Begun::Waiting => {
                let Head { stream, .. } = request.head;
                frame::write_rst_stream(&mut self.down, stream, ErrorCode::REFUSED_STREAM);
                lock(self.streams).give_up(stream);
            }
            Begun::Not => {}
        }
        self.known = Some(known);
        true
    }

    /// A stream of the upstream begins, now or later.
    fn begin(&mut self, head: Head, asked: RequestTraits, body: Option<u64>, note: RequestMeta) -> Begun {
        let mut streams = lock(self.streams);
        if !self.still_accepts(&mut streams, head) {
            return Begun::Not;
        }
        let waits = self.has_waiting() || !streams.has_room();
        if waits && streams.is_full(to_usize(STREAMS)) {
            // More than the client was told (RFC 9113 section 5.1.2); nothing
            // was done, so it may be sent again (section 8.7).
            if !head.end_stream {
                streams.discard(head.stream);
            }
            frame::write_rst_stream(&mut self.down, head.stream, ErrorCode::REFUSED_STREAM);
            return Begun::Not;
        }
        streams.opened(head.stream, asked, head.end_stream, body, note, waits);
        match waits {
            true => Begun::Waiting,
            false => Begun::Up(streams.upstream_max_frame),
        }
    }

    /// Whether no GOAWAY came while somebody decided about a request. Otherwise
    /// the client may not have seen it, and send a body.
    fn still_accepts(&self, streams: &mut StreamTable, head: Head) -> bool {
        let accepts = streams.accepts(head.stream);
        if !accepts && !head.end_stream {
            streams.discard(head.stream);
        }
        accepts
    }

    fn tables(&self) -> Tables {
        (self.decoder.table_version(), self.encoder.table_version())
    }

    /// Answers a request here.
    pub fn refuse(&mut self, request: &Request, refusal: &ProxyError) {
        let asked = local_response::asked(&request.fields);
        let mut streams = lock(self.streams);
        let Head { stream, end_stream, .. } = request.head;
        if !self.still_accepts(&mut streams, request.head) {
            return;
        }
        if !end_stream {
            streams.discard_answered(stream);
        }
        let held = self.held.as_mut();
        local_response::write(&mut self.down, &mut streams, held, stream, asked, refusal);
    }

    /// What has to go to the client by now.
    pub fn take_down(&mut self) -> Vec<u8> {
        let swallowed = u32::try_from(std::mem::take(&mut self.swallowed)).unwrap_or(0);
        frame::write_window_update(&mut self.down, 0, swallowed);
        std::mem::take(&mut self.down)
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) -> Result<Option<Request>, ConnectionError> {
        if let Some(mut block) = self.block.take() {
            batch.skip(frame.len());
            block.extend(frame)?;
            return self.block(block, batch, now);
        }
        let passes = match frame.header.frame_type {
            frame_type::HEADERS => {
                batch.skip(frame.len());
                return self.block(HeaderBlock::begin(frame)?, batch, now);
            }
            frame_type::DATA => return self.data(frame, batch, now).map(|()| None),
            frame_type::PRIORITY => return self.priority(frame, batch, now).map(|()| None),
            frame_type::SETTINGS => self.settings(frame, now)?,
            frame_type::PING => self.ping(frame, now)?,
            frame_type::WINDOW_UPDATE => {
                let passes = self.window_update(frame)?;
                if self.has_waiting() && lock(self.streams).is_waiting(frame.header.stream_id) {
                    self.keep(frame, batch);
                    return Ok(None);
                }
                passes
            }
            frame_type::RST_STREAM => self.reset(frame, now)?,
            frame_type::GOAWAY if frame.header.stream_id != 0 => {
                return Err(ConnectionError::protocol("GOAWAY on a stream"));
            }
            frame_type::PUSH_PROMISE => {
                return Err(ConnectionError::protocol("PUSH_PROMISE from a client"));
            }
            frame_type::CONTINUATION => {
                return Err(ConnectionError::protocol("CONTINUATION without HEADERS"));
            }
            // Of a type we need not know.
            _ => match self.state(frame.header.stream_id) {
                _ if frame.header.stream_id == 0 => self.held.is_none(),
                _ if lock(self.streams).is_waiting(frame.header.stream_id) => false,
                State::Open | State::HalfClosed => true,
                State::Idle | State::Discarded | State::Closed => false,
            },
        };
        pass_or_skip(passes, frame, batch);
        Ok(None)
    }

    fn data(&mut self, frame: &Frame<'_>, batch: &mut FrameSplicer<'_>, now: Instant) -> Result<(), ConnectionError> {
        let FrameHeader { stream_id: id, .. } = frame.header;
        let data = frame.unpadded()?;
        let end_stream = frame.header.has(flag::END_STREAM);
        if data.is_empty() && !end_stream && !self.floods.empty.take(now) {
            return Err(ConnectionError::calm("too many empty DATA frames"));
        }
        if self.may_send(id)? == State::Discarded {
            self.swallow(frame);
            batch.skip(frame.len());
            return Ok(());
        }
        let mut streams = lock(self.streams);
        if !streams.received(id, data.len(), end_stream) {
            drop(streams);
            batch.skip(frame.len());
            self.malformed(id, None, RequestError::WrongLength, batch, now);
            self.swallow(frame);
            return Ok(());
        }
        if end_stream {
            streams.ended(id, Side::Client);
        }
        let waits = self.has_waiting() && streams.is_waiting(id);
        drop(streams);
        match waits {
            true => self.keep(frame, batch),
            false => batch.pass(frame.len()),
        }
        Ok(())
    }

    /// Has a frame wait with its request; one that is too much for that makes
    /// it one that may be sent again (RFC 9113 section 8.7).
    fn keep(&mut self, frame: &Frame<'_>, batch: &mut FrameSplicer<'_>) {
        batch.skip(frame.len());
        if !self.waiting.frame(frame) {
            let id = frame.header.stream_id;
            frame::write_rst_stream(&mut self.down, id, ErrorCode::REFUSED_STREAM);
            self.swallowed += self.waiting.remove(id);
            lock(self.streams).give_up(id);
            self.swallow(frame);
        }
    }

    /// Lets DATA of a stream that is over end here, and gives its octets back.
    fn swallow(&mut self, frame: &Frame<'_>) {
        let FrameHeader { stream_id: stream, len, .. } = frame.header;
        self.swallowed += len;
        if frame.header.has(flag::END_STREAM) {
            return lock(self.streams).discarded_ended(stream);
        }
        // RST_STREAM of NO_ERROR would stop the client at once (RFC 9113,
        // section 8.1), but curl, for one, throws the answer away when it sees
        // that before it has sent all. So this is for those who do not stop.
        match lock(self.streams).swallowed(stream, len) {
            Some(sum) if sum <= MAX_SWALLOWED => {
                let len = u32::try_from(len).unwrap_or(0);
                frame::write_window_update(&mut self.down, stream, len);
            }
            Some(sum) if sum - len <= MAX_SWALLOWED => {
                frame::write_rst_stream(&mut self.down, stream, ErrorCode::NO_ERROR);
            }
            _ => {}
        }
    }

    /// Ends a stream whose request is malformed (RFC 9113 section 8.1.1).
    /// RST_STREAM has no room for a reason, so it is said as HTTP/1's are.
    fn malformed(
        &mut self,
        id: u32,
        authority: Option<&[u8]>,
        why: RequestError,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) {
        say(&name_of(authority), &why.into());
        self.stream_error(id, ErrorCode::PROTOCOL_ERROR, batch, now);
    }

    /// Ends a stream because of what the client did with it.
    fn stream_error(&mut self, id: u32, code: ErrorCode, batch: &mut FrameSplicer<'_>, now: Instant) {
        frame::write_rst_stream(&mut self.down, id, code);
        let has_gone_up = !lock(self.streams).is_waiting(id);
        self.swallowed += self.waiting.remove(id);
        if lock(self.streams).reset_for_client(id, now) && has_gone_up {
            frame::write_rst_stream(batch.out(), id, code);
        }
    }

    /// Writes a block of these fields, and hands it back.
    fn send(&mut self, head: Head, fields: &[Field], max_frame: usize, batch: &mut FrameSplicer<'_>) -> Vec<u8> {
        let mut block = Vec::with_capacity(256);
        self.encoder.encode(fields, &mut block);
        header_block::write(batch.out(), head, &block, max_frame);
        block
    }

    fn state(&self, id: u32) -> State {
        lock(self.streams).state(id)
    }

    /// Whether the client may send DATA or HEADERS on this stream, and for
    /// whom they are: open, or discarded (RFC 9113 sections 5.1 and 5.1.1).
    fn may_send(&self, id: u32) -> Result<State, ConnectionError> {
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("a frame that a client may not send on this stream"));
        }
        match self.state(id) {
            State::Idle => Err(never_began()),
            State::HalfClosed | State::Closed => {
                let reason = "a frame on a stream that the client had ended";
                Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, reason))
            }
            state => Ok(state),
        }
    }
}

/// What became of a request.
enum Begun {
    /// It goes up, in frames of so many octets.
    Up(usize),
    Waiting,
    /// The client was told that it may try again.
    Not,
}

/// What is to be done after [`Requests::next`].
pub enum Next {
    /// To decide about a request.
    Request(Request),
    /// To wait a moment for the upstream's SETTINGS, before the second request.
    Settle,
    /// To read on.
    More,
}

fn never_began() -> ConnectionError {
    ConnectionError::protocol("a frame on a stream that has not begun")
}

fn pass_or_skip(passes: bool, frame: &Frame<'_>, batch: &mut FrameSplicer<'_>) {
    match passes {
        true => batch.pass(frame.len()),
        false => batch.skip(frame.len()),
    }
}

/// How many streams a client may open whatever the upstream takes: until that
/// is heard, and after that what is over waits.
pub const STREAMS: u32 = 100;

/// How much of a body nobody wants is read before the client is told to stop.
const MAX_SWALLOWED: usize = 1 << 20;
