//! One question to one nameserver: by UDP, and by TCP where the answer is cut.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::dns::message;
use crate::dns::message::{Query, Read};
use crate::dns::nameservers;
use crate::dns::nameservers::Random;
use crate::net::context::{Cancelled, Context};
use crate::sys::net::PollFd;
use crate::sys::tcp;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    Cancelled,
    /// The nameserver is silent, or nothing listens there.
    Silent(io::Error),
    /// It answers by UDP, with less than all of it, but not by TCP.
    Cut(io::Error),
}

impl From<Cancelled> for NoAnswer {
    fn from(_: Cancelled) -> NoAnswer {
        NoAnswer::Cancelled
    }
}

impl From<io::Error> for NoAnswer {
    fn from(err: io::Error) -> NoAnswer {
        NoAnswer::Silent(err)
    }
}

/// Asks for the records of `name`.
///
/// Blocks: until there is an answer, for `limit` at most.
pub fn exchange(
    (name, kind): (&str, u16),
    address: SocketAddr,
    limit: Duration,
    context: &mut dyn Context,
) -> Result<Vec<u8>, NoAnswer> {
    let id = Random::default().id();
    let wire = message::question(id, name, kind);
    let Read::Query(query) = message::read(&wire) else {
        return Err(NoAnswer::Silent(io::ErrorKind::InvalidInput.into()));
    };
    let deadline = Instant::now() + limit;
    let socket = nameservers::connect(address)?;
    socket.send(&wire)?;
    // The question has no EDNS: a nameserver says no more than 512 octets.
    // More is taken nevertheless.
    let mut room = [0; 4096];
    loop {
        wait(context, PollFd::readable(&socket), deadline)??;
        let len = match socket.recv(&mut room) {
            Ok(len) => len,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err.into()),
        };
        let answer = &room[..len];
        if !message::answers(answer, id, &wire, query.end) {
            continue;
        }
        if !message::is_truncated(answer) {
            return Ok(answer.to_vec());
        }
        return match by_tcp(&query, address, deadline, context)? {
            Ok(whole) => Ok(whole),
            // What was cut is better than nothing, where TCP is not to be had;
            // but what is not in it may well exist.
            Err(_) if says_something(answer, name, kind) => Ok(answer.to_vec()),
            Err(err) => Err(NoAnswer::Cut(err)),
        };
    }
}

fn says_something(answer: &[u8], name: &str, kind: u16) -> bool {
    message::code(answer) != 0
        || message::addresses(answer, name, kind)
            .is_some_and(|found| !found.addresses.is_empty() || found.alias.is_some())
}

/// DNS over TCP (RFC 7766), on a connection of its own.
fn by_tcp(
    query: &Query<'_>,
    address: SocketAddr,
    deadline: Instant,
    context: &mut dyn Context,
) -> Result<io::Result<Vec<u8>>, Cancelled> {
    let mut tcp = match tcp::start_connect(address) {
        Ok(tcp) => tcp,
        Err(err) => return Ok(Err(err)),
    };
    // Until the connection stands, writing says `NotConnected` or waits.
    if let Err(err) = wait(context, PollFd::writable(&tcp), deadline)? {
        return Ok(Err(err));
    }
    let len = u16::try_from(query.wire.len()).unwrap_or(0).to_be_bytes();
    // A few octets always fit into an empty send buffer.
    if let Err(err) = tcp.write_all(&[&len, query.wire].concat()) {
        return Ok(Err(err));
    }
    let mut framed = Vec::new();
    loop {
        if let Err(err) = wait(context, PollFd::readable(&tcp), deadline)? {
            return Ok(Err(err));
        }
        if let Err(err) = receive(&mut tcp, &mut framed) {
            return Ok(Err(err));
        }
        let Some((len, rest)) = framed.split_first_chunk::<2>() else {
            continue;
        };
        let Some(answer) = rest.get(..usize::from(u16::from_be_bytes(*len))) else {
            continue;
        };
        let is_whole =
            message::answers(answer, u16::from_be_bytes([query.wire[0], query.wire[1]]), query.wire, query.end);
        return Ok(match is_whole {
            true => Ok(answer.to_vec()),
            false => Err(io::ErrorKind::InvalidData.into()),
        });
    }
}

/// One read, added to `framed`.
fn receive(tcp: &mut TcpStream, framed: &mut Vec<u8>) -> io::Result<()> {
    let mut room = [0; 2048];
    match tcp.read(&mut room) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => {
            framed.extend_from_slice(&room[..n]);
            Ok(())
        }
        Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
        Err(err) => Err(err),
    }
}

/// Waits until the deadline; a time-out is an error of its own.
fn wait(context: &mut dyn Context, wait: PollFd, deadline: Instant) -> Result<io::Result<()>, Cancelled> {
    let left = deadline.saturating_duration_since(Instant::now());
    Ok(match context.wait_for(wait, left)? {
        true => Ok(()),
        false => Err(io::ErrorKind::TimedOut.into()),
    })
}
