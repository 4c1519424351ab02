//! From the upstream to the client, frame by frame. Header blocks pass as they
//! are, so the client's table is the upstream's; only SETTINGS are looked into.
//! Bytes in, bytes out; `mod.rs` has the sockets.

use std::sync::Mutex;

use super::batch::Batch;
use super::frame::{self, ErrorCode, Fatal, Frame, flag, kind, setting};
use super::headers::Block;
use super::hpack;
use super::lock;
use super::streams::{Side, Streams};

/// What could be seen of an answer on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    Status(u16),
    /// 401, 403 or 404, and how its body begins.
    Refusal(u16, &'a [u8]),
}

/// Walks through `batch` to its last whole frame, or to the last one before a
/// header block that is not all here: nothing may come in between its frames,
/// and runsd has frames of its own for the client. What could be seen on the
/// way is for `tell`.
pub fn pass(
    batch: &mut Batch<'_>,
    streams: &Mutex<Streams>,
    tell: &dyn Fn(Said<'_>),
) -> Result<(), Fatal> {
    let max = lock(streams).client_max_frame;
    while let Some(frame) = frame::parse(batch.rest(), max)? {
        match frame.header.kind {
            kind::DATA => data(&frame, streams, tell),
            kind::HEADERS | kind::PUSH_PROMISE => {
                let Some(len) = block_len(&frame, max)? else {
                    return Ok(());
                };
                headers(&frame, streams, tell);
                batch.pass(len);
                continue;
            }
            kind::RST_STREAM => {
                lock(streams).reset(frame.header.stream);
            }
            kind::SETTINGS => {
                settings(&frame, batch, streams)?;
                continue;
            }
            kind::GOAWAY => {
                if let Some(&last) = frame.payload.first_chunk() {
                    lock(streams).upstream_goes(u32::from_be_bytes(last) & 0x7fff_ffff);
                }
            }
            _ => {}
        }
        batch.pass(frame.len());
    }
    Ok(())
}

/// How long a header block is with all its CONTINUATION, if it is all here.
fn block_len(first: &Frame<'_>, max: usize) -> Result<Option<usize>, Fatal> {
    let mut len = first.len();
    let mut frame = *first;
    while !frame.header.has(flag::END_HEADERS) {
        if len > MAX_RESPONSE_BLOCK {
            return Err(Fatal::new(
                ErrorCode::Internal,
                "the upstream's header block is endless",
            ));
        }
        let Some(next) = frame::parse(frame.rest, max)? else {
            return Ok(None);
        };
        if next.header.kind != kind::CONTINUATION || next.header.stream != first.header.stream {
            return Err(Fatal::new(
                ErrorCode::Internal,
                "the upstream's header block is torn",
            ));
        }
        len += next.len();
        frame = next;
    }
    Ok(Some(len))
}

fn data(frame: &Frame<'_>, streams: &Mutex<Streams>, tell: &dyn Fn(Said<'_>)) {
    let stream = frame.header.stream;
    let refusing = lock(streams)
        .refusing
        .take_if(|refusing| refusing.0 == stream && !frame.payload.is_empty());
    if let (Some((_, status)), Ok(body)) = (refusing, frame.unpadded()) {
        tell(Said::Refusal(status, body));
    }
    end_of_stream(frame, streams);
}

fn headers(frame: &Frame<'_>, streams: &Mutex<Streams>, tell: &dyn Fn(Said<'_>)) {
    let stream = frame.header.stream;
    // The block itself tells the client about its table.
    lock(streams).client_table = None;
    if frame.header.kind == kind::PUSH_PROMISE {
        return;
    }
    let block = Block::begin(frame).ok();
    let status = block.and_then(|block| hpack::peek_status(&block.fragment));
    let interim = status.is_some_and(|status| status < 200);
    // The lock is given back before anybody is told.
    let first = !interim && lock(streams).answer_began(stream);
    if let (true, Some(status)) = (first, status) {
        if matches!(status, 401 | 403 | 404) {
            lock(streams).refusing = Some((stream, status));
        }
        tell(Said::Status(status));
    }
    end_of_stream(frame, streams);
}

fn end_of_stream(frame: &Frame<'_>, streams: &Mutex<Streams>) {
    if frame.header.has(flag::END_STREAM) {
        lock(streams).ended(frame.header.stream, Side::Upstream);
    }
}

/// The upstream's settings are the client's, except for the table: that is of
/// runsd's own encoder.
fn settings(
    frame: &Frame<'_>,
    batch: &mut Batch<'_>,
    streams: &Mutex<Streams>,
) -> Result<(), Fatal> {
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
    let mut passed: Vec<_> = pairs
        .iter()
        .copied()
        .filter(|pair| pair.0 != setting::HEADER_TABLE_SIZE)
        .collect();
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

/// No answer of a sane server has more fields.
const MAX_RESPONSE_BLOCK: usize = 1 << 20;
