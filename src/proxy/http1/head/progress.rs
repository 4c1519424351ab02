//! A head that comes in several reads.

use super::MAX_HEAD_LEN;

/// How far an incomplete head was read, so that each byte is read a few times at most, in however many pieces the head
/// comes.
///
/// It belongs to one head and to the [`super::Head`] that reads it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whether the start line was read.
    pub(super) has_start_line: bool,
    /// The offset of the first line that was not read.
    pub(super) line_start: usize,
    /// How many bytes of the input were searched for an end of line.
    searched: usize,
}

impl Progress {
    /// Whether nothing of the head was read yet.
    pub(super) fn is_new(&self) -> bool {
        self.searched == 0
    }

    /// Searches the bytes that came since the last call; whether they complete a line, or are too many.
    pub(super) fn advance(&mut self, input: &[u8]) -> bool {
        let new = &input[self.searched.min(input.len())..];
        let is_worth_reading = self.is_new() || new.contains(&b'\n') || input.len() > MAX_HEAD_LEN;
        self.searched = input.len();
        is_worth_reading
    }
}
