//! Messages on a TCP connection, each behind its length in two bytes (RFC 1035, section 4.2.2), and the stream that
//! ends each of them by a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::dns::message::{self, RawQuery};
use crate::net::context::{Cancelled, Context};
use crate::sys::net::PollFd;
use crate::sys::tcp::start_connect;

/// Reads one message; `None` at the end of the stream before its first byte.
///
/// # Errors
/// Those of `stream`, and `UnexpectedEof` within a message.
pub fn receive(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 2];
    if stream.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut len[1..])?;
    let mut wire = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut wire)?;
    Ok(Some(wire))
}

/// Writes one message, in one piece with its length (RFC 7766, section 8).
///
/// # Errors
/// Those of `stream`, and `InvalidData` for a message of more than 65,535 bytes.
pub fn send(stream: &mut impl Write, wire: &[u8]) -> io::Result<()> {
    let len = u16::try_from(wire.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&len.to_be_bytes(), wire].concat())
}

/// Asks a nameserver on a connection of its own (RFC 7766). Returns the response, which has the id `id`, and the
/// connection, on which more of a zone may follow.
///
/// Blocks: until the response is whole or `deadline`.
///
/// # Errors
/// The outer one when `context` is cancelled; the inner one when there is no connection or no response in time.
pub fn exchange(
    query: RawQuery<'_>,
    id: u16,
    address: SocketAddr,
    deadline: Instant,
    context: &mut dyn Context,
) -> Result<io::Result<(Vec<u8>, TcpStream)>, Cancelled> {
    let tcp = match start_connect(address) {
        Ok(tcp) => tcp,
        Err(err) => return Ok(Err(err)),
    };
    let mut stream = DeadlineStream::new(&tcp, deadline, context);
    let response = send_and_receive(&mut stream, query, id);
    match stream.is_cancelled {
        true => Err(Cancelled),
        false => Ok(response.map(|response| (response, tcp))),
    }
}

fn send_and_receive(stream: &mut (impl Read + Write), query: RawQuery<'_>, id: u16) -> io::Result<Vec<u8>> {
    send(stream, &[&id.to_be_bytes(), &query.wire[2..]].concat())?;
    loop {
        let response = receive(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if message::is_response_to(&response, id, query) {
            return Ok(response);
        }
    }
}

/// A non-blocking connection whose reads and writes end by a deadline.
///
/// A timeout of the kernel's is for one call: a peer that sends a byte now and then would never exceed it.
pub struct DeadlineStream<'a> {
    tcp: &'a TcpStream,
    deadline: Instant,
    context: &'a mut dyn Context,
    /// Set when `context` was cancelled, which made the last call fail.
    is_cancelled: bool,
}

impl<'a> DeadlineStream<'a> {
    /// Wraps a non-blocking connection; it may still be connecting.
    pub fn new(tcp: &'a TcpStream, deadline: Instant, context: &'a mut dyn Context) -> DeadlineStream<'a> {
        DeadlineStream { tcp, deadline, context, is_cancelled: false }
    }

    /// Calls `transfer` when `poll_fd` is ready, and again where it says `WouldBlock`.
    ///
    /// A connection that is not established yet becomes writable when it is, or when it failed.
    fn wait_and(
        &mut self,
        poll_fd: fn(&TcpStream) -> PollFd,
        mut transfer: impl FnMut(&mut &TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let time_left = self.deadline.saturating_duration_since(Instant::now());
            match self.context.wait_for(poll_fd(self.tcp), time_left) {
                Ok(true) => {}
                Ok(false) => return Err(io::ErrorKind::TimedOut.into()),
                Err(Cancelled) => {
                    self.is_cancelled = true;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            match transfer(&mut &*self.tcp) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                transferred => return transferred,
            }
        }
    }
}

impl Read for DeadlineStream<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wait_and(PollFd::readable, |tcp| tcp.read(bytes))
    }
}

impl Write for DeadlineStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait_and(PollFd::writable, |tcp| tcp.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
