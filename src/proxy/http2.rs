//! HTTP/2 (RFC 9113): one connection of a client, and the one connection to an upstream that belongs to it.
//!
//! Frames are forwarded as they came, so streams, flow control, priorities, resets and trailers are end to end. Only the
//! header blocks of requests are decoded and encoded again.
//!
//! ```text
//!            connection: sockets, two threads
//!  client ──► client_to_upstream ──► upstream     decode, rewrite (handler), encode; pending requests
//!     │             │    ▲
//!     │          conn_state: stream_table, settings_sync        shared, under one lock
//!     │             ▼    │
//!  client ◄── upstream_to_client ◄── upstream     forward; decode passively
//! ```
//!
//! `client_to_upstream` and `upstream_to_client` are the two halves of the session: bytes in, bytes out.
//!
//! Three things that HTTP/1 does are not done here, because frames are forwarded:
//! - A request whose token was not accepted is not sent again. Its stream is closed at both ends, and the header block
//!   of its response belongs to the client's HPACK table. The next request has a new token.
//! - A `Location` is not rewritten. Most upstreams index it, and an entry of another length would put their table and
//!   the client's out of step.
//! - A 403 of the front end does not get the sentence about `roles/run.invoker`. That it is the front end's shows in its
//!   body, and by then its header block is forwarded.

mod client_to_upstream;
mod close_streams;
mod conn_state;
mod connection;
mod early_frames;
pub mod frame;
mod frame_splicer;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/http2.rs"]
pub mod fuzz;
pub mod handler;
mod header_block;
pub mod hpack;
mod local_response;
mod rate_limit;
mod replay;
pub mod request;
mod response_block;
mod settings_sync;
mod shared_writer;
mod stream_map;
mod stream_table;
#[cfg(test)]
mod tests;
mod upstream_to_client;
mod validation;

use std::io::{Read, Write};

pub use connection::serve;
pub use frame::PREFACE;
pub use hpack::Field;

use crate::proxy::error::ProxyError;
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::secret::Secret;

/// The policy of the proxy for the requests of one connection. Both threads of the connection call it, and neither has a
/// lock then.
pub trait Handler: Sync {
    /// Connects to the upstream of the connection's first request, which speaks HTTP/2 by ALPN. Called again for the
    /// next request after an error.
    ///
    /// Blocks: until the upstream is connected.
    ///
    /// # Errors
    /// The error for the client.
    fn connect(&self, request: &[Field]) -> Result<UpstreamHalves, ProxyError>;

    /// Rewrites the fields of a request for the upstream: authority, scheme, token and so on.
    ///
    /// Blocks: until there is a token.
    ///
    /// # Errors
    /// The error for the client: 421 for the authority of another upstream.
    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError>;

    /// Returns the [`RequestMeta`] of a request with the same fields as an earlier one, which got the token `bearer` or
    /// none; `None` where `rewrite` would not return the same fields again.
    fn can_replay(&self, bearer: Option<&Secret>) -> Option<RequestMeta>;

    /// The final response to a request starts.
    fn on_response(&self, request: &RequestMeta, response: &ResponseHead);

    /// The body of a response of 401, 403 or 404 starts with `body`.
    fn on_denial(&self, request: &RequestMeta, response: &ResponseHead, body: &[u8]);

    /// The connection to the upstream ended, and requests have lost their responses.
    fn on_upstream_lost(&self, error: &ProxyError);
}

/// A connection to an upstream, as its two directions.
pub struct UpstreamHalves {
    /// Reads responses.
    pub reader: Box<dyn Read + Send>,
    /// Writes requests.
    pub writer: Box<dyn Write + Send>,
    /// Closes both directions, from any thread; a thread that blocks in either wakes up.
    pub close: Box<dyn Fn() + Send + Sync>,
}
