//! Why a dial brought no connection: [`DialError`], a kind and a sentence.
//!
//! A dial ends before any byte of a request is sent, and no sentence here leaves that open. Which response an HTTP
//! client gets for each kind is decided in `proxy/error.rs`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::dns::resolver::ResolveError;
use crate::net::context::Cancelled;
use crate::tls::{Alpn, HandshakeError};

/// Why a dial brought no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialError {
    /// What failed.
    pub kind: DialErrorKind,
    /// A sentence for people that names the host; empty for [`DialErrorKind::Cancelled`].
    pub details: String,
}

/// The step of a dial that failed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialErrorKind {
    /// The context was cancelled, because the client left.
    Cancelled,
    /// No nameserver answered in time.
    DnsTimeout,
    /// The nameservers answered with an error, or there are none.
    DnsServer,
    /// The host has no address.
    DnsName,
    /// The host's only addresses are those of runsd's own listeners.
    Loop,
    /// The upstream refused the connection, or reset it at once.
    ConnectionRefused,
    /// The upstream did not answer in time.
    ConnectionTimeout,
    /// There is no route to the upstream.
    Unroutable,
    /// Another error of `connect`, or a connection that the upstream closed before a request was sent.
    Unavailable,
    /// The upstream ended the connection during the TLS handshake.
    HandshakeTerminated,
    /// The upstream did not finish the TLS handshake in time.
    HandshakeTimeout,
    /// The upstream broke the TLS protocol.
    TlsProtocol,
    /// The upstream's certificate is not valid.
    TlsCertificate,
    /// The upstream sent a fatal TLS alert.
    TlsAlert,
    /// The upstream did not agree to `h2` by ALPN.
    Http1Only,
    /// The upstream sent bytes before a request was sent.
    UnsolicitedBytes,
    /// A system call failed that never should.
    Internal,
}

impl DialError {
    /// `details` is a sentence for people that names the host.
    pub fn new(kind: DialErrorKind, details: impl Into<String>) -> DialError {
        DialError { kind, details: details.into() }
    }

    /// `own`, an address of `host`, is one of runsd's own listeners.
    pub fn own_listener(host: &str, own: SocketAddr) -> DialError {
        let details = format!(
            "{host} at {own} leads back to runsd; ask for a service by its name, or give the \
             name another URL with -route"
        );
        DialError::new(DialErrorKind::Loop, details)
    }

    /// Connecting to one address of `host` failed with `err`, `after` its start.
    pub fn from_connect(host: &str, address: SocketAddr, err: &io::Error, after: Duration) -> DialError {
        let (kind, what) = match err.kind() {
            io::ErrorKind::ConnectionRefused => (DialErrorKind::ConnectionRefused, "refused the connection".to_owned()),
            // The upstream accepted and reset the connection before `connect` returned.
            io::ErrorKind::ConnectionReset => (DialErrorKind::ConnectionRefused, "reset the connection".to_owned()),
            io::ErrorKind::TimedOut => {
                (DialErrorKind::ConnectionTimeout, format!("did not answer within {} s", rounded_secs(after)))
            }
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                (DialErrorKind::Unroutable, "cannot be reached from here".to_owned())
            }
            _ => (DialErrorKind::Unavailable, format!("cannot be connected to: {err}")),
        };
        DialError::new(kind, format!("{host} at {address} {what}"))
    }

    /// The TLS handshake with `host`, which offered `alpn`, failed.
    pub fn from_handshake(host: &str, alpn: Alpn, err: &HandshakeError) -> DialError {
        let kind = match err {
            HandshakeError::Cancelled => return Cancelled.into(),
            HandshakeError::NoApplicationProtocol if alpn == Alpn::Http2 => {
                let details = format!("{host} speaks HTTP/1.1 only, not HTTP/2");
                return DialError::new(DialErrorKind::Http1Only, details);
            }
            HandshakeError::NoApplicationProtocol | HandshakeError::Alert(_) => DialErrorKind::TlsAlert,
            HandshakeError::Certificate(_) => DialErrorKind::TlsCertificate,
            HandshakeError::NotAServerName | HandshakeError::Protocol(_) => DialErrorKind::TlsProtocol,
            HandshakeError::TimedOut(_) => DialErrorKind::HandshakeTimeout,
            HandshakeError::Closed | HandshakeError::Io(_) => DialErrorKind::HandshakeTerminated,
        };
        DialError::new(kind, format!("{host}: {err}"))
    }
}

impl From<Cancelled> for DialError {
    fn from(_: Cancelled) -> DialError {
        DialError::new(DialErrorKind::Cancelled, "")
    }
}

impl From<ResolveError> for DialError {
    fn from(err: ResolveError) -> DialError {
        let kind = match err {
            ResolveError::Cancelled => return Cancelled.into(),
            ResolveError::TimedOut(..) => DialErrorKind::DnsTimeout,
            ResolveError::ErrorResponse(..) | ResolveError::NoNameserver(_) => DialErrorKind::DnsServer,
            ResolveError::InvalidName(_) | ResolveError::NoAddress(_) => DialErrorKind::DnsName,
        };
        DialError::new(kind, err.to_string())
    }
}

/// Whole seconds: attempts start some milliseconds after each other and share one deadline.
fn rounded_secs(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}
