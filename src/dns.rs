//! DNS: runsd's server for the application's queries, and the resolver that the proxy uses for upstream hosts.
//!
//! ```text
//!   client ──▶ server ──▶ message ──▶ zones ──▶ runsd's name: reply in the same turn of the loop
//!                │                      │
//!                └─ tcp ─ a thread ─┐   └──▶ another name ──▶ forwarder ──▶ source_ports ──▶ nameserver
//!                                   └──▶ tcp_framing ───────────────────────────────────────▶ nameserver
//!   proxy ──▶ resolver ──▶ its exchange ────────────────────────────────────────────────────▶ nameserver
//! ```
//!
//! Which nameserver is next, and for how long, [`nameservers`] decides for all three.

pub mod forwarder;
pub mod message;
pub mod nameservers;
pub mod resolver;
pub mod server;
pub mod source_ports;
pub mod tcp;
mod tcp_framing;
pub mod zones;

pub use server::{ServerContext, Sockets, bind};
