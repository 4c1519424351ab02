//! Leaves without policy, which the other folders share: authorities, buffers, JSON strings, waiting.

pub mod authority;
pub mod buffer;
pub mod conn_limit;
pub mod context;
pub mod hosts;
pub mod json;
pub mod percent;
