//! Responses that runsd makes itself: for gRPC trailers only, for other requests a status and a sentence.
//!
//! Their fields change no HPACK table, because the client's table follows the encoder of the upstream.

use crate::proxy::error::ProxyError;
use crate::proxy::http2::early_frames::EarlyFrames;
use crate::proxy::http2::frame::{self, flag, frame_type};
use crate::proxy::http2::header_block::{self, HeadersFrame};
use crate::proxy::http2::hpack;
use crate::proxy::http2::request::RequestTraits;
use crate::proxy::http2::settings_sync::SettingsSync;

/// Appends the complete response to a request that failed with `error`.
///
/// The sentence is in `proxy-status` or `grpc-message`. It is the body as well where there is no upstream yet (`early`)
/// and the client's windows are known to allow that: an upstream would have to know of each octet that runsd takes from
/// the window they share.
pub fn write(
    out: &mut Vec<u8>,
    (settings, early): (&mut SettingsSync, Option<&mut EarlyFrames>),
    stream_id: u32,
    traits: RequestTraits,
    error: &ProxyError,
) {
    let (content_type, text) = error.body(traits.wants_json.then_some("application/json"));
    let has_body = !traits.is_grpc
        && !traits.is_head
        && text.len() <= settings.client_initial_window
        && early.is_some_and(|early| early.try_consume_window(text.len()));
    let mut block = start_block(settings);
    if traits.is_grpc {
        hpack::encode_static(&mut block, ":status", "200");
        hpack::encode_static(&mut block, "content-type", "application/grpc");
        encode_grpc_status(&mut block, error);
    } else {
        hpack::encode_static(&mut block, ":status", &error.status().to_string());
        if has_body {
            hpack::encode_static(&mut block, "content-type", content_type);
            hpack::encode_static(&mut block, "content-length", &text.len().to_string());
        }
    }
    hpack::encode_static(&mut block, "proxy-status", &error.proxy_status());
    write_headers(out, stream_id, !has_body, &block);
    if has_body {
        frame::write_header(out, text.len(), frame_type::DATA, flag::END_STREAM, stream_id);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends the trailers of a gRPC call whose response had started when its upstream was lost. To gRPC they are
/// UNAVAILABLE, where RST_STREAM would be INTERNAL.
pub fn write_grpc_trailers(out: &mut Vec<u8>, settings: &mut SettingsSync, stream_id: u32, error: &ProxyError) {
    let mut block = start_block(settings);
    encode_grpc_status(&mut block, error);
    write_headers(out, stream_id, true, &block);
}

fn start_block(settings: &mut SettingsSync) -> Vec<u8> {
    let mut block = Vec::new();
    if let Some(size) = settings.client_size_update.take() {
        hpack::encode_size_update(&mut block, size);
    }
    block
}

fn encode_grpc_status(block: &mut Vec<u8>, error: &ProxyError) {
    hpack::encode_static(block, "grpc-status", &error.grpc_status().to_string());
    hpack::encode_static(block, "grpc-message", &error.grpc_message());
}

fn write_headers(out: &mut Vec<u8>, stream_id: u32, end_stream: bool, block: &[u8]) {
    let headers = HeadersFrame { stream_id, end_stream, priority: None };
    header_block::write(out, headers, block, frame::DEFAULT_MAX_FRAME_SIZE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::error::ErrorType;

    const GET: RequestTraits = RequestTraits { is_grpc: false, is_head: false, is_connect: false, wants_json: false };

    /// Fields, flags of HEADERS, and what follows, for a client that opened its window by `window` octets.
    fn response(traits: RequestTraits, window: u32) -> (Vec<(String, String)>, u8, Vec<u8>) {
        let error = ProxyError::new(ErrorType::DestinationUnavailable, "100 % of hello: né");
        let mut settings = SettingsSync::new();
        settings.client_size_update = Some(0);
        let mut early = EarlyFrames::default();
        early.add_window(window).unwrap();
        let mut out = Vec::new();
        write(&mut out, (&mut settings, Some(&mut early)), 7, traits, &error);
        let frame = frame::parse(&out, 16_384).unwrap().unwrap();
        assert_eq!(frame.payload[0], 0x20, "the size update comes first");
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
        let (fields, flags, rest) = response(RequestTraits { is_grpc: true, ..GET }, 9999);
        assert_eq!(value(&fields, ":status"), Some("200"));
        assert_eq!(value(&fields, "grpc-status"), Some("14"));
        assert_eq!(value(&fields, "grpc-message"), Some("runsd: 100 %25 of hello: n%C3%A9; try again"));
        assert_eq!(
            value(&fields, "proxy-status"),
            Some("runsd; error=destination_unavailable; details=\"100 % of hello: n?\"")
        );
        assert_eq!((flags, rest), (flag::END_HEADERS | flag::END_STREAM, Vec::new()));
    }

    #[test]
    fn other_requests_get_a_sentence_where_the_window_allows_it() {
        let sentence = "runsd: 100 % of hello: né; try again\n";
        let json = "{\"error\":\"destination_unavailable\",\"status\":503,\"message\":\
                    \"runsd: 100 % of hello: né; try again\"}\n";
        for (window, traits, want) in [
            (9999, GET, sentence),
            (9999, RequestTraits { wants_json: true, ..GET }, json),
            (9999, RequestTraits { is_head: true, ..GET }, ""),
            (10, GET, ""),
        ] {
            let (fields, flags, rest) = response(traits, window);
            assert_eq!(value(&fields, ":status"), Some("503"));
            // Behind the header of a DATA frame.
            let got = rest.get(9..).unwrap_or_default();
            assert_eq!(got, want.as_bytes(), "{traits:?} {window}");
            assert_eq!(flags & flag::END_STREAM == 0, !want.is_empty());
        }
    }
}
