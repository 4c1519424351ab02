//! What a peer has sent and nobody has used yet.

use std::io::{self, Read};

use crate::net::buffer::lengthen;

/// What was read of a peer and not dealt with yet.
pub struct RecvBuffer<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> RecvBuffer<R> {
    pub fn new(reader: R, buffered: Vec<u8>) -> RecvBuffer<R> {
        let end = buffered.len();
        RecvBuffer { reader, buffer: buffered, start: 0, end }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn consume(&mut self, len: usize) {
        self.start += len;
    }

    /// Reads once; `false` at the end.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end < BUFFER / 2 {
            // A frame or a header block that is longer than usual.
            let larger = self.buffer.len().max(BUFFER / 2) * 2;
            lengthen(&mut self.buffer, larger);
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Octets of one read.
const BUFFER: usize = 65_536;
