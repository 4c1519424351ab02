//! HTTP/2.

pub mod frame;
pub mod headers;
pub mod hpack;
mod huffman;
