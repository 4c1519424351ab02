//! A request of HTTP/2, from its header block to its response.

use crate::proxy::access_log::RequestLog;
use crate::proxy::error::wants_json;
use crate::proxy::http2::header_block::HeadersFrame;
use crate::proxy::http2::hpack::{self, Field};
use crate::secret::Secret;

/// A request whose header block is complete. No `Debug`: the block may hold credentials.
pub struct Request {
    /// The HEADERS frame beside its header block.
    pub headers: HeadersFrame,
    /// The decoded fields; after the handler's rewrite those for the upstream.
    pub fields: Vec<Field>,
    /// `content-length`, where there is one.
    pub content_length: Option<u64>,
    /// The header block as it came.
    pub block: Vec<u8>,
    /// The HPACK tables before the block was decoded.
    pub tables: TableVersions,
}

/// The versions of the decoder's table and the encoder's.
pub type TableVersions = (u64, u64);

impl Request {
    /// The [`authority`] of its fields.
    pub fn authority(&self) -> Option<&[u8]> {
        authority(&self.fields)
    }

    /// What the response to it depends on.
    pub fn traits(&self) -> RequestTraits {
        let accept = hpack::find(&self.fields, "accept").and_then(|value| std::str::from_utf8(value).ok());
        RequestTraits {
            is_grpc: hpack::find(&self.fields, "content-type").is_some_and(is_grpc),
            is_head: hpack::find(&self.fields, ":method") == Some(b"HEAD"),
            is_connect: hpack::find(&self.fields, ":method") == Some(b"CONNECT"),
            wants_json: accept.is_some_and(wants_json),
        }
    }
}

/// Returns `:authority`, or else `host` (RFC 9113 section 8.3.1).
pub fn authority(fields: &[Field]) -> Option<&[u8]> {
    hpack::find(fields, ":authority").or_else(|| hpack::find(fields, "host"))
}

/// Whether a `content-type` is `application/grpc` or `application/grpc+proto`; gRPC-Web has other error responses.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// What the response to a request depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTraits {
    /// A call of gRPC.
    pub is_grpc: bool,
    /// The method is HEAD: the response has no body.
    pub is_head: bool,
    /// The method is CONNECT, of a WebSocket for one (RFC 8441): what follows a 2xx is no body.
    pub is_connect: bool,
    /// `accept` prefers JSON.
    pub wants_json: bool,
}

/// What the handler remembers of a request until its response starts.
#[derive(Debug, Default)]
pub struct RequestMeta {
    /// The token that runsd added.
    pub bearer: Option<Secret>,
    /// The request for the log, where requests are logged.
    pub log: Option<Box<RequestLog>>,
}

/// The start of a response, as the passive decoder saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// `:status`.
    pub status: u16,
    /// `www-authenticate` of a 401.
    pub challenge: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (content_type, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), want, "{content_type}");
        }
    }
}
