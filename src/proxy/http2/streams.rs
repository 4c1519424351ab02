//! What both directions of a connection know together: which streams are
//! open, which runsd answered by itself, and what the settings allow.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::frame::{DEFAULT_MAX_FRAME_SIZE, octets, setting};
use super::hpack;
use super::note::Note;
use super::spare::Spare;

/// The state of a connection, behind one lock that is held for a moment only.
pub struct Streams {
    /// Streams the upstream knows, until both sides are done.
    open: HashMap<u32, Stream>,
    /// Streams runsd answered; the upstream must never hear of them. Only the
    /// last few are kept, long enough for what is still under way. With each
    /// is how much of its body was thrown away.
    own: BTreeMap<u32, usize>,
    /// The last stream that was passed up or answered.
    pub last: u32,
    /// The last stream that was passed up.
    last_up: u32,
    /// Nothing goes up any more, and GOAWAY has said so.
    pub over: bool,
    /// The upstream's first SETTINGS came.
    pub upstream_greeted: bool,
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
    /// What runsd may send to the client itself.
    pub spare: Spare,
    /// The last stream the upstream will look at, as its GOAWAY says.
    upstream_last: u32,
}

/// A stream both sides know.
#[derive(Debug)]
pub struct Stream {
    pub asked: Asked,
    note: Option<Note>,
    /// The upstream's final header section has begun.
    pub answered: bool,
    pub client_done: bool,
    pub upstream_done: bool,
}

/// What must be known of a request to answer it by ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
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

impl Streams {
    pub fn new() -> Streams {
        Streams {
            open: HashMap::new(),
            own: BTreeMap::new(),
            last: 0,
            last_up: 0,
            over: false,
            upstream_greeted: false,
            client_max_frame: DEFAULT_MAX_FRAME_SIZE,
            upstream_max_frame: DEFAULT_MAX_FRAME_SIZE,
            upstream_max_frame_ever: DEFAULT_MAX_FRAME_SIZE,
            upstream_tables: VecDeque::new(),
            client_settings: VecDeque::new(),
            client_table: None,
            spare: Spare::new(),
            upstream_last: u32::MAX,
        }
    }

    /// A request went up; `note` is for when its answer comes.
    pub fn opened(&mut self, id: u32, asked: Asked, client_done: bool, note: Note) {
        (self.last, self.last_up) = (id, id);
        // The client hears, or has heard, that nobody looks at a later one.
        if id <= self.upstream_last {
            let stream = Stream {
                asked,
                note: Some(note),
                answered: false,
                client_done,
                upstream_done: false,
            };
            self.open.insert(id, stream);
        }
    }

    /// A request was answered here.
    pub fn answered_here(&mut self, id: u32) {
        self.last = id;
        self.own.insert(id, 0);
        if self.own.len() > OWN_STREAMS {
            self.own.pop_first();
        }
    }

    /// Whether the upstream may hear of this one. Even ones are its pushes.
    pub fn is_theirs(&self, id: u32) -> bool {
        id.is_multiple_of(2) || (id <= self.last_up && !self.own.contains_key(&id))
    }

    /// Throws away `len` octets of a stream that was answered here; how many
    /// it were in all.
    pub fn swallowed(&mut self, id: u32, len: usize) -> Option<usize> {
        let sum = self.own.get_mut(&id)?;
        *sum = sum.saturating_add(len);
        Some(*sum)
    }

    /// The upstream will not look at requests after `last`, which the client
    /// hears from its GOAWAY.
    pub fn upstream_goes(&mut self, last: u32) {
        self.upstream_last = last;
        self.open.retain(|&id, _| id <= last);
    }

    pub fn get(&self, id: u32) -> Option<&Stream> {
        self.open.get(&id)
    }

    /// The upstream's answer has begun; what was noted of its request, the
    /// first time.
    pub fn answer_began(&mut self, id: u32) -> Option<Note> {
        let stream = self.open.get_mut(&id)?;
        stream.answered = true;
        stream.note.take()
    }

    /// A side said END_STREAM.
    pub fn ended(&mut self, id: u32, side: Side) {
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        match side {
            Side::Client => stream.client_done = true,
            Side::Upstream => stream.upstream_done = true,
        }
        if stream.client_done && stream.upstream_done {
            self.open.remove(&id);
        }
    }

    /// A side said RST_STREAM; what the stream was before.
    pub fn reset(&mut self, id: u32) -> Option<Stream> {
        self.open.remove(&id)
    }

    /// Ends everything: the streams that are still open, in order.
    pub fn end_all(&mut self) -> Vec<(u32, Stream)> {
        self.over = true;
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_unstable_by_key(|&(id, _)| id);
        open
    }

    /// The client's settings, before they go up.
    pub fn client_settings(&mut self, settings: impl Iterator<Item = (u16, u32)>, answered: bool) {
        let mut table = None;
        for (id, value) in settings {
            match id {
                setting::HEADER_TABLE_SIZE => table = Some(value),
                setting::INITIAL_WINDOW_SIZE => self.spare.streams_begin_with(value),
                setting::MAX_FRAME_SIZE => {
                    self.client_max_frame = self.client_max_frame.max(octets(value));
                }
                _ => {}
            }
        }
        if answered {
            self.client_table_is(table);
        }
        self.client_settings
            .push_back(Unacknowledged { answered, table });
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
            let lowered = octets(size) < hpack::DEFAULT_TABLE_SIZE;
            self.client_table = lowered.then_some(octets(size));
        }
    }

    /// The upstream's settings, before they go down.
    pub fn upstream_settings(&mut self, settings: impl Iterator<Item = (u16, u32)>) {
        let mut table = None;
        for (id, value) in settings {
            match id {
                setting::HEADER_TABLE_SIZE => table = Some(value),
                setting::MAX_FRAME_SIZE => {
                    self.upstream_max_frame = octets(value).max(DEFAULT_MAX_FRAME_SIZE);
                    let ever = self.upstream_max_frame_ever.max(octets(value));
                    self.upstream_max_frame_ever = ever;
                }
                _ => {}
            }
        }
        self.upstream_tables.push_back(table);
    }
}

/// How many streams of our own are remembered.
const OWN_STREAMS: usize = 1000;
