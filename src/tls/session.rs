//! TLS: rustls's connection, which both directions share. Bytes in, bytes out;
//! the sockets are in `stream.rs` and `handshake.rs`.
//!
//! rustls never waits, so neither does the thread that has locked a [`TlsSession`]:
//! it receives before, and sends after.

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError};
use rustls::{Error, ProtocolVersion};

use crate::net::buffer::Buffer;

/// One TLS connection, from the first byte of its handshake on.
pub struct TlsSession {
    connection: UnbufferedClientConnection,
    /// Records that go before all others: of the handshake, and alerts. Written
    /// by [`TlsSession::decrypt`]; the next write takes them along.
    pub queued: Buffer,
    /// A copy of the records that hold the start of a handshake message and
    /// what came after them; empty while there is none. rustls knows where in
    /// its input they stand, so that has to begin with them in each call, also
    /// where it is the thread that writes which calls.
    unfinished: Vec<u8>,
    /// What came was no TLS; nothing goes either way any more.
    failed: bool,
}

impl TlsSession {
    pub fn new(connection: UnbufferedClientConnection) -> TlsSession {
        TlsSession { connection, queued: Buffer::default(), unfinished: Vec::new(), failed: false }
    }

    /// Whether more has to come before application data can go either way.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The protocol that was agreed on (ALPN, RFC 7301).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The version of TLS that is spoken.
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Some("TLS 1.2"),
            Some(ProtocolVersion::TLSv1_3) => Some("TLS 1.3"),
            _ => None, // none that is offered
        }
    }

    /// Decrypts all whole records of `received`, to the end of `plain`; whether
    /// the peer said that nothing more will come (close_notify).
    ///
    /// # Errors
    /// The connection is over; the alert that tells the peer why is in
    /// `queued`.
    pub fn decrypt(&mut self, received: &mut Buffer, plain: &mut Buffer) -> Result<bool, Error> {
        self.check()?;
        let (mut closed, mut done) = (false, false);
        while !done {
            let status = self.connection.process_tls_records(received.bytes_mut());
            let mut used = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        used += record.discard;
                        plain.append(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put(&mut self.queued, 0, |room| data.encode(room))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => closed = true,
                Ok(_) => done = true,
                Err(err) => {
                    flush(&mut self.connection, received.bytes_mut(), &mut self.queued);
                    self.failed = true;
                    return Err(err);
                }
            }
            received.consume(used);
        }
        if closed {
            received.clear(); // RFC 8446 section 6.1: has to be ignored
        }
        self.unfinished = match begins_with_record(received.bytes()) {
            true => received.bytes().to_vec(),
            false => Vec::new(),
        };
        Ok(closed)
    }

    /// After an error rustls may panic when it is called without the input of
    /// that call.
    fn check(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(over()),
            false => Ok(()),
        }
    }

    /// Encrypts `data`, to the end of `out`, and before it whatever else has to
    /// be sent first.
    ///
    /// # Errors
    /// The connection is over, or the key has encrypted as much as it may and
    /// cannot be changed (TLS 1.2). `out` is to be sent then, too: it tells the
    /// peer.
    pub fn encrypt(&mut self, data: &[u8], out: &mut Buffer) -> Result<(), Error> {
        let records = data.len().div_ceil(MAX_FRAGMENT_LEN);
        let len = data.len() + records * MAX_OVERHEAD;
        self.write(len, out, |traffic, room| traffic.encrypt(data, room))
    }

    /// Appends to `out` that nothing more will be sent (close_notify).
    pub fn close_notify(&mut self, out: &mut Buffer) -> Result<(), Error> {
        self.write(0, out, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        len: usize,
        out: &mut Buffer,
        mut encrypt: impl FnMut(&mut WriteTraffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        out.append(self.queued.bytes());
        self.queued = Buffer::default();
        self.check()?;
        loop {
            match self.connection.process_tls_records(&mut self.unfinished).state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    put(out, 0, |room| data.encode(room))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let written = put(out, len, |room| encrypt(&mut traffic, room));
                    if written.is_err() {
                        flush(&mut self.connection, &mut self.unfinished, out);
                    }
                    return written;
                }
                _ => return Err(over()),
            }
        }
    }
}

/// Appends to `out` what rustls has to send after an error: it gives that
/// before it looks at its input again.
fn flush(connection: &mut UnbufferedClientConnection, input: &mut [u8], out: &mut Buffer) {
    while connection.wants_write()
        && let Ok(ConnectionState::EncodeTlsData(mut data)) = connection.process_tls_records(input).state
        && put(out, 0, |room| data.encode(room)).is_ok()
    {}
}

fn over() -> Error {
    Error::General("the connection is over".to_owned())
}

type WriteTraffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::client::ClientConnectionData>;

/// Whether `bytes` begin with all of a record: one that rustls decrypted and
/// did not use yet, for it holds the start of a handshake message.
fn begins_with_record(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, _, a, b, rest @ ..] => rest.len() >= usize::from(u16::from_be_bytes([*a, *b])),
        _ => false,
    }
}

/// How much room is needed, where there is not enough; `None` for other errors.
trait Missing {
    fn missing(&self) -> Option<usize>;
}

impl Missing for EncodeError {
    fn missing(&self) -> Option<usize> {
        match self {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl Missing for EncryptError {
    fn missing(&self) -> Option<usize> {
        match self {
            EncryptError::InsufficientSize(size) => Some(size.required_size),
            EncryptError::EncryptExhausted => None,
        }
    }
}

/// Calls `write` with `room` at the end of `out`, and again with more of it
/// when it says how much it needs.
fn put<E: Missing>(
    out: &mut Buffer,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    while let Err(err) = out.append_with(room, &mut write) {
        room = err.missing().ok_or(Error::EncryptError)?;
    }
    Ok(())
}

/// The most plaintext one record carries, in bytes (RFC 8446 section 5.1).
const MAX_FRAGMENT_LEN: usize = 16 * 1024;
/// What a record has beside its plaintext, in bytes: header, explicit nonce or
/// content type, and tag.
const MAX_OVERHEAD: usize = 5 + 8 + 16;

#[cfg(test)]
mod tests;
