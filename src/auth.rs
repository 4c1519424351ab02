//! Identity tokens: read (`jwt.rs`), fetched, cached and refreshed (`tokens.rs`).

pub mod jwt;
pub mod tokens;
