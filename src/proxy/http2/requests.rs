//! From the client to the upstream, frame by frame: what passes, what stays
//! here, and what is wrong. Bytes in, bytes out; `mod.rs` has the sockets.
//!
//! Before there is an upstream, the client's settings are acknowledged here,
//! since some clients ask for nothing until they are, and kept for later.

use std::sync::Mutex;
use std::time::Instant;

use super::answer;
use super::batch::Batch;
use super::flood::Floods;
use super::frame::{self, ErrorCode, Fatal, Frame, Header, flag, kind, setting};
use super::headers::{self, Block, Head, MAX_BLOCK};
use super::held::Held;
use super::hpack::{self, Decoder, Encoder, Field};
use super::lock;
use super::note::Note;
use super::request::{Known, Request, Tables};
use super::streams::{Asked, Side, Streams};
use crate::proxy::refusal::{Kind, Refusal};
use crate::secret::Secret;

/// The requests of one connection.
pub struct Requests<'a> {
    streams: &'a Mutex<Streams>,
    decoder: Decoder,
    encoder: Encoder,
    /// A header block that waits for its CONTINUATION.
    block: Option<Block>,
    /// The last stream the client began.
    begun: u32,
    /// The client's SETTINGS came, as they must before anything else.
    greeted: bool,
    /// The client acknowledged the SETTINGS of runsd's own.
    acknowledged: bool,
    /// What the upstream will be told first; `None` once it was.
    held: Option<Held>,
    /// The last request that both tables knew all of.
    known: Option<Known>,
    floods: Floods,
    /// Octets of DATA that stayed here, to be given back to the client.
    swallowed: usize,
    /// For the client.
    down: Vec<u8>,
}

impl<'a> Requests<'a> {
    pub fn new(streams: &'a Mutex<Streams>, now: Instant) -> Requests<'a> {
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
            begun: 0,
            greeted: false,
            acknowledged: false,
            held: Some(Held::new()),
            known: None,
            floods: Floods::new(now),
            swallowed: 0,
            down,
        }
    }

    /// Walks on through `batch`, to its last whole frame, or to a request
    /// about which somebody else has to decide.
    pub fn next(&mut self, batch: &mut Batch<'_>, now: Instant) -> Result<Option<Request>, Fatal> {
        loop {
            let max = lock(self.streams).upstream_max_frame_ever;
            let Some(frame) = frame::parse(batch.rest(), max)? else {
                return Ok(None);
            };
            if !self.greeted && (frame.header.kind != kind::SETTINGS || frame.header.has(flag::ACK))
            {
                return Err(Fatal::protocol("the first frame is not SETTINGS"));
            }
            let request = self.frame(&frame, batch, now)?;
            if request.is_some() {
                return Ok(request);
            }
        }
    }

    /// Whether there is no upstream yet.
    pub fn waits(&self) -> bool {
        self.held.is_some()
    }

    /// There is an upstream now: what it is told first.
    pub fn open(&mut self, batch: &mut Batch<'_>) {
        if let Some(mut held) = self.held.take() {
            held.fill(&mut lock(self.streams).spare);
            held.write(batch.out());
        }
    }

    /// Passes a request up, its fields rewritten.
    pub fn pass(&mut self, request: Request, note: Note, batch: &mut Batch<'_>) {
        let asked = answer::asked(&request.fields);
        let bearer = note.bearer.clone();
        let Some(max_frame) = self.begin(request.head, asked, note) else {
            return;
        };
        let passed = self.send(request.head, &request.fields, max_frame, batch);
        let tables = self.tables();
        self.known = Known::new(request, passed, tables, asked, bearer);
    }

    /// Passes a request up if it is known and `again` says that it would be
    /// rewritten as before, with the same token; else it has its fields from
    /// here on.
    pub fn pass_known(
        &mut self,
        request: &mut Request,
        again: impl FnOnce(Option<&Secret>) -> Option<Note>,
        batch: &mut Batch<'_>,
    ) -> bool {
        let Some(known) = self.known.take_if(|_| request.fields.is_empty()) else {
            return false;
        };
        let Some(note) = again(known.bearer.as_ref()) else {
            // Its table is as it was, so it reads as it did.
            let decoded = self.decoder.decode(&request.fragment, MAX_BLOCK);
            request.fields = decoded.map(|decoded| decoded.fields).unwrap_or_default();
            return false;
        };
        if let Some(max_frame) = self.begin(request.head, known.asked, note) {
            headers::write(batch.out(), request.head, &known.passed, max_frame);
        }
        self.known = Some(known);
        true
    }

    /// A stream of the upstream begins; how large its frames may be.
    fn begin(&mut self, head: Head, asked: Asked, note: Note) -> Option<usize> {
        let mut streams = lock(self.streams);
        if streams.over {
            // GOAWAY told the client that this one was never looked at.
            return None;
        }
        streams.opened(head.stream, asked, head.end_stream, note);
        Some(streams.upstream_max_frame)
    }

    fn tables(&self) -> Tables {
        (self.decoder.changes(), self.encoder.changes())
    }

    /// Answers a request here.
    pub fn refuse(&mut self, request: &Request, refusal: &Refusal) {
        let asked = answer::asked(&request.fields);
        let mut streams = lock(self.streams);
        if streams.over {
            return;
        }
        if let Some(held) = &mut self.held {
            held.fill(&mut streams.spare);
        }
        let stream = request.head.stream;
        streams.answered_here(stream);
        answer::write(&mut self.down, &mut streams, stream, asked, refusal);
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
        batch: &mut Batch<'_>,
        now: Instant,
    ) -> Result<Option<Request>, Fatal> {
        if let Some(mut block) = self.block.take() {
            batch.skip(frame.len());
            block.extend(frame)?;
            return self.block(block, batch);
        }
        let passes = match frame.header.kind {
            kind::HEADERS => {
                batch.skip(frame.len());
                return self.block(Block::begin(frame)?, batch);
            }
            kind::DATA => self.data(frame, now)?,
            kind::SETTINGS => self.settings(frame, now)?,
            kind::PING => self.ping(frame, now)?,
            kind::WINDOW_UPDATE => self.window_update(frame, batch)?,
            kind::RST_STREAM => self.reset(frame, now)?,
            kind::PRIORITY => self.priority(frame)?,
            kind::GOAWAY if frame.header.stream != 0 => {
                return Err(Fatal::protocol("GOAWAY on a stream"));
            }
            kind::PUSH_PROMISE => return Err(Fatal::protocol("PUSH_PROMISE from a client")),
            kind::CONTINUATION => return Err(Fatal::protocol("CONTINUATION without HEADERS")),
            // Of a type we need not know.
            _ => self.is_theirs(frame.header.stream),
        };
        if passes {
            batch.pass(frame.len());
        } else {
            batch.skip(frame.len());
        }
        Ok(None)
    }

    fn data(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, Fatal> {
        self.must_have_begun(frame)?;
        let data = frame.unpadded()?;
        let end_stream = frame.header.has(flag::END_STREAM);
        if data.is_empty() && !end_stream && !self.floods.empty.take(now) {
            return Err(Fatal::too_much("too many empty DATA frames"));
        }
        if !self.is_theirs(frame.header.stream) {
            self.swallow(frame);
            return Ok(false);
        }
        if end_stream {
            lock(self.streams).ended(frame.header.stream, Side::Client);
        }
        Ok(true)
    }

    /// Lets DATA of a stream that was answered here end here, and gives its
    /// octets back.
    fn swallow(&mut self, frame: &Frame<'_>) {
        let Header { stream, len, .. } = frame.header;
        self.swallowed += len;
        if frame.header.has(flag::END_STREAM) {
            return;
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
                frame::write_reset(&mut self.down, stream, ErrorCode::NoError);
            }
            _ => {}
        }
    }

    fn settings(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, Fatal> {
        if frame.header.stream != 0 {
            return Err(Fatal::protocol("SETTINGS on a stream"));
        }
        let settings = frame.settings()?;
        if frame.header.has(flag::ACK) {
            return Ok(self.settings_ack());
        }
        if !self.floods.settings.take(now) {
            return Err(Fatal::too_much("too many SETTINGS"));
        }
        for (id, value) in settings {
            frame::check_setting(id, value)?;
        }
        self.greeted = true;
        let mut streams = lock(self.streams);
        streams.client_settings(frame.settings()?, self.held.is_some());
        let Some(held) = &mut self.held else {
            return Ok(true);
        };
        frame::write_settings_ack(&mut self.down);
        held.settings(frame)?;
        Ok(false)
    }

    /// The first acknowledgement is of runsd's own SETTINGS.
    fn settings_ack(&mut self) -> bool {
        if !self.acknowledged {
            self.acknowledged = true;
            return false;
        }
        // From here on the encoder is bound by what was acknowledged.
        let table = lock(self.streams).upstream_tables.pop_front();
        if let Some(Some(size)) = table {
            self.encoder.allow(size);
        }
        self.held.is_none()
    }

    fn ping(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, Fatal> {
        if frame.header.stream != 0 {
            return Err(Fatal::protocol("PING on a stream"));
        }
        if frame.header.len != 8 {
            return Err(Fatal::new(ErrorCode::FrameSize, "PING of a wrong length"));
        }
        if !self.floods.pings.take(now) {
            return Err(Fatal::too_much("too many PINGs"));
        }
        if self.held.is_some() && !frame.header.has(flag::ACK) {
            frame::write_ping_ack(&mut self.down, frame.payload);
        }
        Ok(self.held.is_none())
    }

    fn window_update(&mut self, frame: &Frame<'_>, batch: &mut Batch<'_>) -> Result<bool, Fatal> {
        let increment = frame.number()? & 0x7fff_ffff;
        if frame.header.stream != 0 {
            self.must_have_begun(frame)?;
            return Ok(self.is_theirs(frame.header.stream));
        }
        if increment == 0 {
            return Err(Fatal::protocol("WINDOW_UPDATE of nothing"));
        }
        if let Some(held) = &mut self.held {
            held.opened_by(increment)?;
            return Ok(false);
        }
        let left = lock(self.streams).spare.keep(increment);
        if left < increment {
            frame::write_window_update(batch.out(), 0, left);
        }
        Ok(left == increment)
    }

    fn reset(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, Fatal> {
        frame.number()?;
        self.must_have_begun(frame)?;
        if !self.is_theirs(frame.header.stream) {
            return Ok(false);
        }
        let stream = lock(self.streams).reset(frame.header.stream);
        // A request that is taken back before it is answered costs the client
        // nothing and the upstream a lot.
        if stream.is_some_and(|stream| !stream.answered) && !self.floods.resets.take(now) {
            return Err(Fatal::too_much("too many requests were taken back"));
        }
        Ok(true)
    }

    fn priority(&mut self, frame: &Frame<'_>) -> Result<bool, Fatal> {
        if frame.header.stream == 0 {
            return Err(Fatal::protocol("PRIORITY on stream 0"));
        }
        match &mut self.held {
            Some(held) => {
                held.priority(frame);
                Ok(false)
            }
            // It may be about a stream that will begin later.
            None => Ok(true),
        }
    }

    /// Goes on with a header block, which may be whole.
    fn block(&mut self, block: Block, batch: &mut Batch<'_>) -> Result<Option<Request>, Fatal> {
        if !block.whole {
            self.block = Some(block);
            return Ok(None);
        }
        let tables = self.tables();
        if block.stream > self.begun
            && !block.stream.is_multiple_of(2)
            && let Some(known) = &self.known
            && known.is(&block.fragment, tables)
        {
            self.begun = block.stream;
            return Ok(Some(Request {
                fields: Vec::new(),
                head: block.head(),
                fragment: block.fragment,
                tables,
            }));
        }
        let decoded = self
            .decoder
            .decode(&block.fragment, MAX_BLOCK)
            .map_err(|_| {
                Fatal::new(
                    ErrorCode::Compression,
                    "a header block cannot be decompressed",
                )
            })?;
        let stream = block.stream;
        let request = Request {
            fields: decoded.fields,
            head: block.head(),
            fragment: block.fragment,
            tables,
        };
        if stream <= self.begun {
            self.trailers(&request, decoded.too_large, batch)?;
            return Ok(None);
        }
        if stream.is_multiple_of(2) {
            return Err(Fatal::protocol("a request on a stream of even number"));
        }
        self.begun = stream;
        if decoded.too_large {
            self.refuse(&request, &too_large());
        } else if headers::is_request(&request.fields) {
            return Ok(Some(request));
        } else {
            let mut streams = lock(self.streams);
            if !streams.over {
                streams.answered_here(stream);
                frame::write_reset(&mut self.down, stream, ErrorCode::Protocol);
            }
        }
        Ok(None)
    }

    /// Passes trailers on, if the request they belong to was.
    fn trailers(
        &mut self,
        request: &Request,
        too_large: bool,
        batch: &mut Batch<'_>,
    ) -> Result<(), Fatal> {
        let head = request.head;
        let mut streams = lock(self.streams);
        let Some(stream) = streams.get(head.stream) else {
            // Answered here, or reset by the upstream while this was under way.
            return Ok(());
        };
        if stream.client_done {
            let reason = "HEADERS on a stream the client had ended";
            return Err(Fatal::new(ErrorCode::StreamClosed, reason));
        }
        if too_large || !head.end_stream || !headers::is_trailer(&request.fields) {
            streams.reset(head.stream);
            frame::write_reset(&mut self.down, head.stream, ErrorCode::Protocol);
            frame::write_reset(batch.out(), head.stream, ErrorCode::Protocol);
            return Ok(());
        }
        streams.ended(head.stream, Side::Client);
        let max_frame = streams.upstream_max_frame;
        drop(streams);
        self.send(head, &request.fields, max_frame, batch);
        Ok(())
    }

    /// Writes a block of these fields, and hands it back.
    fn send(
        &mut self,
        head: Head,
        fields: &[Field],
        max_frame: usize,
        batch: &mut Batch<'_>,
    ) -> Vec<u8> {
        let mut block = Vec::with_capacity(256);
        self.encoder.encode(fields, &mut block);
        headers::write(batch.out(), head, &block, max_frame);
        block
    }

    /// Whether a frame of this stream is for the upstream.
    fn is_theirs(&self, stream: u32) -> bool {
        self.held.is_none() && lock(self.streams).is_theirs(stream)
    }

    fn must_have_begun(&self, frame: &Frame<'_>) -> Result<(), Fatal> {
        match frame.header.stream {
            0 => Err(Fatal::protocol("a frame of a stream on stream 0")),
            // Even ones are pushes.
            stream if !stream.is_multiple_of(2) && stream > self.begun => {
                Err(Fatal::protocol("a frame on a stream that has not begun"))
            }
            _ => Ok(()),
        }
    }
}

fn too_large() -> Refusal {
    Refusal::new(
        Kind::HttpRequestError(431),
        "the header fields of this request are over 64 KiB; send fewer",
    )
}

/// How many streams a client may open before the upstream was heard.
const STREAMS: u32 = 100;

/// How much of a body nobody wants is read before the client is told to stop.
const MAX_SWALLOWED: usize = 1 << 20;
