//! From the client to the upstream, frame by frame: what passes, what stays
//! here, and what is wrong. Bytes in, bytes out; `mod.rs` has the sockets.
//!
//! Before there is an upstream, the client's settings are acknowledged here,
//! since some clients ask for nothing until they are, and kept for later.

use std::sync::Mutex;
use std::time::Instant;

use super::answer::{self, Asked, Refusal};
use super::batch::Batch;
use super::flood::Bucket;
use super::frame::{self, ErrorCode, Fatal, Frame, Header, PREFACE, flag, kind, setting};
use super::headers::{self, Block, Head, MAX_BLOCK};
use super::hpack::{self, Decoder, Encoder, Field};
use super::lock;
use super::streams::{Side, Streams};

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
    floods: Floods,
    /// Octets of DATA that stayed here, to be given back to the client.
    swallowed: usize,
    /// For the client.
    down: Vec<u8>,
}

/// A request whose fields are all here.
#[derive(Debug)]
pub struct Request {
    pub fields: Vec<Field>,
    head: Head,
}

/// What came before there was an upstream.
#[derive(Default)]
struct Held {
    frames: Vec<u8>,
    /// How much the client opened the connection's window.
    window: u32,
    /// What streams are opened with.
    stream_window: usize,
}

struct Floods {
    settings: Bucket,
    pings: Bucket,
    resets: Bucket,
    empty: Bucket,
}

impl<'a> Requests<'a> {
    pub fn new(streams: &'a Mutex<Streams>, now: Instant) -> Requests<'a> {
        let mut down = Vec::new();
        // At once: some clients wait for it.
        frame::write_settings(&mut down, &[]);
        Requests {
            streams,
            decoder: Decoder::new(hpack::DEFAULT_TABLE_SIZE),
            encoder: Encoder::new(),
            block: None,
            begun: 0,
            greeted: false,
            acknowledged: false,
            held: Some(Held {
                stream_window: 65_535,
                ..Held::default()
            }),
            floods: Floods {
                settings: Bucket::new(100, 10, now),
                pings: Bucket::new(1000, 500, now),
                resets: Bucket::new(1000, 100, now),
                empty: Bucket::new(1000, 100, now),
            },
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
                return Err(protocol("the first frame is not SETTINGS"));
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
        if let Some(held) = self.held.take() {
            let out = batch.out();
            out.extend_from_slice(PREFACE);
            out.extend_from_slice(&held.frames);
            frame::write_window_update(out, 0, held.window);
        }
    }

    /// Passes a request up, its fields rewritten.
    pub fn pass(&mut self, request: &Request, batch: &mut Batch<'_>) {
        let mut streams = lock(self.streams);
        if streams.over {
            // GOAWAY told the client that this one was never looked at.
            return;
        }
        let head = request.head;
        streams.opened(
            head.stream,
            answer::is_grpc(&request.fields),
            head.end_stream,
        );
        let max_frame = streams.upstream_max_frame;
        drop(streams);
        self.send(head, &request.fields, max_frame, batch);
    }

    /// Answers a request here.
    pub fn refuse(&mut self, request: &Request, refusal: &Refusal) {
        let head_only = request
            .fields
            .iter()
            .any(|field| field.name == b":method" && field.value == b"HEAD");
        // A body is paid for with what the client opened its connection's
        // window by, and the upstream, if there ever is one, hears of that
        // much less. Afterwards the window is the upstream's, so no body.
        let body = match &self.held {
            Some(held) if !head_only => octets(held.window).min(held.stream_window),
            _ => 0,
        };
        let asked = Asked {
            stream: request.head.stream,
            grpc: answer::is_grpc(&request.fields),
            body,
        };
        let mut streams = lock(self.streams);
        if streams.over {
            return;
        }
        streams.answered_here(asked.stream);
        let sent = answer::write(&mut self.down, &mut streams, asked, refusal);
        if let Some(held) = &mut self.held {
            held.window -= u32::try_from(sent).unwrap_or(held.window);
        }
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
            kind::WINDOW_UPDATE => self.window_update(frame)?,
            kind::RST_STREAM => self.reset(frame, now)?,
            kind::PRIORITY => self.priority(frame)?,
            kind::GOAWAY if frame.header.stream != 0 => {
                return Err(protocol("GOAWAY on a stream"));
            }
            kind::PUSH_PROMISE => return Err(protocol("PUSH_PROMISE from a client")),
            kind::CONTINUATION => return Err(protocol("CONTINUATION without HEADERS")),
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
            return Err(too_many("too many empty DATA frames"));
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
            return Err(protocol("SETTINGS on a stream"));
        }
        let settings = frame.settings()?;
        if frame.header.has(flag::ACK) {
            return Ok(self.settings_ack());
        }
        if !self.floods.settings.take(now) {
            return Err(too_many("too many SETTINGS"));
        }
        for (id, value) in settings {
            check_setting(id, value)?;
        }
        self.greeted = true;
        let mut streams = lock(self.streams);
        streams.client_settings(frame.settings()?, self.held.is_some());
        let Some(held) = &mut self.held else {
            return Ok(true);
        };
        frame::write_settings_ack(&mut self.down);
        for (id, value) in frame.settings()? {
            if id == setting::INITIAL_WINDOW_SIZE {
                held.stream_window = octets(value);
            }
        }
        held.keep(frame)?;
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
            return Err(protocol("PING on a stream"));
        }
        if frame.header.len != 8 {
            return Err(Fatal::new(ErrorCode::FrameSize, "PING of a wrong length"));
        }
        if !self.floods.pings.take(now) {
            return Err(too_many("too many PINGs"));
        }
        if self.held.is_some() && !frame.header.has(flag::ACK) {
            frame::write_ping_ack(&mut self.down, frame.payload);
        }
        Ok(self.held.is_none())
    }

    fn window_update(&mut self, frame: &Frame<'_>) -> Result<bool, Fatal> {
        let increment = frame.number()? & 0x7fff_ffff;
        if frame.header.stream != 0 {
            self.must_have_begun(frame)?;
            return Ok(self.is_theirs(frame.header.stream));
        }
        if increment == 0 {
            return Err(protocol("WINDOW_UPDATE of nothing"));
        }
        if let Some(held) = &mut self.held {
            let window = held
                .window
                .checked_add(increment)
                .filter(|&sum| sum <= LARGEST_WINDOW);
            held.window =
                window.ok_or(Fatal::new(ErrorCode::FlowControl, "the window overflows"))?;
        }
        Ok(self.held.is_none())
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
            return Err(too_many("too many requests were taken back"));
        }
        Ok(true)
    }

    fn priority(&mut self, frame: &Frame<'_>) -> Result<bool, Fatal> {
        if frame.header.stream == 0 {
            return Err(protocol("PRIORITY on stream 0"));
        }
        match &mut self.held {
            Some(held) => {
                // Advice only, so it may get lost.
                if frame.header.len == 5 && held.frames.len() < MAX_HELD / 2 {
                    held.keep(frame)?;
                }
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
        let decoded = self
            .decoder
            .decode(&block.fragment, MAX_BLOCK)
            .map_err(|_| {
                Fatal::new(
                    ErrorCode::Compression,
                    "a header block cannot be decompressed",
                )
            })?;
        let Block {
            stream,
            end_stream,
            priority,
            ..
        } = block;
        let head = Head {
            stream,
            end_stream,
            priority,
        };
        let request = Request {
            head,
            fields: decoded.fields,
        };
        if stream <= self.begun {
            self.trailers(&request, decoded.too_large, batch)?;
            return Ok(None);
        }
        if stream % 2 == 0 {
            return Err(protocol("a request on a stream of even number"));
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

    fn send(&mut self, head: Head, fields: &[Field], max_frame: usize, batch: &mut Batch<'_>) {
        let mut block = Vec::with_capacity(256);
        self.encoder.encode(fields, &mut block);
        headers::write(batch.out(), head, &block, max_frame);
    }

    /// Whether a frame of this stream is for the upstream.
    fn is_theirs(&self, stream: u32) -> bool {
        self.held.is_none() && lock(self.streams).is_theirs(stream)
    }

    fn must_have_begun(&self, frame: &Frame<'_>) -> Result<(), Fatal> {
        match frame.header.stream {
            0 => Err(protocol("a frame of a stream on stream 0")),
            // Even ones are pushes.
            stream if stream % 2 == 1 && stream > self.begun => {
                Err(protocol("a frame on a stream that has not begun"))
            }
            _ => Ok(()),
        }
    }
}

impl Held {
    /// Keeps a frame for the upstream as it is.
    fn keep(&mut self, frame: &Frame<'_>) -> Result<(), Fatal> {
        if self.frames.len() + frame.len() > MAX_HELD {
            return Err(too_many("too much before the first request"));
        }
        frame.header.write(&mut self.frames);
        self.frames.extend_from_slice(frame.payload);
        Ok(())
    }
}

/// What nobody may say (RFC 9113, section 6.5.2).
fn check_setting(id: u16, value: u32) -> Result<(), Fatal> {
    let max_frames = frame::DEFAULT_MAX_FRAME_SIZE..=frame::LARGEST_MAX_FRAME_SIZE;
    match id {
        setting::ENABLE_PUSH if value > 1 => Err(protocol("SETTINGS_ENABLE_PUSH is no flag")),
        setting::INITIAL_WINDOW_SIZE if value > LARGEST_WINDOW => Err(Fatal::new(
            ErrorCode::FlowControl,
            "SETTINGS_INITIAL_WINDOW_SIZE is too large",
        )),
        setting::MAX_FRAME_SIZE if !max_frames.contains(&octets(value)) => {
            Err(protocol("SETTINGS_MAX_FRAME_SIZE is out of range"))
        }
        _ => Ok(()),
    }
}

fn too_large() -> Refusal {
    Refusal {
        status: 431,
        proxy_status: "runsd; error=http_request_error; details=\"header fields over 64 KiB\""
            .into(),
        sentence: "the header fields of this request are over 64 KiB; send fewer".into(),
    }
}

fn protocol(reason: &'static str) -> Fatal {
    Fatal::new(ErrorCode::Protocol, reason)
}

fn too_many(reason: &'static str) -> Fatal {
    Fatal::new(ErrorCode::EnhanceYourCalm, reason)
}

fn octets(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

const LARGEST_WINDOW: u32 = 0x7fff_ffff;

/// How much is kept for an upstream that is not there yet.
const MAX_HELD: usize = 65_536;

/// How much of a body nobody wants is read before the client is told to stop.
const MAX_SWALLOWED: usize = 1 << 20;
