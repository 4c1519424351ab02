//! HTTP/1 (RFC 9112) between a client and the upstreams of its requests.
//!
//! ```text
//! client ──▶ Input ──▶ Head ──▶ interpret ──▶ RequestContext, and the head for the upstream
//!              ▲         │                         │
//!              │         ▼                         ▼
//!              └─── RequestBody ──────────────▶ Forwarder ──▶ upstream
//!           finish()     └─▶ Upload (a thread) ────┘             │
//! client ◀────────────────── ResponseRelay ◀─────────────────────┘
//! ```
//!
//! Three invariants keep the messages of one connection apart (RFC 9112 section 11.2):
//!
//! - A request is read from an [`input::Input`] only, and only [`input::RequestBody::finish`], behind the end of the
//!   body before, gives one back. What is left of a body never becomes a request.
//! - A request is sent on a [`crate::upstream::Connection`] only: it was checked just before, and nothing has come on
//!   it. It is reused only if the request was sent whole, the response has an end, and nothing came behind that. What
//!   is left of a response never reaches another request.
//! - The part of a body that has not come when its request is sent is sent by a thread of its own. A response never
//!   waits for it.
//!
//! Here are no sockets of upstreams (`upstream`), and no decisions that HTTP/2 shares.

pub mod body;
mod client;
mod connection;
mod forward;
pub mod head;
mod input;
mod probe;
mod request;
mod response;
mod rewrite;
mod route;
mod tunnel;
mod upload;

pub use self::client::READ_TIMEOUT;
pub use self::connection::serve;
pub use self::probe::probe;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/http1.rs"]
pub mod fuzz;
#[cfg(test)]
mod tests;
