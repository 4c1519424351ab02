//! What ends a connection, and with which error code.

use std::io::{self, Write as _};
use std::thread;

use super::peer::{END, Pair, Peer, raw};
use crate::proxy::http2::frame::frame_type;

#[test]
fn connection_errors_have_the_code_of_the_rfc() {
    let request = |stream| Peer::raw_request(stream, END);
    let many = |n: usize, bytes: Vec<u8>| bytes.repeat(n);
    let resets = |n: u32| {
        (0..n)
            .flat_map(|i| [request(i * 2 + 1), raw(frame_type::RST_STREAM, 0, i * 2 + 1, &[0; 4])])
            .flatten()
            .collect()
    };
    let endless =
        [raw(frame_type::HEADERS, 0, 1, &[0; 100]), raw(frame_type::CONTINUATION, 0, 1, b"").repeat(120_000)].concat();
    let long =
        [raw(frame_type::HEADERS, 0, 1, &[0; 16_384]), raw(frame_type::CONTINUATION, 0, 1, &[0; 16_384]).repeat(64)]
            .concat();
    let bytes = |parts: &[Vec<u8>]| parts.concat();
    for (what, bytes, want) in [
        ("a frame too long", raw(frame_type::DATA, 0, 1, &[0; 16_385]), 6),
        ("DATA on stream 0", raw(frame_type::DATA, 0, 0, b"x"), 1),
        ("DATA before HEADERS", raw(frame_type::DATA, 0, 1, b"x"), 1),
        ("RST_STREAM before HEADERS", raw(frame_type::RST_STREAM, 0, 1, &[0; 4]), 1),
        ("WINDOW_UPDATE before HEADERS", raw(frame_type::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), 1),
        ("WINDOW_UPDATE of 0", raw(frame_type::WINDOW_UPDATE, 0, 0, &[0; 4]), 1),
        ("WINDOW_UPDATE of three octets", raw(frame_type::WINDOW_UPDATE, 0, 0, &[0; 3]), 6),
        ("an overflowing window", raw(frame_type::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]).repeat(2), 3),
        ("PUSH_PROMISE", raw(frame_type::PUSH_PROMISE, 4, 1, &[0; 5]), 1),
        ("CONTINUATION alone", raw(frame_type::CONTINUATION, 4, 1, b""), 1),
        (
            "PING between HEADERS and CONTINUATION",
            bytes(&[raw(frame_type::HEADERS, 0, 1, b""), raw(frame_type::PING, 0, 0, &[0; 8])]),
            1,
        ),
        ("an even stream", request(2), 1),
        ("HEADERS on stream 0", request(0), 1),
        ("HEADERS after the end", bytes(&[request(1), request(1)]), 5),
        ("padding over the frame", raw(frame_type::HEADERS, 0x0c, 1, &[9, 0x82]), 1),
        ("padding over DATA", bytes(&[request(1), raw(frame_type::DATA, 8, 1, &[9, 0])]), 1),
        ("a bad index", raw(frame_type::HEADERS, 5, 1, &[0x80]), 9),
        ("an integer without end", raw(frame_type::HEADERS, 5, 1, &[0xff; 20]), 9),
        ("a table over the limit", raw(frame_type::HEADERS, 5, 1, &[0x3f, 0xe2, 0x1f]), 9),
        ("a PING of seven octets", raw(frame_type::PING, 0, 0, &[0; 7]), 6),
        ("SETTINGS of five octets", raw(frame_type::SETTINGS, 0, 0, &[0; 5]), 6),
        ("SETTINGS on a stream", raw(frame_type::SETTINGS, 0, 1, b""), 1),
        ("a bad ENABLE_PUSH", raw(frame_type::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), 1),
        ("a window too large", raw(frame_type::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), 3),
        ("a frame size too small", raw(frame_type::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), 1),
        ("many SETTINGS", many(2000, raw(frame_type::SETTINGS, 0, 0, b"")), 11),
        ("many PINGs", many(60_000, raw(frame_type::PING, 0, 0, &[0; 8])), 11),
        ("many empty DATA", bytes(&[Peer::raw_request(1, 4), many(5000, raw(frame_type::DATA, 0, 1, b""))]), 11),
        ("endless CONTINUATION", endless, 11),
        ("a header block over 1 MiB", long, 11),
        ("rapid reset", resets(5000), 11),
    ] {
        let mut t = Pair::start();
        t.client.greet();
        // It may be cut off before it has said all.
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
        assert_eq!(code, want, "{what}");
        written.join().unwrap();
        t.client.close();
        t.end();
        let _ = read.join().unwrap();
    }
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
