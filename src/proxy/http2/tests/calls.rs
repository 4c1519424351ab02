//! Calls from end to end, as frames.

use std::sync::atomic::Ordering;
use std::thread;

use super::peer::{END, OWN_SETTINGS, Pair};
use crate::proxy::http2::frame::{PREFACE, flag, frame_type, setting};

#[test]
fn a_call_from_preface_to_trailers() {
    let mut t = Pair::start();
    t.client.send(PREFACE);
    t.client.settings(&[(setting::HEADER_TABLE_SIZE, 100), (setting::INITIAL_WINDOW_SIZE, 9)]);
    t.client.window_update(0, 10_000);
    // runsd's SETTINGS come at once, and so does its acknowledgement, before any request.
    assert_eq!(t.client.frame(), (frame_type::SETTINGS, 0, 0, OWN_SETTINGS.to_vec()));
    assert_eq!(t.client.frame(), (frame_type::SETTINGS, flag::ACK, 0, vec![]));
    t.client.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    t.client.request(1, "hello", &[("content-type", "application/grpc")], false);
    t.client.send_frame(frame_type::DATA, 0, 1, b"up");

    t.upstream.preface();
    // With push turned off.
    let settings = [0, 1, 0, 0, 0, 100, 0, 4, 0, 0, 0, 9, 0, 2, 0, 0, 0, 0].to_vec();
    assert_eq!(t.upstream.frame(), (frame_type::SETTINGS, 0, 0, settings));
    assert_eq!(t.upstream.frame(), (frame_type::WINDOW_UPDATE, 0, 0, vec![0, 0, 0x27, 0x10]));
    let (stream, flags, fields) = t.upstream.headers();
    assert_eq!((stream, flags), (1, flag::END_HEADERS));
    assert_eq!(fields[3], (":authority".into(), "hello.example".into()));
    assert_eq!(fields.last().unwrap(), &("authorization".into(), "Bearer x".into()));
    assert_eq!(t.upstream.frame(), (frame_type::DATA, 0, 1, b"up".to_vec()));

    t.upstream.settings(&[(setting::HEADER_TABLE_SIZE, 0), (setting::MAX_FRAME_SIZE, 20_000)]);
    t.upstream.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    t.upstream.send_frame(frame_type::HEADERS, flag::END_HEADERS, 1, &[0x88]);
    t.upstream.send_frame(frame_type::DATA, 0, 1, b"down");
    // Without the table size, without the acknowledgement of what runsd acknowledged, and without
    // the limit of runsd's own SETTINGS.
    let settings = [0, 5, 0, 0, 0x4e, 0x20, 0, 3, 0xff, 0xff, 0xff, 0xff].to_vec();
    assert_eq!(t.client.frame(), (frame_type::SETTINGS, 0, 0, settings));
    assert_eq!(t.client.frame(), (frame_type::HEADERS, flag::END_HEADERS, 1, vec![0x88]));
    assert_eq!(t.client.frame(), (frame_type::DATA, 0, 1, b"down".to_vec()));

    // The client's acknowledgement is forwarded, and so are a longer frame and trailers.
    t.client.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    t.client.send_frame(frame_type::DATA, flag::PADDED, 1, &[3; 20_000]);
    t.client.trailers(1, &[("x-sum", "1")]);
    assert_eq!(t.upstream.frame(), (frame_type::SETTINGS, flag::ACK, 0, vec![]));
    assert_eq!(t.upstream.frame(), (frame_type::DATA, flag::PADDED, 1, vec![3; 20_000]));
    let (_, block) = t.upstream.headers_block();
    assert_eq!(block[0], 0x20, "the smaller table is told first");
    assert_eq!(t.upstream.decode(&block), [("x-sum".to_owned(), "1".to_owned())]);

    t.upstream.trailers(1, &[("x-sum", "2")]);
    assert_eq!(t.client.frame().1, END);
    // The end of the client is the end of the upstream.
    t.client.close();
    assert_eq!(t.upstream.rest(), b"");
    t.end();
}

#[test]
fn pings_are_acknowledged_until_there_is_an_upstream_and_forwarded_then() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.send_frame(frame_type::PING, 0, 0, b"11111111");
    assert_eq!(t.client.frame(), (frame_type::PING, flag::ACK, 0, b"11111111".to_vec()));
    t.client.request(1, "hello", &[], true);
    t.client.send_frame(frame_type::PING, 0, 0, b"22222222");
    t.upstream.receive_greeting();
    t.upstream.headers();
    assert_eq!(t.upstream.frame(), (frame_type::PING, 0, 0, b"22222222".to_vec()));
    t.upstream.send_frame(frame_type::PING, flag::ACK, 0, b"22222222");
    assert_eq!(t.client.frame(), (frame_type::PING, flag::ACK, 0, b"22222222".to_vec()));
    t.client.send_frame(0xfe, 0xff, 1, b"unknown");
    assert_eq!(t.upstream.frame(), (0xfe, 0xff, 1, b"unknown".to_vec()));
    t.client.close();
    t.end();
}

#[test]
fn a_repeated_request_is_replayed() {
    let mut t = Pair::start();
    t.client.greet();
    let again = |t: &mut Pair, stream, more: &[(&str, &str)], end| {
        t.client.request(stream, "hello", more, end);
        if stream == 1 {
            t.upstream.receive_greeting();
        }
        let (got, flags, fields) = t.upstream.headers();
        assert_eq!(got, stream);
        assert_eq!(flags & flag::END_STREAM != 0, end, "{stream}");
        let replays = t.handler.replays.load(Ordering::Relaxed);
        (fields, replays)
    };
    let more = [("x-one", "1")];
    // The first request fills the tables, the second one uses them, the third one is the same octets.
    let (first, _) = again(&mut t, 1, &more, true);
    let (second, replays) = again(&mut t, 3, &more, true);
    assert_eq!((&second, replays), (&first, 0));
    let (third, replays) = again(&mut t, 5, &more, false);
    assert_eq!((&third, replays), (&first, 1));
    // With another token it is rewritten, and can be replayed again after that.
    t.handler.token_renewed.store(true, Ordering::Relaxed);
    assert_eq!(again(&mut t, 7, &more, true), (first.clone(), 2));
    t.handler.token_renewed.store(false, Ordering::Relaxed);
    assert_eq!(again(&mut t, 9, &more, true), (first.clone(), 3));
    // Another request in between changes the tables, and so the octets.
    let (other, replays) = again(&mut t, 11, &[("x-two", "2")], true);
    assert_eq!((other.last(), replays), (first.last(), 3));
    assert!(other.contains(&("x-two".into(), "2".into())), "{other:?}");
    assert_eq!(again(&mut t, 13, &more, true), (first.clone(), 3));
    assert_eq!(again(&mut t, 15, &more, true), (first.clone(), 4));
    // A new table size of the upstream changes the octets as well.
    t.upstream.settings(&[(setting::HEADER_TABLE_SIZE, 0)]);
    t.upstream.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    assert_eq!(t.client.frame().0, frame_type::SETTINGS);
    t.client.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    assert_eq!(t.upstream.frame(), (frame_type::SETTINGS, flag::ACK, 0, vec![]));
    assert_eq!(again(&mut t, 17, &more, true), (first.clone(), 4));
    assert_eq!(again(&mut t, 19, &more, true), (first.clone(), 4));
    assert_eq!(again(&mut t, 21, &more, true), (first.clone(), 5));
    t.client.close();
    t.end();
}

#[test]
fn a_long_header_block_is_sent_in_several_frames() {
    let mut t = Pair::start();
    t.client.greet();
    let long = "~".repeat(40_000);
    let mut block = t.client.encode_request("hello", &[("x-long", &long)]);
    let rest = block.split_off(16_384);
    t.client.send_frame(frame_type::HEADERS, flag::END_STREAM, 1, &block);
    for (at, piece) in rest.chunks(16_384).enumerate() {
        let last = (at + 1) * 16_384 >= rest.len();
        t.client.send_frame(frame_type::CONTINUATION, if last { 4 } else { 0 }, 1, piece);
    }
    t.upstream.receive_greeting();
    let (stream, flags, fields) = t.upstream.headers();
    assert_eq!((stream, flags), (1, flag::END_STREAM));
    assert_eq!(fields[4].1, long);
    t.client.close();
    t.end();
}

#[test]
fn both_directions_may_be_full_at_once() {
    const FRAMES: usize = 600;
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    t.upstream.receive_greeting();
    t.upstream.headers();
    // The upstream reads nothing while the client writes 9 MB ...
    let mut writer = t.client.try_clone();
    let up = thread::spawn(move || {
        for _ in 0..FRAMES {
            writer.send_frame(frame_type::DATA, 0, 1, &[1; 16_000]);
        }
    });
    // ... and sends 9 MB at the same time.
    t.upstream.send_frame(frame_type::HEADERS, flag::END_HEADERS, 1, &[0x88]);
    assert_eq!(t.client.frame().0, frame_type::HEADERS);
    let mut writer = t.upstream.try_clone();
    let down = thread::spawn(move || {
        for _ in 0..FRAMES {
            writer.send_frame(frame_type::DATA, 0, 1, &[2; 16_000]);
        }
    });
    for _ in 0..FRAMES {
        assert_eq!(t.client.frame(), (frame_type::DATA, 0, 1, vec![2; 16_000]));
    }
    for _ in 0..FRAMES {
        assert_eq!(t.upstream.frame(), (frame_type::DATA, 0, 1, vec![1; 16_000]));
    }
    up.join().unwrap();
    down.join().unwrap();
    t.client.close();
    t.end();
}

#[test]
fn a_client_that_does_not_read_can_close() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], true);
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.send_frame(frame_type::HEADERS, flag::END_HEADERS, 1, &[0x88]);
    let mut writer = t.upstream.try_clone();
    // More than all buffers between hold; ends with the connection.
    let down = thread::spawn(move || while writer.try_send_frame(frame_type::DATA, 1, &[0; 16_000]) {});
    t.client.close();
    t.end();
    down.join().unwrap();
}
