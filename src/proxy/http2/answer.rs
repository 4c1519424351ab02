//! What runsd answers on a stream by itself: for gRPC a trailers-only answer,
//! for anything else a status and a sentence.
//!
//! Its fields touch no table, because the client's table follows the
//! upstream's encoder.

use super::frame::{self, Header, flag, kind};
use super::headers::{self, Head};
use super::hpack::{self, Field};
use super::streams::Streams;
use crate::proxy::refusal::Refusal;

/// What must be known of a request to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    pub stream: u32,
    pub grpc: bool,
    /// The request's Accept, where it is still known.
    pub accept: Option<&'a str>,
    /// A body may follow: it is no HEAD, and the client's windows are open
    /// for as many octets.
    pub body: usize,
}

/// Appends the whole answer; the length of the body that was sent.
pub fn write(
    out: &mut Vec<u8>,
    streams: &mut Streams,
    asked: Asked<'_>,
    refusal: &Refusal,
) -> usize {
    let (content_type, text) = refusal.body(asked.accept);
    let body = !asked.grpc && text.len() <= asked.body;
    let mut block = Vec::new();
    if let Some(size) = streams.client_table.take() {
        hpack::write_table_size(&mut block, size);
    }
    if asked.grpc {
        hpack::write_literal(&mut block, ":status", "200");
        hpack::write_literal(&mut block, "content-type", "application/grpc");
        let code = refusal.grpc_status().to_string();
        hpack::write_literal(&mut block, "grpc-status", &code);
        hpack::write_literal(&mut block, "grpc-message", &refusal.grpc_message());
    } else {
        hpack::write_literal(&mut block, ":status", &refusal.status().to_string());
        if body {
            hpack::write_literal(&mut block, "content-type", content_type);
            hpack::write_literal(&mut block, "content-length", &text.len().to_string());
        }
    }
    hpack::write_literal(&mut block, "proxy-status", &refusal.proxy_status());
    let head = Head {
        stream: asked.stream,
        end_stream: !body,
        priority: None,
    };
    headers::write(out, head, &block, frame::DEFAULT_MAX_FRAME_SIZE);
    if body {
        let flags = flag::END_STREAM;
        Header {
            len: text.len(),
            kind: kind::DATA,
            flags,
            stream: asked.stream,
        }
        .write(out);
        out.extend_from_slice(text.as_bytes());
    }
    if body { text.len() } else { 0 }
}

/// Ends a gRPC call whose answer had begun: the upstream is gone, and its
/// trailers with it. A reset would be INTERNAL to gRPC; this is UNAVAILABLE.
pub fn write_trailers(out: &mut Vec<u8>, streams: &mut Streams, stream: u32, refusal: &Refusal) {
    let mut block = Vec::new();
    if let Some(size) = streams.client_table.take() {
        hpack::write_table_size(&mut block, size);
    }
    let code = refusal.grpc_status().to_string();
    hpack::write_literal(&mut block, "grpc-status", &code);
    hpack::write_literal(&mut block, "grpc-message", &refusal.grpc_message());
    let head = Head {
        stream,
        end_stream: true,
        priority: None,
    };
    headers::write(out, head, &block, frame::DEFAULT_MAX_FRAME_SIZE);
}

/// Whether a request is a gRPC call.
pub fn is_grpc(fields: &[Field]) -> bool {
    let content_type = fields.iter().find(|field| field.name == b"content-type");
    content_type.is_some_and(|field| field.value.starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::refusal::Kind;

    fn refusal() -> Refusal {
        Refusal::new(Kind::DestinationUnavailable, "100 % of hello: né")
    }

    fn written(asked: Asked<'_>) -> (Vec<(String, String)>, u8, Vec<u8>) {
        let mut out = Vec::new();
        let mut streams = Streams::new();
        streams.client_table = Some(0);
        write(&mut out, &mut streams, asked, &refusal());
        let frame = frame::parse(&out, 16_384).unwrap().unwrap();
        assert_eq!(frame.payload[0], 0x20, "the smaller table comes first");
        let fields = hpack::Decoder::new(4096)
            .decode(frame.payload, 65_536)
            .unwrap()
            .fields;
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let fields = fields
            .iter()
            .map(|field| (text(&field.name), text(&field.value)));
        (fields.collect(), frame.header.flags, frame.rest.to_vec())
    }

    fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        fields
            .iter()
            .find(|field| field.0 == name)
            .map(|field| field.1.as_str())
    }

    #[test]
    fn a_grpc_call_gets_trailers_only() {
        let asked = Asked {
            stream: 1,
            grpc: true,
            accept: None,
            body: 9999,
        };
        let (fields, flags, rest) = written(asked);
        assert_eq!(value(&fields, ":status"), Some("200"));
        assert_eq!(value(&fields, "grpc-status"), Some("14"));
        assert_eq!(
            value(&fields, "grpc-message"),
            Some("runsd: 100 %25 of hello: n%C3%A9; try again")
        );
        assert_eq!(
            value(&fields, "proxy-status"),
            Some("runsd; error=destination_unavailable; details=\"100 % of hello: n?\"")
        );
        assert_eq!((flags, rest), (0x05, Vec::new()));
    }

    #[test]
    fn anything_else_gets_a_sentence_when_the_window_is_open() {
        let sentence = "runsd: 100 % of hello: né; try again\n";
        let json = "{\"error\":\"destination_unavailable\",\"status\":503,\"message\":\
                    \"runsd: 100 % of hello: né; try again\"}\n";
        for (body, accept, want) in [
            (9999, None, sentence),
            (9999, Some("application/json"), json),
            (10, None, ""),
        ] {
            let (fields, flags, rest) = written(Asked {
                stream: 7,
                grpc: false,
                accept,
                body,
            });
            assert_eq!(value(&fields, ":status"), Some("503"));
            // Behind the head of a DATA frame.
            let got = rest.get(9..).unwrap_or_default();
            assert_eq!(got, want.as_bytes(), "{body}");
            assert_eq!(flags & flag::END_STREAM == 0, body == 9999);
        }
    }
}
