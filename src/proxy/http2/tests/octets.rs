//! Octets in any pieces, and octets that mean nothing.

use super::super::frame::frame_type;
use super::super::hpack::Encoder;
use super::super::*;
use super::peer::{Pair, Peer, raw, refusal};

#[test]
fn octet_by_octet_comes_out_the_same() {
    let mut client = Peer { encoder: Encoder::new(), ..Pair::start().client };
    let mut input = raw(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]);
    input.extend(raw(frame_type::HEADERS, 4, 1, &client.encode_request("hello", &[("a", "b")])));
    input.extend(raw(frame_type::DATA, 1, 1, b"data"));
    input.extend(raw(frame_type::HEADERS, 0, 3, &client.encode_request("hello", &[])[..2]));
    let whole = passed(&[&input]);
    assert!(whole.len() > PREFACE.len() + 50);
    for cut in 0..input.len() {
        assert_eq!(passed(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
    }
    let octets: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(passed(&octets), whole);
}

#[test]
fn no_frames_make_it_panic() {
    let mut seed: u64 = 7;
    let mut below = move |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for round in 0..3000 {
        let mut input = raw(frame_type::SETTINGS, 0, 0, &[]);
        for _ in 0..below(20) {
            let kind = below(11).to_le_bytes()[0];
            let flags = (below(256) & below(256)).to_le_bytes()[0];
            let stream = u32::try_from(below(6)).unwrap();
            let payload: Vec<u8> = match below(3) {
                0 => Peer::raw_request(1, 5).split_off(9),
                1 => vec![0; 4],
                _ => (0..below(20)).map(|_| below(256).to_le_bytes()[0]).collect(),
            };
            input.extend(raw(kind, flags, stream, &payload));
        }
        let streams = Mutex::new(StreamTable::new(Instant::now()));
        let now = Instant::now();
        let mut requests = Requests::new(&streams, now);
        let mut batch = FrameSplicer::new(&input);
        loop {
            let request = match requests.next(&mut batch, now) {
                Ok(Next::Request(request)) => request,
                Ok(Next::Settle) => {
                    requests.settled();
                    continue;
                }
                Ok(Next::More) | Err(_) => break,
            };
            if round % 3 == 0 {
                requests.refuse(&request, &refusal(502, "no"));
            } else {
                pass(&mut requests, request, &mut batch);
            }
        }
        let up = batch.finish().to_vec();
        assert!(up.is_empty() || up.starts_with(PREFACE) || round % 3 == 0);
        requests.take_down();
        let mut batch = FrameSplicer::new(&input);
        let _ = Responses::new(&streams).pass(&mut batch, &mut |_| {});
        farewell(&mut lock(&streams), End::closed("the end"));
    }
}

fn pass(requests: &mut Requests<'_>, mut request: Request, batch: &mut FrameSplicer<'_>) {
    if !requests.pass_known(&mut request, |_| Some(RequestMeta::default()), batch) {
        requests.open(batch);
        requests.pass(request, RequestMeta::default(), batch);
    }
}

/// What goes up when the client's octets come in these pieces.
fn passed(pieces: &[&[u8]]) -> Vec<u8> {
    let streams = Mutex::new(StreamTable::new(Instant::now()));
    let now = Instant::now();
    let mut requests = Requests::new(&streams, now);
    let (mut input, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut batch = FrameSplicer::new(&input);
        loop {
            match requests.next(&mut batch, now).unwrap() {
                Next::Request(request) => pass(&mut requests, request, &mut batch),
                Next::Settle => requests.settled(),
                Next::More => break,
            }
        }
        out.extend_from_slice(batch.finish());
        let done = batch.done();
        input.drain(..done);
    }
    out
}
