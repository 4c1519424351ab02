//! What a client says before its first request shows which upstream it is
//! for: kept, and told to that upstream first.

use crate::proxy::http2::frame;
use crate::proxy::http2::frame::{ConnectionError, ErrorCode, Frame, MAX_WINDOW_SIZE, PREFACE};

/// The beginning of a connection to an upstream, as far as it is known.
pub struct EarlyFrames {
    /// SETTINGS and PRIORITY, as they came.
    frames: Vec<u8>,
    /// How much the client opened the connection's window.
    window: u32,
}

impl EarlyFrames {
    pub fn new() -> EarlyFrames {
        EarlyFrames { frames: Vec::new(), window: 0 }
    }

    /// Keeps a SETTINGS frame.
    pub fn settings(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        if self.frames.len() + frame.len() > MAX_HELD {
            return Err(ConnectionError::calm("too much before the first request"));
        }
        self.keep(frame);
        Ok(())
    }

    /// Keeps a PRIORITY frame, or not: it is advice.
    pub fn priority(&mut self, frame: &Frame<'_>) {
        if frame.header.len == 5 && self.frames.len() < MAX_HELD / 2 {
            self.keep(frame);
        }
    }

    /// The client opens the connection's window.
    pub fn opened_by(&mut self, increment: u32) -> Result<(), ConnectionError> {
        // The window itself began at 65,535 and may have been used since, so
        // this is not the exact limit; the upstream knows it.
        let sum = self.window.checked_add(increment).filter(|&sum| sum <= MAX_WINDOW_SIZE);
        let overflow = ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, "the window overflows");
        self.window = sum.ok_or(overflow)?;
        Ok(())
    }

    /// Pays for a body of runsd's own with what the client opened, of which
    /// the upstream then hears less; `false` when that is not enough.
    pub fn pay(&mut self, len: usize) -> bool {
        let left = u32::try_from(len).ok().and_then(|len| self.window.checked_sub(len));
        self.window = left.unwrap_or(self.window);
        left.is_some()
    }

    /// Appends all of it, from the preface on.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        out.extend_from_slice(&self.frames);
        frame::write_window_update(out, 0, self.window);
    }

    fn keep(&mut self, frame: &Frame<'_>) {
        frame.header.write(&mut self.frames);
        self.frames.extend_from_slice(frame.payload);
    }
}

/// How much is kept.
const MAX_HELD: usize = 65_536;
