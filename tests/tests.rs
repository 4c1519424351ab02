//! The one test crate: a file for each thing a user would notice.

mod containers;
mod degrade;
mod grpc;
mod harness;
mod http2;
mod miniature;
mod sse;
mod supervision;
mod websocket;
