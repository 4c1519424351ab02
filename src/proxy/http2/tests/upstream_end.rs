//! How the end of an upstream reaches the client.

use std::io::Write as _;
use std::thread;

use super::peer::{END, Pair, Peer, raw};
use crate::proxy::http2::frame::{flag, frame_type, setting};
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
        raw(frame_type::HEADERS, END, 5, &[0x88]),
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
