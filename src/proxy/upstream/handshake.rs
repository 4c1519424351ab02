//! The TLS handshake: rustls says what to send and when to wait.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError};

use super::incoming::Incoming;
use super::record::directions;
use super::stream::{Reader, Writer, halves, tls_error};
use crate::context::{Cancelled, Context};
use crate::proxy::room::lengthen;
use crate::sys::net::Wait;

/// Why there is no TLS.
#[derive(Debug)]
pub enum HandshakeError {
    Cancelled,
    Io(io::Error),
}

impl From<Cancelled> for HandshakeError {
    fn from(_: Cancelled) -> HandshakeError {
        HandshakeError::Cancelled
    }
}

impl From<io::Error> for HandshakeError {
    fn from(err: io::Error) -> HandshakeError {
        HandshakeError::Io(err)
    }
}

/// Goes through the handshake, and says which protocol was agreed on.
///
/// Blocks: for `limit` in all, or until `context` is cancelled.
pub fn handshake(
    tcp: TcpStream,
    mut connection: UnbufferedClientConnection,
    limit: Duration,
    context: &mut dyn Context,
) -> Result<(Reader, Writer, Option<Vec<u8>>), HandshakeError> {
    let deadline = Instant::now() + limit;
    let mut incoming = Incoming::default();
    let mut outgoing = Vec::new();
    // Plain text that came with the end of the handshake: HTTP/2 settings.
    let mut early = Vec::new();
    loop {
        let status = connection.process_tls_records(incoming.sealed());
        let mut discard = status.discard;
        let mut wants_more = false;
        match status.state.map_err(tls_error) {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut outgoing, |buffer| data.encode(buffer))?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                (&tcp).write_all(&outgoing)?;
                outgoing.clear();
                data.done();
            }
            Ok(ConnectionState::BlockedHandshake) => wants_more = true,
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(tls_error)?;
                    discard += record.discard;
                    early.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::WriteTraffic(_)) => {
                incoming.discard(discard);
                break;
            }
            Ok(_) => return Err(ended()),
            Err(err) => {
                // The alert that tells the far end why.
                farewell(&tcp, &mut connection);
                return Err(err.into());
            }
        }
        incoming.discard(discard);
        if wants_more {
            receive(&tcp, &mut incoming, deadline, context)?;
        }
    }
    let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
    let (secrets, connection) = connection
        .dangerous_into_kernel_connection()
        .map_err(tls_error)?;
    let version = match connection.protocol_version() {
        ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
        _ => None, // none that is offered
    };
    let (keys, opener, sealer) = directions(secrets, connection).map_err(tls_error)?;
    incoming.precede(&early);
    let (reader, writer) = halves(tcp, Some((keys, opener, sealer, version)), incoming);
    Ok((reader, writer, protocol))
}

/// One receive, before the deadline.
fn receive(
    tcp: &TcpStream,
    incoming: &mut Incoming,
    deadline: Instant,
    context: &mut dyn Context,
) -> Result<(), HandshakeError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if !context.wait_for(Wait::readable(tcp), left)? {
        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
    }
    match incoming.receive(tcp)? {
        0 => Err(ended()),
        _ => Ok(()),
    }
}

fn ended() -> HandshakeError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}

/// Calls `f` with some room at the end of `outgoing`, and again with more of
/// it when it says how much it needs.
fn encode(
    outgoing: &mut Vec<u8>,
    mut f: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let before = outgoing.len();
    let mut room = USUAL;
    loop {
        lengthen(outgoing, before + room);
        match f(&mut outgoing[before..]) {
            Ok(n) => {
                outgoing.truncate(before + n);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(info)) => room = info.required_size,
            Err(EncodeError::AlreadyEncoded) => return Err(io::Error::other("TLS state")),
        }
    }
}

/// Sends what rustls still has to say after an error: an alert.
fn farewell(mut tcp: &TcpStream, connection: &mut UnbufferedClientConnection) {
    let mut outgoing = Vec::new();
    if let Ok(ConnectionState::EncodeTlsData(mut data)) =
        connection.process_tls_records(&mut []).state
        && encode(&mut outgoing, |buffer| data.encode(buffer)).is_ok()
    {
        let _ = tcp.write_all(&outgoing);
    }
}

/// Room enough for most of what a handshake says.
const USUAL: usize = 1024;
