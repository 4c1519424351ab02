//! Requests that are taken back before their responses start: deadlines of honest clients, Rapid Reset (CVE-2023-44487),
//! and resets that the peer is made to send (CVE-2025-8671).

use std::io::Write as _;
use std::thread;

use super::peer::{END, Pair, Peer, raw};
use crate::proxy::http2::frame::{flag, frame_type};

/// Sends `round` for one stream after the other until runsd sends GOAWAY; returns its
/// code, and the number of requests that the upstream got.
fn until_goaway(round: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Option<(u8, usize)> {
    // Fewer than the limit of requests after GOAWAY.
    const ROUNDS: u32 = 1900;
    let mut t = Pair::start();
    t.client.greet();
    // A call that stays open all the time.
    t.client.send(&Peer::raw_request(1, flag::END_HEADERS));
    t.upstream.receive_greeting();
    t.upstream.settings(&[]);
    assert_eq!(t.client.frame().0, frame_type::SETTINGS);
    assert_eq!(t.upstream.headers().0, 1);
    let mut upstream = t.upstream.try_clone();
    let reader = thread::spawn(move || {
        let mut seen = 0;
        loop {
            let (frame_type, _, stream, _) = upstream.frame();
            if stream == 1 {
                upstream.send_frame(frame_type::HEADERS, END, 1, &[0x88]);
                return seen;
            }
            seen += usize::from(frame_type == frame_type::HEADERS);
        }
    });
    let mut writer = t.client.try_clone();
    let written = thread::spawn(move || {
        for i in 0..ROUNDS {
            writer.send(&round(3 + 2 * i));
        }
        // The open call ends after all rounds.
        writer.send_frame(frame_type::DATA, 1, 1, b"end");
    });
    let mut code = None;
    loop {
        let (frame_type, _, stream, payload) = t.client.frame();
        if frame_type == frame_type::GOAWAY {
            code = Some(payload[7]);
        }
        if frame_type == frame_type::HEADERS && stream == 1 {
            break;
        }
    }
    written.join().unwrap();
    let seen = reader.join().unwrap();
    if code.is_some() {
        // The last call is over, and so is the connection.
        let _ = t.client.rest();
    }
    t.client.close();
    t.end();
    code.map(|code| (code, seen))
}

#[test]
fn a_client_that_resets_most_requests_gets_goaway_and_no_call_is_lost() {
    let reset = |id, code| raw(frame_type::RST_STREAM, 0, id, &[0, 0, 0, code]);
    let trailers = |id| raw(frame_type::HEADERS, END, id, b"\x84");
    for (what, last) in [
        ("by the client", reset(0, 8)),
        ("by bad trailers", trailers(0)),
        ("by a length", raw(frame_type::DATA, 1, 0, b"more")),
        ("by PRIORITY", raw(frame_type::PRIORITY, 0, 0, &[0; 4])),
    ] {
        let round = move |id: u32| {
            let mut frame = last.clone();
            frame[5..9].copy_from_slice(&id.to_be_bytes());
            let block = b"\x82\x86\x84\x01\x05hello\x0f\x0d\x013";
            [raw(frame_type::HEADERS, flag::END_HEADERS, id, block), frame].concat()
        };
        let (code, seen) = until_goaway(round).expect(what);
        assert_eq!(code, 11, "{what}");
        assert!(seen < 2000, "{what}: the upstream saw {seen}");
    }
}

#[test]
fn malformed_requests_count_as_resets() {
    let round = |id| raw(frame_type::HEADERS, END, id, b"\x82\x86\x84\x01\x05hello\x0f\x0d\x013");
    assert_eq!(until_goaway(round), Some((11, 0)));
}

#[test]
fn a_flood_after_goaway_ends_the_connection() {
    let mut t = Pair::start();
    t.client.greet();
    t.client.send(&Peer::raw_request(1, flag::END_HEADERS));
    t.upstream.receive_greeting();
    assert_eq!(t.upstream.headers().0, 1);
    let goaway = [0, 0, 0, 1, 0, 0, 0, 0];
    t.upstream.send_frame(frame_type::GOAWAY, 0, 0, &goaway);
    assert_eq!(t.client.frame().0, frame_type::GOAWAY);
    let mut writer = t.client.try_clone();
    let written = thread::spawn(move || {
        for stream in 1..5000 {
            let request = Peer::raw_request(2 * stream + 1, END);
            if writer.stream.write_all(&request).is_err() {
                break;
            }
        }
    });
    let (frame_type, _, _, payload) = t.client.frame();
    assert_eq!((frame_type, payload[7]), (frame_type::GOAWAY, 11));
    written.join().unwrap();
    t.client.close();
    t.end();
}

#[test]
fn deadlines_may_end_many_calls_while_others_get_responses() {
    let mut t = Pair::start();
    t.client.greet();
    for i in 0..1500 {
        let (answered, late) = (4 * i + 1, 4 * i + 3);
        t.client.send(&Peer::raw_request(answered, END));
        if i == 0 {
            t.upstream.receive_greeting();
            t.upstream.settings(&[]);
            assert_eq!(t.client.frame().0, frame_type::SETTINGS);
        }
        t.client.send(&Peer::raw_request(late, END));
        for stream in [answered, late] {
            assert_eq!(t.upstream.headers().0, stream);
        }
        let answer = (frame_type::HEADERS, END, answered, vec![0x88]);
        t.upstream.send_frame(answer.0, answer.1, answer.2, &answer.3);
        assert_eq!(t.client.frame(), answer);
        t.client.send_frame(frame_type::RST_STREAM, 0, late, &[0, 0, 0, 8]);
        assert_eq!(t.upstream.frame().0, frame_type::RST_STREAM);
    }
    t.client.close();
    t.end();
}
