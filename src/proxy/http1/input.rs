//! What the client has sent and nobody has used yet.

use std::io::{self, Read as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::head::LARGEST;
use crate::proxy::room::lengthen;

/// A buffer that is filled at its end and used from its start.
#[derive(Default)]
pub struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled it: what comes is more than it has room for.
    was_full: bool,
}

impl Input {
    /// Starts with what was read already.
    pub fn new(first: Vec<u8>) -> Input {
        Input {
            start: 0,
            end: first.len(),
            buffer: first,
            was_full: false,
        }
    }

    /// All that is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The first `n` bytes are used.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// One read, for as much as there is room; the room grows as it is used.
    /// `Ok(0)`: the client will send nothing more.
    pub fn fill(&mut self, mut tcp: &TcpStream) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() || self.was_full || self.buffer.len() < SMALLEST {
            // More than a head may have, so that "too large" is seen.
            let larger = (2 * self.buffer.len()).clamp(SMALLEST, LARGEST + SMALLEST);
            lengthen(&mut self.buffer, larger.max(self.end + 1));
        }
        let n = loop {
            match tcp.read(&mut self.buffer[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        self.end += n;
        self.was_full = self.end == self.buffer.len();
        Ok(n)
    }

    /// Gives the room back while nothing is in it.
    pub fn rest(&mut self) {
        if self.start == self.end {
            self.buffer = Vec::new();
        }
    }
}

/// Ends a connection whose client may still be sending: closing at once would
/// make the kernel reset it, and the client could lose our last answer.
pub fn linger(mut tcp: &TcpStream) {
    let _ = tcp.shutdown(Shutdown::Write);
    let deadline = Instant::now() + LINGER;
    let mut sink = [0; 4096];
    while Instant::now() < deadline {
        match tcp.read(&mut sink) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

const SMALLEST: usize = 4 * 1024;
const LINGER: Duration = Duration::from_secs(2);
