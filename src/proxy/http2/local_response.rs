//! What runsd answers on a stream by itself: for gRPC a trailers-only answer,
//! for anything else a status and a sentence.
//!
//! Its fields touch no table, because the client's table follows the
//! upstream's encoder.

use crate::proxy::error::{ProxyError, wants_json};
use crate::proxy::http2::early_frames::EarlyFrames;
use crate::proxy::http2::frame;
use crate::proxy::http2::frame::{flag, frame_type};
use crate::proxy::http2::header_block;
use crate::proxy::http2::header_block::Head;
use crate::proxy::http2::hpack;
use crate::proxy::http2::hpack::Field;
use crate::proxy::http2::stream_table::{RequestTraits, StreamTable};

/// Appends the whole answer. The sentence is in `proxy-status` or
/// `grpc-message`; a body says it once more where there is no upstream (`held`
/// is what it would be told), and the client's windows are known to be open
/// for it. An upstream that shares the window must know of each octet in it.
pub fn write(
    out: &mut Vec<u8>,
    streams: &mut StreamTable,
    held: Option<&mut EarlyFrames>,
    stream: u32,
    asked: RequestTraits,
    refusal: &ProxyError,
) {
    let (content_type, text) = refusal.body(asked.json.then_some("application/json"));
    let body = !asked.grpc
        && !asked.head
        && text.len() <= streams.client_stream_window
        && held.is_some_and(|held| held.pay(text.len()));
    let mut block = Vec::new();
    if let Some(size) = streams.client_table.take() {
        hpack::encode_size_update(&mut block, size);
    }
    if asked.grpc {
        hpack::encode_static(&mut block, ":status", "200");
        hpack::encode_static(&mut block, "content-type", "application/grpc");
        let code = refusal.grpc_status().to_string();
        hpack::encode_static(&mut block, "grpc-status", &code);
        hpack::encode_static(&mut block, "grpc-message", &refusal.grpc_message());
    } else {
        hpack::encode_static(&mut block, ":status", &refusal.status().to_string());
        if body {
            hpack::encode_static(&mut block, "content-type", content_type);
            hpack::encode_static(&mut block, "content-length", &text.len().to_string());
        }
    }
    hpack::encode_static(&mut block, "proxy-status", &refusal.proxy_status());
    let head = Head { stream, end_stream: !body, priority: None };
    header_block::write(out, head, &block, frame::DEFAULT_MAX_FRAME_SIZE);
    if body {
        frame::write_header(out, text.len(), frame_type::DATA, flag::END_STREAM, stream);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Ends a gRPC call whose answer had begun: the upstream is gone, and its
/// trailers with it. A reset would be INTERNAL to gRPC; this is UNAVAILABLE.
pub fn write_trailers(out: &mut Vec<u8>, streams: &mut StreamTable, stream: u32, refusal: &ProxyError) {
    let mut block = Vec::new();
    if let Some(size) = streams.client_table.take() {
        hpack::encode_size_update(&mut block, size);
    }
    let code = refusal.grpc_status().to_string();
    hpack::encode_static(&mut block, "grpc-status", &code);
    hpack::encode_static(&mut block, "grpc-message", &refusal.grpc_message());
    let head = Head { stream, end_stream: true, priority: None };
    header_block::write(out, head, &block, frame::DEFAULT_MAX_FRAME_SIZE);
}

/// What is to be known of a request for that.
pub fn asked(fields: &[Field]) -> RequestTraits {
    let accept = hpack::find(fields, "accept").and_then(|value| std::str::from_utf8(value).ok());
    RequestTraits {
        grpc: hpack::find(fields, "content-type").is_some_and(is_grpc),
        head: hpack::find(fields, ":method") == Some(b"HEAD"),
        json: accept.is_some_and(wants_json),
    }
}

/// `application/grpc`, `application/grpc+proto`: but gRPC-Web is another thing.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::proxy::error::ErrorType;

    fn refusal() -> ProxyError {
        ProxyError::new(ErrorType::DestinationUnavailable, "100 % of hello: né")
    }

    /// Fields, flags of the HEADERS, and what follows, when the client opened
    /// its window by so much.
    fn written(asked: RequestTraits, window: u32) -> (Vec<(String, String)>, u8, Vec<u8>) {
        let mut out = Vec::new();
        let mut streams = StreamTable::new(Instant::now());
        streams.client_table = Some(0);
        let mut held = EarlyFrames::new();
        held.opened_by(window).unwrap();
        write(&mut out, &mut streams, Some(&mut held), 7, asked, &refusal());
        let frame = frame::parse(&out, 16_384).unwrap().unwrap();
        assert_eq!(frame.payload[0], 0x20, "the smaller table comes first");
        let fields = hpack::Decoder::new(4096).decode(frame.payload, 65_536).unwrap().fields;
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let fields = fields.iter().map(|field| (text(&field.name), text(&field.value)));
        (fields.collect(), frame.header.flags, frame.rest.to_vec())
    }

    fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    #[test]
    fn a_grpc_call_gets_trailers_only() {
        let fields = [Field::new("content-type", "application/grpc+proto")];
        let (fields, flags, rest) = written(asked(&fields), 9999);
        assert_eq!(value(&fields, ":status"), Some("200"));
        assert_eq!(value(&fields, "grpc-status"), Some("14"));
        assert_eq!(value(&fields, "grpc-message"), Some("runsd: 100 %25 of hello: n%C3%A9; try again"));
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
        for (window, method, accept, want) in [
            (9999, "GET", "*/*", sentence),
            (9999, "GET", "application/json", json),
            (9999, "HEAD", "*/*", ""),
            (10, "GET", "*/*", ""),
        ] {
            let fields = [Field::new(":method", method), Field::new("accept", accept)];
            let (fields, flags, rest) = written(asked(&fields), window);
            assert_eq!(value(&fields, ":status"), Some("503"));
            // Behind the head of a DATA frame.
            let got = rest.get(9..).unwrap_or_default();
            assert_eq!(got, want.as_bytes(), "{method} {accept} {window}");
            assert_eq!(flags & flag::END_STREAM == 0, !want.is_empty());
        }
    }

    #[test]
    fn what_is_grpc() {
        for (content_type, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            let fields = [Field::new("content-type", content_type)];
            assert_eq!(asked(&fields).grpc, want, "{content_type}");
        }
    }
}
