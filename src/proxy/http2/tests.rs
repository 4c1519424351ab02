//! Connections with a scripted client and a scripted upstream.

mod calls;
mod connection_errors;
mod local_responses;
mod malformed;
mod observed;
mod peer;
mod resets;
mod session;
mod stream_states;
mod upstream_end;
