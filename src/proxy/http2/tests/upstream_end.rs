//! How the end of an upstream reaches the client.

use std::io::Write as _;
use std::thread;

use super::peer::{END, Pair, Peer, raw};
use crate::proxy::http2::frame::{ErrorCode, flag, frame_type, setting};
use crate::sync::lock;

#[test]
fn each_open_stream_gets_an_end_when_the_upstream_closes() {
    let mut t = Pair::start();
    t.client.greet();
    let grpc = [("content-type", "application/grpc")];
    for stream in [1, 3, 5, 7] {
        let fields = if stream == 3 { &grpc[..] } else { &[] };
        t.client.request(stream, "hello", fields, true);
    }
    t.upstream.receive_greeting();
    for stream in [1, 3, 5, 7] {
        assert_eq!(t.upstream.headers().0, stream);
    }
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]); // complete
    t.upstream.send_frame(frame_type::HEADERS, flag::END_HEADERS, 5, &[0x88]); // started
    t.upstream.close();
    t.client.frame();
    t.client.frame();
    let (stream, _, fields) = t.client.headers();
    assert_eq!(stream, 3);
    assert!(fields.contains(&("grpc-status".into(), "14".into())));
    assert_eq!(t.client.frame(), (frame_type::RST_STREAM, 0, 5, vec![0, 0, 0, 2]));
    let (stream, _, fields) = t.client.headers();
    assert_eq!((stream, fields[0].1.as_str()), (7, "502"));
    let (frame_type, _, _, payload) = t.client.frame();
    assert_eq!((frame_type, &payload[..8]), (frame_type::GOAWAY, &[0, 0, 0, 7, 0, 0, 0, 2][..]));
    assert_eq!(t.client.rest(), b"");
    t.client.close();
    t.end();
}

#[test]
fn a_graceful_goaway_is_forwarded() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], true);
    t.client.request(3, "hello", &[], true);
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.headers();
    let goaway = [0, 0, 0, 1, 0, 0, 0, 0];
    t.upstream.send_frame(frame_type::GOAWAY, 0, 0, &goaway);
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
    t.upstream.close();
    assert_eq!(t.client.frame(), (frame_type::GOAWAY, 0, 0, goaway.to_vec()));
    assert_eq!(t.client.frame(), (frame_type::HEADERS, END, 1, vec![0x88]));
    // The GOAWAY closed stream 3, so no response is lost. And the last stream is never above the one before, so the
    // client may still send that request again.
    let (frame_type, _, _, payload) = t.client.frame();
    assert_eq!((frame_type, &payload[..8]), (frame_type::GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 0][..]));
    t.client.close();
    t.end();
}

#[test]
fn an_upstream_that_breaks_the_protocol_is_closed() {
    for frame in [
        raw(frame_type::DATA, 0, 1, &[0; 16_385]),
        raw(frame_type::SETTINGS, 0, 0, &[0; 5]),
        [raw(frame_type::HEADERS, 0, 1, &[0x88]), raw(frame_type::PING, 0, 0, &[0; 8])].concat(),
        [raw(frame_type::HEADERS, 0, 1, &[0; 9]), raw(frame_type::CONTINUATION, 0, 1, &[0; 16_384]).repeat(70)]
            .concat(),
    ] {
        let mut t = Pair::start();
        t.client.greet();
        t.request_all(&[1]);
        let mut writer = t.upstream.try_clone();
        let written = thread::spawn(move || drop(writer.stream.write_all(&frame)));
        let (stream, _, fields) = t.client.headers();
        assert_eq!((stream, fields[0].1.as_str()), (1, "502"));
        assert_eq!(t.client.frame().0, frame_type::GOAWAY);
        written.join().unwrap();
        t.client.close();
        t.end();
    }
}

#[test]
fn a_response_to_a_request_that_was_not_sent_reaches_no_request() {
    for frame in [
        raw(frame_type::HEADERS, END, 3, &[0x88]),
        raw(frame_type::DATA, flag::END_STREAM, 3, b"stray"),
        raw(frame_type::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        raw(frame_type::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
        raw(0xee, 0, 3, b"an extension"),
        raw(frame_type::HEADERS, END, 5, &[0x88]),
        // Pushed.
        raw(frame_type::PUSH_PROMISE, flag::END_HEADERS, 1, b"\0\0\0\x02\x82\x86\x84\x01\x05hello"),
        raw(frame_type::HEADERS, END, 2, &[0x88]),
        raw(frame_type::DATA, flag::END_STREAM, 2, b"stray"),
        // On none, and on one where there is none.
        raw(frame_type::HEADERS, END, 0, &[0x88]),
        raw(frame_type::DATA, flag::END_STREAM, 0, b"stray"),
        raw(frame_type::RST_STREAM, 0, 0, &[0, 0, 0, 8]),
        raw(frame_type::SETTINGS, 0, 1, b""),
        raw(frame_type::PING, 0, 1, &[0; 8]),
        raw(frame_type::GOAWAY, 0, 1, &[0; 8]),
    ] {
        let mut t = Pair::start();
        t.client.greet();
        t.request_all(&[1]);
        t.upstream.settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]);
        assert_eq!(t.client.frame().0, frame_type::SETTINGS);
        // It waits for the response to the first. That PING passes shows that runsd has read it.
        t.client.send(&Peer::raw_request(3, END));
        t.client.send_frame(frame_type::PING, 0, 0, &[7; 8]);
        assert_eq!(t.upstream.frame().0, frame_type::PING);
        t.upstream.send(&frame);
        for stream in [1, 3] {
            let (id, _, fields) = t.client.headers();
            assert_eq!((id, fields[0].1.as_str()), (stream, "502"), "{frame:?}");
        }
        assert_eq!(t.client.frame().0, frame_type::GOAWAY);
        t.client.close();
        t.end();
    }
}

/// A header block of 103.
const EARLY_HINTS: &[u8] = b"\x08\x03103";

#[test]
fn a_response_that_breaks_the_protocol_goes_no_further() {
    const HEAD: u8 = flag::END_HEADERS;
    const DATA_END: u8 = flag::END_STREAM;
    let data = |flags, payload: &[u8]| raw(frame_type::DATA, flags, 1, payload);
    let block = |flags, payload: &[u8]| raw(frame_type::HEADERS, flags, 1, payload);
    let length = |len: &str| [b"\x88\x0f\x0d\x01", len.as_bytes()].concat();
    let trailers = b"\x00\x01t\x011";
    for (method, valid, invalid) in [
        // In a state that has none of it.
        ("GET", vec![], data(0, b"body")),
        ("GET", vec![], data(DATA_END, b"")),
        ("GET", vec![block(HEAD, EARLY_HINTS)], data(0, b"body")),
        ("GET", vec![], block(END, trailers)),
        ("GET", vec![block(HEAD, EARLY_HINTS)], block(END, trailers)),
        ("GET", vec![], block(END, EARLY_HINTS)),
        ("GET", vec![block(HEAD, b"\x88")], block(HEAD, b"\x88")),
        ("GET", vec![block(HEAD, b"\x88")], block(HEAD, EARLY_HINTS)),
        ("GET", vec![block(HEAD, b"\x88"), data(0, b"body")], block(HEAD, trailers)),
        ("POST", vec![block(HEAD, b"\x88"), block(END, trailers)], data(0, b"body")),
        ("POST", vec![block(HEAD, b"\x88"), data(DATA_END, b"")], data(0, b"body")),
        ("POST", vec![block(END, b"\x88")], block(END, b"\x88")),
        // Of another length than it said.
        ("GET", vec![], block(END, &length("4"))),
        ("GET", vec![block(HEAD, &length("4")), data(0, b"bod")], data(DATA_END, b"")),
        ("GET", vec![block(HEAD, &length("4")), data(0, b"body")], data(0, b"y")),
        ("GET", vec![block(HEAD, &length("4")), data(0, b"bod")], block(END, trailers)),
        ("GET", vec![block(HEAD, &length("0"))], raw(frame_type::DATA, flag::PADDED, 1, b"\x01x\0")),
        ("HEAD", vec![block(HEAD, &length("4"))], data(0, b"body")),
        ("GET", vec![block(HEAD, b"\x89")], data(0, b"body")), // 204
        ("GET", vec![block(HEAD, b"\x8b")], data(0, b"body")), // 304
        // Malformed, or no header block at all.
        ("GET", vec![], block(END, b"\x88\x88")),
        ("GET", vec![], block(END, b"\x08\x03101")),
        ("GET", vec![], block(END, b"\x88\x00\x01X\x01y")),
        ("GET", vec![], block(END, b"\x88\x00\x01x\x03a\r\n")),
        ("GET", vec![], block(END, b"\x88\x00\x0aconnection\x05close")),
        ("GET", vec![block(HEAD, b"\x88")], block(END, b"\x88")),
        ("GET", vec![], block(END, b"\xff\xff\xff\xff\xff\x7f")),
        ("GET", vec![block(HEAD, b"\x88")], block(END, b"\x80")),
        ("GET", vec![], block(END, b"\x3f\xe2\xff\x03\x88")), // a table of 65,537
        ("GET", vec![], block(END | flag::PADDED, b"\x09\x88")),
        ("GET", vec![block(HEAD, b"\x88")], raw(frame_type::DATA, flag::PADDED, 1, b"\x09x")),
    ] {
        assert_goes_no_further(method, &valid, &invalid);
    }
}

/// Of the frames on stream 1, the response to a request of this method, `valid` ones reach the client, and the
/// `invalid` one does not; stream 3 has had no response.
#[track_caller]
fn assert_goes_no_further(method: &str, valid: &[Vec<u8>], invalid: &[u8]) {
    let mut t = Pair::start();
    t.client.greet();
    let (method, flags): (&[u8], u8) = match method {
        "HEAD" => (b"\x02\x04HEAD", END),
        "POST" => (b"\x83", flag::END_HEADERS), // its body has not ended
        _ => (b"\x82", END),
    };
    t.client.send(&raw(frame_type::HEADERS, flags, 1, &[method, b"\x86\x84\x01\x05hello"].concat()));
    t.client.send(&Peer::raw_request(3, END));
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.settings(&[]);
    assert_eq!(t.client.frame().0, frame_type::SETTINGS);
    t.upstream.headers();
    for frame in valid {
        t.upstream.send(frame);
        let (frame_type, flags, stream, payload) = t.client.frame();
        assert_eq!(raw(frame_type, flags, stream, &payload), *frame, "before {invalid:?}");
    }
    t.upstream.send(invalid);
    let is_complete = valid.last().is_some_and(|frame| frame[4] & flag::END_STREAM != 0);
    let is_started = valid.iter().any(|frame| !frame.ends_with(EARLY_HINTS));
    if is_started {
        let code = if is_complete { ErrorCode::NO_ERROR } else { ErrorCode::INTERNAL_ERROR };
        let reset = (frame_type::RST_STREAM, 0, 1, code.code().to_be_bytes().to_vec());
        assert_eq!(t.client.frame(), reset, "{invalid:?}");
    } else {
        let (stream, _, fields) = t.client.headers();
        assert_eq!((stream, fields[0].1.as_str()), (1, "502"), "{invalid:?}");
    }
    let (stream, _, fields) = t.client.headers();
    assert_eq!((stream, fields[0].1.as_str()), (3, "502"), "{invalid:?}");
    assert_eq!(t.client.frame().0, frame_type::GOAWAY, "{invalid:?}");
    t.client.close();
    t.end();
}

#[test]
fn bodies_of_the_length_that_was_said_pass() {
    let mut t = Pair::start();
    t.client.greet();
    let length = |len: &str| [b"\x88\x0f\x0d\x01", len.as_bytes()].concat();
    t.request_all(&[1, 3, 5]);
    // CONNECT of a WebSocket (RFC 8441), and HEAD.
    let websocket = b"\x02\x07CONNECT\x86\x84\x01\x05hello\x00\x09:protocol\x09websocket";
    t.client.send(&raw(frame_type::HEADERS, flag::END_HEADERS, 7, websocket));
    t.client.send(&raw(frame_type::HEADERS, END, 9, b"\x02\x04HEAD\x86\x84\x01\x05hello"));
    t.upstream.headers();
    t.upstream.headers();
    for frame in [
        raw(frame_type::HEADERS, flag::END_HEADERS, 1, &length("4")),
        raw(frame_type::DATA, flag::PADDED, 1, b"\x02bo\0\0"),
        raw(frame_type::DATA, 0, 1, b"dy"),
        raw(frame_type::HEADERS, END, 1, b"\x00\x01t\x011"),
        raw(frame_type::HEADERS, flag::END_HEADERS, 3, b"\x08\x03100"),
        raw(frame_type::HEADERS, flag::END_HEADERS, 3, b"\x08\x03103"),
        raw(frame_type::HEADERS, flag::END_HEADERS, 3, &length("0")),
        raw(frame_type::DATA, flag::END_STREAM, 3, b""),
        raw(frame_type::HEADERS, flag::END_HEADERS, 5, b"\x88"),
        raw(frame_type::DATA, flag::END_STREAM, 5, b"of any length"),
        raw(frame_type::HEADERS, flag::END_HEADERS, 7, &length("0")),
        raw(frame_type::DATA, 0, 7, b"frames of the WebSocket"),
        raw(frame_type::HEADERS, END, 9, &length("9")),
        // Of a stream that is closed the client knows what to think.
        raw(frame_type::DATA, flag::END_STREAM, 9, b"late"),
    ] {
        t.upstream.send(&frame);
        let (frame_type, flags, stream, payload) = t.client.frame();
        assert_eq!(raw(frame_type, flags, stream, &payload), frame);
    }
    t.client.close();
    t.end();
}

#[test]
fn a_grpc_call_whose_response_had_started_is_unavailable() {
    let mut t = Pair::start();
    t.client.greet();
    let grpc = [("content-type", "application/grpc")];
    t.client.request(1, "hello", &grpc, true);
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.send_frame(frame_type::HEADERS, flag::END_HEADERS, 1, b"\x88");
    t.client.frame();
    t.upstream.close();
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (1, END));
    assert_eq!(fields[0], ("grpc-status".into(), "14".into()));
    assert_eq!(t.client.frame().0, frame_type::GOAWAY);
    t.client.close();
    t.end();
}

#[test]
fn a_request_with_a_complete_response_is_reset_without_error() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    t.upstream.receive_greeting();
    t.upstream.headers();
    // The complete response, while the client has more to send.
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
    assert_eq!(t.client.frame(), (frame_type::HEADERS, END, 1, vec![0x88]));
    t.upstream.close();
    assert_eq!(t.client.frame(), (frame_type::RST_STREAM, 0, 1, vec![0; 4]));
    let (frame_type, _, _, payload) = t.client.frame();
    assert_eq!((frame_type, &payload[..8]), (frame_type::GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 0][..]));
    t.client.close();
    t.end();
}

#[test]
fn a_request_after_goaway_is_discarded() {
    let mut t = Pair::start();
    t.client.greet();
    t.request_all(&[1]);
    let goaway = |last| [0, 0, 0, last, 0, 0, 0, 0].to_vec();
    t.upstream.send_frame(frame_type::GOAWAY, 0, 0, &goaway(1));
    assert_eq!(t.client.frame(), (frame_type::GOAWAY, 0, 0, goaway(1)));
    // In flight when the client received GOAWAY. The client sends it again elsewhere, so the upstream must not get it
    // here.
    t.client.request(3, "hello", &[], false);
    t.client.send_frame(frame_type::DATA, flag::END_STREAM, 3, b"12");
    assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 2]));
    // A GOAWAY with a higher last stream is lowered.
    t.upstream.send_frame(frame_type::GOAWAY, 0, 0, &goaway(5));
    assert_eq!(t.client.frame(), (frame_type::GOAWAY, 0, 0, goaway(1)));
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
    assert_eq!(t.client.frame(), (frame_type::HEADERS, END, 1, vec![0x88]));
    t.upstream.close();
    let (frame_type, _, _, payload) = t.client.frame();
    assert_eq!((frame_type, &payload[..8]), (frame_type::GOAWAY, &goaway(1)[..]));
    assert_eq!(t.client.rest(), b"");
    assert_eq!(t.upstream.rest(), b"");
    t.client.close();
    t.end();
}

#[test]
fn an_upstream_of_http1_only_is_named_in_the_error() {
    let mut t = Pair::start();
    t.client.greet();
    t.request_all(&[1]);
    t.upstream.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let (stream, _, fields) = t.client.headers();
    assert_eq!((stream, fields[0].1.as_str()), (1, "502"));
    let want = "the upstream speaks HTTP/1.1 only, not HTTP/2";
    let (_, said) = fields.last().unwrap();
    assert!(said.contains(want) && said.contains("http_protocol_error"), "{said}");
    assert_eq!(t.client.frame().0, frame_type::GOAWAY);
    let lost = format!("{want}; use HTTP/1.1 for this name");
    assert_eq!(*lock(&t.handler.lost), [lost]);
    t.client.close();
    t.end();
}

#[test]
fn an_early_response_is_complete_before_its_request_is_stopped() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
    t.upstream.send_frame(frame_type::RST_STREAM, 0, 1, &[0; 4]);
    assert_eq!(t.client.frame(), (frame_type::HEADERS, END, 1, vec![0x88]));
    // No reset, but credit, for a client that has none left.
    let credit = |stream, octets| (frame_type::WINDOW_UPDATE, 0, stream, octets);
    assert_eq!(t.client.frame(), credit(1, vec![0, 0, 0xff, 0xff]));
    t.client.send_frame(frame_type::DATA, 0, 1, b"12345");
    assert_eq!(t.client.frame(), credit(1, vec![0, 0, 0, 5]));
    assert_eq!(t.client.frame(), credit(0, vec![0, 0, 0, 5]));
    t.client.send_frame(frame_type::DATA, flag::END_STREAM, 1, b"6");
    assert_eq!(t.client.frame(), credit(0, vec![0, 0, 0, 1]));
    // The upstream gets none of it.
    t.client.request(3, "hello", &[], true);
    assert_eq!(t.upstream.headers().0, 3);
    t.client.close();
    t.end();
}
