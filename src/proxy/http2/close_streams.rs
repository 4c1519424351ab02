//! What a client is told when its upstream is gone.

use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::http2::frame;
use crate::proxy::http2::frame::{ConnectionError, ErrorCode};
use crate::proxy::http2::local_response;
use crate::proxy::http2::stream_table::StreamTable;

/// Why the connection to an upstream is over.
pub struct End(ProxyError);

impl End {
    /// It closed the connection, or broke it.
    pub fn closed(reason: &str) -> End {
        End(ProxyError::new(ErrorType::ConnectionTerminated, format!("{reason} before the answer was over")))
    }

    /// It sent what HTTP/2 does not allow.
    pub fn broke_protocol(fatal: ConnectionError) -> End {
        match fatal.code {
            ErrorCode::HTTP_1_1_REQUIRED => {
                End(ProxyError::new(ErrorType::Http1Only, "the upstream speaks HTTP/1.1 only, not HTTP/2"))
            }
            _ => End::closed(&format!("the upstream broke the protocol: {}", fatal.reason)),
        }
    }
}

/// What there is to say.
pub struct ClosedStreams {
    /// For the client: an answer on every stream that waits for one, a reset
    /// or gRPC's trailers where it had begun, and GOAWAY.
    pub frames: Vec<u8>,
    /// For people, where a request has lost its answer.
    pub lost: Option<ProxyError>,
}

/// Ends all streams; `None` if the connection was over anyway.
pub fn farewell(streams: &mut StreamTable, End(refusal): End) -> Option<ClosedStreams> {
    if streams.over {
        return None;
    }
    let mut out = Vec::new();
    let open = streams.end_all();
    let lost = open.iter().any(|(_, state)| !state.upstream_done);
    for (stream, state) in open {
        if state.upstream_done {
            // Answered; it needs no more of the request.
            frame::write_rst_stream(&mut out, stream, ErrorCode::NO_ERROR);
        } else if state.answered && state.asked.grpc {
            local_response::write_trailers(&mut out, streams, stream, &refusal);
        } else if state.answered {
            frame::write_rst_stream(&mut out, stream, ErrorCode::INTERNAL_ERROR);
        } else {
            local_response::write(&mut out, streams, None, stream, state.asked, &refusal);
        }
    }
    let code = match lost {
        true => ErrorCode::INTERNAL_ERROR,
        false => ErrorCode::NO_ERROR,
    };
    let why = ConnectionError::new(code, "the connection to the upstream ended");
    let last = streams.goaway(streams.last);
    frame::write_goaway(&mut out, last, why);
    Some(ClosedStreams { frames: out, lost: lost.then_some(refusal) })
}
