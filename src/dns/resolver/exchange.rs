//! One question to one nameserver: by UDP, and by TCP where the response is truncated.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::dns::message::{self, Parsed, Rcode, RecordType};
use crate::dns::nameservers::ExchangeError;
use crate::dns::source_ports::{self, Random};
use crate::dns::tcp_framing;
use crate::net::context::Context;
use crate::sys::net::PollFd;

impl From<io::Error> for ExchangeError {
    fn from(err: io::Error) -> ExchangeError {
        ExchangeError::NoResponse(err)
    }
}

/// Asks a nameserver for the records of a name.
///
/// Blocks: until it responds, for `timeout` at most.
///
/// # Errors
/// [`ExchangeError`], with what the kernel said.
pub fn exchange(
    (name, record_type): (&str, RecordType),
    address: SocketAddr,
    timeout: Duration,
    context: &mut dyn Context,
) -> Result<Vec<u8>, ExchangeError> {
    let deadline = Instant::now() + timeout;
    let id = Random::default().id();
    let wire = message::question(id, name, record_type);
    let Parsed::Query(query) = message::parse(&wire) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    };
    let socket = source_ports::connect(address)?;
    socket.send(&wire)?;
    let mut datagram = [0; MAX_DATAGRAM_LEN];
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        if !context.wait_for(PollFd::readable(&socket), time_left)? {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        let len = match socket.recv(&mut datagram) {
            Ok(len) => len,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err.into()),
        };
        let response = &datagram[..len];
        if !message::is_response_to(response, id, query.raw) {
            continue;
        }
        if !message::is_truncated(response) {
            return Ok(response.to_vec());
        }
        return match tcp_framing::exchange(query.raw, id, address, deadline, context)? {
            Ok((whole, _)) => Ok(whole),
            // Without TCP a part is better than nothing; but what it lacks may well exist.
            Err(_) if is_useful(response, name, record_type) => Ok(response.to_vec()),
            Err(err) => Err(ExchangeError::Truncated(err)),
        };
    }
}

/// Whether a truncated response is an error, or has an address or a CNAME.
fn is_useful(response: &[u8], name: &str, record_type: RecordType) -> bool {
    message::rcode(response) != Rcode::NOERROR
        || message::read_addresses(response, name, record_type)
            .is_some_and(|found| !found.addresses.is_empty() || found.alias.is_some())
}

/// Bytes of a datagram that are read. Without EDNS a response has no more than 512 (RFC 1035, section 4.2.1), but
/// not every nameserver keeps to that.
const MAX_DATAGRAM_LEN: usize = 4096;
