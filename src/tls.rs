//! TLS: the only folder that knows rustls.

pub mod error_text;
pub mod handshake;
pub mod provider;
pub mod session;
pub mod trust;
