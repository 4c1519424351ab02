mod peer;

use std::sync::atomic::Ordering;

use super::frame::{flag, kind, setting};
use super::hpack::Encoder;
use super::*;
use peer::{OURS, Pair, Peer, raw, refusal};

#[test]
fn a_call_from_preface_to_trailers() {
    let mut t = Pair::start();
    t.client.send(PREFACE);
    t.client.settings(&[
        (setting::HEADER_TABLE_SIZE, 100),
        (setting::INITIAL_WINDOW_SIZE, 9),
    ]);
    t.client.window_update(0, 1000);
    // Ours comes at once, and so does the acknowledgement, before any request.
    assert_eq!(t.client.frame(), (kind::SETTINGS, 0, 0, OURS.to_vec()));
    assert_eq!(t.client.frame(), (kind::SETTINGS, flag::ACK, 0, vec![]));
    t.client.send_frame(kind::SETTINGS, flag::ACK, 0, b"");
    t.client
        .request(1, "hello", &[("content-type", "application/grpc")], false);
    t.client.send_frame(kind::DATA, 0, 1, b"up");

    t.upstream.preface();
    let settings = [0, 1, 0, 0, 0, 100, 0, 4, 0, 0, 0, 9].to_vec();
    assert_eq!(t.upstream.frame(), (kind::SETTINGS, 0, 0, settings));
    assert_eq!(
        t.upstream.frame(),
        (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 3, 232])
    );
    let (stream, flags, fields) = t.upstream.headers();
    assert_eq!((stream, flags), (1, flag::END_HEADERS));
    assert_eq!(fields[3], (":authority".into(), "hello.example".into()));
    assert_eq!(
        fields.last().unwrap(),
        &("authorization".into(), "Bearer x".into())
    );
    assert_eq!(t.upstream.frame(), (kind::DATA, 0, 1, b"up".to_vec()));

    t.upstream.settings(&[
        (setting::HEADER_TABLE_SIZE, 0),
        (setting::MAX_FRAME_SIZE, 20_000),
    ]);
    t.upstream.send_frame(kind::SETTINGS, flag::ACK, 0, b"");
    t.upstream
        .send_frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x88]);
    t.upstream.send_frame(kind::DATA, 0, 1, b"down");
    // Without the table size, without the acknowledgement we gave, and without
    // the limit of streams we began with.
    let settings = [0, 5, 0, 0, 0x4e, 0x20, 0, 3, 0xff, 0xff, 0xff, 0xff].to_vec();
    assert_eq!(t.client.frame(), (kind::SETTINGS, 0, 0, settings));
    assert_eq!(
        t.client.frame(),
        (kind::HEADERS, flag::END_HEADERS, 1, vec![0x88])
    );
    assert_eq!(t.client.frame(), (kind::DATA, 0, 1, b"down".to_vec()));

    // The client's acknowledgement goes up; a longer frame and trailers too.
    t.client.send_frame(kind::SETTINGS, flag::ACK, 0, b"");
    t.client
        .send_frame(kind::DATA, flag::PADDED, 1, &[3; 20_000]);
    t.client.trailers(1, &[("x-sum", "1")]);
    assert_eq!(t.upstream.frame(), (kind::SETTINGS, flag::ACK, 0, vec![]));
    assert_eq!(
        t.upstream.frame(),
        (kind::DATA, flag::PADDED, 1, vec![3; 20_000])
    );
    let (_, block) = t.upstream.headers_block();
    assert_eq!(block[0], 0x20, "the smaller table is told first");
    assert_eq!(
        t.upstream.decode(&block),
        [("x-sum".to_owned(), "1".to_owned())]
    );

    t.upstream.send_frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        &[0x88],
    );
    assert_eq!(t.client.frame().1, flag::END_HEADERS | flag::END_STREAM);
    // The end of the client is the end of the upstream.
    t.client.close();
    assert_eq!(t.upstream.end(), b"");
    t.end();
}

#[test]
fn pings_are_answered_here_first_and_pass_later() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.send_frame(kind::PING, 0, 0, b"11111111");
    assert_eq!(
        t.client.frame(),
        (kind::PING, flag::ACK, 0, b"11111111".to_vec())
    );
    t.client.request(1, "hello", &[], true);
    t.client.send_frame(kind::PING, 0, 0, b"22222222");
    t.upstream.greeted();
    t.upstream.headers();
    assert_eq!(t.upstream.frame(), (kind::PING, 0, 0, b"22222222".to_vec()));
    t.upstream.send_frame(kind::PING, flag::ACK, 0, b"22222222");
    assert_eq!(
        t.client.frame(),
        (kind::PING, flag::ACK, 0, b"22222222".to_vec())
    );
    t.client.send_frame(0xfe, 0xff, 1, b"unknown");
    assert_eq!(t.upstream.frame(), (0xfe, 0xff, 1, b"unknown".to_vec()));
    t.client.close();
    t.end();
}

#[test]
fn an_upstream_out_of_reach_is_an_answer_and_is_tried_again() {
    let mut t = Pair::start();
    t.policy.unreachable.store(true, Ordering::Relaxed);
    t.client.greet();
    t.client.window_update(0, 1000);
    t.client.request(
        1,
        "hello",
        &[("content-type", "application/grpc+proto")],
        false,
    );
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (1, flag::END_HEADERS | flag::END_STREAM));
    assert!(fields.contains(&("grpc-status".into(), "14".into())));
    // What was under way is given back.
    t.client
        .send_frame(kind::DATA, flag::END_STREAM, 1, b"12345");
    assert_eq!(
        t.client.frame(),
        (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 5])
    );

    t.client.request(3, "hello", &[], true);
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (3, flag::END_HEADERS));
    assert_eq!(fields[0], (":status".into(), "502".into()));
    assert_eq!(
        t.client.frame(),
        (
            kind::DATA,
            flag::END_STREAM,
            3,
            b"runsd: it is not there; check the egress and firewall settings\n".to_vec()
        )
    );

    t.policy.unreachable.store(false, Ordering::Relaxed);
    t.client.request(5, "hello", &[], true);
    t.upstream.preface();
    assert_eq!(t.upstream.frame().0, kind::SETTINGS);
    // 1000 without the 63 octets of our body.
    assert_eq!(
        t.upstream.frame(),
        (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 3, 0xa9])
    );
    assert_eq!(t.upstream.headers().0, 5);
    t.client.close();
    t.end();
}

#[test]
fn another_authority_gets_421_and_disturbs_nobody() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    t.client.request(3, "other", &[], false);
    t.client.send_frame(kind::DATA, 0, 3, b"not for you");
    t.client.window_update(3, 5);
    t.client.send_frame(kind::RST_STREAM, 0, 3, &[0; 4]);
    t.client
        .send_frame(kind::DATA, flag::END_STREAM, 1, b"for you");
    t.upstream.greeted();
    assert_eq!(t.upstream.headers().0, 1);
    assert_eq!(
        t.upstream.frame(),
        (kind::DATA, flag::END_STREAM, 1, b"for you".to_vec())
    );
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (3, flag::END_HEADERS | flag::END_STREAM));
    assert_eq!(fields[0], (":status".into(), "421".into()));
    assert_eq!(
        t.client.frame(),
        (kind::WINDOW_UPDATE, 0, 3, vec![0, 0, 0, 11])
    );
    assert_eq!(
        t.client.frame(),
        (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 11])
    );
    t.upstream.send_frame(kind::HEADERS, 0x05, 1, &[0x88]);
    assert_eq!(t.client.frame(), (kind::HEADERS, 0x05, 1, vec![0x88]));
    t.client.close();
    t.end();
}

#[test]
fn a_body_nobody_wants_is_read_for_a_while() {
    let mut t = Pair::start();
    t.policy.unreachable.store(true, Ordering::Relaxed);
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    assert_eq!(t.client.headers().0, 1);
    // 1 MiB is given back on both windows, then only on the connection's.
    for _ in 0..64 {
        t.client.send_frame(kind::DATA, 0, 1, &[0; 16_384]);
        let given = vec![0, 0, 0x40, 0];
        assert_eq!(t.client.frame(), (kind::WINDOW_UPDATE, 0, 1, given.clone()));
        assert_eq!(t.client.frame(), (kind::WINDOW_UPDATE, 0, 0, given));
    }
    t.client.send_frame(kind::DATA, 0, 1, b"x");
    assert_eq!(t.client.frame(), (kind::RST_STREAM, 0, 1, vec![0; 4]));
    assert_eq!(
        t.client.frame(),
        (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1])
    );
    t.client.send_frame(kind::DATA, 0, 1, b"x");
    assert_eq!(
        t.client.frame(),
        (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 1])
    );
    t.client.close();
    t.end();
}

#[test]
fn a_dying_upstream_is_never_silence() {
    let mut t = Pair::start();
    t.client.greet();
    let grpc = [("content-type", "application/grpc")];
    for stream in [1, 3, 5, 7] {
        let fields = if stream == 3 { &grpc[..] } else { &[] };
        t.client.request(stream, "hello", fields, true);
    }
    t.upstream.greeted();
    for stream in [1, 3, 5, 7] {
        assert_eq!(t.upstream.headers().0, stream);
    }
    t.upstream.send_frame(kind::HEADERS, 0x05, 1, &[0x88]); // done
    t.upstream.send_frame(kind::HEADERS, 0x04, 5, &[0x88]); // begun
    t.upstream.close();
    t.client.frame();
    t.client.frame();
    let (stream, _, fields) = t.client.headers();
    assert_eq!(stream, 3);
    assert!(fields.contains(&("grpc-status".into(), "14".into())));
    assert_eq!(t.client.frame(), (kind::RST_STREAM, 0, 5, vec![0, 0, 0, 2]));
    let (stream, _, fields) = t.client.headers();
    assert_eq!((stream, fields[0].1.as_str()), (7, "502"));
    let (kind, _, _, payload) = t.client.frame();
    assert_eq!(
        (kind, &payload[..8]),
        (kind::GOAWAY, &[0, 0, 0, 7, 0, 0, 0, 2][..])
    );
    assert_eq!(t.client.end(), b"");
    t.client.close();
    t.end();
}

#[test]
fn a_graceful_goaway_passes() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], true);
    t.client.request(3, "hello", &[], true);
    t.upstream.greeted();
    t.upstream.headers();
    t.upstream.headers();
    let goaway = [0, 0, 0, 1, 0, 0, 0, 0];
    t.upstream.send_frame(kind::GOAWAY, 0, 0, &goaway);
    t.upstream.send_frame(kind::HEADERS, 0x05, 1, &[0x88]);
    t.upstream.close();
    assert_eq!(t.client.frame(), (kind::GOAWAY, 0, 0, goaway.to_vec()));
    assert_eq!(t.client.frame(), (kind::HEADERS, 0x05, 1, vec![0x88]));
    // Stream 3 was given up by the GOAWAY; nobody waits.
    let (kind, _, _, payload) = t.client.frame();
    assert_eq!(
        (kind, &payload[..8]),
        (kind::GOAWAY, &[0, 0, 0, 3, 0, 0, 0, 0][..])
    );
    t.client.close();
    t.end();
}

#[test]
fn a_long_request_goes_up_in_several_frames() {
    let mut t = Pair::start();
    t.client.greet();
    let long = "~".repeat(40_000);
    let mut block = t.client.encode_request("hello", &[("x-long", &long)]);
    let rest = block.split_off(16_384);
    t.client
        .send_frame(kind::HEADERS, flag::END_STREAM, 1, &block);
    for (at, piece) in rest.chunks(16_384).enumerate() {
        let last = (at + 1) * 16_384 >= rest.len();
        t.client
            .send_frame(kind::CONTINUATION, if last { 4 } else { 0 }, 1, piece);
    }
    t.upstream.greeted();
    let (stream, flags, fields) = t.upstream.headers();
    assert_eq!((stream, flags), (1, flag::END_STREAM));
    assert_eq!(fields[4].1, long);
    t.client.close();
    t.end();
}

#[test]
fn both_directions_full_at_once() {
    const FRAMES: usize = 600;
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], false);
    t.upstream.greeted();
    t.upstream.headers();
    // The upstream reads nothing while the client writes 9 MB ...
    let mut writer = t.client.another();
    let up = thread::spawn(move || {
        for _ in 0..FRAMES {
            writer.send_frame(kind::DATA, 0, 1, &[1; 16_000]);
        }
    });
    // ... and 9 MB come down at the same time.
    let mut writer = t.upstream.another();
    let down = thread::spawn(move || {
        for _ in 0..FRAMES {
            writer.send_frame(kind::DATA, 0, 1, &[2; 16_000]);
        }
    });
    for _ in 0..FRAMES {
        assert_eq!(t.client.frame(), (kind::DATA, 0, 1, vec![2; 16_000]));
    }
    for _ in 0..FRAMES {
        assert_eq!(t.upstream.frame(), (kind::DATA, 0, 1, vec![1; 16_000]));
    }
    up.join().unwrap();
    down.join().unwrap();
    t.client.close();
    t.end();
}

#[test]
fn a_client_that_does_not_read_can_still_go() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.request(1, "hello", &[], true);
    t.upstream.greeted();
    t.upstream.headers();
    let mut writer = t.upstream.another();
    // More than any buffer on the way holds; ends when the connection does.
    let down = thread::spawn(move || while writer.try_send_frame(kind::DATA, 1, &[0; 16_000]) {});
    t.client.close();
    t.end();
    down.join().unwrap();
}

#[test]
fn abuse_ends_with_its_code() {
    let request = |stream| Peer::raw_request(stream, 0x05);
    let many = |n: usize, bytes: Vec<u8>| bytes.repeat(n);
    let resets = |n: u32| {
        (0..n)
            .flat_map(|i| {
                [
                    request(i * 2 + 1),
                    raw(kind::RST_STREAM, 0, i * 2 + 1, &[0; 4]),
                ]
            })
            .flatten()
            .collect()
    };
    let endless = [
        raw(kind::HEADERS, 0, 1, &[0; 100]),
        raw(kind::CONTINUATION, 0, 1, b"").repeat(8000),
    ]
    .concat();
    let long = [
        raw(kind::HEADERS, 0, 1, &[0; 16_384]),
        raw(kind::CONTINUATION, 0, 1, &[0; 16_384]).repeat(4),
    ]
    .concat();
    let bytes = |parts: &[Vec<u8>]| parts.concat();
    for (what, bytes, want) in [
        ("a frame too long", raw(kind::DATA, 0, 1, &[0; 16_385]), 6),
        ("DATA on stream 0", raw(kind::DATA, 0, 0, b"x"), 1),
        ("DATA before HEADERS", raw(kind::DATA, 0, 1, b"x"), 1),
        (
            "RST_STREAM before HEADERS",
            raw(kind::RST_STREAM, 0, 1, &[0; 4]),
            1,
        ),
        (
            "WINDOW_UPDATE before HEADERS",
            raw(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            1,
        ),
        (
            "WINDOW_UPDATE of 0",
            raw(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            1,
        ),
        (
            "WINDOW_UPDATE of three octets",
            raw(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            6,
        ),
        (
            "an overflowing window",
            raw(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]).repeat(2),
            3,
        ),
        ("PUSH_PROMISE", raw(kind::PUSH_PROMISE, 4, 1, &[0; 5]), 1),
        ("CONTINUATION alone", raw(kind::CONTINUATION, 4, 1, b""), 1),
        (
            "PING between HEADERS and CONTINUATION",
            bytes(&[
                raw(kind::HEADERS, 0, 1, b""),
                raw(kind::PING, 0, 0, &[0; 8]),
            ]),
            1,
        ),
        ("an even stream", request(2), 1),
        ("HEADERS on stream 0", request(0), 1),
        ("HEADERS after the end", bytes(&[request(1), request(1)]), 5),
        (
            "padding over the frame",
            raw(kind::HEADERS, 0x0c, 1, &[9, 0x82]),
            1,
        ),
        (
            "padding over DATA",
            bytes(&[request(1), raw(kind::DATA, 8, 1, &[9, 0])]),
            1,
        ),
        ("a bad index", raw(kind::HEADERS, 5, 1, &[0x80]), 9),
        (
            "an integer without end",
            raw(kind::HEADERS, 5, 1, &[0xff; 20]),
            9,
        ),
        (
            "a table over the limit",
            raw(kind::HEADERS, 5, 1, &[0x3f, 0xe2, 0x1f]),
            9,
        ),
        ("a PING of seven octets", raw(kind::PING, 0, 0, &[0; 7]), 6),
        (
            "SETTINGS of five octets",
            raw(kind::SETTINGS, 0, 0, &[0; 5]),
            6,
        ),
        ("SETTINGS on a stream", raw(kind::SETTINGS, 0, 1, b""), 1),
        (
            "a bad ENABLE_PUSH",
            raw(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            1,
        ),
        (
            "a window too large",
            raw(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            3,
        ),
        (
            "a frame size too small",
            raw(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            1,
        ),
        (
            "many SETTINGS",
            many(2000, raw(kind::SETTINGS, 0, 0, b"")),
            11,
        ),
        (
            "many PINGs",
            many(20_000, raw(kind::PING, 0, 0, &[0; 8])),
            11,
        ),
        (
            "many empty DATA",
            bytes(&[
                Peer::raw_request(1, 4),
                many(5000, raw(kind::DATA, 0, 1, b"")),
            ]),
            11,
        ),
        ("endless CONTINUATION", endless, 11),
        ("a header block over 64 KiB", long, 11),
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
fn a_bad_request_ends_its_stream_only() {
    let mut t = Pair::start();
    t.client.greet();
    let block = t.client.encode_request("hello", &[("connection", "close")]);
    t.client.send_frame(kind::HEADERS, 0x05, 1, &block);
    assert_eq!(t.client.frame(), (kind::RST_STREAM, 0, 1, vec![0, 0, 0, 1]));
    // Many fields in few octets: too many to pass on.
    let mut block = t
        .client
        .encode_request("hello", &[("x", &"y".repeat(3000))]);
    block.extend_from_slice(&[0xbe; 100]);
    t.client.send_frame(kind::HEADERS, 0x05, 3, &block);
    let (stream, _, fields) = t.client.headers();
    assert_eq!((stream, fields[0].1.as_str()), (3, "431"));
    t.client.request(5, "hello", &[], true);
    t.upstream.greeted();
    assert_eq!(t.upstream.headers().0, 5);
    t.client.close();
    t.end();
}

#[test]
fn how_a_refusal_begins_is_seen_once() {
    let mut t = Pair::start();
    t.client.greet();
    t.upstream_of(&[1, 3]);
    for (kind, flags, stream, octets) in [
        (kind::HEADERS, 0x04, 1, &b"\x48\x03403"[..]),
        (kind::HEADERS, 0x04, 3, b"\x88"),
        (kind::DATA, 0x00, 3, b"its own"),
        (kind::DATA, 0x00, 1, b""),
        (kind::DATA, 0x08, 1, b"\x02page\0\0"),
        (kind::DATA, 0x01, 1, b"more"),
    ] {
        t.upstream.send_frame(kind, flags, stream, octets);
        assert_eq!(t.client.frame(), (kind, flags, stream, octets.to_vec()));
    }
    assert_eq!(*lock(&t.policy.refusals), [(403, b"page".to_vec())]);
    t.client.close();
    t.end();
}

#[test]
fn statuses_are_seen_once_an_answer() {
    let mut t = Pair::start();
    t.client.greet();
    t.upstream_of(&[1, 3, 5]);
    for (stream, flags, block) in [
        (1, 0x04, &b"\x08\x03103"[..]), // 103, and the answer follows
        (1, 0x04, b"\x48\x03401"),
        (1, 0x05, b"\x00\x01x\x01y"), // trailers
        (3, 0x0d, b"\x02\x8d\0\0"),   // 404, padded
        (5, 0x00, b"\x88"),
    ] {
        t.upstream.send_frame(kind::HEADERS, flags, stream, block);
        if flags & flag::END_HEADERS != 0 {
            let passed = (kind::HEADERS, flags, stream, block.to_vec());
            assert_eq!(t.client.frame(), passed);
        }
    }
    // A block that is not all here holds back what follows, so that nothing
    // of ours comes between.
    t.client.request(7, "other", &[], true);
    assert_eq!(t.client.headers().0, 7);
    t.upstream.send_frame(kind::CONTINUATION, 0x04, 5, b"");
    assert_eq!(t.client.frame(), (kind::HEADERS, 0, 5, vec![0x88]));
    assert_eq!(t.client.frame(), (kind::CONTINUATION, 4, 5, vec![]));
    assert_eq!(*lock(&t.policy.statuses), [401, 404, 200]);
    t.client.close();
    t.end();
}

#[test]
fn an_upstream_that_breaks_the_protocol_is_gone() {
    for frame in [
        raw(kind::DATA, 0, 1, &[0; 16_385]),
        raw(kind::SETTINGS, 0, 0, &[0; 5]),
        [
            raw(kind::HEADERS, 0, 1, &[0x88]),
            raw(kind::PING, 0, 0, &[0; 8]),
        ]
        .concat(),
        [
            raw(kind::HEADERS, 0, 1, &[0; 9]),
            raw(kind::CONTINUATION, 0, 1, &[0; 16_384]).repeat(70),
        ]
        .concat(),
    ] {
        let mut t = Pair::start();
        t.client.greet();
        t.upstream_of(&[1]);
        let mut writer = t.upstream.another();
        let written = thread::spawn(move || drop(writer.stream.write_all(&frame)));
        let (stream, _, fields) = t.client.headers();
        assert_eq!((stream, fields[0].1.as_str()), (1, "502"));
        assert_eq!(t.client.frame().0, kind::GOAWAY);
        written.join().unwrap();
        t.client.close();
        t.end();
    }
}

#[test]
fn a_call_whose_answer_had_begun_is_unavailable() {
    let mut t = Pair::start();
    t.client.greet();
    let grpc = [("content-type", "application/grpc")];
    t.client.request(1, "hello", &grpc, true);
    t.upstream.greeted();
    t.upstream.headers();
    t.upstream.send_frame(kind::HEADERS, 0x04, 1, b"\x88");
    t.client.frame();
    t.upstream.close();
    let (stream, flags, fields) = t.client.headers();
    assert_eq!((stream, flags), (1, flag::END_HEADERS | flag::END_STREAM));
    assert_eq!(fields[0], ("grpc-status".into(), "14".into()));
    assert_eq!(t.client.frame().0, kind::GOAWAY);
    t.client.close();
    t.end();
}

#[test]
fn no_preface_no_service() {
    for first in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
    ] {
        let mut t = Pair::start();
        t.client.send(first);
        t.client.frame();
        assert_eq!(t.client.frame().0, kind::GOAWAY, "{first:?}");
        t.client.close();
        t.end();
    }
}

#[test]
fn octet_by_octet_comes_out_the_same() {
    let mut client = Peer {
        encoder: Encoder::new(),
        ..Pair::start().client
    };
    let mut input = raw(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]);
    input.extend(raw(
        kind::HEADERS,
        4,
        1,
        &client.encode_request("hello", &[("a", "b")]),
    ));
    input.extend(raw(kind::DATA, 1, 1, b"data"));
    input.extend(raw(
        kind::HEADERS,
        0,
        3,
        &client.encode_request("hello", &[])[..2],
    ));
    let whole = passed(&[&input]);
    assert!(whole.len() > PREFACE.len() + 50);
    for cut in 0..input.len() {
        assert_eq!(
            passed(&[&input[..cut], &input[cut..]]),
            whole,
            "cut at {cut}"
        );
    }
    let octets: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(passed(&octets), whole);
}

#[test]
fn no_frames_make_it_panic() {
    let mut seed: u64 = 7;
    let mut below = move |limit: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for round in 0..3000 {
        let mut input = raw(kind::SETTINGS, 0, 0, &[]);
        for _ in 0..below(20) {
            let kind = below(11).to_le_bytes()[0];
            let flags = (below(256) & below(256)).to_le_bytes()[0];
            let stream = u32::try_from(below(6)).unwrap();
            let payload: Vec<u8> = match below(3) {
                0 => Peer::raw_request(1, 5).split_off(9),
                1 => vec![0; 4],
                _ => (0..below(20))
                    .map(|_| below(256).to_le_bytes()[0])
                    .collect(),
            };
            input.extend(raw(kind, flags, stream, &payload));
        }
        let streams = Mutex::new(Streams::new());
        let now = Instant::now();
        let mut requests = Requests::new(&streams, now);
        let mut batch = Batch::new(&input);
        while let Ok(Some(request)) = requests.next(&mut batch, now) {
            if round % 3 == 0 {
                requests.refuse(&request, &refusal(502, "no"));
            } else {
                requests.open(&mut batch);
                requests.pass(&request, &mut batch);
            }
        }
        let up = batch.finish().to_vec();
        assert!(up.is_empty() || up.starts_with(PREFACE) || round % 3 == 0);
        requests.take_down();
        let mut batch = Batch::new(&input);
        let _ = responses::pass(&mut batch, &streams, &|_| {});
        farewell(&mut lock(&streams), "the end");
    }
}

/// What goes up when the client's octets come in these pieces.
fn passed(pieces: &[&[u8]]) -> Vec<u8> {
    let streams = Mutex::new(Streams::new());
    let now = Instant::now();
    let mut requests = Requests::new(&streams, now);
    let (mut input, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut batch = Batch::new(&input);
        while let Some(request) = requests.next(&mut batch, now).unwrap() {
            requests.open(&mut batch);
            requests.pass(&request, &mut batch);
        }
        out.extend_from_slice(batch.finish());
        let done = batch.done();
        input.drain(..done);
    }
    out
}
