//! What both directions of a connection know together: which streams are
//! open, which runsd answered by itself, and what the settings allow.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use crate::proxy::http2::frame::{DEFAULT_MAX_FRAME_SIZE, DEFAULT_WINDOW_SIZE, setting, to_usize};
use crate::proxy::http2::hpack;
use crate::proxy::http2::rate_limit::TokenBucket;
use crate::proxy::http2::request::RequestMeta;
use crate::proxy::http2::stream_map::StreamMap;

/// The state of a connection, behind one lock that is held for a moment only.
pub struct StreamTable {
    /// Streams the upstream knows, until both sides are done.
    open: StreamMap<Stream>,
    /// Streams that are over, while the client may not know and still send on
    /// them: the upstream must not hear of that. With each is how much of its
    /// body was thrown away, or the largest number where the client needs no
    /// more of the stream's window. At most [`MAX_DISCARDED`].
    discarded: StreamMap<usize>,
    /// The highest stream that did not fit into `discarded` any more.
    forgotten: u32,
    /// The last stream that the client began.
    pub last: u32,
    /// Streams below `last` that the client never began, in ranges; the last
    /// [`MAX_SKIPPED`] of them.
    skipped: VecDeque<(u32, u32)>,
    /// The last stream that the upstream promised (PUSH_PROMISE).
    promised: u32,
    /// The last stream of the last GOAWAY that the client was sent.
    accepted: u32,
    /// Nothing goes up any more, and GOAWAY has said so.
    pub over: bool,
    /// GOAWAY was sent; the connection ends with the last open stream.
    pub draining: bool,
    /// The upstream's first SETTINGS came.
    pub upstream_greeted: bool,
    /// How far open the streams of the upstream begin, in octets.
    upstream_stream_window: u32,
    /// How many streams the upstream takes at once.
    upstream_max_streams: usize,
    /// The longest frame the upstream may send: what the client allowed.
    pub client_max_frame: usize,
    /// The longest frame runsd may send up.
    pub upstream_max_frame: usize,
    /// The longest frame the client was ever allowed.
    pub upstream_max_frame_ever: usize,
    /// For each SETTINGS of the upstream the client has yet to acknowledge:
    /// the table size it had.
    pub upstream_tables: VecDeque<Option<u32>>,
    /// For each SETTINGS of the client the upstream has yet to acknowledge.
    pub client_settings: VecDeque<Unacknowledged>,
    /// The client lowered its table, and the next block it gets must say so.
    pub client_table: Option<usize>,
    /// How far open the client's streams begin, in octets.
    pub client_stream_window: usize,
    /// What is left of the early resets that a client may cause.
    early_resets: TokenBucket,
    /// More of them than that.
    pub too_many_resets: bool,
}

/// A stream both sides know.
#[derive(Debug)]
pub struct Stream {
    pub asked: RequestTraits,
    note: Option<RequestMeta>,
    /// The upstream's final header section has begun.
    pub answered: bool,
    pub client_done: bool,
    pub upstream_done: bool,
    /// The upstream does not know it yet.
    waiting: bool,
    /// How much of its body has to come yet, where `content-length` says so.
    body_left: Option<u64>,
}

impl Stream {
    /// Counts `len` octets of the request's body; whether they agree with its
    /// `content-length` (RFC 9113 section 8.1.1).
    fn receive(&mut self, len: usize, end: bool) -> bool {
        let Some(left) = self.body_left else {
            return true;
        };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let Some(left) = left.checked_sub(len) else {
            return false;
        };
        self.body_left = Some(left);
        !end || left == 0
    }
}

/// What a stream is to a frame of the client (RFC 9113 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never begun: idle, or skipped.
    Idle,
    /// The upstream knows it, and the client may send on it.
    Open,
    /// The upstream knows it, and the client ended its side.
    HalfClosed,
    /// Over, but the client may not know yet.
    Discarded,
    /// Both sides know that it is over.
    Closed,
}

/// What must be known of a request to answer it by ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTraits {
    pub grpc: bool,
    /// HEAD, which has no body.
    pub head: bool,
    /// Its Accept prefers JSON.
    pub json: bool,
}

/// A SETTINGS frame of the client on its way to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unacknowledged {
    /// runsd acknowledged it already, before there was an upstream.
    pub answered: bool,
    /// Its table size.
    pub table: Option<u32>,
}

/// Which side of a stream is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
}

impl StreamTable {
    pub fn new(now: Instant) -> StreamTable {
        StreamTable {
            open: StreamMap::new(),
            discarded: StreamMap::new(),
            forgotten: 0,
            last: 0,
            skipped: VecDeque::new(),
            promised: 0,
            accepted: u32::MAX,
            over: false,
            draining: false,
            upstream_greeted: false,
            upstream_stream_window: DEFAULT_WINDOW_SIZE,
            upstream_max_streams: usize::MAX,
            client_max_frame: DEFAULT_MAX_FRAME_SIZE,
            upstream_max_frame: DEFAULT_MAX_FRAME_SIZE,
            upstream_max_frame_ever: DEFAULT_MAX_FRAME_SIZE,
            upstream_tables: VecDeque::new(),
            client_settings: VecDeque::new(),
            client_table: None,
            client_stream_window: to_usize(DEFAULT_WINDOW_SIZE),
            early_resets: TokenBucket::new(EARLY_RESETS, EARLY_RESETS_PER_SECOND, now),
            too_many_resets: false,
        }
    }

    /// The client begins a stream, which is above all before it.
    pub fn began(&mut self, id: u32) {
        let next = if self.last == 0 { 1 } else { self.last + 2 };
        if id > next {
            self.skipped.push_back((next, id - 2));
            if self.skipped.len() > MAX_SKIPPED {
                self.skipped.pop_front();
            }
        }
        self.last = id;
    }

    /// Whether a request on this stream is looked at: GOAWAY did not say
    /// otherwise.
    pub fn accepts(&self, id: u32) -> bool {
        !self.over && id <= self.accepted
    }

    /// Whether the upstream takes one more stream.
    pub fn has_room(&self) -> bool {
        // Mostly that is all there is to count.
        self.open.len() < self.upstream_max_streams || {
            let known = self.open.iter().filter(|(_, stream)| !stream.waiting);
            known.count() < self.upstream_max_streams
        }
    }

    /// Whether the client has all the streams that it was told of: `told`, or
    /// the upstream's number where that is higher.
    pub fn is_full(&self, told: usize) -> bool {
        self.open.len() >= self.upstream_max_streams.max(told)
    }

    /// Whether a request waits until there is room for it.
    pub fn is_waiting(&self, id: u32) -> bool {
        self.open.get(id).is_some_and(|stream| stream.waiting)
    }

    /// A request that waited goes up, if there is room for it.
    pub fn start(&mut self, id: u32) -> bool {
        let has_room = self.has_room() && !self.over;
        if let Some(stream) = self.open.get_mut(id).filter(|_| has_room) {
            stream.waiting = false;
        }
        has_room
    }

    /// A request that waited is given up.
    pub fn give_up(&mut self, id: u32) {
        self.remove(id);
    }

    /// A request goes up, or waits for that; `note` is for when its answer
    /// comes.
    pub fn opened(
        &mut self,
        id: u32,
        asked: RequestTraits,
        client_done: bool,
        body: Option<u64>,
        note: RequestMeta,
        waiting: bool,
    ) {
        let stream = Stream {
            asked,
            note: Some(note),
            answered: false,
            client_done,
            upstream_done: false,
            waiting,
            body_left: body,
        };
        self.open.insert(id, stream);
    }

    /// runsd answered, so what the client still sends is not for the upstream.
    pub fn discard_answered(&mut self, id: u32) {
        self.discard_after(id, 0);
    }

    /// The client was, or will be, told that the stream is over: on its way is
    /// only what it sent before.
    pub fn discard(&mut self, id: u32) {
        self.discard_after(id, usize::MAX);
    }

    fn discard_after(&mut self, id: u32, swallowed: usize) {
        self.discarded.insert(id, swallowed);
        if self.discarded.len() > MAX_DISCARDED
            && let Some((id, _)) = self.discarded.pop_first()
        {
            self.forgotten = self.forgotten.max(id);
        }
    }

    /// What a stream is to a frame of the client.
    pub fn state(&self, id: u32) -> State {
        if let Some(stream) = self.open.get(id) {
            return match stream.client_done {
                true => State::HalfClosed,
                false => State::Open,
            };
        }
        if id.is_multiple_of(2) {
            // The upstream's; it knows which of its own are over.
            return match id <= self.promised {
                true => State::HalfClosed,
                false => State::Idle,
            };
        }
        let is_skipped = |&(from, to): &(u32, u32)| from <= id && id <= to;
        if id > self.last || self.skipped.iter().any(is_skipped) {
            State::Idle
        } else if id <= self.forgotten || self.discarded.get(id).is_some() {
            State::Discarded
        } else {
            State::Closed
        }
    }

    /// DATA of an open stream; whether its body is as long as was said.
    pub fn received(&mut self, id: u32, len: usize, end: bool) -> bool {
        self.open.get_mut(id).is_none_or(|stream| stream.receive(len, end))
    }

    /// Throws away `len` octets of a discarded stream; how many it were in all.
    pub fn swallowed(&mut self, id: u32, len: usize) -> Option<usize> {
        let sum = self.discarded.get_mut(id)?;
        *sum = sum.saturating_add(len);
        Some(*sum)
    }

    /// The client ended a discarded stream.
    pub fn discarded_ended(&mut self, id: u32) {
        self.discarded.remove(id);
    }

    /// The upstream promised a stream of its own.
    pub fn promised(&mut self, id: u32) {
        self.promised = self.promised.max(id);
    }

    /// A GOAWAY for the client; the last stream it names, which is never above
    /// the one of a GOAWAY before (RFC 9113 section 6.8).
    pub fn goaway(&mut self, last: u32) -> u32 {
        self.accepted = self.accepted.min(last);
        self.accepted
    }

    /// The upstream will not look at requests after `last`; what the client
    /// hears in its place.
    pub fn upstream_goes(&mut self, last: u32) -> u32 {
        let last = self.goaway(last);
        let ids = self.open.iter().map(|(id, _)| id);
        let above: Vec<u32> = ids.filter(|&id| id > last).collect();
        for id in above {
            self.remove(id);
        }
        last
    }

    /// The upstream's answer has begun; what was noted of its request, the
    /// first time.
    pub fn answer_began(&mut self, id: u32) -> Option<RequestMeta> {
        let stream = self.open.get_mut(id)?;
        if !mem::replace(&mut stream.answered, true) {
            // The share of early resets counts, not their number.
            self.early_resets.give();
        }
        stream.note.take()
    }

    /// A side said END_STREAM.
    pub fn ended(&mut self, id: u32, side: Side) {
        let Some(stream) = self.open.get_mut(id) else {
            return;
        };
        match side {
            Side::Client => stream.client_done = true,
            Side::Upstream => stream.upstream_done = true,
        }
        if stream.client_done && stream.upstream_done {
            self.open.remove(id);
        }
    }

    /// The client said RST_STREAM.
    pub fn reset_by_client(&mut self, id: u32, now: Instant) {
        // One that waited has cost the upstream nothing.
        let costs = |stream: Stream| !stream.answered && !stream.waiting;
        if self.open.remove(id).is_some_and(costs) {
            self.count_early_reset(now);
        }
    }

    /// The upstream said RST_STREAM, because of the client or not.
    pub fn reset_by_upstream(&mut self, id: u32, is_clients_fault: bool, now: Instant) {
        let stream = self.remove(id);
        if is_clients_fault && stream.is_some_and(|stream| !stream.answered) {
            self.count_early_reset(now);
        }
    }

    /// The upstream wants no more of a request; whether its answer is whole, so
    /// that the rest can be thrown away here. Not where one more window could
    /// make the client's too wide.
    pub fn answered_early(&mut self, id: u32) -> bool {
        let is_narrow = self.upstream_stream_window <= 1 << 30;
        let stream = self.open.get(id);
        let is_early = stream.is_some_and(|stream| stream.upstream_done && !stream.client_done);
        if is_early && is_narrow {
            self.open.remove(id);
            self.discard_answered(id);
        }
        is_early && is_narrow
    }

    /// runsd resets a stream because of what the client did with it; whether
    /// the upstream has to hear of it. Counts as if the client had done so
    /// itself (CVE-2025-8671).
    pub fn reset_for_client(&mut self, id: u32, now: Instant) -> bool {
        self.count_early_reset(now);
        self.remove(id).is_some()
    }

    /// Ends an open stream of which the client does not know yet.
    fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.open.remove(id)?;
        if !stream.client_done {
            self.discard(id);
        }
        Some(stream)
    }

    /// A request that is taken back before it is answered costs the client
    /// nothing and the upstream a lot (CVE-2023-44487).
    fn count_early_reset(&mut self, now: Instant) {
        if !self.early_resets.take(now) {
            self.too_many_resets = true;
        }
    }

    /// Whether GOAWAY was sent, and the last stream is over.
    pub fn is_drained(&self) -> bool {
        self.draining && self.open.is_empty()
    }

    /// Ends everything: the streams that are still open, in order.
    pub fn end_all(&mut self) -> Vec<(u32, Stream)> {
        self.over = true;
        mem::take(&mut self.open).into_vec()
    }

    /// The client's settings, before they go up.
    pub fn client_settings(&mut self, settings: impl Iterator<Item = (u16, u32)>, answered: bool) {
        let mut table = None;
        for (id, value) in settings {
            match id {
                setting::HEADER_TABLE_SIZE => table = Some(value),
                setting::INITIAL_WINDOW_SIZE => self.client_stream_window = to_usize(value),
                setting::MAX_FRAME_SIZE => {
                    self.client_max_frame = self.client_max_frame.max(to_usize(value));
                }
                _ => {}
            }
        }
        if answered {
            self.client_table_is(table);
        }
        self.client_settings.push_back(Unacknowledged { answered, table });
    }

    /// The upstream acknowledged settings of the client; whether the client
    /// is to hear of it.
    pub fn upstream_acknowledged(&mut self) -> bool {
        match self.client_settings.pop_front() {
            Some(Unacknowledged { answered: true, .. }) => false,
            Some(Unacknowledged { table, .. }) => {
                self.client_table_is(table);
                true
            }
            None => true,
        }
    }

    /// The client expects to be told of a smaller table (RFC 7541, section
    /// 4.2), by the upstream's next block or by ours, whichever comes first.
    fn client_table_is(&mut self, table: Option<u32>) {
        if let Some(size) = table {
            let lowered = to_usize(size) < hpack::DEFAULT_TABLE_SIZE;
            self.client_table = lowered.then_some(to_usize(size));
        }
    }

    /// The upstream's settings, before they go down.
    pub fn upstream_settings(&mut self, settings: impl Iterator<Item = (u16, u32)>) {
        let mut table = None;
        for (id, value) in settings {
            match id {
                setting::HEADER_TABLE_SIZE => table = Some(value),
                setting::MAX_FRAME_SIZE => {
                    self.upstream_max_frame = to_usize(value).max(DEFAULT_MAX_FRAME_SIZE);
                    let ever = self.upstream_max_frame_ever.max(to_usize(value));
                    self.upstream_max_frame_ever = ever;
                }
                setting::INITIAL_WINDOW_SIZE => self.upstream_stream_window = value,
                setting::MAX_CONCURRENT_STREAMS => self.upstream_max_streams = to_usize(value),
                _ => {}
            }
        }
        self.upstream_tables.push_back(table);
    }
}

/// How many streams that are over are remembered: more than clients open at
/// once.
const MAX_DISCARDED: usize = 1000;

/// How many ranges of skipped streams are remembered; honest clients skip none.
const MAX_SKIPPED: usize = 64;

/// How many requests of a connection may be taken back before they are
/// answered: so many at once, one more for each that was answered, ...
const EARLY_RESETS: u64 = 1000;
/// ... and so many a second.
const EARLY_RESETS_PER_SECOND: u64 = 100;
