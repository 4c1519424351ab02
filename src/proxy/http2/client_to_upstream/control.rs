//! The client's frames that carry no request: SETTINGS, PING, WINDOW_UPDATE,
//! RST_STREAM and PRIORITY.

use std::time::Instant;

use crate::proxy::http2::client_to_upstream::{Requests, never_began, pass_or_skip};
use crate::proxy::http2::frame;
use crate::proxy::http2::frame::{ConnectionError, ErrorCode, Frame, flag};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::lock;
use crate::proxy::http2::stream_table::State;

impl Requests<'_> {
    /// Whether they are for the upstream, too.
    pub(super) fn settings(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, ConnectionError> {
        if frame.header.stream_id != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream"));
        }
        let settings = frame.settings()?;
        if frame.header.has(flag::ACK) {
            return Ok(self.settings_ack());
        }
        if !self.floods.settings.take(now) {
            return Err(ConnectionError::calm("too many SETTINGS"));
        }
        for (id, value) in settings {
            frame::validate_setting(id, value)?;
        }
        self.greeted = true;
        let mut streams = lock(self.streams);
        streams.client_settings(frame.settings()?, self.held.is_some());
        let Some(held) = &mut self.held else {
            return Ok(true);
        };
        frame::write_settings_ack(&mut self.down);
        held.settings(frame)?;
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
            self.encoder.set_max_table_size(size);
        }
        self.held.is_none()
    }

    pub(super) fn ping(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, ConnectionError> {
        if frame.header.stream_id != 0 {
            return Err(ConnectionError::protocol("PING on a stream"));
        }
        if frame.header.len != 8 {
            return Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "PING of a wrong length"));
        }
        if !self.floods.pings.take(now) {
            return Err(ConnectionError::calm("too many PINGs"));
        }
        if self.held.is_some() && !frame.header.has(flag::ACK) {
            frame::write_ping_ack(&mut self.down, frame.payload);
        }
        Ok(self.held.is_none())
    }

    pub(super) fn window_update(&mut self, frame: &Frame<'_>) -> Result<bool, ConnectionError> {
        let increment = frame.read_u32()? & 0x7fff_ffff;
        if frame.header.stream_id != 0 {
            return self.is_theirs(frame);
        }
        if increment == 0 {
            return Err(ConnectionError::protocol("WINDOW_UPDATE of nothing"));
        }
        let Some(held) = &mut self.held else {
            return Ok(true);
        };
        held.opened_by(increment)?;
        Ok(false)
    }

    pub(super) fn reset(&mut self, frame: &Frame<'_>, now: Instant) -> Result<bool, ConnectionError> {
        frame.read_u32()?;
        let passes = self.is_theirs(frame)?;
        let mut streams = lock(self.streams);
        if !passes {
            streams.discarded_ended(frame.header.stream_id);
            return Ok(false);
        }
        let has_gone_up = !streams.is_waiting(frame.header.stream_id);
        streams.reset_by_client(frame.header.stream_id, now);
        self.swallowed += self.waiting.remove(frame.header.stream_id);
        Ok(has_gone_up)
    }

    /// PRIORITY may be about a stream that will begin later.
    pub(super) fn priority(
        &mut self,
        frame: &Frame<'_>,
        batch: &mut FrameSplicer<'_>,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let stream = frame.header.stream_id;
        if stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY on stream 0"));
        }
        let code = match frame.payload {
            [a, b, c, d, _] if u32::from_be_bytes([a & 0x7f, *b, *c, *d]) == stream => {
                ErrorCode::PROTOCOL_ERROR // RFC 7540 section 5.3.1
            }
            [_, _, _, _, _] => {
                if let Some(held) = &mut self.held {
                    held.priority(frame);
                }
                pass_or_skip(self.held.is_none(), frame, batch);
                return Ok(());
            }
            _ => ErrorCode::FRAME_SIZE_ERROR, // RFC 9113 section 6.3
        };
        batch.skip(frame.len());
        if self.state(stream) == State::Idle {
            // There is no stream whose error this could be.
            return Err(ConnectionError::new(code, "PRIORITY that cannot be"));
        }
        self.stream_error(stream, code, batch, now);
        Ok(())
    }

    /// Whether RST_STREAM or WINDOW_UPDATE of a stream is for the upstream.
    fn is_theirs(&self, frame: &Frame<'_>) -> Result<bool, ConnectionError> {
        match (frame.header.stream_id, self.state(frame.header.stream_id)) {
            (0, _) => Err(ConnectionError::protocol("a frame of a stream on stream 0")),
            (_, State::Idle) => Err(never_began()),
            (_, State::Open | State::HalfClosed) => Ok(true),
            (_, State::Discarded | State::Closed) => Ok(false),
        }
    }
}
