//! What has come from the far end and was not read yet.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::ops::Range;

use crate::proxy::room::lengthen;

/// A receive buffer: opened records in the front, sealed ones behind.
#[derive(Default)]
pub struct Incoming {
    buffer: Vec<u8>,
    /// Where the plain text of opened records stands, in its order.
    plain: VecDeque<Range<usize>>,
    /// What is not opened yet.
    start: usize,
    end: usize,
}

impl Incoming {
    /// What is not opened yet.
    pub fn sealed(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Whether there is neither plain text nor anything to open.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.start == self.end
    }

    /// The first `n` bytes of what is sealed are done with.
    pub fn discard(&mut self, n: usize) {
        self.start += n;
        self.settle();
    }

    /// The first `n` bytes of what is sealed were opened, to plain text at
    /// this place of them.
    pub fn opened(&mut self, n: usize, plain: Range<usize>) {
        if !plain.is_empty() {
            let place = self.start + plain.start..self.start + plain.end;
            self.plain.push_back(place);
        }
        self.discard(n);
    }

    /// All that came needs no opening.
    pub fn open_all(&mut self) {
        let n = self.end - self.start;
        self.opened(n, 0..n);
    }

    /// The pieces of plain text, in their order.
    pub fn plain(&self) -> impl Iterator<Item = &[u8]> {
        self.plain.iter().map(|place| &self.buffer[place.clone()])
    }

    /// The first `n` bytes of plain text are used.
    pub fn consume(&mut self, mut n: usize) {
        while let Some(first) = self.plain.front_mut() {
            if n < first.len() {
                first.start += n;
                return;
            }
            n -= first.len();
            self.plain.pop_front();
        }
        self.settle();
    }

    /// Puts plain text before all else.
    pub fn precede(&mut self, plain: &[u8]) {
        if !plain.is_empty() {
            self.buffer = [plain, &self.buffer[self.start..self.end]].concat();
            self.plain.push_front(0..plain.len());
            (self.start, self.end) = (plain.len(), self.buffer.len());
        }
    }

    /// One receive, for as much as there is room; the room grows with what
    /// comes. Only when there is no plain text.
    pub fn receive(&mut self, mut tcp: &TcpStream) -> io::Result<usize> {
        if self.start > 0 && self.plain.is_empty() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let larger = (2 * self.buffer.len()).clamp(SMALLEST, LARGEST.max(self.end + SMALLEST));
            lengthen(&mut self.buffer, larger);
        }
        let n = loop {
            match tcp.read(&mut self.buffer[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        self.end += n;
        Ok(n)
    }

    /// Gives the room back while nothing is in it.
    pub fn rest(&mut self) {
        if self.is_empty() {
            *self = Incoming::default();
        }
    }

    /// An empty buffer is filled from its start again.
    fn settle(&mut self) {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }
}

/// The buffer's first size, and its largest.
const SMALLEST: usize = 4 * 1024;
const LARGEST: usize = 128 * 1024;
