//! Responses of runsd's own, and what it does with the rest of such requests.

use std::sync::atomic::Ordering;

use super::peer::{END, Pair, Peer};
use crate::proxy::http2::frame::{flag, frame_type};

#[test]
fn an_unreachable_upstream_gets_an_error_response_and_is_tried_again() {
    let mut t = Pair::start();
    t.handler.unreachable.store(true, Ordering::Relaxed);
    t.client.greet();
    t.client.window_update(0, 10_000);
    t.client.request(1, "hello", &[("content-type", "application/grpc+proto")], false);
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (1, END));
    assert!(fields.contains(&("grpc-status".into(), "14".into())));
    // The credit of what was in flight is returned.
    t.client.send_frame(frame_type::DATA, flag::END_STREAM, 1, b"12345");
    assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 5]));

    t.client.request(3, "hello", &[], true);
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (3, flag::END_HEADERS));
    assert_eq!(fields[0], (":status".into(), "502".into()));
    assert_eq!(
        t.client.frame(),
        (
            frame_type::DATA,
            flag::END_STREAM,
            3,
            b"runsd: it is not there; check the egress and firewall settings\n".to_vec()
        )
    );

    t.handler.unreachable.store(false, Ordering::Relaxed);
    t.client.request(5, "hello", &[], true);
    t.upstream.preface();
    assert_eq!(t.upstream.frame().0, frame_type::SETTINGS);
    // 10,000 less the 63 octets of the body of runsd.
    assert_eq!(t.upstream.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0x26, 0xd1]));
    assert_eq!(t.upstream.headers().0, 5);
    t.client.close();
    t.end();
}

#[test]
fn another_authority_gets_421_and_does_not_disturb_others() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    t.client.request(3, "other", &[], false);
    t.client.send_frame(frame_type::DATA, 0, 3, b"not for you");
    t.client.window_update(3, 5);
    t.client.send_frame(frame_type::RST_STREAM, 0, 3, &[0; 4]);
    t.client.send_frame(frame_type::DATA, flag::END_STREAM, 1, b"for you");
    t.upstream.receive_greeting();
    assert_eq!(t.upstream.headers().0, 1);
    assert_eq!(t.upstream.frame(), (frame_type::DATA, flag::END_STREAM, 1, b"for you".to_vec()));
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (3, END));
    assert_eq!(fields[0], (":status".into(), "421".into()));
    assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 3, vec![0, 0, 0, 11]));
    assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 11]));
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
    assert_eq!(t.client.frame(), (frame_type::HEADERS, END, 1, vec![0x88]));
    t.client.close();
    t.end();
}

#[test]
fn the_body_of_a_rejected_request_is_read_to_a_limit() {
    let mut t = Pair::start();
    t.handler.unreachable.store(true, Ordering::Relaxed);
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    assert_eq!(t.client.headers().0, 1);
    // The credit of 1 MiB is returned on both windows, then only on the connection's.
    for _ in 0..64 {
        t.client.send_frame(frame_type::DATA, 0, 1, &[0; 16_384]);
        let given = vec![0, 0, 0x40, 0];
        assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 1, given.clone()));
        assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 0, given));
    }
    t.client.send_frame(frame_type::DATA, 0, 1, b"x");
    assert_eq!(t.client.frame(), (frame_type::RST_STREAM, 0, 1, vec![0; 4]));
    assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1]));
    t.client.send_frame(frame_type::DATA, 0, 1, b"x");
    assert_eq!(t.client.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1]));
    t.client.close();
    t.end();
}

#[test]
fn a_malformed_request_resets_its_stream_only() {
    let mut t = Pair::start();
    t.client.greet();
    let block = t.client.encode_request("hello", &[("connection", "close")]);
    t.client.send_frame(frame_type::HEADERS, END, 1, &block);
    assert_eq!(t.client.frame(), (frame_type::RST_STREAM, 0, 1, vec![0, 0, 0, 1]));
    // Many fields in few octets: too many to pass on.
    let mut block = t.client.encode_request("hello", &[("x", &"y".repeat(3000))]);
    block.extend_from_slice(&[0xbe; 100]);
    t.client.send_frame(frame_type::HEADERS, END, 3, &block);
    let (stream, _, fields) = t.client.headers();
    assert_eq!((stream, fields[0].1.as_str()), (3, "431"));
    t.client.request(5, "hello", &[], true);
    t.upstream.receive_greeting();
    assert_eq!(t.upstream.headers().0, 5);
    t.client.close();
    t.end();
}

#[test]
fn with_an_upstream_the_whole_window_is_its_own() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], true);
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.settings(&[]);
    assert_eq!(t.client.frame().0, frame_type::SETTINGS);
    t.client.window_update(0, 1);
    assert_eq!(t.upstream.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1]));
    // The response of runsd takes nothing of it: the sentence is in a field.
    t.client.request(3, "other", &[], true);
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (3, END));
    assert_eq!(fields[0].1, "421");
    let (name, value) = fields.last().unwrap();
    assert_eq!(name, "proxy-status");
    assert!(value.contains("another connection"), "{value}");
    t.client.window_update(0, 8192);
    assert_eq!(t.upstream.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0x20, 0]));
    t.client.close();
    t.end();
}

#[test]
fn requests_for_the_same_unreachable_upstream_get_the_same_error() {
    let mut t = Pair::start();
    t.handler.unreachable.store(true, Ordering::Relaxed);
    t.client.greet();
    // All at once, as if they had come while runsd connected for the first.
    let requests = [1, 3, 5, 7].map(|stream| Peer::raw_request(stream, END));
    t.client.send(&requests.concat());
    for want in [1, 3, 5, 7] {
        let (stream, _, fields) = t.client.headers();
        assert_eq!((stream, fields[0].1.as_str()), (want, "502"));
    }
    assert_eq!(t.handler.connects.load(Ordering::Relaxed), 1);
    t.client.request(9, "hello", &[], true);
    assert_eq!(t.client.headers().0, 9);
    assert_eq!(t.handler.connects.load(Ordering::Relaxed), 2);
    t.client.close();
    t.end();
}
