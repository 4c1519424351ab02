//! From the upstream to the client, frame by frame. FrameHeader blocks pass as they
//! are, so the client's table is the upstream's; runsd looks on, to see how
//! answers begin. Only SETTINGS are changed. Bytes in, bytes out; `mod.rs` has
//! the sockets.

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::Instant;

use crate::proxy::http2::client_to_upstream::STREAMS;
use crate::proxy::http2::frame;
use crate::proxy::http2::frame::{ConnectionError, ErrorCode, Frame, flag, frame_type, setting};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::hpack::Decoder;
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::proxy::http2::stream_table::{Side, StreamTable};
use crate::sync::lock;

/// The answers of one upstream.
pub struct Responses<'a> {
    streams: &'a Mutex<StreamTable>,
    /// `None` once it lost its way: the client may know better.
    decoder: Option<Decoder>,
    /// The last answer that said no, with its stream, until its body begins.
    refusing: Option<(u32, RequestMeta, ResponseHead)>,
}

/// What was seen of an answer on its way.
#[derive(Debug)]
pub enum Event<'a> {
    /// It began.
    Response(&'a RequestMeta, &'a ResponseHead),
    /// One of 401, 403 or 404 has a body that begins so.
    ProxyError(&'a RequestMeta, &'a ResponseHead, &'a [u8]),
}

impl<'a> Responses<'a> {
    pub fn new(streams: &'a Mutex<StreamTable>) -> Responses<'a> {
        Responses { streams, decoder: Some(Decoder::passive()), refusing: None }
    }

    /// Walks through `batch` to its last whole frame, or to the last one
    /// before a header block that is not all here: nothing may come in between
    /// its frames, and runsd has frames of its own for the client. What was
    /// seen on the way is for `tell`.
    pub fn pass(
        &mut self,
        batch: &mut FrameSplicer<'_>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ConnectionError> {
        let (max, greeted) = {
            let streams = lock(self.streams);
            (streams.client_max_frame, streams.upstream_greeted)
        };
        if !greeted && batch.rest().starts_with(b"HTTP/1.") {
            return Err(ConnectionError::new(ErrorCode::HTTP_1_1_REQUIRED, "HTTP/1.1"));
        }
        while let Some(frame) = frame::parse(batch.rest(), max)? {
            match frame.header.frame_type {
                frame_type::DATA => self.data(&frame, tell),
                frame_type::HEADERS | frame_type::PUSH_PROMISE => {
                    let Some(block) = Block::whole(frame, max)? else {
                        return Ok(());
                    };
                    self.block(&block, tell);
                    batch.pass(block.wire);
                    continue;
                }
                frame_type::RST_STREAM => {
                    self.reset(&frame, batch)?;
                    continue;
                }
                frame_type::SETTINGS => {
                    settings(&frame, batch, self.streams)?;
                    continue;
                }
                frame_type::GOAWAY => {
                    self.goaway(&frame, batch);
                    continue;
                }
                _ => {}
            }
            batch.pass(frame.len());
        }
        Ok(())
    }

    fn data(&mut self, frame: &Frame<'_>, tell: &mut dyn FnMut(Event<'_>)) {
        let stream = frame.header.stream_id;
        let its_body =
            |refusing: &mut (u32, RequestMeta, ResponseHead)| refusing.0 == stream && !frame.payload.is_empty();
        let refusing = self.refusing.take_if(its_body);
        if let (Some((_, note, answer)), Ok(body)) = (refusing, frame.unpadded()) {
            tell(Event::ProxyError(&note, &answer, body));
        }
        self.end_of_stream(frame);
    }

    fn reset(&self, frame: &Frame<'_>, batch: &mut FrameSplicer<'_>) -> Result<(), ConnectionError> {
        // What an upstream says of a client that breaks the protocol.
        let clients_faults = [
            ErrorCode::PROTOCOL_ERROR,
            ErrorCode::FLOW_CONTROL_ERROR,
            ErrorCode::STREAM_CLOSED,
            ErrorCode::FRAME_SIZE_ERROR,
            ErrorCode::ENHANCE_YOUR_CALM,
        ];
        let (code, id) = (frame.read_u32()?, frame.header.stream_id);
        let mut streams = lock(self.streams);
        if code == ErrorCode::NO_ERROR.code() && streams.answered_early(id) {
            // The answer is whole, and the rest of the request is not wanted
            // (RFC 9113 section 8.1). curl 7.88, for one, throws the answer
            // away when it reads both at once; so the client may send on for a
            // while, and that is thrown away.
            batch.skip(frame.len());
            frame::write_window_update(batch.out(), id, EARLY_WINDOW);
            return Ok(());
        }
        let is_clients_fault = clients_faults.map(ErrorCode::code).contains(&code);
        streams.reset_by_upstream(id, is_clients_fault, Instant::now());
        batch.pass(frame.len());
        Ok(())
    }

    /// Passes a GOAWAY on; one that takes back what the one before it said is
    /// put right (RFC 9113 section 6.8).
    fn goaway(&self, frame: &Frame<'_>, batch: &mut FrameSplicer<'_>) {
        let Some((&octets, rest)) = frame.payload.split_first_chunk() else {
            return batch.skip(frame.len());
        };
        let last = u32::from_be_bytes(octets) & 0x7fff_ffff;
        let told = lock(self.streams).upstream_goes(last);
        if told == last {
            return batch.pass(frame.len());
        }
        batch.skip(frame.len());
        frame.header.write(batch.out());
        batch.out().extend_from_slice(&told.to_be_bytes());
        batch.out().extend_from_slice(rest);
    }

    fn block(&mut self, block: &Block<'_>, tell: &mut dyn FnMut(Event<'_>)) {
        let answer = self.decoder.as_mut().map(|decoder| answer(decoder, block));
        if matches!(answer, Some(Err(_))) {
            self.decoder = None;
        }
        let answer = answer.and_then(Result::ok).flatten();
        let frame = &block.first;
        let stream = frame.header.stream_id;
        let note = {
            let mut streams = lock(self.streams);
            // The block itself tells the client about its table.
            streams.client_table = None;
            if let Some(id) = block.promised {
                streams.promised(id);
            }
            let interim = answer.as_ref().is_some_and(|answer| answer.status < 200);
            if frame.header.frame_type == frame_type::PUSH_PROMISE || interim {
                return;
            }
            streams.answer_began(stream)
        };
        // The lock is given back before anybody is told.
        if let (Some(note), Some(answer)) = (note, answer) {
            tell(Event::Response(&note, &answer));
            if matches!(answer.status, 401 | 403 | 404) {
                self.refusing = Some((stream, note, answer));
            }
        }
        self.end_of_stream(frame);
    }

    fn end_of_stream(&self, frame: &Frame<'_>) {
        if frame.header.has(flag::END_STREAM) {
            lock(self.streams).ended(frame.header.stream_id, Side::Upstream);
        }
    }
}

/// A header block that is all here.
struct Block<'a> {
    /// HEADERS or PUSH_PROMISE.
    first: Frame<'a>,
    fragment: Cow<'a, [u8]>,
    /// The stream that PUSH_PROMISE is about.
    promised: Option<u32>,
    /// Octets of all its frames.
    wire: usize,
}

impl<'a> Block<'a> {
    /// Puts one together; `None` when more has to come.
    fn whole(first: Frame<'a>, max: usize) -> Result<Option<Block<'a>>, ConnectionError> {
        let broken = |reason| ConnectionError::new(ErrorCode::INTERNAL_ERROR, reason);
        let fragment = first.unpadded()?;
        let before = match first.header.frame_type {
            frame_type::PUSH_PROMISE => 4, // the promised stream
            _ if first.header.has(flag::PRIORITY) => 5,
            _ => 0,
        };
        let torn = broken("the upstream's header block is torn");
        let (fields, fragment) = fragment.split_at_checked(before).ok_or(torn)?;
        let promised = match first.header.frame_type {
            frame_type::PUSH_PROMISE => fields.try_into().ok().map(u32::from_be_bytes),
            _ => None,
        };
        let mut fragment = Cow::Borrowed(fragment);
        let mut wire = first.len();
        let mut frame = first;
        while !frame.header.has(flag::END_HEADERS) {
            if wire > MAX_RESPONSE_BLOCK {
                return Err(broken("the upstream's header block is endless"));
            }
            let Some(next) = frame::parse(frame.rest, max)? else {
                return Ok(None);
            };
            if next.header.frame_type != frame_type::CONTINUATION || next.header.stream_id != first.header.stream_id {
                return Err(torn);
            }
            wire += next.len();
            fragment.to_mut().extend_from_slice(next.payload);
            frame = next;
        }
        Ok(Some(Block { first, fragment, promised, wire }))
    }
}

/// How an answer begins; `None` for a block that has no status.
fn answer(
    decoder: &mut Decoder,
    block: &Block<'_>,
) -> Result<Option<ResponseHead>, crate::proxy::http2::hpack::DecodeError> {
    let (mut status, mut challenge) = (None, None);
    decoder.visit(&block.fragment, |name, value, _| {
        if name == b":status" {
            status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        } else if status == Some(401) && name == b"www-authenticate" {
            challenge.get_or_insert_with(|| value.to_vec());
        }
    })?;
    Ok(status.map(|status| ResponseHead { status, challenge }))
}

/// The upstream's settings are the client's, except for the table: that is of
/// runsd's own encoder.
fn settings(
    frame: &Frame<'_>,
    batch: &mut FrameSplicer<'_>,
    streams: &Mutex<StreamTable>,
) -> Result<(), ConnectionError> {
    let pairs: Vec<(u16, u32)> = frame.settings()?.collect();
    let mut streams = lock(streams);
    if frame.header.has(flag::ACK) {
        if streams.upstream_acknowledged() {
            batch.pass(frame.len());
        } else {
            batch.skip(frame.len());
        }
        return Ok(());
    }
    streams.upstream_settings(pairs.iter().copied());
    // What runsd told the client already is never taken back: what is above
    // the upstream's own number waits here. grpc-core, for one, has calls that
    // never begin after the limit was lowered under them.
    let told = |&(id, value): &(u16, u32)| match id {
        setting::MAX_CONCURRENT_STREAMS => (id, value.max(STREAMS)),
        _ => (id, value),
    };
    let mut passed: Vec<_> = pairs.iter().filter(|pair| pair.0 != setting::HEADER_TABLE_SIZE).map(told).collect();
    let first = !std::mem::replace(&mut streams.upstream_greeted, true);
    let limited = |&(id, _): &(u16, u32)| id == setting::MAX_CONCURRENT_STREAMS;
    if first && !pairs.iter().any(limited) {
        // Takes back the limit that runsd itself began with.
        passed.push((setting::MAX_CONCURRENT_STREAMS, u32::MAX));
    }
    if passed == pairs {
        batch.pass(frame.len());
    } else {
        batch.skip(frame.len());
        frame::write_settings(batch.out(), &passed);
    }
    Ok(())
}

/// Octets of credit for a client whose request is not wanted any more, so that
/// it is not stuck where the upstream's credit ended.
const EARLY_WINDOW: u32 = 65_535;

/// No answer of a sane server has more fields.
const MAX_RESPONSE_BLOCK: usize = 1 << 20;
