//! Frames of the client that carry no part of a request: SETTINGS, PING, WINDOW_UPDATE, RST_STREAM and PRIORITY
//! (RFC 9113 section 6).

use crate::proxy::http2::client_to_upstream::{ClientToUpstream, Greeting, stream_is_idle};
use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode, Frame, flag};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::stream_table::State;
use crate::sync::lock;

impl ClientToUpstream<'_> {
    /// SETTINGS go to the upstream as [`SettingsSync::on_client_settings`] has them.
    ///
    /// [`SettingsSync::on_client_settings`]: crate::proxy::http2::settings_sync::SettingsSync::on_client_settings
    pub(super) fn receive_settings(
        &mut self,
        frame: &Frame<'_>,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<(), ConnectionError> {
        if frame.header.stream_id != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream"));
        }
        let settings: Vec<(u16, u32)> = frame.settings()?.collect();
        if frame.header.has(flag::ACK) {
            let (forward, table_size) = lock(self.conn).settings.on_client_ack();
            if let Some(size) = table_size {
                self.codec.encoder.set_max_table_size(size);
            }
            splicer.forward_if(forward && self.is_connected(), frame.len());
            return Ok(());
        }
        if !self.limits.settings.take(self.now) {
            return Err(ConnectionError::calm("too many SETTINGS"));
        }
        for &(id, value) in &settings {
            frame::validate_setting(id, value)?;
        }
        self.greeting = Greeting::Complete;
        let is_connected = self.is_connected();
        let for_upstream = lock(self.conn).settings.on_client_settings(&settings, !is_connected);
        splicer.discard(frame.len());
        match self.upstream.early_frames() {
            Some(early) => {
                early.add_settings(&for_upstream)?;
                frame::write_settings_ack(&mut self.to_client.frames);
            }
            None => frame::write_settings(splicer.insert(), &for_upstream),
        }
        Ok(())
    }

    /// Returns whether to forward the frame.
    pub(super) fn receive_ping(&mut self, frame: &Frame<'_>) -> Result<bool, ConnectionError> {
        if frame.header.stream_id != 0 {
            return Err(ConnectionError::protocol("PING on a stream"));
        }
        if frame.header.len != 8 {
            return Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "PING of a wrong length"));
        }
        if !self.limits.ping.take(self.now) {
            return Err(ConnectionError::calm("too many PINGs"));
        }
        let is_connected = self.is_connected();
        if !is_connected && !frame.header.has(flag::ACK) {
            frame::write_ping_ack(&mut self.to_client.frames, frame.payload);
        }
        Ok(is_connected)
    }

    /// Returns whether to forward the frame.
    pub(super) fn receive_window_update(&mut self, frame: &Frame<'_>) -> Result<bool, ConnectionError> {
        let increment = frame.read_u32()? & 0x7fff_ffff;
        if frame.header.stream_id != 0 {
            return self.is_for_upstream(frame);
        }
        if increment == 0 {
            return Err(ConnectionError::protocol("WINDOW_UPDATE of nothing"));
        }
        match self.upstream.early_frames() {
            Some(early) => early.add_window(increment).map(|()| false),
            None => Ok(true),
        }
    }

    /// Returns whether to forward the frame.
    pub(super) fn receive_rst_stream(&mut self, frame: &Frame<'_>) -> Result<bool, ConnectionError> {
        frame.read_u32()?;
        let is_active = self.is_for_upstream(frame)?;
        let id = frame.header.stream_id;
        let mut conn = lock(self.conn);
        if !is_active {
            conn.streams.close_discarded(id);
            return Ok(false);
        }
        let is_pending = conn.streams.is_pending(id);
        conn.on_client_reset(id, self.now);
        self.to_client.discarded_len += self.pending.remove(id);
        Ok(!is_pending)
    }

    /// RFC 9113 section 5.3.2 deprecates PRIORITY, but not the frame. It may name a stream that is not used yet.
    pub(super) fn receive_priority(
        &mut self,
        frame: &Frame<'_>,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<(), ConnectionError> {
        let id = frame.header.stream_id;
        if id == 0 {
            return Err(ConnectionError::protocol("PRIORITY on stream 0"));
        }
        let code = match frame.payload {
            [a, b, c, d, _] if u32::from_be_bytes([a & 0x7f, *b, *c, *d]) == id => {
                ErrorCode::PROTOCOL_ERROR // a stream that depends on itself: RFC 7540 section 5.3.1
            }
            [_, _, _, _, _] => {
                if let Some(early) = self.upstream.early_frames() {
                    early.add_priority(frame);
                }
                splicer.forward_if(self.is_connected(), frame.len());
                return Ok(());
            }
            _ => ErrorCode::FRAME_SIZE_ERROR, // RFC 9113 section 6.3
        };
        splicer.discard(frame.len());
        if lock(self.conn).streams.state(id) == State::Idle {
            // RST_STREAM may not be sent on an idle stream (RFC 9113 section 6.4).
            return Err(ConnectionError::new(code, "PRIORITY that cannot be"));
        }
        self.reset_stream(id, code, splicer);
        Ok(())
    }

    /// Whether the upstream knows the stream of RST_STREAM or WINDOW_UPDATE, or will.
    fn is_for_upstream(&self, frame: &Frame<'_>) -> Result<bool, ConnectionError> {
        let id = frame.header.stream_id;
        if id == 0 {
            return Err(ConnectionError::protocol("a frame of a stream on stream 0"));
        }
        match lock(self.conn).streams.state(id) {
            State::Idle => Err(stream_is_idle()),
            State::Open | State::HalfClosed => Ok(true),
            State::Discarded | State::Closed => Ok(false),
        }
    }
}
