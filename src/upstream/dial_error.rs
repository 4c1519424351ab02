//! Why a dial brought no connection, in words. Nothing of the request was sent
//! by then, and no sentence here leaves that open.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;

use crate::dns::resolver::ResolveError;
use crate::names::destination::Destination;
use crate::net::context::Cancelled;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::tls::error_text;
use crate::tls::handshake::HandshakeError;
use crate::upstream::Alpn;

/// What a dial may end with instead of a connection.
#[derive(Debug)]
pub enum DialError {
    /// Its context was cancelled: nobody is there to be told.
    Cancelled,
    Proxy(ProxyError),
}

impl DialError {
    /// For people.
    pub fn reason(self) -> String {
        match self {
            DialError::Cancelled => "it was given up".to_owned(),
            DialError::Proxy(refusal) => refusal.reason(),
        }
    }
}

impl From<ProxyError> for DialError {
    fn from(refusal: ProxyError) -> DialError {
        DialError::Proxy(refusal)
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
            ResolveError::TimedOut(..) => ErrorType::DnsTimeout,
            ResolveError::Refused(..) | ResolveError::NoNameserver(_) => ErrorType::DnsServerError,
            ResolveError::NotAName(_) | ResolveError::NxDomain(_) => ErrorType::DnsError,
        };
        DialError::Proxy(ProxyError::new(kind, err.to_string()))
    }
}

/// The address of `host` is one of runsd's own listeners.
pub fn of_loop(host: &str, own: SocketAddr) -> ProxyError {
    ProxyError::new(
        ErrorType::ProxyLoopDetected,
        format!(
            "{host} at {own} leads back to runsd; ask for a service by its name, or give the \
             name another URL with -route"
        ),
    )
}

/// An attempt to connect to one address of `host` failed after so long.
pub fn of_connect(host: &str, address: SocketAddr, err: &io::Error, after: Duration) -> ProxyError {
    let (kind, what) = match err.kind() {
        io::ErrorKind::ConnectionRefused => (ErrorType::ConnectionRefused, "refused the connection".to_owned()),
        // Accepted and ended before we could look.
        io::ErrorKind::ConnectionReset => (ErrorType::ConnectionRefused, "reset the connection".to_owned()),
        io::ErrorKind::TimedOut => {
            (ErrorType::ConnectionTimeout, format!("did not answer within {} s", rounded_secs(after)))
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            (ErrorType::DestinationIpUnroutable, "cannot be reached from here".to_owned())
        }
        _ => (ErrorType::DestinationUnavailable, format!("cannot be connected to: {err}")),
    };
    ProxyError::new(kind, format!("{host} at {address} {what}"))
}

/// Attempts begin a few moments after each other, and end together.
fn rounded_secs(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

/// An upstream did not agree to h2 by ALPN (RFC 7301).
pub fn http1_only(to: &Destination) -> ProxyError {
    ProxyError::new(ErrorType::Http1Only, format!("{} speaks HTTP/1.1 only, not HTTP/2", to.host))
}

/// The TLS handshake failed. rustls reports through `io::Error`; what it said
/// is inside.
pub fn of_handshake(to: &Destination, alpn: Alpn, err: HandshakeError, timeout: Duration) -> DialError {
    let err = match err {
        HandshakeError::Cancelled => return DialError::Cancelled,
        HandshakeError::Io(err) => err,
    };
    let inner = err.get_ref().and_then(|err| err.downcast_ref::<rustls::Error>());
    let (kind, what) = match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            (ErrorType::TlsCertificateError, format!("its certificate is not valid: {}", error_text::certificate(why)))
        }
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => match alpn {
            Alpn::Http2 => return http1_only(to).into(),
            Alpn::Http1 => {
                (ErrorType::TlsAlertReceived, "it does not offer the HTTP/1.1 that was asked for, by ALPN".to_owned())
            }
        },
        Some(rustls::Error::AlertReceived(alert)) => {
            (ErrorType::TlsAlertReceived, format!("it ended the TLS handshake: {}", error_text::name(alert)))
        }
        Some(other) => (ErrorType::TlsProtocolError, other.to_string()),
        None if err.kind() == io::ErrorKind::TimedOut => {
            (ErrorType::HandshakeTimeout, format!("silence in the TLS handshake for {} s", timeout.as_secs()))
        }
        None if err.kind() == io::ErrorKind::UnexpectedEof => {
            (ErrorType::HandshakeTerminated, "it closed the connection in the TLS handshake".to_owned())
        }
        None => (ErrorType::HandshakeTerminated, format!("the TLS handshake broke off: {err}")),
    };
    DialError::Proxy(ProxyError::new(kind, format!("{}: {what}", to.host)))
}
