//! The session's half from the upstream to the client: bytes in, bytes out. Sockets and threads are in `connection`.
//!
//! Header blocks are forwarded as they came, so the client's HPACK table follows the encoder of the upstream. A passive
//! decoder sees how responses start. Only SETTINGS are changed, a GOAWAY that takes back what the one before said, and
//! an RST_STREAM that would cost the client a complete response.

use std::sync::Mutex;
use std::time::Instant;

use crate::proxy::error::ProxyError;
use crate::proxy::http2::Handler;
use crate::proxy::http2::close_streams::close_open_streams;
use crate::proxy::http2::conn_state::ConnState;
use crate::proxy::http2::frame::{
    self, ConnectionError, DEFAULT_WINDOW_SIZE, ErrorCode, Frame, FrameHeader, flag, frame_type,
};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::hpack::Decoder;
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::proxy::http2::response_block::ResponseBlock;
use crate::proxy::http2::stream_table::Side;
use crate::sync::lock;

/// The half that the thread uses that reads the upstream.
pub struct UpstreamToClient<'a> {
    conn: &'a Mutex<ConnState>,
    handler: &'a dyn Handler,
    /// `None` after a block that it could not decode. The client may know better, so blocks are forwarded all the same.
    decoder: Option<Decoder>,
    /// The last response of 401, 403 or 404 with its stream, until its body starts.
    denial: Option<(u32, RequestMeta, ResponseHead)>,
}

impl<'a> UpstreamToClient<'a> {
    /// The half of a new connection to an upstream.
    pub fn new(conn: &'a Mutex<ConnState>, handler: &'a dyn Handler) -> UpstreamToClient<'a> {
        UpstreamToClient { conn, handler, decoder: Some(Decoder::passive()), denial: None }
    }

    /// Processes the frames of `splicer` to the last complete one, or to the last one before an incomplete header block:
    /// frames of runsd's own may not come between those of a block (RFC 9113 section 4.3).
    ///
    /// # Errors
    /// What the upstream did wrong; the connection ends, see [`UpstreamToClient::close`].
    pub fn receive(&mut self, splicer: &mut FrameSplicer<'_>) -> Result<(), ConnectionError> {
        let (max, settings_received) = {
            let settings = &lock(self.conn).settings;
            (settings.client_max_frame, settings.upstream_received)
        };
        if !settings_received && splicer.rest().starts_with(b"HTTP/1.") {
            return Err(ConnectionError::new(ErrorCode::HTTP_1_1_REQUIRED, "HTTP/1.1"));
        }
        while let Some(frame) = frame::parse(splicer.rest(), max)? {
            self.check_stream(frame.header)?;
            match frame.header.frame_type {
                frame_type::DATA => {
                    self.receive_data(&frame);
                    splicer.forward(frame.len());
                }
                frame_type::HEADERS | frame_type::PUSH_PROMISE => {
                    let Some(block) = ResponseBlock::join(frame, max)? else {
                        return Ok(());
                    };
                    self.receive_block(&block);
                    splicer.forward(block.wire_len);
                }
                frame_type::RST_STREAM => self.receive_rst_stream(&frame, splicer)?,
                frame_type::SETTINGS => self.receive_settings(&frame, splicer)?,
                frame_type::GOAWAY => self.receive_goaway(&frame, splicer),
                frame_type::CONTINUATION => {
                    return Err(ConnectionError::protocol("CONTINUATION without a header block"));
                }
                _ => splicer.forward(frame.len()),
            }
        }
        Ok(())
    }

    /// Closes the connection because of `error`; returns the last frames for the client.
    pub fn close(&mut self, error: &ProxyError) -> Vec<u8> {
        let closed = close_open_streams(&mut lock(self.conn), error);
        if closed.as_ref().is_some_and(|closed| closed.has_lost_responses) {
            self.handler.on_upstream_lost(error);
        }
        closed.map(|closed| closed.frames).unwrap_or_default()
    }

    /// A frame on a stream that the upstream was not sent is an error of the connection (RFC 9113 section 5.1): the
    /// client would take it for the response to a request that waits in runsd, or to the next one.
    fn check_stream(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        // Only the client initiates streams of odd ids, and PRIORITY may be sent on an idle one.
        let is_clients = !header.stream_id.is_multiple_of(2) && header.frame_type != frame_type::PRIORITY;
        if is_clients && !lock(self.conn).streams.is_known_to_upstream(header.stream_id) {
            return Err(ConnectionError::protocol("a frame on an idle stream"));
        }
        Ok(())
    }

    fn receive_data(&mut self, frame: &Frame<'_>) {
        let id = frame.header.stream_id;
        let denial = self.denial.take_if(|denial| denial.0 == id && !frame.payload.is_empty());
        if let (Some((_, request, response)), Ok(body)) = (denial, frame.unpadded()) {
            self.handler.on_denial(&request, &response, body);
        }
        self.receive_end_stream(frame);
    }

    fn receive_block(&mut self, block: &ResponseBlock<'_>) {
        let head = self.decoder.as_mut().map(|decoder| block.decode(decoder));
        if matches!(head, Some(Err(_))) {
            self.decoder = None;
        }
        let head = head.and_then(Result::ok).flatten();
        let frame = &block.frame;
        let id = frame.header.stream_id;
        let request = {
            let mut conn = lock(self.conn);
            // The block has the size update that the client expects.
            conn.settings.client_size_update = None;
            if let Some(id) = block.promised_id {
                conn.streams.promise(id);
            }
            let is_interim = head.as_ref().is_some_and(|head| head.status < 200);
            if frame.header.frame_type == frame_type::PUSH_PROMISE || is_interim {
                return;
            }
            conn.on_response_start(id)
        };
        // The handler is called without the lock.
        if let (Some(request), Some(response)) = (request, head) {
            self.handler.on_response(&request, &response);
            if matches!(response.status, 401 | 403 | 404) {
                self.denial = Some((id, request, response));
            }
        }
        self.receive_end_stream(frame);
    }

    fn receive_end_stream(&self, frame: &Frame<'_>) {
        if frame.header.has(flag::END_STREAM) {
            lock(self.conn).streams.end(frame.header.stream_id, Side::Upstream);
        }
    }

    fn receive_rst_stream(&self, frame: &Frame<'_>, splicer: &mut FrameSplicer<'_>) -> Result<(), ConnectionError> {
        let (code, id) = (frame.read_u32()?, frame.header.stream_id);
        let mut conn = lock(self.conn);
        if code == ErrorCode::NO_ERROR.code() && conn.discard_after_response(id) {
            // The response is complete, and the upstream asks for no more of the request (RFC 9113 section 8.1). curl
            // 7.88, for one, drops the response when it reads both at once. So the client may send more for a while,
            // which runsd discards; the credit is for a client that has none left.
            splicer.discard(frame.len());
            frame::write_window_update(splicer.insert(), id, DEFAULT_WINDOW_SIZE);
            return Ok(());
        }
        conn.on_upstream_reset(id, code, Instant::now());
        splicer.forward(frame.len());
        Ok(())
    }

    fn receive_settings(&self, frame: &Frame<'_>, splicer: &mut FrameSplicer<'_>) -> Result<(), ConnectionError> {
        let settings: Vec<(u16, u32)> = frame.settings()?.collect();
        let mut conn = lock(self.conn);
        if frame.header.has(flag::ACK) {
            splicer.forward_if(conn.settings.on_upstream_ack(), frame.len());
            return Ok(());
        }
        let for_client = conn.settings.on_upstream_settings(&settings);
        if for_client == settings {
            splicer.forward(frame.len());
        } else {
            splicer.discard(frame.len());
            frame::write_settings(splicer.insert(), &for_client);
        }
        Ok(())
    }

    fn receive_goaway(&self, frame: &Frame<'_>, splicer: &mut FrameSplicer<'_>) {
        let Some((&octets, rest)) = frame.payload.split_first_chunk() else {
            return splicer.discard(frame.len());
        };
        let upstream_last = u32::from_be_bytes(octets) & 0x7fff_ffff;
        let last = lock(self.conn).on_upstream_goaway(upstream_last);
        if last == upstream_last {
            return splicer.forward(frame.len());
        }
        splicer.discard(frame.len());
        frame.header.write(splicer.insert());
        splicer.insert().extend_from_slice(&last.to_be_bytes());
        splicer.insert().extend_from_slice(rest);
    }
}
