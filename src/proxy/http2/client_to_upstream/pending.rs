//! Requests above the number of streams that the upstream takes at once.
//!
//! A client opens streams before it can know the upstream's limit, and would see those above it refused. So they wait
//! here, with the frames that follow them, until the upstream takes more.

use std::collections::VecDeque;

use crate::proxy::http2::client_to_upstream::ClientToUpstream;
use crate::proxy::http2::frame::{self, ErrorCode, Frame, frame_type};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::header_block::HeadersFrame;
use crate::proxy::http2::hpack::Field;
use crate::proxy::http2::request::Request;
use crate::sync::lock;

/// The pending requests, the oldest first.
#[derive(Default)]
pub struct PendingRequests {
    requests: VecDeque<PendingRequest>,
    /// Octets of the frames of all of them, at most [`MAX_PENDING_LEN`].
    frames_len: usize,
}

struct PendingRequest {
    /// With rewritten fields.
    request: Request,
    /// DATA and WINDOW_UPDATE, as they came.
    frames: Vec<u8>,
    /// Octets of that DATA, as flow control counts them.
    data_len: usize,
    trailers: Option<(HeadersFrame, Vec<Field>)>,
}

impl PendingRequests {
    /// Adds a request whose fields are rewritten.
    pub fn push(&mut self, request: Request) {
        self.requests.push_back(PendingRequest { request, frames: Vec::new(), data_len: 0, trailers: None });
    }

    /// Adds a frame to its request; `false` where that exceeds [`MAX_PENDING_LEN`].
    fn add_frame(&mut self, frame: &Frame<'_>) -> bool {
        let id = frame.header.stream_id;
        let has_room = self.frames_len + frame.len() <= MAX_PENDING_LEN;
        let Some(pending) = self.find(id).filter(|_| has_room) else {
            return false;
        };
        if frame.header.frame_type == frame_type::DATA {
            pending.data_len += frame.header.len;
        }
        frame.header.write(&mut pending.frames);
        pending.frames.extend_from_slice(frame.payload);
        self.frames_len += frame.len();
        true
    }

    /// Adds trailers to their request.
    pub fn add_trailers(&mut self, headers: HeadersFrame, fields: Vec<Field>) {
        if let Some(pending) = self.find(headers.stream_id) {
            pending.trailers = Some((headers, fields));
        }
    }

    /// Removes a request; returns the octets of its DATA, for which the upstream will never give credit.
    #[must_use]
    pub fn remove(&mut self, id: u32) -> usize {
        let index = self.requests.iter().position(|pending| pending.request.headers.stream_id == id);
        let Some(pending) = index.and_then(|index| self.requests.remove(index)) else {
            return 0;
        };
        self.frames_len -= pending.frames.len();
        pending.data_len
    }

    fn find(&mut self, id: u32) -> Option<&mut PendingRequest> {
        self.requests.iter_mut().find(|pending| pending.request.headers.stream_id == id)
    }
}

impl ClientToUpstream<'_> {
    /// Whether requests are pending: then the thread calls `receive` again soon, whether or not the client sends.
    pub fn has_pending(&self) -> bool {
        !self.pending.requests.is_empty()
    }

    /// Keeps a frame with its pending request. Where that is too much, the client may send the request again (RFC 9113
    /// section 8.7).
    pub(super) fn keep_pending(&mut self, frame: &Frame<'_>, splicer: &mut FrameSplicer<'_>) {
        splicer.discard(frame.len());
        if !self.pending.add_frame(frame) {
            let id = frame.header.stream_id;
            frame::write_rst_stream(&mut self.to_client.frames, id, ErrorCode::REFUSED_STREAM);
            self.to_client.discarded_len += self.pending.remove(id);
            lock(self.conn).streams.reset(id);
            self.discard_data(frame);
        }
    }

    /// Sends pending requests, as many as the upstream takes by now.
    pub(super) fn release_pending(&mut self, splicer: &mut FrameSplicer<'_>) {
        while let Some(pending) = self.pending.requests.front() {
            let id = pending.request.headers.stream_id;
            let max_frame = {
                let mut conn = lock(self.conn);
                // Otherwise its stream was closed in the meantime.
                let is_pending = conn.streams.is_pending(id);
                if is_pending && !conn.open_pending(id) {
                    return;
                }
                is_pending.then_some(conn.settings.upstream_max_frame)
            };
            let Some(PendingRequest { request, frames, data_len, trailers }) = self.pending.requests.pop_front() else {
                return;
            };
            self.pending.frames_len -= frames.len();
            let Some(max_frame) = max_frame else {
                self.to_client.discarded_len += data_len;
                continue;
            };
            self.send(request.headers, &request.fields, max_frame, splicer);
            splicer.insert().extend_from_slice(&frames);
            if let Some((headers, fields)) = trailers {
                self.send(headers, &fields, max_frame, splicer);
            }
        }
    }
}

/// Octets of all frames that are kept with pending requests: sixteen times the window of a connection that has no
/// WINDOW_UPDATE yet.
const MAX_PENDING_LEN: usize = 1 << 20;
