//! TLS as a client, over rustls: the only folder that knows rustls.
//!
//! [`TlsConnector`] has the configuration: trusted roots, ALPN, session tickets. [`TlsConnector::handshake`] turns a
//! TCP connection into a [`TlsSession`], which encrypts and decrypts: bytes in, bytes out. The sockets of an
//! established connection, and which thread uses it when, are in `upstream/connection.rs`.

mod connector;
mod error;
mod handshake;
mod provider;
mod roots;
mod session;
#[cfg(test)]
pub mod test_peer;

pub use self::connector::{Alpn, TlsConnector};
pub use self::error::{HandshakeError, io_error};
pub use self::handshake::Established;
pub use self::roots::check_ca_file;
pub use self::session::TlsSession;

/// What ended a session. Other modules clone it, compare it and pass it to [`io_error`]; they do not look inside.
pub use rustls::Error;
