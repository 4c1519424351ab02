//! Messages on a TCP connection, each behind its length (RFC 1035, section
//! 4.2.2), and each whole by a deadline.
//!
//! The kernel's time-outs are for one call: a peer that sends an octet now and
//! then would keep to them for hours.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One message; `None` at a clean end.
///
/// Blocks: until the message is whole, or `deadline`.
pub fn receive(stream: &TcpStream, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut stream = Timed { stream, deadline };
    let mut len = [0; 2];
    if stream.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut len[1..])?;
    let mut wire = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut wire)?;
    Ok(Some(wire))
}

/// One message, in one piece with its length.
///
/// Blocks: until the kernel has all of it, or `deadline`.
pub fn send(stream: &TcpStream, wire: &[u8], deadline: Instant) -> io::Result<()> {
    let len = u16::try_from(wire.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(wire.len() + 2);
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(wire);
    Timed { stream, deadline }.write_all(&framed)
}

/// A connection of which no call waits beyond the deadline.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
