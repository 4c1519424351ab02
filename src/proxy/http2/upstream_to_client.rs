//! The session's half from the upstream to the client: bytes in, bytes out. Sockets and threads are in `connection`.
//!
//! Header blocks are forwarded as they came, so the client's HPACK table follows the encoder of the upstream. A passive
//! decoder shows that each is a valid part of a response before the client gets it. Only SETTINGS are changed, a GOAWAY that takes back what the one before said, and
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
use crate::sync::lock;

/// The half that the thread uses that reads the upstream.
pub struct UpstreamToClient<'a> {
    conn: &'a Mutex<ConnState>,
    handler: &'a dyn Handler,
    decoder: Decoder,
    /// The last response of 401, 403 or 404 with its stream, until its body starts.
    denial: Option<(u32, RequestMeta, ResponseHead)>,
}

impl<'a> UpstreamToClient<'a> {
    /// The half of a new connection to an upstream.
    pub fn new(conn: &'a Mutex<ConnState>, handler: &'a dyn Handler) -> UpstreamToClient<'a> {
        UpstreamToClient { conn, handler, decoder: Decoder::passive(), denial: None }
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
                    self.receive_data(&frame)?;
                    splicer.forward(frame.len());
                }
                frame_type::HEADERS => {
                    let Some(block) = ResponseBlock::join(frame, max)? else {
                        return Ok(());
                    };
                    self.receive_block(&block)?;
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

    /// Checks the stream of a frame (RFC 9113 sections 5.1 and 6). Of a stream that the upstream does not know the client
    /// would take a frame for the response to a request that waits in runsd, or to the next one.
    fn check_stream(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        let (frame_type, id) = (header.frame_type, header.stream_id);
        let is_connections = id == 0;
        let is_allowed = match frame_type {
            frame_type::SETTINGS | frame_type::PING | frame_type::GOAWAY => is_connections,
            // It may be sent on an idle stream.
            frame_type::PRIORITY => !is_connections,
            frame_type::PUSH_PROMISE => return Err(ConnectionError::protocol("PUSH_PROMISE, which was turned off")),
            frame_type::DATA | frame_type::HEADERS | frame_type::RST_STREAM | frame_type::CONTINUATION => {
                lock(self.conn).streams.is_known_to_upstream(id)
            }
            _ => is_connections || lock(self.conn).streams.is_known_to_upstream(id),
        };
        match is_allowed {
            true => Ok(()),
            false => Err(ConnectionError::protocol("a frame on an idle stream, or on none of its type")),
        }
    }

    fn receive_data(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        let (id, body) = (frame.header.stream_id, frame.unpadded()?);
        lock(self.conn).streams.receive_response_data(id, body.len(), frame.header.has(flag::END_STREAM))?;
        if let Some((_, request, response)) = self.denial.take_if(|denial| denial.0 == id && !body.is_empty()) {
            self.handler.on_denial(&request, &response, body);
        }
        Ok(())
    }

    fn receive_block(&mut self, block: &ResponseBlock<'_>) -> Result<(), ConnectionError> {
        let FrameHeader { stream_id: id, .. } = block.frame.header;
        let fields = block.decode(&mut self.decoder)?;
        let request = lock(self.conn).on_response_block(id, &fields, block.frame.header.has(flag::END_STREAM))?;
        // The handler is called without the lock.
        if let (Some(request), Some(status)) = (request, fields.status) {
            let response = ResponseHead { status, challenge: fields.challenge };
            self.handler.on_response(&request, &response);
            if matches!(status, 401 | 403 | 404) {
                self.denial = Some((id, request, response));
            }
        }
        Ok(())
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
