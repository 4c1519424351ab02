//! The proxy.

pub mod http2;
