//! The TLS handshake: rustls says what to send and when to wait.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::client::UnbufferedClientConnection;

use crate::net::buffer;
use crate::net::buffer::Buffer;
use crate::net::context::{Cancelled, Context};
use crate::sys::net::PollFd;
use crate::tls::session::TlsSession;
use crate::upstream::connection::{Reader, Writer, encrypted, tls_error};

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
    mut tcp: TcpStream,
    connection: UnbufferedClientConnection,
    limit: Duration,
    context: &mut dyn Context,
) -> Result<(Reader, Writer, Option<Vec<u8>>), HandshakeError> {
    let deadline = Instant::now() + limit;
    let mut session = TlsSession::new(connection);
    let mut received = Buffer::default();
    // What came with the end of the handshake: HTTP/2 settings.
    let mut plain = Buffer::default();
    let closed = loop {
        let decrypted = session.decrypt(&mut received, &mut plain);
        // After an error it is the alert that tells the peer why.
        let sent = tcp.write_all(session.queued.bytes());
        session.queued = Buffer::default();
        let closed = decrypted.map_err(tls_error)?;
        sent?;
        if !session.is_handshaking() {
            break closed;
        }
        if closed || received.bytes().len() >= buffer::MAX_LEN {
            return Err(ended());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !context.wait_for(PollFd::readable(&tcp), left)? {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        if received.fill_with(|room| tcp.read(room))? == 0 {
            return Err(ended());
        }
    };
    let protocol = session.protocol().map(<[u8]>::to_vec);
    let (reader, writer) = encrypted(tcp, session, received, plain, closed);
    Ok((reader, writer, protocol))
}

fn ended() -> HandshakeError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
