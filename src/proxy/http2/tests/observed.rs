//! What the handler is told of responses that are forwarded.

use super::peer::{END, Pair};
use crate::proxy::http2::frame::{flag, frame_type};
use crate::proxy::http2::hpack::Field;
use crate::sync::lock;

#[test]
fn the_start_of_a_denial_is_reported_once() {
    let mut t = Pair::start();
    t.client.greet();
    t.request_all(&[1, 3]);
    for (frame_type, flags, stream, octets) in [
        (frame_type::HEADERS, flag::END_HEADERS, 1, &b"\x48\x03403"[..]),
        (frame_type::HEADERS, flag::END_HEADERS, 3, b"\x88"),
        (frame_type::DATA, 0x00, 3, b"its own"),
        (frame_type::DATA, 0x00, 1, b""),
        (frame_type::DATA, 0x08, 1, b"\x02page\0\0"),
        (frame_type::DATA, 0x01, 1, b"more"),
    ] {
        t.upstream.send_frame(frame_type, flags, stream, octets);
        assert_eq!(t.client.frame(), (frame_type, flags, stream, octets.to_vec()));
    }
    assert_eq!(*lock(&t.handler.denials), [(403, b"page".to_vec())]);
    t.client.close();
    t.end();
}

#[test]
fn each_status_is_reported_once() {
    let mut t = Pair::start();
    t.client.greet();
    t.request_all(&[1, 3, 5]);
    for (stream, flags, block) in [
        (1, flag::END_HEADERS, &b"\x08\x03103"[..]), // 103, before the final response
        (1, flag::END_HEADERS, b"\x48\x03401\x7d\x01a"), // incremental indexing, and a challenge
        (1, END, b"\x00\x01x\x01y"),                 // trailers
        (3, 0x0d, b"\x02\x8d\0\0"),                  // 404, padded
        (5, 0x00, b"\x88"),
    ] {
        t.upstream.send_frame(frame_type::HEADERS, flags, stream, block);
        if flags & flag::END_HEADERS != 0 {
            let passed = (frame_type::HEADERS, flags, stream, block.to_vec());
            assert_eq!(t.client.frame(), passed);
        }
    }
    // An incomplete block is held back, so that no frame of runsd comes between its frames.
    t.client.request(7, "other", &[], true);
    assert_eq!(t.client.headers().0, 7);
    t.upstream.send_frame(frame_type::CONTINUATION, flag::END_HEADERS, 5, b"");
    assert_eq!(t.client.frame(), (frame_type::HEADERS, 0, 5, vec![0x88]));
    assert_eq!(t.client.frame(), (frame_type::CONTINUATION, 4, 5, vec![]));
    let seen = [(401, Some("a".to_owned())), (404, None), (200, None)];
    assert_eq!(*lock(&t.handler.responses), seen);
    t.client.close();
    t.end();
}

#[test]
fn a_response_of_table_entries_is_reported() {
    let mut t = Pair::start();
    t.client.greet();
    t.request_all(&[1, 3]);
    let challenge = "Bearer error=\"invalid_token\"";
    let fields = [Field::new(":status", "401"), Field::new("www-authenticate", challenge)];
    for stream in [1, 3] {
        let mut block = Vec::new();
        t.upstream.encoder.encode(&fields, &mut block);
        assert_eq!(block.len() == 2, stream == 3, "all of it in the table");
        t.upstream.send_frame(frame_type::HEADERS, END, stream, &block);
        assert_eq!(t.client.frame().3, block);
    }
    let seen = (401, Some(challenge.to_owned()));
    assert_eq!(*lock(&t.handler.responses), [seen.clone(), seen]);
    t.client.close();
    t.end();
}
