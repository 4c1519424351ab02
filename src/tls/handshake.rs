//! The handshake (RFC 8446 section 2): rustls says what to send and when to read; this file does it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::net::buffer::{self, Buffer};
use crate::net::context::Context;
use crate::sys::net::PollFd;
use crate::tls::error::HandshakeError;
use crate::tls::session::TlsSession;

/// A connection whose handshake is done.
pub struct Established {
    /// The connection. Reads and writes on it block.
    pub tcp: TcpStream,
    /// What encrypts and decrypts.
    pub session: TlsSession,
    /// Bytes that were received behind the handshake and are not a whole record.
    pub received: Buffer,
    /// What the server sent together with the end of its handshake, decrypted; HTTP/2 servers send SETTINGS.
    pub plaintext: Buffer,
    /// The server sent close_notify.
    pub is_closed: bool,
}

/// Does the handshake of `session` on `tcp`.
///
/// Blocks: until it is done, for `timeout` in all, or until `context` is cancelled.
///
/// # Errors
/// [`HandshakeError`] says what failed. The server was sent the alert that says so.
pub fn handshake(
    mut tcp: TcpStream,
    mut session: TlsSession,
    timeout: Duration,
    context: &mut dyn Context,
) -> Result<Established, HandshakeError> {
    let deadline = Instant::now() + timeout;
    let (mut received, mut plaintext) = (Buffer::default(), Buffer::default());
    loop {
        let decrypted = session.decrypt(&mut received, &mut plaintext);
        // After an error these are the alert.
        let sent = tcp.write_all(session.queued.bytes());
        session.queued = Buffer::default();
        let is_closed = decrypted?;
        sent?;
        if !session.is_handshaking() {
            return Ok(Established { tcp, session, received, plaintext, is_closed });
        }
        if is_closed || received.bytes().len() >= buffer::MAX_LEN {
            return Err(HandshakeError::Closed);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !context.wait_for(PollFd::readable(&tcp), left)? {
            return Err(HandshakeError::TimedOut(timeout));
        }
        if received.fill_with(|space| tcp.read(space))? == 0 {
            return Err(HandshakeError::Closed);
        }
    }
}
