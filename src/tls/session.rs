//! The TLS session of one connection: bytes in, bytes out. The sockets are in `handshake.rs` and
//! `upstream/connection.rs`.
//!
//! rustls never waits, so a thread that has a [`TlsSession`] locked does not either: it reads from the socket before,
//! and writes to it after.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic};
use rustls::{ClientConfig, Error, ProtocolVersion};

use crate::net::buffer::Buffer;

/// One TLS connection as rustls sees it, from the first byte of the handshake on.
pub struct TlsSession {
    connection: UnbufferedClientConnection,
    /// Records of the handshake, and alerts: they precede all other records. [`TlsSession::decrypt`] writes them; the
    /// next [`TlsSession::encrypt`] takes them along, unless its caller sends them first.
    pub queued: Buffer,
    /// A copy of the records that hold the start of a handshake message, and of what followed them; mostly empty.
    /// rustls remembers the offsets of such records in its input, so each call has to present them again, those of
    /// the thread that encrypts, too.
    unfinished: Vec<u8>,
    /// [`TlsSession::decrypt`] failed. rustls may panic when it is called after an error without the input of the call
    /// that failed, so it is not called again.
    failed: bool,
}

impl TlsSession {
    /// Prepares the handshake with the server `name`.
    ///
    /// # Errors
    /// rustls's, where `config` does not allow for a handshake.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<TlsSession, Error> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(TlsSession { connection, queued: Buffer::default(), unfinished: Vec::new(), failed: false })
    }

    /// Whether the handshake has to go on before application data can be sent or received.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The protocol that the server chose by ALPN (RFC 7301 section 3.2).
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The negotiated version, as `TLS 1.3`.
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Some("TLS 1.2"),
            Some(ProtocolVersion::TLSv1_3) => Some("TLS 1.3"),
            _ => None, // runsd offers no others
        }
    }

    /// Decrypts all whole records of `received`, and appends their plaintext to `plaintext`. Returns whether the server
    /// sent close_notify.
    ///
    /// # Errors
    /// The connection is over; the alert that tells the server why is in `queued`. `plaintext` has what preceded the
    /// error.
    pub fn decrypt(&mut self, received: &mut Buffer, plaintext: &mut Buffer) -> Result<bool, Error> {
        self.check()?;
        let (mut is_closed, mut is_done) = (false, false);
        while !is_done {
            let status = self.connection.process_tls_records(received.bytes_mut());
            let mut used = status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        used += record.discard;
                        plaintext.append(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.queued)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => is_closed = true,
                Ok(_) => is_done = true,
                Err(err) => {
                    append_alert(&mut self.connection, received.bytes_mut(), &mut self.queued);
                    self.failed = true;
                    return Err(err);
                }
            }
            received.consume(used);
        }
        if is_closed {
            received.clear(); // RFC 8446 section 6.1: data after a closure alert is ignored
        }
        self.unfinished = match starts_with_record(received.bytes()) {
            true => received.bytes().to_vec(),
            false => Vec::new(),
        };
        Ok(is_closed)
    }

    /// Encrypts `data` and appends the records to `out`, behind those that are queued.
    ///
    /// # Errors
    /// The connection is over, or the key has encrypted as many records as it may and cannot be changed (TLS 1.2).
    /// The caller sends `out` nevertheless: it tells the server.
    pub fn encrypt(&mut self, data: &[u8], out: &mut Buffer) -> Result<(), Error> {
        let records = data.len().div_ceil(MAX_FRAGMENT_LEN);
        let len = data.len() + records * MAX_RECORD_OVERHEAD;
        self.write(len, out, |traffic, space| traffic.encrypt(data, space))
    }

    /// Appends a close_notify alert (RFC 8446 section 6.1): runsd will not send more.
    ///
    /// # Errors
    /// As those of [`TlsSession::encrypt`].
    pub fn close_notify(&mut self, out: &mut Buffer) -> Result<(), Error> {
        self.write(0, out, |traffic, space| traffic.queue_close_notify(space))
    }

    /// Appends the queued records, and then what `encrypt` writes into `len` bytes or more.
    fn write(
        &mut self,
        len: usize,
        out: &mut Buffer,
        mut encrypt: impl FnMut(&mut WriteTraffic<'_, ClientConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        out.append(self.queued.bytes());
        self.queued = Buffer::default();
        self.check()?;
        loop {
            match self.connection.process_tls_records(&mut self.unfinished).state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, out)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let written = append(out, len, |space| {
                        encrypt(&mut traffic, space).map_err(|err| match err {
                            EncryptError::InsufficientSize(size) => Some(size.required_size),
                            EncryptError::EncryptExhausted => None,
                        })
                    });
                    if written.is_err() {
                        append_alert(&mut self.connection, &mut self.unfinished, out);
                    }
                    return written;
                }
                _ => return Err(connection_is_over()),
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(connection_is_over()),
            false => Ok(()),
        }
    }
}

/// Appends to `out` the alert that rustls has to send after an error: it hands that out before it looks at its input.
fn append_alert(connection: &mut UnbufferedClientConnection, input: &mut [u8], out: &mut Buffer) {
    while connection.wants_write()
        && let Ok(ConnectionState::EncodeTlsData(mut data)) = connection.process_tls_records(input).state
        && encode(&mut data, out).is_ok()
    {}
}

fn connection_is_over() -> Error {
    Error::General("the connection is over".to_owned())
}

/// Whether `bytes` start with a whole record (RFC 8446 section 5.1): one that rustls decrypted and did not consume,
/// because it holds the start of a handshake message.
fn starts_with_record(bytes: &[u8]) -> bool {
    match bytes {
        [_type, _, _version, a, b, fragment @ ..] => fragment.len() >= usize::from(u16::from_be_bytes([*a, *b])),
        _ => false,
    }
}

/// Appends the handshake message or alert that rustls has to send.
fn encode(data: &mut EncodeTlsData<'_, ClientConnectionData>, out: &mut Buffer) -> Result<(), Error> {
    append(out, 0, |space| {
        data.encode(space).map_err(|err| match err {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        })
    })
}

/// Calls `write` with `len` bytes of space at the end of `out`. Its error is how much space it needs, and then it is
/// called again, or `None`.
fn append(
    out: &mut Buffer,
    mut len: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Error> {
    while let Err(required) = out.append_with(len, &mut write) {
        len = required.ok_or(Error::EncryptError)?;
    }
    Ok(())
}

/// The most plaintext that a record carries, in bytes (RFC 8446 section 5.1).
pub const MAX_FRAGMENT_LEN: usize = 16 * 1024;

/// The most that a record has beside its plaintext, in bytes: header, explicit nonce (TLS 1.2) or content type
/// (TLS 1.3), and tag.
const MAX_RECORD_OVERHEAD: usize = 5 + 8 + 16;
