//! What ends a connection, and with which error code.

use std::io::{self, Write as _};
use std::thread;

use super::peer::{END, Pair, Peer, raw};
use crate::proxy::http2::frame::{ErrorCode, frame_type};

/// The client sends `bytes`, and gets GOAWAY with the code `want`.
#[track_caller]
fn assert_goaway(what: &str, bytes: Vec<u8>, want: ErrorCode) {
    let mut t = Pair::start();
    t.client.greet();
    // The connection may be closed before all is written.
    let mut writer = t.client.try_clone();
    let written = thread::spawn(move || {
        let _ = writer.stream.write_all(&bytes);
    });
    let mut upstream = t.upstream.try_clone();
    let read = thread::spawn(move || io::copy(&mut upstream.stream, &mut io::sink()));
    let code = loop {
        let (frame_type, _, _, payload) = t.client.frame();
        if frame_type == frame_type::GOAWAY {
            break payload[7];
        }
    };
    assert_eq!(u32::from(code), want.code(), "{what}");
    written.join().unwrap();
    t.client.close();
    t.end();
    let _ = read.join().unwrap();
}

#[test]
fn connection_errors_have_the_code_of_the_rfc() {
    let request = |stream| Peer::raw_request(stream, END);
    let (endless, long) = (header_block(100, 0, 120_000), header_block(16_384, 16_384, 64));
    let concat = |parts: &[Vec<u8>]| parts.concat();
    for (what, bytes, want) in [
        ("a frame too long", raw(frame_type::DATA, 0, 1, &[0; 16_385]), ErrorCode::FRAME_SIZE_ERROR),
        ("DATA on stream 0", raw(frame_type::DATA, 0, 0, b"x"), ErrorCode::PROTOCOL_ERROR),
        ("DATA before HEADERS", raw(frame_type::DATA, 0, 1, b"x"), ErrorCode::PROTOCOL_ERROR),
        ("RST_STREAM before HEADERS", raw(frame_type::RST_STREAM, 0, 1, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
        (
            "WINDOW_UPDATE before HEADERS",
            raw(frame_type::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            ErrorCode::PROTOCOL_ERROR,
        ),
        ("WINDOW_UPDATE of 0", raw(frame_type::WINDOW_UPDATE, 0, 0, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
        ("WINDOW_UPDATE of three octets", raw(frame_type::WINDOW_UPDATE, 0, 0, &[0; 3]), ErrorCode::FRAME_SIZE_ERROR),
        (
            "an overflowing window",
            raw(frame_type::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]).repeat(2),
            ErrorCode::FLOW_CONTROL_ERROR,
        ),
        ("PUSH_PROMISE", raw(frame_type::PUSH_PROMISE, 4, 1, &[0; 5]), ErrorCode::PROTOCOL_ERROR),
        ("CONTINUATION alone", raw(frame_type::CONTINUATION, 4, 1, b""), ErrorCode::PROTOCOL_ERROR),
        (
            "PING between HEADERS and CONTINUATION",
            concat(&[raw(frame_type::HEADERS, 0, 1, b""), raw(frame_type::PING, 0, 0, &[0; 8])]),
            ErrorCode::PROTOCOL_ERROR,
        ),
        ("an even stream", request(2), ErrorCode::PROTOCOL_ERROR),
        ("HEADERS on stream 0", request(0), ErrorCode::PROTOCOL_ERROR),
        ("HEADERS after the end", concat(&[request(1), request(1)]), ErrorCode::STREAM_CLOSED),
        ("padding over the frame", raw(frame_type::HEADERS, 0x0c, 1, &[9, 0x82]), ErrorCode::PROTOCOL_ERROR),
        ("padding over DATA", concat(&[request(1), raw(frame_type::DATA, 8, 1, &[9, 0])]), ErrorCode::PROTOCOL_ERROR),
        ("a bad index", raw(frame_type::HEADERS, 5, 1, &[0x80]), ErrorCode::COMPRESSION_ERROR),
        ("an integer without end", raw(frame_type::HEADERS, 5, 1, &[0xff; 20]), ErrorCode::COMPRESSION_ERROR),
        ("a table over the limit", raw(frame_type::HEADERS, 5, 1, &[0x3f, 0xe2, 0x1f]), ErrorCode::COMPRESSION_ERROR),
        ("a PING of seven octets", raw(frame_type::PING, 0, 0, &[0; 7]), ErrorCode::FRAME_SIZE_ERROR),
        ("SETTINGS of five octets", raw(frame_type::SETTINGS, 0, 0, &[0; 5]), ErrorCode::FRAME_SIZE_ERROR),
        ("SETTINGS on a stream", raw(frame_type::SETTINGS, 0, 1, b""), ErrorCode::PROTOCOL_ERROR),
        ("a bad ENABLE_PUSH", raw(frame_type::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), ErrorCode::PROTOCOL_ERROR),
        ("a window too large", raw(frame_type::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), ErrorCode::FLOW_CONTROL_ERROR),
        ("a frame size too small", raw(frame_type::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), ErrorCode::PROTOCOL_ERROR),
        ("many SETTINGS", raw(frame_type::SETTINGS, 0, 0, b"").repeat(2000), ErrorCode::ENHANCE_YOUR_CALM),
        ("many PINGs", raw(frame_type::PING, 0, 0, &[0; 8]).repeat(60_000), ErrorCode::ENHANCE_YOUR_CALM),
        (
            "many empty DATA",
            concat(&[Peer::raw_request(1, 4), raw(frame_type::DATA, 0, 1, b"").repeat(5000)]),
            ErrorCode::ENHANCE_YOUR_CALM,
        ),
        ("endless CONTINUATION", endless, ErrorCode::ENHANCE_YOUR_CALM),
        ("a header block over 1 MiB", long, ErrorCode::ENHANCE_YOUR_CALM),
        ("rapid reset", resets(5000), ErrorCode::ENHANCE_YOUR_CALM),
    ] {
        assert_goaway(what, bytes, want);
    }
}

/// Requests that are cancelled at once.
fn resets(n: u32) -> Vec<u8> {
    let reset = |id| [Peer::raw_request(id, END), raw(frame_type::RST_STREAM, 0, id, &[0; 4])].concat();
    (0..n).flat_map(|i| reset(i * 2 + 1)).collect()
}

/// A header block without an end: HEADERS of `first` octets, then so many CONTINUATION of `next` octets.
fn header_block(first: usize, next: usize, continuations: usize) -> Vec<u8> {
    let continuation = raw(frame_type::CONTINUATION, 0, 1, &vec![0; next]);
    [raw(frame_type::HEADERS, 0, 1, &vec![0; first]), continuation.repeat(continuations)].concat()
}

#[test]
fn a_client_without_the_preface_gets_goaway() {
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"] {
        let mut t = Pair::start();
        t.client.send(first);
        t.client.frame();
        assert_eq!(t.client.frame().0, frame_type::GOAWAY, "{first:?}");
        t.client.close();
        t.end();
    }
}
