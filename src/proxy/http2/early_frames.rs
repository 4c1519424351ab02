//! Frames of a client that come before its first request shows which upstream they are for. runsd keeps them, and sends
//! them to that upstream first.

use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode, Frame, MAX_WINDOW_SIZE, PREFACE};

/// The frames until there is an upstream.
#[derive(Default)]
pub struct EarlyFrames {
    /// SETTINGS as the upstream is to have them, and PRIORITY as it came.
    frames: Vec<u8>,
    /// Octets by which the client opened the connection's window. The upstream gets this credit, less what runsd has
    /// used for the bodies of its own error responses.
    window: u32,
}

impl EarlyFrames {
    /// Keeps SETTINGS.
    ///
    /// # Errors
    /// ENHANCE_YOUR_CALM for more than [`MAX_EARLY_LEN`] octets.
    pub fn add_settings(&mut self, settings: &[(u16, u32)]) -> Result<(), ConnectionError> {
        frame::write_settings(&mut self.frames, settings);
        match self.frames.len() > MAX_EARLY_LEN {
            true => Err(ConnectionError::calm("too much before the first request")),
            false => Ok(()),
        }
    }

    /// Keeps PRIORITY, or drops it where it is too much: it is a hint.
    pub fn add_priority(&mut self, frame: &Frame<'_>) {
        if self.frames.len() < MAX_EARLY_LEN / 2 {
            frame.header.write(&mut self.frames);
            self.frames.extend_from_slice(frame.payload);
        }
    }

    /// Applies WINDOW_UPDATE of the connection.
    ///
    /// # Errors
    /// FLOW_CONTROL_ERROR for a window above 2^31-1 octets (RFC 9113 section 6.9.1). This is not the exact limit: the
    /// window starts with 65,535, and runsd may have used some. The upstream checks it.
    pub fn add_window(&mut self, increment: u32) -> Result<(), ConnectionError> {
        let sum = self.window.checked_add(increment).filter(|&sum| sum <= MAX_WINDOW_SIZE);
        let overflow = ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, "the window overflows");
        self.window = sum.ok_or(overflow)?;
        Ok(())
    }

    /// Uses `len` octets of the window for a body of runsd's own; `false` where it is not as large.
    pub fn try_consume_window(&mut self, len: usize) -> bool {
        let left = u32::try_from(len).ok().and_then(|len| self.window.checked_sub(len));
        self.window = left.unwrap_or(self.window);
        left.is_some()
    }

    /// Appends the start of a connection to an upstream: preface, SETTINGS and PRIORITY, and the window.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        out.extend_from_slice(&self.frames);
        frame::write_window_update(out, 0, self.window);
    }
}

/// Octets of frames that are kept: clients send one SETTINGS of under 100, and Firefox a few PRIORITY.
const MAX_EARLY_LEN: usize = 65_536;
