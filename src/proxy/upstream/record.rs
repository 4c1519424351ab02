//! TLS records (RFC 8446 section 5, RFC 5246 section 6.2): what comes is
//! opened in the buffer it came in, what goes is sealed for one write.
//!
//! rustls makes the handshake, keeps the secrets and does the cryptography.
//! Its own way through a connection would copy each record twice on its way up
//! and twice on its way down. No sockets in here.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::client::ClientConnectionData;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::kernel::KernelConnection;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ExtractedSecrets,
    ProtocolVersion, SupportedCipherSuite,
};

/// What both directions need when keys change, which is rare.
pub struct Keys {
    connection: Mutex<KernelConnection<ClientConnectionData>>,
    suite: SupportedCipherSuite,
    /// The far end has new keys, and wants us to have some, too.
    wanted: AtomicBool,
}

/// The two directions of a connection whose handshake is done.
pub fn directions(
    secrets: ExtractedSecrets,
    connection: KernelConnection<ClientConnectionData>,
) -> Result<(Keys, Opener, Sealer), Error> {
    let suite = connection.negotiated_cipher_suite();
    let opener = Opener {
        decrypter: decrypter(suite, secrets.rx.1)?,
        sequence: secrets.rx.0,
        message: Vec::new(),
    };
    let sealer = Sealer {
        encrypter: encrypter(suite, secrets.tx.1)?,
        sequence: secrets.tx.0,
        limit: limit(suite),
    };
    let keys = Keys {
        connection: Mutex::new(connection),
        suite,
        wanted: AtomicBool::new(false),
    };
    Ok((keys, opener, sealer))
}

impl Keys {
    fn connection(&self) -> MutexGuard<'_, KernelConnection<ClientConnectionData>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_tls13(&self) -> bool {
        self.suite.tls13().is_some()
    }
}

/// Opens what comes.
pub struct Opener {
    decrypter: Box<dyn MessageDecrypter>,
    sequence: u64,
    /// The start of a handshake message; its rest is in another record.
    message: Vec<u8>,
}

/// What was in a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Plain text, at this place of the input.
    Data(Range<usize>),
    /// The far end sends nothing more.
    End,
    /// Something between the two ends of TLS alone.
    Nothing,
}

impl Opener {
    /// Opens the record at the start of `input`, in its place; says how long
    /// it is and what was in it. `None`: it is not all here.
    pub fn open(
        &mut self,
        input: &mut [u8],
        keys: &Keys,
    ) -> Result<Option<(usize, Opened)>, Error> {
        let Some((header, rest)) = input.split_at_mut_checked(HEADER) else {
            return Ok(None);
        };
        let kind = ContentType::from(header[0]);
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if len > LARGEST {
            return Err(Error::PeerSentOversizedRecord);
        }
        // In TLS 1.3 the kind is inside, and what is outside is not covered.
        if keys.is_tls13() && kind != ContentType::ApplicationData {
            return Err(unexpected("a record that is not encrypted"));
        }
        let Some(body) = rest.get_mut(..len) else {
            return Ok(None);
        };
        let begin = body.as_ptr().addr();
        let version = ProtocolVersion::TLSv1_2;
        let message = InboundOpaqueMessage::new(kind, version, body);
        let plain = self.decrypter.decrypt(message, self.sequence)?;
        self.sequence += 1;
        let opened = match plain.typ {
            ContentType::ApplicationData => {
                let start = HEADER + (plain.payload.as_ptr().addr() - begin);
                Opened::Data(start..start + plain.payload.len())
            }
            ContentType::Alert => alert(plain.payload, keys.is_tls13())?,
            ContentType::Handshake => {
                self.message.extend_from_slice(plain.payload);
                self.messages(keys)?;
                Opened::Nothing
            }
            _ => return Err(unexpected("a record of an unknown kind")),
        };
        Ok(Some((HEADER + len, opened)))
    }

    /// Handshake messages after the handshake, as far as they are here.
    fn messages(&mut self, keys: &Keys) -> Result<(), Error> {
        while let [kind, a, b, c, rest @ ..] = &self.message[..] {
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if len > LARGEST {
                return Err(unexpected("a handshake message of that size"));
            }
            let Some(body) = rest.get(..len) else { break };
            match (kind, keys.is_tls13()) {
                (&NEW_SESSION_TICKET, true) => {
                    keys.connection().handle_new_session_ticket(body)?;
                }
                // Nothing may follow it under the old key.
                (&KEY_UPDATE, true) if rest.len() == 1 && body[0] <= 1 => {
                    let (sequence, secrets) = keys.connection().update_rx_secret()?;
                    self.decrypter = decrypter(keys.suite, secrets)?;
                    self.sequence = sequence;
                    if body[0] == 1 {
                        keys.wanted.store(true, Ordering::Relaxed);
                    }
                }
                // Wishes for another handshake may be overlooked.
                (&HELLO_REQUEST, false) => {}
                _ => return Err(unexpected("a handshake message")),
            }
            self.message.drain(..4 + len);
        }
        Ok(())
    }
}

fn alert(payload: &[u8], is_tls13: bool) -> Result<Opened, Error> {
    let &[level, description] = payload else {
        return Err(unexpected("an alert that is none"));
    };
    match AlertDescription::from(description) {
        AlertDescription::CloseNotify => Ok(Opened::End),
        // An announcement of the former, which says nothing by itself.
        AlertDescription::UserCanceled => Ok(Opened::Nothing),
        _ if level == WARNING && !is_tls13 => Ok(Opened::Nothing),
        other => Err(Error::AlertReceived(other)),
    }
}

/// Seals what goes.
pub struct Sealer {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    /// How many records one key may seal.
    limit: u64,
}

impl Sealer {
    /// Appends the record for a piece of plain text, of [`RECORD`] bytes at
    /// most, and before it whatever else has to be said now.
    pub fn seal(
        &mut self,
        piece: OutboundChunks<'_>,
        keys: &Keys,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), Error> {
        if keys.wanted.load(Ordering::Relaxed) || self.sequence >= self.limit {
            self.update(keys, out)?;
        }
        out.push(self.record(ContentType::ApplicationData, piece)?);
        Ok(())
    }

    /// The record that says that nothing more will come.
    pub fn farewell(&mut self) -> Result<Vec<u8>, Error> {
        let close_notify = [WARNING, AlertDescription::CloseNotify.into()];
        self.record(ContentType::Alert, OutboundChunks::Single(&close_notify))
    }

    /// Goes on with another key.
    fn update(&mut self, keys: &Keys, out: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        if !keys.is_tls13() {
            return Err(Error::EncryptError);
        }
        keys.wanted.store(false, Ordering::Relaxed);
        let message = OutboundChunks::Single(&[KEY_UPDATE, 0, 0, 1, 0]);
        out.push(self.record(ContentType::Handshake, message)?);
        let (sequence, secrets) = keys.connection().update_tx_secret()?;
        self.encrypter = encrypter(keys.suite, secrets)?;
        self.sequence = sequence;
        Ok(())
    }

    fn record(&mut self, typ: ContentType, payload: OutboundChunks<'_>) -> Result<Vec<u8>, Error> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload,
        };
        let record = self.encrypter.encrypt(message, self.sequence)?;
        self.sequence += 1;
        Ok(record.encode())
    }
}

fn decrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageDecrypter>, Error> {
    let (key, iv) = parts(secrets)?;
    Ok(match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
        }
    })
}

fn encrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageEncrypter>, Error> {
    let (key, iv) = parts(secrets)?;
    Ok(match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            // The rest of it is where the explicit part of nonces begins.
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            let (iv, explicit) = iv.as_ref().split_at(fixed);
            suite.aead_alg.encrypter(key, iv, explicit)
        }
    })
}

fn limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher of another kind".to_owned())),
    }
}

fn unexpected(what: &str) -> Error {
    Error::General(format!("the far end sent {what} after the handshake"))
}

/// The most plain text one record carries.
pub const RECORD: usize = 16 * 1024;
/// The most bytes that may follow a record's header: TLS 1.2 has the larger bound.
const LARGEST: usize = RECORD + 2048;
const HEADER: usize = 5;
/// The level of an alert that ends nothing by itself.
const WARNING: u8 = 1;
/// Types of handshake messages.
const HELLO_REQUEST: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

#[cfg(test)]
mod tests;
