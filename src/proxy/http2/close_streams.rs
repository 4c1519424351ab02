//! What a client is sent when the connection to its upstream ends.

use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::http2::conn_state::ConnState;
use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode};
use crate::proxy::http2::local_response;

/// The error of an upstream that closed the connection, or broke it.
pub fn closed(reason: &str) -> ProxyError {
    ProxyError::new(ErrorType::ConnectionTerminated, format!("{reason} before the response was complete"))
}

/// The error of an upstream that sent what RFC 9113 forbids.
pub fn broke_protocol(error: ConnectionError) -> ProxyError {
    if error.code == ErrorCode::HTTP_1_1_REQUIRED {
        return ProxyError::new(ErrorType::Http1Only, "the upstream speaks HTTP/1.1 only, not HTTP/2");
    }
    closed(&format!("the upstream broke the protocol: {}", error.reason))
}

/// The end of all streams.
pub struct ClosedStreams {
    /// For the client: a response, trailers or RST_STREAM on each active stream, and GOAWAY.
    pub frames: Vec<u8>,
    /// A request has lost its response.
    pub has_lost_responses: bool,
}

/// Closes the connection and all its streams; `None` where it was closed.
pub fn close_open_streams(conn: &mut ConnState, error: &ProxyError) -> Option<ClosedStreams> {
    if conn.is_closed {
        return None;
    }
    let mut frames = Vec::new();
    let streams = conn.close();
    let has_lost_responses = streams.iter().any(|(_, stream)| !stream.upstream_ended);
    for (id, stream) in streams {
        if stream.upstream_ended {
            // The response is complete; the rest of the request is of no use.
            frame::write_rst_stream(&mut frames, id, ErrorCode::NO_ERROR);
        } else if !stream.response_started {
            local_response::write(&mut frames, (&mut conn.settings, None), id, stream.traits, error);
        } else if stream.traits.is_grpc {
            local_response::write_grpc_trailers(&mut frames, &mut conn.settings, id, error);
        } else {
            frame::write_rst_stream(&mut frames, id, ErrorCode::INTERNAL_ERROR);
        }
    }
    let code = if has_lost_responses { ErrorCode::INTERNAL_ERROR } else { ErrorCode::NO_ERROR };
    conn.write_goaway(&mut frames, ConnectionError::new(code, "the connection to the upstream ended"));
    Some(ClosedStreams { frames, has_lost_responses })
}
