//! Why a dial brought no connection, in words. Nothing of the request was sent
//! by then, and no sentence here leaves that open.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;

use super::Alpn;
use super::handshake::HandshakeError;
use super::words;
use crate::context::Cancelled;
use crate::destination::Destination;
use crate::dns::resolve::ResolveError;
use crate::proxy::refusal::{Kind, Refusal};

/// What a dial may end with instead of a connection.
#[derive(Debug)]
pub enum DialError {
    /// Its context was cancelled: nobody is there to be told.
    Cancelled,
    Refused(Refusal),
}

impl DialError {
    /// For people.
    pub fn reason(self) -> String {
        match self {
            DialError::Cancelled => "it was given up".to_owned(),
            DialError::Refused(refusal) => refusal.reason(),
        }
    }
}

impl From<Refusal> for DialError {
    fn from(refusal: Refusal) -> DialError {
        DialError::Refused(refusal)
    }
}

impl From<Cancelled> for DialError {
    fn from(_: Cancelled) -> DialError {
        DialError::Cancelled
    }
}

impl From<ResolveError> for DialError {
    fn from(err: ResolveError) -> DialError {
        let kind = match err {
            ResolveError::Cancelled => return DialError::Cancelled,
            ResolveError::TimedOut(..) => Kind::DnsTimeout,
            ResolveError::Refused(..) | ResolveError::NoNameserver(_) => Kind::DnsServerError,
            ResolveError::NotAName(_) | ResolveError::NoSuchName(_) => Kind::DnsError,
        };
        DialError::Refused(Refusal::new(kind, err.to_string()))
    }
}

/// The address of `host` is one of runsd's own listeners.
pub fn of_loop(host: &str, own: SocketAddr) -> Refusal {
    Refusal::new(
        Kind::ProxyLoopDetected,
        format!(
            "{host} at {own} leads back to runsd; ask for a service by its name, or give the \
             name another URL with -route"
        ),
    )
}

/// An attempt to connect to one address of `host` failed after so long.
pub fn of_connect(host: &str, address: SocketAddr, err: &io::Error, after: Duration) -> Refusal {
    let (kind, what) = match err.kind() {
        io::ErrorKind::ConnectionRefused => {
            (Kind::ConnectionRefused, "refused the connection".to_owned())
        }
        // Accepted and ended before we could look.
        io::ErrorKind::ConnectionReset => {
            (Kind::ConnectionRefused, "reset the connection".to_owned())
        }
        io::ErrorKind::TimedOut => (
            Kind::ConnectionTimeout,
            format!("did not answer within {} s", rounded_secs(after)),
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => (
            Kind::DestinationIpUnroutable,
            "cannot be reached from here".to_owned(),
        ),
        _ => (
            Kind::DestinationUnavailable,
            format!("cannot be connected to: {err}"),
        ),
    };
    Refusal::new(kind, format!("{host} at {address} {what}"))
}

/// Attempts begin a few moments after each other, and end together.
fn rounded_secs(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

/// An upstream did not agree to h2 by ALPN (RFC 7301).
pub fn http1_only(to: &Destination) -> Refusal {
    Refusal::new(
        Kind::Http1Only,
        format!("{} speaks HTTP/1.1 only, not HTTP/2", to.host),
    )
}

/// The TLS handshake failed. rustls reports through `io::Error`; what it said
/// is inside.
pub fn of_handshake(
    to: &Destination,
    alpn: Alpn,
    err: HandshakeError,
    timeout: Duration,
) -> DialError {
    let err = match err {
        HandshakeError::Cancelled => return DialError::Cancelled,
        HandshakeError::Io(err) => err,
    };
    let inner = err
        .get_ref()
        .and_then(|err| err.downcast_ref::<rustls::Error>());
    let (kind, what) = match inner {
        Some(rustls::Error::InvalidCertificate(why)) => (
            Kind::TlsCertificateError,
            format!("its certificate is not valid: {}", words::certificate(why)),
        ),
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => match alpn {
            Alpn::Http2 => return http1_only(to).into(),
            Alpn::Http1 => (
                Kind::TlsAlertReceived,
                "it does not offer the HTTP/1.1 that was asked for, by ALPN".to_owned(),
            ),
        },
        Some(rustls::Error::AlertReceived(alert)) => (
            Kind::TlsAlertReceived,
            format!("it ended the TLS handshake: {}", words::name(alert)),
        ),
        Some(other) => (Kind::TlsProtocolError, other.to_string()),
        None if err.kind() == io::ErrorKind::TimedOut => (
            Kind::HandshakeTimeout,
            format!("silence in the TLS handshake for {} s", timeout.as_secs()),
        ),
        None if err.kind() == io::ErrorKind::UnexpectedEof => (
            Kind::HandshakeTerminated,
            "it closed the connection in the TLS handshake".to_owned(),
        ),
        None => (
            Kind::HandshakeTerminated,
            format!("the TLS handshake broke off: {err}"),
        ),
    };
    DialError::Refused(Refusal::new(kind, format!("{}: {what}", to.host)))
}
