//! What a frame does by the state of its stream (RFC 9113 sections 5.1 and 5.1.1), and how many streams there may be.

use super::peer::{END, OWN_SETTINGS, Pair, Peer, raw};
use crate::proxy::http2::frame::{ErrorCode, flag, frame_type, setting};

use Want::{GoAway, Nothing, Reset};

/// What the client sees.
#[derive(Debug, Clone, Copy)]
enum Want {
    GoAway(ErrorCode),
    Reset(u32, ErrorCode),
    /// No frame; the connection stays open.
    Nothing,
}

fn request(stream: u32, flags: u8) -> Vec<u8> {
    Peer::raw_request(stream, flags)
}

/// A connection with streams of the client: 1 is closed, 3 half-closed by the client, 5 open, 11 reset by the upstream
/// and 13 by the client; 7 and 9 are idle.
fn with_streams() -> Pair {
    let mut t = Pair::start();
    t.client.greet();
    for (stream, flags) in
        [(1, END), (3, END), (5, flag::END_HEADERS), (11, flag::END_HEADERS), (13, flag::END_HEADERS)]
    {
        t.client.send(&request(stream, flags));
        if stream == 1 {
            t.upstream.receive_greeting();
            t.upstream.settings(&[]);
            assert_eq!(t.client.frame().0, frame_type::SETTINGS);
        }
        assert_eq!(t.upstream.headers_block().0, (stream, flags));
    }
    t.client.send_frame(frame_type::RST_STREAM, 0, 13, &[0; 4]);
    assert_eq!(t.upstream.frame().0, frame_type::RST_STREAM);
    t.upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
    assert_eq!(t.client.frame().2, 1);
    t.upstream.send_frame(frame_type::RST_STREAM, 0, 11, &[0, 0, 0, 8]);
    assert_eq!(t.client.frame().2, 11);
    t
}

/// The client of [`with_streams`] sends `frames`, and sees `want`.
#[track_caller]
fn assert_outcome(what: &str, frames: &[u8], want: Want) {
    let mut t = with_streams();
    t.client.send(frames);
    t.client.send(&request(17, END));
    match want {
        GoAway(code) => {
            let (frame_type, _, _, payload) = t.client.frame();
            assert_eq!((frame_type, u32::from(payload[7])), (frame_type::GOAWAY, code.code()), "{what}");
        }
        Reset(id, code) => {
            let reset = (frame_type::RST_STREAM, 0, id, code.code().to_be_bytes().to_vec());
            assert_eq!(t.client.frame(), reset, "{what}");
        }
        Nothing => {}
    }
    if !matches!(want, GoAway(_)) {
        // The upstream gets no request on the stream.
        let mut frame = t.upstream.frame();
        while frame.2 != 17 {
            assert!(!matches!(frame.0, frame_type::HEADERS | frame_type::DATA), "{what}: {frame:?}");
            frame = t.upstream.frame();
        }
        assert_eq!(frame.0, frame_type::HEADERS, "{what}");
    }
    t.client.close();
    t.end();
}

#[test]
fn a_frame_is_handled_by_the_state_of_its_stream() {
    let data = |stream| raw(frame_type::DATA, 0, stream, b"x");
    let update = |stream| raw(frame_type::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]);
    let reset = |stream| raw(frame_type::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let priority = |stream| raw(frame_type::PRIORITY, 0, stream, &[0, 0, 0, 0, 1]);
    let itself = |stream: u8| raw(frame_type::PRIORITY, 0, stream.into(), &[0, 0, 0, stream, 1]);
    let short = |stream| raw(frame_type::PRIORITY, 0, stream, &[0; 4]);
    let unknown = |stream| raw(0xee, 0, stream, b"x");
    let dependent = [&[0, 0, 0, 15, 1][..], b"\x82\x86\x84\x01\x05hello"].concat();
    let dependent = raw(frame_type::HEADERS, 0x25, 15, &dependent);
    for (what, frames, want) in [
        // Idle, above and below.
        ("DATA, idle", data(15), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("WINDOW_UPDATE, idle", update(15), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("RST_STREAM, idle", reset(15), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("PRIORITY, idle", priority(15), Nothing),
        ("unknown, idle", unknown(15), Nothing),
        ("HEADERS, skipped", request(7, END), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("HEADERS, skipped", request(9, END), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("DATA, skipped", data(7), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("WINDOW_UPDATE, skipped", update(9), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("RST_STREAM, skipped", reset(7), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("PRIORITY, skipped", priority(7), Nothing),
        // Even ones are the upstream's.
        ("HEADERS, even", request(16, END), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("HEADERS, even and low", request(2, END), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("DATA, even", data(2), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("WINDOW_UPDATE, even", update(2), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("RST_STREAM, even", reset(2), GoAway(ErrorCode::PROTOCOL_ERROR)),
        // Half-closed and closed by the client.
        ("HEADERS, half-closed", request(3, END), GoAway(ErrorCode::STREAM_CLOSED)),
        ("DATA, half-closed", data(3), GoAway(ErrorCode::STREAM_CLOSED)),
        ("WINDOW_UPDATE, half-closed", update(3), Nothing),
        ("PRIORITY, half-closed", priority(3), Nothing),
        ("HEADERS, closed", request(1, END), GoAway(ErrorCode::STREAM_CLOSED)),
        ("DATA, closed", data(1), GoAway(ErrorCode::STREAM_CLOSED)),
        ("WINDOW_UPDATE, closed", update(1), Nothing),
        ("RST_STREAM, closed", reset(1), Nothing),
        ("PRIORITY, closed", priority(1), Nothing),
        ("HEADERS, reset by it", request(13, END), GoAway(ErrorCode::STREAM_CLOSED)),
        ("DATA, reset by it", data(13), GoAway(ErrorCode::STREAM_CLOSED)),
        // Reset by the upstream: the client may not know.
        ("HEADERS, reset", request(11, END), Nothing),
        ("WINDOW_UPDATE, reset", update(11), Nothing),
        ("RST_STREAM, reset", reset(11), Nothing),
        // Open.
        ("HEADERS that end nothing", request(5, flag::END_HEADERS), Reset(5, ErrorCode::PROTOCOL_ERROR)),
        ("PRIORITY on itself", itself(5), Reset(5, ErrorCode::PROTOCOL_ERROR)),
        ("PRIORITY on itself, idle", itself(15), GoAway(ErrorCode::PROTOCOL_ERROR)),
        ("HEADERS on itself", dependent, Reset(15, ErrorCode::PROTOCOL_ERROR)),
        ("PRIORITY of four octets", short(5), Reset(5, ErrorCode::FRAME_SIZE_ERROR)),
        ("PRIORITY of four octets, idle", short(15), GoAway(ErrorCode::FRAME_SIZE_ERROR)),
        ("PRIORITY on stream 0", priority(0), GoAway(ErrorCode::PROTOCOL_ERROR)),
    ] {
        assert_outcome(what, &frames, want);
    }
}

#[test]
fn requests_above_the_limit_of_the_upstream_are_pending() {
    let mut t = Pair::start();
    t.client.greet();
    // All at once, before the client can know of a limit.
    let head = |stream| request(stream, flag::END_HEADERS);
    let data = |stream, text: &[u8]| raw(frame_type::DATA, 0, stream, text);
    let said = [
        request(1, END),
        head(3),
        head(5),
        data(5, b"five"),
        raw(frame_type::WINDOW_UPDATE, 0, 5, &[0, 0, 0, 9]),
        raw(frame_type::HEADERS, END, 5, b"\x00\x01t\x011"),
        head(7),
        raw(frame_type::RST_STREAM, 0, 7, &[0, 0, 0, 8]),
        request(9, END),
        data(3, b"three"),
    ];
    t.client.send(&said.concat());
    t.upstream.receive_greeting();
    assert_eq!(t.upstream.headers().0, 1);
    t.upstream.settings(&[(setting::MAX_CONCURRENT_STREAMS, 2)]);
    // The limit of runsd's own SETTINGS stays.
    assert_eq!(t.client.frame(), (frame_type::SETTINGS, 0, 0, OWN_SETTINGS.to_vec()));
    assert_eq!(t.upstream.headers().0, 3);
    // The open stream is not held up.
    assert_eq!(t.upstream.frame(), (frame_type::DATA, 0, 3, b"three".to_vec()));
    // One stream ends, and the next request is sent, with all its frames; the one that the client took back in the
    // meantime is not.
    let answer = |t: &mut Pair, stream| {
        t.upstream.send_frame(frame_type::HEADERS, END, stream, &[0x88]);
        assert_eq!(t.client.frame().2, stream);
    };
    answer(&mut t, 1);
    let (stream, flags, fields) = t.upstream.headers();
    assert_eq!((stream, flags), (5, flag::END_HEADERS));
    assert!(fields.contains(&(":authority".into(), "hello.example".into())));
    assert_eq!(t.upstream.frame(), (frame_type::DATA, 0, 5, b"five".to_vec()));
    assert_eq!(t.upstream.frame().0, frame_type::WINDOW_UPDATE);
    let (stream, flags, fields) = t.upstream.headers();
    assert_eq!((stream, flags), (5, END));
    assert_eq!(fields, [("t".to_owned(), "1".to_owned())]);
    answer(&mut t, 5);
    assert_eq!(t.upstream.headers().0, 9);
    // When the upstream closes, pending requests get an error as well.
    t.client.send(&request(11, END));
    t.client.send(&raw(frame_type::PING, 0, 0, &[0; 8]));
    assert_eq!(t.upstream.frame().0, frame_type::PING);
    t.upstream.close();
    for stream in [3, 9, 11] {
        let (got, _, fields) = t.client.headers();
        assert_eq!((got, fields[0].1.as_str()), (stream, "502"));
    }
    t.client.close();
    t.end();
}

#[test]
fn what_cannot_be_pending_may_be_sent_again() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.send(&request(1, END));
    t.upstream.receive_greeting();
    t.upstream.headers();
    t.upstream.settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]);
    assert_eq!(t.client.frame().0, frame_type::SETTINGS);
    let refused = |stream| (frame_type::RST_STREAM, 0, stream, vec![0, 0, 0, 7]);
    // More of a body than runsd keeps.
    t.client.send(&request(3, flag::END_HEADERS));
    for _ in 0..66 {
        t.client.send_frame(frame_type::DATA, 0, 3, &[0; 16_000]);
    }
    assert_eq!(t.client.frame(), refused(3));
    // All of its credit is returned: the upstream never got any of it.
    let credit = |octets: u32| (frame_type::WINDOW_UPDATE, 0, 0, octets.to_be_bytes().to_vec());
    assert_eq!(t.client.frame(), credit(66 * 16_000));
    // More requests than SETTINGS allow the client; one that it takes back makes room.
    let many: Vec<u8> = (2..=100).flat_map(|i| request(2 * i + 1, END)).collect();
    t.client.send(&many);
    t.client.send(&raw(frame_type::RST_STREAM, 0, 7, &[0, 0, 0, 8]));
    t.client.send(&[request(203, END), request(205, END)].concat());
    assert_eq!(t.client.frame(), refused(205));
    // The same for a pending request that is taken back, or turns out malformed.
    t.client.send(&raw(frame_type::RST_STREAM, 0, 9, &[0, 0, 0, 8]));
    t.client.send(&request(207, flag::END_HEADERS));
    t.client.send_frame(frame_type::DATA, flag::PADDED, 207, &[3; 70]);
    t.client.send(&raw(frame_type::RST_STREAM, 0, 207, &[0, 0, 0, 8]));
    assert_eq!(t.client.frame(), credit(70));
    t.client.send(&request(209, flag::END_HEADERS));
    t.client.send_frame(frame_type::DATA, 0, 209, &[0; 80]);
    t.client.send(&raw(frame_type::HEADERS, END, 209, b"\x00\x01 \x011"));
    assert_eq!(t.client.frame(), (frame_type::RST_STREAM, 0, 209, vec![0, 0, 0, 1]));
    assert_eq!(t.client.frame(), credit(80));
    t.client.close();
    t.end();
}

#[test]
fn a_header_section_that_is_too_large_rejects_its_request_only() {
    let mut t = Pair::start();
    t.client.greet();
    let long = "~".repeat(100_000);
    let more = [("x-long", &long[..]), ("content-type", "application/grpc")];
    for (stream, fields, status) in [(1, &more[..1], "431"), (3, &more[..], "200")] {
        let block = t.client.encode_request("hello", fields);
        let mut pieces = block.chunks(16_384).peekable();
        let first = pieces.next().unwrap();
        t.client.send_frame(frame_type::HEADERS, flag::END_STREAM, stream, first);
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { 4 } else { 0 };
            t.client.send_frame(frame_type::CONTINUATION, flags, stream, piece);
        }
        let (got, _, fields) = t.client.headers();
        assert_eq!((got, fields[0].1.as_str()), (stream, status));
        let grpc = fields.iter().find(|field| field.0 == "grpc-status");
        // RESOURCE_EXHAUSTED.
        assert_eq!(grpc.map(|field| field.1.as_str()), (stream == 3).then_some("8"));
    }
    t.client.request(5, "hello", &[], true);
    t.upstream.receive_greeting();
    assert_eq!(t.upstream.headers().0, 5);
    t.client.close();
    t.end();
}
