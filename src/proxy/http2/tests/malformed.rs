//! Malformed requests (RFC 9113 section 8.1.1): their stream is reset, the upstream sees nothing of them, and the
//! connection goes on.

use std::sync::atomic::Ordering;

use super::peer::{END, Pair, Peer, raw};
use crate::proxy::http2::frame::{flag, frame_type};
use crate::proxy::http2::hpack;

/// Fields that touch no table, each written out.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::encode_static(&mut block, name, value);
    }
    block
}

/// A request with these instead of its usual fields.
fn request(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let usual = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "hello")];
    let changed = |name: &str| changes.iter().any(|change| change.0 == name);
    let mut fields: Vec<_> = usual.into_iter().filter(|field| !changed(field.0)).collect();
    fields.extend(changes);
    fields
}

/// After `frames` on stream 1 the client sees it reset with PROTOCOL_ERROR,
/// and the upstream only what `forwarded`: frames by their type and stream.
#[track_caller]
fn assert_malformed(what: &str, frames: &[u8], forwarded: &[(u8, u32)]) {
    let mut t = Pair::start();
    t.client.greet();
    // An upstream that is there already.
    t.client.send(&Peer::raw_request(1, END));
    t.upstream.receive_greeting();
    t.upstream.settings(&[]);
    assert_eq!(t.client.frame().0, frame_type::SETTINGS, "{what}");
    assert_eq!(t.upstream.headers_block().0, (1, END), "{what}");
    t.client.send(frames);
    t.client.send(&Peer::raw_request(5, END));
    loop {
        let (frame_type, _, stream, payload) = t.client.frame();
        if frame_type == frame_type::RST_STREAM {
            assert_eq!((stream, payload), (3, vec![0, 0, 0, 1]), "{what}");
            break;
        }
        assert_eq!(frame_type, frame_type::WINDOW_UPDATE, "{what}");
    }
    let mut seen = Vec::new();
    loop {
        let (frame_type, _, stream, _) = t.upstream.frame();
        if stream == 5 {
            break;
        }
        seen.push((frame_type, stream));
    }
    assert_eq!(seen, forwarded, "{what}");
    t.client.close();
    t.end();
}

#[test]
fn the_upstream_never_sees_a_malformed_request() {
    for changes in [
        &[(":method", "GET /admin")][..],
        &[(":method", "")],
        &[(":path", "")],
        &[(":path", "admin")],
        &[(":path", "@evil/")],
        &[(":path", "http://evil/x")],
        &[(":path", "/a HTTP/1.1")],
        &[(":path", "/a\r\nx: y")],
        &[(":path", "*")],
        &[(":scheme", "ftp")],
        &[(":scheme", "http://evil/")],
        &[(":authority", "u@hello")],
        &[(":authority", "hello/x")],
        &[(":authority", "hello:80abc")],
        &[("host", "evil")],
        &[("content-length", "+3")],
        &[("content-length", "3"), ("content-length", "4")],
        &[("content-length", "3"), ("content-length", "3")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "x")],
        &[("upgrade", "h2c")],
        &[("te", "gzip")],
        &[("x", "a\r\nb: c")],
        &[("x", "a\0")],
        &[("x", " a")],
        &[("x", "a ")],
        &[("X", "a")],
        &[("x y", "a")],
        &[("a", "b"), (":path", "/again")],
        &[(":unknown", "x")],
        &[(":status", "200")],
        &[(":protocol", "websocket")],
        &[(":method", "CONNECT")],
    ] {
        let head = block(&request(changes));
        let frames = raw(frame_type::HEADERS, END, 3, &head);
        assert_malformed(&format!("{changes:?}"), &frames, &[]);
    }
    for missing in [":method", ":scheme", ":path"] {
        let mut fields = request(&[]);
        fields.retain(|field| field.0 != missing);
        let frames = raw(frame_type::HEADERS, END, 3, &block(&fields));
        assert_malformed(missing, &frames, &[]);
    }
    let twice = [request(&[]), vec![(":path", "/")]].concat();
    let frames = raw(frame_type::HEADERS, END, 3, &block(&twice));
    assert_malformed("a path twice", &frames, &[]);
}

#[test]
fn a_body_must_be_as_long_as_its_content_length() {
    let head = block(&request(&[("content-length", "5")]));
    let begin = raw(frame_type::HEADERS, flag::END_HEADERS, 3, &head);
    let data = |flags, text: &[u8]| raw(frame_type::DATA, flags, 3, text);
    let trailers = raw(frame_type::HEADERS, END, 3, &block(&[("x", "y")]));
    let bad = raw(frame_type::HEADERS, END, 3, &block(&[(":path", "/")]));
    let none = raw(frame_type::HEADERS, END, 3, &head);
    let (headers, body, reset) = ((frame_type::HEADERS, 3), (frame_type::DATA, 3), (frame_type::RST_STREAM, 3));
    for (what, rest, forwarded) in [
        ("too long", vec![data(1, b"123456")], vec![headers, reset]),
        ("too long in two", vec![data(0, b"123"), data(0, b"456")], vec![headers, body, reset]),
        ("padding does not count", vec![data(0x09, b"\x02123\0\0")], vec![headers, reset]),
        ("too short", vec![data(1, b"1234")], vec![headers, reset]),
        ("an empty end", vec![data(1, b"")], vec![headers, reset]),
        ("too short before trailers", vec![data(0, b"1234"), trailers], vec![headers, body, reset]),
        ("bad trailers", vec![bad], vec![headers, reset]),
    ] {
        let frames = [begin.clone(), rest.concat()].concat();
        assert_malformed(what, &frames, &forwarded);
    }
    assert_malformed("a length without a body", &none, &[]);
}

/// The same octets again are passed without being read: what depends on the
/// stream must hold all the same.
#[test]
fn the_body_of_a_replayed_request_must_be_as_long_as_its_content_length() {
    for (flags, body, resets) in [
        (END, &b""[..], true),
        (flag::END_HEADERS, b"1234", true),
        (flag::END_HEADERS, b"123456", true),
        (flag::END_HEADERS, b"12345", false),
    ] {
        let mut t = Pair::start();
        t.client.greet();
        let head = block(&request(&[("content-length", "5")]));
        for stream in [1, 3, 5] {
            let is_last = stream == 5;
            let (flags, body) = if is_last { (flags, body) } else { (4, &b"12345"[..]) };
            t.client.send_frame(frame_type::HEADERS, flags, stream, &head);
            if flags == flag::END_HEADERS {
                t.client.send_frame(frame_type::DATA, flag::END_STREAM, stream, body);
            }
            if stream == 1 {
                t.upstream.receive_greeting();
                t.upstream.settings(&[]);
                assert_eq!(t.client.frame().0, frame_type::SETTINGS);
            }
            if !is_last || !resets {
                assert_eq!(t.upstream.headers_block().0, (stream, 4));
                assert_eq!(t.upstream.frame().3, body);
            }
        }
        if resets {
            let reset = (frame_type::RST_STREAM, 0, 5, vec![0, 0, 0, 1]);
            assert_eq!(t.client.frame(), reset, "{body:?}");
        }
        let known = t.handler.replays.load(Ordering::Relaxed);
        assert_eq!(known, usize::from(flags == flag::END_HEADERS), "{body:?}");
        t.client.close();
        t.end();
    }
}
