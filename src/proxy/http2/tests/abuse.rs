//! What ends a connection, and with which code.

use super::super::frame::kind;
use super::super::*;
use super::peer::{Pair, Peer, raw};

#[test]
fn abuse_ends_with_its_code() {
    let request = |stream| Peer::raw_request(stream, 0x05);
    let many = |n: usize, bytes: Vec<u8>| bytes.repeat(n);
    let resets = |n: u32| {
        (0..n).flat_map(|i| [request(i * 2 + 1), raw(kind::RST_STREAM, 0, i * 2 + 1, &[0; 4])]).flatten().collect()
    };
    let endless = [raw(kind::HEADERS, 0, 1, &[0; 100]), raw(kind::CONTINUATION, 0, 1, b"").repeat(120_000)].concat();
    let long =
        [raw(kind::HEADERS, 0, 1, &[0; 16_384]), raw(kind::CONTINUATION, 0, 1, &[0; 16_384]).repeat(64)].concat();
    let bytes = |parts: &[Vec<u8>]| parts.concat();
    for (what, bytes, want) in [
        ("a frame too long", raw(kind::DATA, 0, 1, &[0; 16_385]), 6),
        ("DATA on stream 0", raw(kind::DATA, 0, 0, b"x"), 1),
        ("DATA before HEADERS", raw(kind::DATA, 0, 1, b"x"), 1),
        ("RST_STREAM before HEADERS", raw(kind::RST_STREAM, 0, 1, &[0; 4]), 1),
        ("WINDOW_UPDATE before HEADERS", raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), 1),
        ("WINDOW_UPDATE of 0", raw(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), 1),
        ("WINDOW_UPDATE of three octets", raw(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), 6),
        ("an overflowing window", raw(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]).repeat(2), 3),
        ("PUSH_PROMISE", raw(kind::PUSH_PROMISE, 4, 1, &[0; 5]), 1),
        ("CONTINUATION alone", raw(kind::CONTINUATION, 4, 1, b""), 1),
        (
            "PING between HEADERS and CONTINUATION",
            bytes(&[raw(kind::HEADERS, 0, 1, b""), raw(kind::PING, 0, 0, &[0; 8])]),
            1,
        ),
        ("an even stream", request(2), 1),
        ("HEADERS on stream 0", request(0), 1),
        ("HEADERS after the end", bytes(&[request(1), request(1)]), 5),
        ("padding over the frame", raw(kind::HEADERS, 0x0c, 1, &[9, 0x82]), 1),
        ("padding over DATA", bytes(&[request(1), raw(kind::DATA, 8, 1, &[9, 0])]), 1),
        ("a bad index", raw(kind::HEADERS, 5, 1, &[0x80]), 9),
        ("an integer without end", raw(kind::HEADERS, 5, 1, &[0xff; 20]), 9),
        ("a table over the limit", raw(kind::HEADERS, 5, 1, &[0x3f, 0xe2, 0x1f]), 9),
        ("a PING of seven octets", raw(kind::PING, 0, 0, &[0; 7]), 6),
        ("SETTINGS of five octets", raw(kind::SETTINGS, 0, 0, &[0; 5]), 6),
        ("SETTINGS on a stream", raw(kind::SETTINGS, 0, 1, b""), 1),
        ("a bad ENABLE_PUSH", raw(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), 1),
        ("a window too large", raw(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), 3),
        ("a frame size too small", raw(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), 1),
        ("many SETTINGS", many(2000, raw(kind::SETTINGS, 0, 0, b"")), 11),
        ("many PINGs", many(60_000, raw(kind::PING, 0, 0, &[0; 8])), 11),
        ("many empty DATA", bytes(&[Peer::raw_request(1, 4), many(5000, raw(kind::DATA, 0, 1, b""))]), 11),
        ("endless CONTINUATION", endless, 11),
        ("a header block over 1 MiB", long, 11),
        ("rapid reset", resets(5000), 11),
    ] {
        let mut t = Pair::start();
        t.client.greet();
        // It may be cut off before it has said all.
        let mut writer = t.client.another();
        let written = thread::spawn(move || {
            let _ = writer.stream.write_all(&bytes);
        });
        let mut upstream = t.upstream.another();
        let read = thread::spawn(move || io::copy(&mut upstream.stream, &mut io::sink()));
        let code = loop {
            let (kind, _, _, payload) = t.client.frame();
            if kind == kind::GOAWAY {
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
fn no_preface_no_service() {
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"] {
        let mut t = Pair::start();
        t.client.send(first);
        t.client.frame();
        assert_eq!(t.client.frame().0, kind::GOAWAY, "{first:?}");
        t.client.close();
        t.end();
    }
}
