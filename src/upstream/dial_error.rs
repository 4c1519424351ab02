//! Why a dial brought no connection: [`DialError`], a kind and a sentence.
//!
//! A dial ends before any byte of a request is sent, and no sentence here leaves that open. Which response an HTTP
//! client gets for each kind is decided in `proxy/error.rs`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;

use crate::dns::resolver::ResolveError;
use crate::names::destination::Destination;
use crate::net::context::Cancelled;
use crate::tls::error_text;
use crate::tls::handshake::HandshakeError;
use crate::upstream::Alpn;

/// Why a dial brought no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialError {
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
    ConnectionRefused,
    ConnectionTimeout,
    Unroutable,
    /// Another error of `connect`, or a connection that the upstream closed before a request was sent.
    Unavailable,
    HandshakeTerminated,
    HandshakeTimeout,
    TlsProtocol,
    TlsCertificate,
    TlsAlert,
    /// The upstream did not agree to `h2` by ALPN.
    Http1Only,
    /// The upstream sent bytes before a request was sent.
    UnsolicitedBytes,
    /// A system call failed that never should.
    Internal,
}

impl DialError {
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

    /// The upstream did not agree to `h2` by ALPN (RFC 7301 section 3.2).
    pub fn http1_only(to: &Destination) -> DialError {
        DialError::new(DialErrorKind::Http1Only, format!("{} speaks HTTP/1.1 only, not HTTP/2", to.host))
    }

    /// The TLS handshake failed. rustls reports through `io::Error`, which holds a [`rustls::Error`].
    pub fn from_handshake(to: &Destination, alpn: Alpn, err: HandshakeError, timeout: Duration) -> DialError {
        let err = match err {
            HandshakeError::Cancelled => return Cancelled.into(),
            HandshakeError::Io(err) => err,
        };
        let inner = err.get_ref().and_then(|err| err.downcast_ref::<rustls::Error>());
        let (kind, what) = match inner {
            Some(rustls::Error::InvalidCertificate(why)) => (
                DialErrorKind::TlsCertificate,
                format!("its certificate is not valid: {}", error_text::certificate(why)),
            ),
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => match alpn {
                Alpn::Http2 => return DialError::http1_only(to),
                Alpn::Http1 => {
                    (DialErrorKind::TlsAlert, "it does not offer the HTTP/1.1 that was asked for, by ALPN".to_owned())
                }
            },
            Some(rustls::Error::AlertReceived(alert)) => {
                (DialErrorKind::TlsAlert, format!("it ended the TLS handshake: {}", error_text::name(alert)))
            }
            Some(other) => (DialErrorKind::TlsProtocol, other.to_string()),
            None if err.kind() == io::ErrorKind::TimedOut => {
                (DialErrorKind::HandshakeTimeout, format!("silence in the TLS handshake for {} s", timeout.as_secs()))
            }
            None if err.kind() == io::ErrorKind::UnexpectedEof => {
                (DialErrorKind::HandshakeTerminated, "it closed the connection in the TLS handshake".to_owned())
            }
            None => (DialErrorKind::HandshakeTerminated, format!("the TLS handshake broke off: {err}")),
        };
        DialError::new(kind, format!("{}: {what}", to.host))
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
            ResolveError::Refused(..) | ResolveError::NoNameserver(_) => DialErrorKind::DnsServer,
            ResolveError::NotAName(_) | ResolveError::NxDomain(_) => DialErrorKind::DnsName,
        };
        DialError::new(kind, err.to_string())
    }
}

/// Whole seconds: attempts start some milliseconds after each other and share one deadline.
fn rounded_secs(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}
