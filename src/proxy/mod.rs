//! The proxy.

pub mod http2;
pub mod refusal;
pub mod route;
