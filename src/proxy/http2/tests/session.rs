//! Whole connections in memory, without sockets and threads: both peers are scripted, in any pieces, and random.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::Instant;

use super::peer::{END, Peer, error, raw};
use crate::proxy::error::ProxyError;
use crate::proxy::http2::client_to_upstream::{ClientToUpstream, Next};
use crate::proxy::http2::close_streams;
use crate::proxy::http2::conn_state::ConnState;
use crate::proxy::http2::frame::{self, ConnectionError, PREFACE, flag, frame_type, setting};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::hpack::{Decoder, Encoder, Field};
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::proxy::http2::upstream_to_client::UpstreamToClient;
use crate::proxy::http2::{Handler, UpstreamHalves};
use crate::secret::Secret;
use crate::sync::lock;

/// Rewrites nothing but the authority.
#[derive(Default)]
struct ScriptedHandler<'a> {
    unreachable: bool,
    rejects: bool,
    /// While a request is rewritten, the upstream of this connection sends GOAWAY that excludes it.
    goaway_during_rewrite: Option<&'a Mutex<ConnState>>,
}

impl Handler for ScriptedHandler<'_> {
    fn connect(&self, _: &[Field]) -> Result<UpstreamHalves, ProxyError> {
        match self.unreachable {
            true => Err(error(502, "it is not there")),
            false => {
                let (reader, writer) = (Box::new(io::empty()), Box::new(io::sink()));
                Ok(UpstreamHalves { reader, writer, close: Box::new(|| {}) })
            }
        }
    }

    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        if let Some(conn) = self.goaway_during_rewrite {
            lock(conn).on_upstream_goaway(0);
        }
        if self.rejects {
            return Err(error(502, "it is not there"));
        }
        request.push(Field::new("authorization", "Bearer x"));
        Ok(RequestMeta::default())
    }

    fn can_replay(&self, _: Option<&Secret>) -> Option<RequestMeta> {
        Some(RequestMeta::default())
    }

    fn on_response(&self, _: &RequestMeta, _: &ResponseHead) {}

    fn on_denial(&self, _: &RequestMeta, _: &ResponseHead, _: &[u8]) {}

    fn on_upstream_lost(&self, _: &ProxyError) {}
}

/// Both halves of a session, and the input that they have not consumed.
struct Session<'a> {
    conn: &'a Mutex<ConnState>,
    handler: &'a dyn Handler,
    from_client: ClientToUpstream<'a>,
    from_upstream: UpstreamToClient<'a>,
    client_input: Vec<u8>,
    upstream_input: Vec<u8>,
    to_upstream: Vec<u8>,
    to_client: Vec<u8>,
}

impl<'a> Session<'a> {
    fn new(conn: &'a Mutex<ConnState>, handler: &'a dyn Handler) -> Session<'a> {
        Session {
            conn,
            handler,
            from_client: ClientToUpstream::new(conn, handler, Instant::now()),
            from_upstream: UpstreamToClient::new(conn, handler),
            client_input: Vec::new(),
            upstream_input: Vec::new(),
            to_upstream: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// The client sends `bytes`.
    fn client(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.client_input.extend_from_slice(bytes);
        let mut splicer = FrameSplicer::new(&self.client_input);
        let result = loop {
            match self.from_client.receive(&mut splicer, Instant::now()) {
                Ok(Next::Connect(request)) => match self.handler.connect(&request.fields) {
                    Ok(_) => self.from_client.connected(request, &mut splicer),
                    Err(error) => self.from_client.connect_failed(&request, error),
                },
                Ok(Next::AwaitSettings) => self.from_client.stop_awaiting_settings(),
                Ok(Next::Read) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !lock(self.conn).is_closed {
            self.to_upstream.extend_from_slice(splicer.output());
        }
        let consumed = splicer.consumed();
        self.client_input.drain(..consumed);
        self.to_client.extend(self.from_client.take_to_client());
        if let Err(error) = result {
            self.to_client.extend(self.from_client.close(error));
        }
        result
    }

    /// The upstream sends `bytes`.
    fn upstream(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.upstream_input.extend_from_slice(bytes);
        let mut splicer = FrameSplicer::new(&self.upstream_input);
        let result = self.from_upstream.receive(&mut splicer);
        self.to_client.extend_from_slice(splicer.output());
        let consumed = splicer.consumed();
        self.upstream_input.drain(..consumed);
        if let Err(error) = result {
            self.to_client.extend(self.from_upstream.close(&close_streams::broke_protocol(error)));
        }
        result
    }
}

fn new_conn() -> Mutex<ConnState> {
    Mutex::new(ConnState::new(Instant::now()))
}

#[test]
fn pieces_do_not_change_what_is_forwarded() {
    let mut encoder = Encoder::new();
    let mut request = |fields: &[(&str, &str)]| {
        let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "hello")];
        let fields: Vec<Field> = pseudo.iter().chain(fields).map(|&(name, value)| Field::new(name, value)).collect();
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        block
    };
    let mut input = PREFACE.to_vec();
    input.extend(raw(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]));
    input.extend(raw(frame_type::HEADERS, flag::END_HEADERS, 1, &request(&[("a", "b")])));
    input.extend(raw(frame_type::DATA, flag::END_STREAM, 1, b"data"));
    input.extend(raw(frame_type::HEADERS, 0, 3, &request(&[])[..2]));
    let whole = forwarded(&[&input]);
    assert!(whole.len() > PREFACE.len() + 50);
    for cut in 0..input.len() {
        assert_eq!(forwarded(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
    }
    let octets: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(forwarded(&octets), whole);
}

/// What the upstream gets of a client that sends these pieces.
fn forwarded(pieces: &[&[u8]]) -> Vec<u8> {
    let (conn, handler) = (new_conn(), ScriptedHandler::default());
    let mut session = Session::new(&conn, &handler);
    for piece in pieces {
        session.client(piece).unwrap();
    }
    session.to_upstream
}

#[test]
fn a_goaway_during_the_rewrite_of_a_request_ends_no_other_call() {
    // A token may take seconds; the client sends the body meanwhile.
    for rejects in [false, true] {
        let conn = new_conn();
        let handler = ScriptedHandler { rejects, goaway_during_rewrite: Some(&conn), ..Default::default() };
        let mut session = Session::new(&conn, &handler);
        let input = [
            PREFACE.to_vec(),
            raw(frame_type::SETTINGS, 0, 0, b""),
            Peer::raw_request(1, flag::END_HEADERS),
            raw(frame_type::DATA, flag::END_STREAM, 1, b"12"),
        ];
        assert_eq!(session.client(&input.concat()), Ok(()), "{rejects}");
        let credit = raw(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 2]);
        assert!(session.to_client.ends_with(&credit), "{rejects}");
    }
}

/// A linear congruential generator: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn octet(&mut self, limit: u64) -> u8 {
        self.below(limit).to_le_bytes()[0]
    }

    /// A frame of any type and flags, mostly on a stream below 8.
    fn frame(&mut self) -> Vec<u8> {
        let flags = self.octet(256) & self.octet(256);
        let stream = u32::try_from(self.below(8)).unwrap();
        let payload: Vec<u8> = match self.below(3) {
            0 => Peer::raw_request(1, END).split_off(9),
            1 => vec![0; 4],
            _ => (0..self.below(20)).map(|_| self.octet(256)).collect(),
        };
        raw(self.octet(11), flags, stream, &payload)
    }

    /// A valid frame of a client whose next stream is `next_stream`, and that may send on the `open` ones.
    fn client_frame(&mut self, next_stream: &mut u32, open: &mut Vec<u32>) -> Vec<u8> {
        let index = usize::try_from(self.below(1 + open.len() as u64)).unwrap();
        match (self.below(8), open.get(index).copied()) {
            (0..3, _) => {
                let stream = *next_stream;
                *next_stream += 2;
                if self.below(2) == 0 {
                    return Peer::raw_request(stream, END);
                }
                open.push(stream);
                Peer::raw_request(stream, flag::END_HEADERS)
            }
            (3, Some(stream)) => {
                let flags = self.octet(2);
                if flags == flag::END_STREAM {
                    open.remove(index);
                }
                raw(frame_type::DATA, flags, stream, b"data")
            }
            (4, Some(stream)) => {
                open.remove(index);
                raw(frame_type::RST_STREAM, 0, stream, &[0, 0, 0, 8])
            }
            (5, Some(stream)) => raw(frame_type::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]),
            (6, _) => raw(frame_type::SETTINGS, flag::ACK, 0, b""),
            _ => raw(frame_type::PING, 0, 0, &[0; 8]),
        }
    }

    /// A valid frame of an upstream that was sent `requests`; `responses` has `false` for those whose body may follow,
    /// `true` for those that have ended.
    fn upstream_frame(&mut self, requests: &[u32], responses: &mut BTreeMap<u32, bool>) -> Vec<u8> {
        let stream = requests[usize::try_from(self.below(requests.len() as u64)).unwrap()];
        let end = self.octet(2);
        match (self.below(7), responses.get(&stream)) {
            (0 | 1, None) => {
                responses.insert(stream, end != 0);
                raw(frame_type::HEADERS, flag::END_HEADERS | end, stream, b"\x88")
            }
            (0..3, Some(false)) => {
                responses.insert(stream, end != 0);
                raw(frame_type::DATA, end, stream, b"data")
            }
            (3, _) => {
                responses.insert(stream, true);
                raw(frame_type::RST_STREAM, 0, stream, &[0, 0, 0, self.octet(9)])
            }
            (4, _) => {
                let mut settings = Vec::new();
                let limit = u32::try_from(self.below(5)).unwrap();
                frame::write_settings(&mut settings, &[(setting::MAX_CONCURRENT_STREAMS, limit)]);
                settings
            }
            (5, _) if self.below(8) == 0 => raw(frame_type::GOAWAY, 0, 0, &[0, 0, 0, self.octet(30), 0, 0, 0, 0]),
            _ => raw(frame_type::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]),
        }
    }
}

#[test]
fn random_frames_of_both_peers_do_not_panic() {
    let mut random = Random(7);
    for round in 0..3000 {
        let conn = new_conn();
        let handler = ScriptedHandler { unreachable: round % 3 == 0, rejects: round % 7 == 0, ..Default::default() };
        let mut session = Session::new(&conn, &handler);
        let _ = session.client(&[PREFACE, &raw(frame_type::SETTINGS, 0, 0, b"")].concat());
        for _ in 0..random.below(30) {
            let frame = random.frame();
            let result = match random.below(3) {
                0 if !session.to_upstream.is_empty() => session.upstream(&frame),
                _ => session.client(&frame),
            };
            if result.is_err() {
                break;
            }
        }
        assert_is_valid_client(&session.to_upstream, round);
        session.from_upstream.close(&close_streams::closed("the end"));
    }
}

#[test]
fn valid_frames_of_both_peers_stay_valid() {
    let mut random = Random(11);
    let mut requests = 0;
    for round in 0..2000 {
        let (conn, handler) = (new_conn(), ScriptedHandler::default());
        let mut session = Session::new(&conn, &handler);
        session.client(&[PREFACE, &raw(frame_type::SETTINGS, 0, 0, b"")].concat()).unwrap();
        let (mut next_stream, mut open, mut responses) = (1, Vec::new(), BTreeMap::new());
        for _ in 0..random.below(60) {
            let frame = random.client_frame(&mut next_stream, &mut open);
            session.client(&frame).unwrap();
            let sent = assert_is_valid_client(&session.to_upstream, round);
            if random.below(2) == 0 && !sent.is_empty() {
                session.upstream(&random.upstream_frame(&sent, &mut responses)).unwrap();
            }
        }
        requests += assert_is_valid_client(&session.to_upstream, round).len();
        assert_is_valid_server(&session.to_client, round);
    }
    assert!(requests > 10_000, "{requests}");
}

/// What runsd sends to an upstream is what a client may: preface, whole frames, header blocks that decode, each id of a
/// request above the last, and other frames on used streams only. Returns the streams of the requests.
#[track_caller]
fn assert_is_valid_client(bytes: &[u8], round: usize) -> Vec<u32> {
    let mut requests = Vec::new();
    if bytes.is_empty() {
        return requests;
    }
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or_else(|| panic!("round {round}: no preface"));
    let mut decoder = Decoder::new(4096);
    let mut last_id = 0;
    while !rest.is_empty() {
        let frame = frame::parse(rest, 16_384).unwrap().unwrap_or_else(|| panic!("round {round}: a torn frame"));
        let id = frame.header.stream_id;
        match frame.header.frame_type {
            frame_type::HEADERS => {
                let prefix_len = if frame.header.has(flag::PRIORITY) { 5 } else { 0 };
                let fields = decoder.decode(&frame.payload[prefix_len..], 1 << 20).unwrap().fields;
                let is_request = fields.iter().any(|field| field.name == b":method");
                assert_eq!(is_request, id > last_id, "round {round}: HEADERS on {id} after {last_id}");
                if is_request {
                    requests.push(id);
                    last_id = id;
                }
            }
            frame_type::DATA | frame_type::RST_STREAM | frame_type::WINDOW_UPDATE => {
                assert!(id <= last_id, "round {round}: {frame:?} after {last_id}");
            }
            _ => {}
        }
        rest = frame.rest;
    }
    requests
}

/// What runsd sends to a client is what a server may: whole frames, and GOAWAY never above the last one.
#[track_caller]
fn assert_is_valid_server(bytes: &[u8], round: usize) {
    let mut rest = bytes;
    let mut last_accepted = u32::MAX;
    while !rest.is_empty() {
        let frame = frame::parse(rest, 16_384).unwrap().unwrap_or_else(|| panic!("round {round}: a torn frame"));
        if frame.header.frame_type == frame_type::GOAWAY {
            let last = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
            assert!(last <= last_accepted, "round {round}: GOAWAY of {last} after {last_accepted}");
            last_accepted = last;
        }
        rest = frame.rest;
    }
}
