//! What the client has sent and nobody has used yet, and who may read it.
//!
//! A request can only be read from an [`Input`]. There is one at the start of
//! the connection, and then one behind each body that was read to its end:
//! what is left of a body can never be taken for a request (RFC 9112
//! sections 9.3 and 11.2).

use std::io::{self, Read as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use crate::net::buffer::Buffer;
use crate::proxy::http1::body::{Body, ChunkError};
use crate::proxy::http1::head::Framing;
use crate::sys::net::recv_nonblocking;

/// The client's bytes from a place on where a request begins.
pub struct Input(Buffer);

impl Input {
    /// The start of a connection, with what was read of it already.
    pub fn new(first: Vec<u8>) -> Input {
        Input(Buffer::new(first))
    }

    /// All that is there.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// One read; `Ok(0)`: the client will send nothing more.
    pub fn fill(&mut self, mut tcp: &TcpStream) -> io::Result<usize> {
        self.0.fill_with(|room| tcp.read(room))
    }

    /// Gives the room back while nothing is in it.
    pub fn rest(&mut self) {
        self.0.release();
    }

    /// The body of the request whose head ends at `head_end`.
    pub fn into_body(mut self, head_end: usize, framing: Framing) -> RequestBody {
        self.0.consume(head_end);
        RequestBody { buffer: self.0, left: Body::new(framing), found: 0 }
    }

    /// For a connection that speaks HTTP/1 no more.
    pub fn into_buffer(self) -> Buffer {
        self.0
    }
}

/// Reads the body of one request; a request without one is whole at once.
///
/// It owns the client's input, and gives it back only behind the body's end.
pub struct RequestBody {
    buffer: Buffer,
    /// What is still to come; `None` once the end was found.
    left: Option<Body>,
    /// How many bytes of the buffer belong to the body, as far as they were
    /// looked at.
    found: usize,
}

/// The body's end was not read, so nobody knows where a request begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished;

impl RequestBody {
    /// Looks at what has come. After an error the body has no end any more.
    pub fn scan(&mut self) -> Result<(), ChunkError> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        match left.decode(&self.buffer.bytes()[self.found..], |_| {}) {
            Ok((n, ended)) => {
                self.found += n;
                if ended {
                    self.left = None;
                }
                Ok(())
            }
            Err(bad) => {
                self.left = Some(Body::UntilClose);
                Err(bad)
            }
        }
    }

    /// Its bytes that are here and were looked at.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.found]
    }

    /// They are used.
    pub fn advance(&mut self) {
        self.buffer.consume(self.found);
        self.found = 0;
    }

    /// Whether nothing of it is still to come.
    pub fn is_whole(&self) -> bool {
        self.left.is_none()
    }

    /// One read that does not wait; errors and `Ok(0)` as those of
    /// [`Input::fill`].
    pub fn fill_now(&mut self, tcp: &TcpStream) -> io::Result<usize> {
        self.buffer.fill_with(|room| recv_nonblocking(tcp.as_fd(), room))
    }

    /// Where the next request begins.
    ///
    /// # Errors
    /// The body's end has not come: the connection can serve no other request.
    pub fn finish(mut self) -> Result<Input, Unfinished> {
        // It may be here and not looked at.
        let bad = self.scan().is_err();
        if bad || !self.is_whole() {
            return Err(Unfinished);
        }
        self.advance();
        Ok(Input(self.buffer))
    }
}

/// Ends a connection whose client may still be sending (RFC 9112 section
/// 9.6): closing at once would make the kernel reset it, and the client could
/// lose our last answer.
///
/// Blocks: until the client closes, pauses for long, or for [`LONGEST_LINGER`].
pub fn linger(mut tcp: &TcpStream) {
    let _ = tcp.shutdown(Shutdown::Write);
    let started = Instant::now();
    let mut last = started;
    let mut sink = [0; 4096];
    while started.elapsed() < LONGEST_LINGER && last.elapsed() < LONGEST_PAUSE {
        match tcp.read(&mut sink) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
            Ok(_) => last = Instant::now(),
        }
    }
}

/// How long a client is heard out that does not stop sending: by then it has
/// had the answer for long.
const LONGEST_LINGER: Duration = Duration::from_secs(10);
/// How long it may be silent meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);
