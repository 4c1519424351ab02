//! Identity tokens: fetched, cached, renewed, and read.

pub mod jwt;
pub mod tokens;
