//! The one receive buffer of connections: of clients (HTTP/1 and HTTP/2), of upstreams, and of TLS.
//!
//! It knows nothing of what is in it. Limits of heads and frames are those of their parsers.

use std::io;

/// Bytes that are appended at the end and consumed from the start.
#[derive(Default)]
pub struct Buffer {
    /// `start..end` is the content. What follows was initialized and is free.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled the free space, so the next one gets more.
    was_full: bool,
}

impl Buffer {
    /// A buffer that contains `first`, which was read already.
    pub fn new(first: Vec<u8>) -> Buffer {
        Buffer { end: first.len(), buffer: first, ..Buffer::default() }
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The content, to be decrypted in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Removes the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Removes all bytes.
    pub fn clear(&mut self) {
        self.consume(self.end - self.start);
    }

    /// Calls `read` once for the free space, and again after EINTR; returns the number of bytes read, 0 at the end.
    ///
    /// The buffer grows from [`MIN_LEN`] to [`MAX_LEN`] while reads fill it. Further it grows only while the content
    /// itself is as long: what a client sent once must not hold memory for as long as it stays connected.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill_with(&mut self, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        self.compact();
        if self.end == 0 && self.buffer.len() > MAX_LEN {
            self.buffer.truncate(MAX_LEN);
            self.buffer.shrink_to_fit();
        }
        if self.end == self.buffer.len() || self.was_full || self.buffer.len() < MIN_LEN {
            let target = (2 * self.buffer.len()).clamp(MIN_LEN, MAX_LEN);
            // For a frame of HTTP/2 that is longer than MAX_LEN: room for as much again.
            let target = if target < self.end + MIN_LEN { 2 * self.end } else { target };
            grow_zeroed(&mut self.buffer, target);
        }
        let n = loop {
            match read(&mut self.buffer[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += n;
        self.was_full = self.end == self.buffer.len();
        Ok(n)
    }

    /// Has `write` append bytes: it gets at least `room` bytes of free space, and returns how many it wrote.
    ///
    /// # Errors
    /// Those of `write`; then nothing is appended.
    pub fn append_with<E>(&mut self, room: usize, write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        grow_zeroed(&mut self.buffer, self.end + room);
        self.end += write(&mut self.buffer[self.end..])?;
        Ok(())
    }

    /// Moves the content to the start of the memory, so that the memory grows no further than the content.
    fn compact(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Appends a copy of `bytes`.
    pub fn append(&mut self, bytes: &[u8]) {
        self.compact();
        grow_zeroed(&mut self.buffer, self.end + bytes.len());
        self.buffer[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Frees the memory of an empty buffer, for a connection that becomes idle.
    pub fn release(&mut self) {
        if self.start == self.end {
            *self = Buffer::default();
        }
    }
}

/// Extends `buffer` with zeros to at least `len` bytes.
///
/// `Vec::resize` does so byte by byte where the compiler optimizes for size, which takes longer than the decryption of
/// what is read into the buffer.
fn grow_zeroed(buffer: &mut Vec<u8>, len: usize) {
    static ZEROS: [u8; 512] = [0; 512];
    buffer.reserve(len.saturating_sub(buffer.len()));
    while buffer.len() < len {
        let missing = len - buffer.len();
        buffer.extend_from_slice(&ZEROS[..missing.min(ZEROS.len())]);
    }
}

/// Bytes of the first read: a head of HTTP/1 or a call of gRPC fits, and an idle connection takes little memory.
pub const MIN_LEN: usize = 4 * 1024;

/// Bytes that the buffer grows to while reads fill it: four TLS records of full size, and more than the 64 KiB that an
/// HTTP/1 head may have, so that a longer one is seen as such.
pub const MAX_LEN: usize = 68 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_consumed_bytes_is_used_again() {
        let mut buffer = Buffer::default();
        for _ in 0..1000 {
            buffer.append(&[7; 100]);
            buffer.consume(99);
            buffer.append(&[7; 99]);
            buffer.consume(99);
        }
        assert_eq!(buffer.bytes(), [7; 1000]);
        assert!(buffer.buffer.len() <= 1200, "{}", buffer.buffer.len());
    }

    #[test]
    fn growth_is_zeroed() {
        for (before, len, want) in [(0, 0, 0), (3, 3, 3), (3, 1, 3), (1, 4097, 4097), (7, 20_000, 20_000)] {
            let mut buffer = vec![9; before];
            grow_zeroed(&mut buffer, len);
            let new = &buffer[before..];
            assert!(buffer.len() == want && new.iter().all(|&b| b == 0), "{before} to {len}");
        }
    }

    #[test]
    fn reads_grow_to_the_maximum_and_further_only_with_the_content() {
        let mut buffer = Buffer::default();
        let fill = |buffer: &mut Buffer| buffer.fill_with(|room| Ok(room.len())).unwrap();
        for want in [4096, 8192, 16_384, 32_768, 65_536, MAX_LEN, MAX_LEN] {
            assert_eq!(fill(&mut buffer), want);
            buffer.clear();
        }
        assert_eq!(fill(&mut buffer), MAX_LEN);
        assert_eq!(fill(&mut buffer), MAX_LEN);
        assert_eq!(buffer.bytes().len(), 2 * MAX_LEN);
        buffer.consume(MAX_LEN + 1);
        assert_eq!(fill(&mut buffer), MAX_LEN + 1);
    }

    #[test]
    fn memory_beyond_the_maximum_goes_with_its_content() {
        let mut buffer = Buffer::new(vec![7; 10 * MAX_LEN]);
        for _ in 0..3 {
            let n = buffer.fill_with(|room| Ok(room.len())).unwrap();
            assert!(n >= MIN_LEN, "{n}");
            buffer.clear();
        }
        assert_eq!(buffer.buffer.capacity(), MAX_LEN);
    }
}
