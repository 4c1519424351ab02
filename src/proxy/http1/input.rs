//! What a client has sent and was not used yet, and which part of it is a request.
//!
//! A request can only be read from an [`Input`]. A connection starts with one, and then each body that was read to its
//! end gives one back. So what is left of a body is never read as a request (RFC 9112 sections 9.3 and 11.2).

use std::io::{self, Read};

use super::body::{Body, ChunkError};
use super::head::Framing;
use crate::net::buffer::{self, Buffer};

/// The client's bytes from the start of a request on.
pub struct Input(Buffer);

impl Input {
    /// The start of a connection, of which these bytes were received already.
    pub fn new(received: Vec<u8>) -> Input {
        Input(Buffer::new(received))
    }

    /// All bytes that were received.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Reads once; `Ok(0)` if the client will send nothing more.
    ///
    /// # Errors
    /// Those of `client`.
    pub fn fill(&mut self, mut client: impl Read) -> io::Result<usize> {
        self.0.fill_with(|room| client.read(room))
    }

    /// Frees the memory if nothing is in it.
    pub fn release_memory(&mut self) {
        self.0.release();
    }

    /// The body of the request whose head ends at `head_end`.
    pub fn into_body(mut self, head_end: usize, framing: Framing) -> RequestBody {
        self.0.consume(head_end);
        RequestBody { buffer: self.0, remaining: Body::new(framing), scanned: 0 }
    }

    /// The bytes, for a connection that does not speak HTTP/1 any more.
    pub fn into_buffer(self) -> Buffer {
        self.0
    }
}

/// Reads the body of one request. The body of a request without one is complete at once.
///
/// It owns the client's input, and gives that back only behind the body's end.
pub struct RequestBody {
    buffer: Buffer,
    /// What is still to come; `None` once the end was found.
    remaining: Option<Body>,
    /// How many bytes of the buffer belong to the body, as far as they were scanned.
    scanned: usize,
}

impl RequestBody {
    /// Looks for the body's end in what was received.
    ///
    /// # Errors
    /// The body is malformed, and so never ends.
    pub fn scan(&mut self) -> Result<(), ChunkError> {
        let Some(remaining) = &mut self.remaining else {
            return Ok(());
        };
        match remaining.decode(&self.buffer.bytes()[self.scanned..], |_| {}) {
            Ok((n, is_end)) => {
                self.scanned += n;
                if is_end {
                    self.remaining = None;
                }
                Ok(())
            }
            Err(bad) => {
                self.remaining = Some(Body::UntilClose);
                Err(bad)
            }
        }
    }

    /// The bytes of the body that were received and scanned.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.scanned]
    }

    /// Drops what [`RequestBody::bytes`] returns.
    pub fn advance(&mut self) {
        self.buffer.consume(self.scanned);
        self.scanned = 0;
    }

    /// Whether the body's end was found.
    pub fn is_complete(&self) -> bool {
        self.remaining.is_none()
    }

    /// Whether the buffer has room for more without growing past its ordinary length. A body that has filled it is sent
    /// piece by piece.
    pub fn has_room(&self) -> bool {
        self.buffer.bytes().len() <= buffer::MAX_LEN - buffer::MIN_LEN
    }

    /// Reads once; `Ok(0)` if the client will send nothing more. What comes is not scanned.
    ///
    /// # Errors
    /// Those of `client`.
    pub fn fill(&mut self, mut client: impl Read) -> io::Result<usize> {
        self.buffer.fill_with(|room| client.read(room))
    }

    /// The client's input behind the body: the next request. `None` if the body's end has not come or the body is
    /// malformed; then the connection can serve no other request.
    pub fn finish(mut self) -> Option<Input> {
        // The end may have come without being scanned.
        let scanned = self.scan();
        if scanned.is_err() || !self.is_complete() {
            return None;
        }
        self.advance();
        Some(Input(self.buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: &[u8] = b"GET /next HTTP/1.1\r\n";

    /// Feeds a body and the next request in two reads, and finishes the body after the first, or after both.
    fn finish(framing: Framing, wire: &[u8], cut: usize, reads: usize) -> Option<Vec<u8>> {
        let mut body = Input::new(Vec::new()).into_body(0, framing);
        for part in [&wire[..cut], &wire[cut..]].into_iter().take(reads) {
            body.fill(part).expect("a read from memory");
            if body.scan().is_ok() && !body.is_complete() {
                body.advance();
            }
        }
        body.finish().map(|next| next.bytes().to_vec())
    }

    #[test]
    fn input_comes_back_behind_the_end_of_the_body_only() {
        let smuggled = b"GET /smuggled HTTP/1.1\r\n\r\n";
        let chunked = [&b"1a\r\n"[..], smuggled, b"\r\n0\r\nA: b\r\n\r\n"].concat();
        for (framing, body) in [(Framing::Length(26), &smuggled[..]), (Framing::Chunked, &chunked)] {
            let wire = [body, NEXT].concat();
            for cut in 0..=wire.len() {
                let got = finish(framing, &wire, cut, 2);
                assert_eq!(got.as_deref(), Some(NEXT), "{framing:?} cut at {cut}");
                let got = finish(framing, &wire, cut, 1);
                let want = wire[..cut].strip_prefix(body);
                assert_eq!(got.as_deref(), want, "{framing:?} ends at {cut}");
            }
        }
    }

    #[test]
    fn room_ends_before_the_buffer_grows_past_its_ordinary_length() {
        let mut body = Input::new(Vec::new()).into_body(0, Framing::Length(1 << 40));
        let mut reads = 0;
        while body.has_room() {
            body.fill(io::repeat(7)).expect("a read from memory");
            body.scan().expect("a body of any bytes");
            reads += 1;
        }
        let received = body.bytes().len();
        assert!(received <= buffer::MAX_LEN && reads > 1, "{received} in {reads}");
    }

    #[test]
    fn input_does_not_come_back_behind_a_malformed_or_endless_body() {
        for (framing, body) in [(Framing::Chunked, &b"zz\r\n"[..]), (Framing::UntilClose, b"x")] {
            let wire = [body, b"0\r\n\r\n", NEXT].concat();
            for cut in 0..=wire.len() {
                assert_eq!(finish(framing, &wire, cut, 2), None, "{framing:?} cut at {cut}");
            }
        }
    }
}
