//! A head that comes in pieces.

use std::ops::Range;

use super::LARGEST;

/// How far a head has been read that is not all here yet, so that each octet
/// is read a few times at most, in however many pieces it comes.
///
/// It belongs to one head and to the [`super::Head`] that reads it.
#[derive(Debug, Default)]
pub struct Progress {
    /// The first line, once that is whole.
    pub(super) first: Option<Range<usize>>,
    /// Where the line begins that is not whole yet.
    pub(super) line: usize,
    /// How much of the input has been looked at.
    looked_at: usize,
}

impl Progress {
    /// Whether nothing of the head was read yet.
    pub(super) fn is_new(&self) -> bool {
        self.looked_at == 0
    }

    /// Looks at what has come since the last time; whether reading on could
    /// find the end of a line, or that there is too much.
    pub(super) fn look_at(&mut self, input: &[u8]) -> bool {
        let new = &input[self.looked_at.min(input.len())..];
        let could_end = self.is_new() || new.contains(&b'\n') || input.len() > LARGEST;
        self.looked_at = input.len();
        could_end
    }
}
