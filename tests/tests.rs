//! The one test crate: a file for each thing a user would notice.

mod caller;
mod check;
mod containers;
mod degrade;
mod dns;
mod grpc;
mod harness;
mod headers;
mod hints;
mod http1;
mod http2;
mod identity;
mod logs;
mod miniature;
mod names;
mod pid1;
mod plain;
mod programs;
mod refusals;
mod resolv_conf;
mod resolvers;
mod sentences;
mod sse;
mod supervision;
mod websocket;
mod whoever_calls;
