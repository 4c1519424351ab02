//! Requests above the number of streams that the upstream takes at once.
//!
//! A client opens many before it can know that number. It would see the rest
//! refused; so they wait here, with what follows them, until there is room.

use std::collections::VecDeque;

use crate::proxy::http2::client_to_upstream::Requests;
use crate::proxy::http2::frame::{Frame, frame_type};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::header_block;
use crate::proxy::http2::header_block::Head;
use crate::proxy::http2::hpack::Field;
use crate::sync::lock;

/// Requests that wait, in their order.
#[derive(Default)]
pub struct Waiting {
    requests: VecDeque<Held>,
    /// Octets of all frames that wait with them.
    frames: usize,
}

struct Held {
    head: Head,
    fields: Vec<Field>,
    /// DATA and WINDOW_UPDATE, as they came.
    frames: Vec<u8>,
    /// Octets of that DATA, as flow control counts them.
    data: usize,
    trailers: Option<(Head, Vec<Field>)>,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// A request whose fields are rewritten already.
    pub fn push(&mut self, head: Head, fields: Vec<Field>) {
        self.requests.push_back(Held { head, fields, frames: Vec::new(), data: 0, trailers: None });
    }

    /// A frame of one of them; `false` when it cannot wait.
    pub fn frame(&mut self, frame: &Frame<'_>) -> bool {
        let id = frame.header.stream_id;
        let Some(held) = self.requests.iter_mut().find(|held| held.head.stream == id) else {
            return false;
        };
        if self.frames + frame.len() > MAX_FRAMES {
            return false;
        }
        self.frames += frame.len();
        if frame.header.frame_type == frame_type::DATA {
            held.data += frame.header.len;
        }
        frame.header.write(&mut held.frames);
        held.frames.extend_from_slice(frame.payload);
        true
    }

    /// One of them is given up; the octets of its DATA, which the upstream will
    /// never give back.
    #[must_use]
    pub fn remove(&mut self, id: u32) -> usize {
        let at = self.requests.iter().position(|held| held.head.stream == id);
        let Some(held) = at.and_then(|at| self.requests.remove(at)) else {
            return 0;
        };
        self.frames -= held.frames.len();
        held.data
    }

    /// The trailers of one of them.
    pub fn trailers(&mut self, head: Head, fields: Vec<Field>) {
        let mut requests = self.requests.iter_mut();
        if let Some(held) = requests.find(|held| held.head.stream == head.stream) {
            held.trailers = Some((head, fields));
        }
    }
}

impl Requests<'_> {
    /// Whether requests wait for room: then somebody has to look again soon.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Passes up what waited, as far as there is room by now.
    pub fn release(&mut self, batch: &mut FrameSplicer<'_>) {
        while let Some(held) = self.waiting.requests.front() {
            let id = held.head.stream;
            let max_frame = {
                let mut streams = lock(self.streams);
                let is_waiting = streams.is_waiting(id);
                if is_waiting && !streams.start(id) {
                    return;
                }
                is_waiting.then_some(streams.upstream_max_frame)
            };
            let Some(held) = self.waiting.requests.pop_front() else {
                return;
            };
            self.waiting.frames -= held.frames.len();
            // Without one it was given up meanwhile.
            let Some(max_frame) = max_frame else {
                self.swallowed += held.data;
                continue;
            };
            let mut block = Vec::new();
            self.encoder.encode(&held.fields, &mut block);
            header_block::write(batch.out(), held.head, &block, max_frame);
            batch.out().extend_from_slice(&held.frames);
            if let Some((head, fields)) = held.trailers {
                self.send(head, &fields, max_frame, batch);
            }
        }
    }
}

/// Octets of frames that wait with them: sixteen times the window that a
/// connection begins with.
const MAX_FRAMES: usize = 1 << 20;
