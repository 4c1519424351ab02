//! What went wrong in TLS, in words for people. No sockets.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use crate::net::context::Cancelled;

/// Why a handshake failed. `Display` completes the sentence "HOST: …".
#[derive(Debug)]
pub enum HandshakeError {
    /// The context was cancelled.
    Cancelled,
    /// The host is neither a DNS name nor an IP address.
    NotAServerName,
    /// The server did not finish the handshake within this time.
    TimedOut(Duration),
    /// The server closed the connection.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// The server's certificate is not valid, for the reason given.
    Certificate(String),
    /// The server does not speak the protocol that ALPN offered.
    NoApplicationProtocol,
    /// The server sent this fatal alert.
    Alert(String),
    /// The server broke the protocol.
    Protocol(String),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Cancelled => f.write_str("the client left"),
            HandshakeError::NotAServerName => f.write_str("it is not a name that a certificate can have"),
            HandshakeError::TimedOut(timeout) => {
                write!(f, "silence in the TLS handshake for {} s", timeout.as_secs())
            }
            HandshakeError::Closed => f.write_str("it closed the connection in the TLS handshake"),
            HandshakeError::Io(err) => write!(f, "the TLS handshake broke off: {err}"),
            HandshakeError::Certificate(why) => write!(f, "its certificate is not valid: {why}"),
            HandshakeError::NoApplicationProtocol => {
                f.write_str("it does not offer the protocol that was asked for, by ALPN")
            }
            HandshakeError::Alert(name) => write!(f, "it ended the TLS handshake: {name}"),
            HandshakeError::Protocol(what) => f.write_str(what),
        }
    }
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

impl From<rustls::Error> for HandshakeError {
    fn from(err: rustls::Error) -> HandshakeError {
        match err {
            rustls::Error::InvalidCertificate(why) => HandshakeError::Certificate(explain_certificate(&why)),
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                HandshakeError::NoApplicationProtocol
            }
            rustls::Error::AlertReceived(alert) => HandshakeError::Alert(split_words(&format!("{alert:?}"))),
            other => HandshakeError::Protocol(other.to_string()),
        }
    }
}

/// The error of a read or write on a connection whose session ended with `err`.
pub fn io_error(err: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

fn explain_certificate(err: &CertificateError) -> String {
    let text = match err {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "by the clock of this machine it is not valid yet"
        }
        CertificateError::UnknownIssuer => "no trusted root has signed it",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "it is for other names",
        // webpki's errors without a variant in rustls are told apart by their text alone.
        CertificateError::Other(other) => match &*other.to_string() {
            "CaUsedAsEndEntity" => "it is that of an authority, which may not be a server's own",
            other => return split_words(other),
        },
        other => return split_words(&format!("{other:?}")),
    };
    text.to_owned()
}

/// The name of an enum variant as words: `HandshakeFailure` is "handshake failure". What follows the name is dropped.
fn split_words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::OtherError;
    use rustls::pki_types::UnixTime;
    use std::sync::Arc;

    #[test]
    fn errors_are_sentences_for_people() {
        let time = UnixTime::since_unix_epoch(Duration::ZERO);
        let expired = CertificateError::ExpiredContext { time, not_after: time };
        let other = |name: &str| {
            let err = io::Error::other(name.to_owned());
            CertificateError::Other(OtherError(Arc::new(err)))
        };
        for (err, want) in [
            (expired, "it has expired"),
            (CertificateError::UnknownIssuer, "no trusted root has signed it"),
            (CertificateError::BadSignature, "bad signature"),
            (other("CaUsedAsEndEntity"), "it is that of an authority, which may not be a server's own"),
            (other("PathLenExceeded(3)"), "path len exceeded"),
        ] {
            let got = HandshakeError::from(rustls::Error::InvalidCertificate(err)).to_string();
            assert_eq!(got, format!("its certificate is not valid: {want}"));
        }
        let alert = HandshakeError::from(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure));
        assert_eq!(alert.to_string(), "it ended the TLS handshake: handshake failure");
    }
}
