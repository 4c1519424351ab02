//! Buffers that are filled at their end and used from their start.

use std::io;

/// A buffer that is filled at its end and used from its start.
#[derive(Default)]
pub struct Buffer {
    /// `start..end` holds what was not used yet; behind `end` is room.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled it: what comes is more than it has room for.
    was_full: bool,
}

impl Buffer {
    /// One with bytes that were read already.
    pub fn new(first: Vec<u8>) -> Buffer {
        Buffer { end: first.len(), buffer: first, ..Buffer::default() }
    }

    /// All that is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The same, to be decrypted in its place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// The first `n` bytes are used.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// All of it is used.
    pub fn clear(&mut self) {
        self.consume(self.end - self.start);
    }

    /// One read, for as much as there is room; the room grows as it is used.
    pub fn fill_by(&mut self, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() || self.was_full || self.buffer.len() < MIN_LEN {
            let larger = (2 * self.buffer.len()).clamp(MIN_LEN, MAX_LEN);
            lengthen(&mut self.buffer, larger.max(self.end + 1));
        }
        let n = loop {
            match read(&mut self.buffer[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        self.end += n;
        self.was_full = self.end == self.buffer.len();
        Ok(n)
    }

    /// Has `write` put bytes at the end, into `room` bytes at least; it says
    /// how many they are.
    pub fn append_by<E>(&mut self, room: usize, write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        lengthen(&mut self.buffer, self.end + room);
        self.end += write(&mut self.buffer[self.end..])?;
        Ok(())
    }

    /// Puts a copy of `bytes` at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        lengthen(&mut self.buffer, self.end + bytes.len());
        self.buffer[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Frees the memory while nothing is in it.
    pub fn rest(&mut self) {
        if self.start == self.end {
            *self = Buffer::default();
        }
    }
}

/// Makes `buffer` at least so long. What is new is zeros.
///
/// `Vec::resize` does the same a byte at a time where the compiler optimizes
/// for size, and then takes longer than the decryption of what is read into it.
pub fn lengthen(buffer: &mut Vec<u8>, len: usize) {
    buffer.reserve(len.saturating_sub(buffer.len()));
    while buffer.len() < len {
        let missing = len - buffer.len();
        buffer.extend_from_slice(&ZEROS[..missing.min(ZEROS.len())]);
    }
}

static ZEROS: [u8; 512] = [0; 512];

/// Bytes of a buffer that is read into, at first.
const MIN_LEN: usize = 4 * 1024;
/// Bytes it grows to while reads fill it: four TLS records of full size; also
/// more than an HTTP/1 head may have, so that "too large" is seen.
pub const MAX_LEN: usize = 68 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_zeros() {
        for (before, len, want) in [(0, 0, 0), (3, 3, 3), (3, 1, 3), (1, 4097, 4097), (7, 20_000, 20_000)] {
            let mut buffer = vec![9; before];
            lengthen(&mut buffer, len);
            let new = &buffer[before..];
            assert!(buffer.len() == want && new.iter().all(|&b| b == 0), "{before} to {len}");
        }
    }
}
