//! A whole HTTP/2 connection (RFC 9113) with both sides scripted: whatever they send, and in whatever pieces, runsd
//! sends both of them whole frames and unbroken header blocks, and nothing reaches the upstream as a request that the
//! policy has not rewritten.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client_to_upstream::{ClientToUpstream, Next};
use super::close_streams;
use super::conn_state::ConnState;
use super::frame::{self, FrameHeader, PREFACE, flag, frame_type};
use super::frame_splicer::FrameSplicer;
use super::hpack::{Decoder, Encoder, Field};
use super::request::{RequestMeta, ResponseHead};
use super::upstream_to_client::UpstreamToClient;
use super::{Handler, UpstreamHalves};
use crate::proxy::error::{ErrorType, ProxyError};
use crate::secret::Secret;

/// Octets before a payload (RFC 9113 section 4.1).
const HEADER_LEN: usize = 9;

/// Steps, each of an octet that says what it is, a length, and so many octets.
pub fn http2(data: &[u8]) {
    let conn = Mutex::new(ConnState::new(Instant::now()));
    let handler = Policy { is_reachable: data.first().is_none_or(|first| first & 0x80 == 0) };
    let mut run = Run {
        to_upstream: ClientToUpstream::new(&conn, &handler, Instant::now()),
        to_client: UpstreamToClient::new(&conn, &handler),
        handler: &handler,
        conn: &conn,
        now: Instant::now(),
        client: Vec::new(),
        upstream: Vec::new(),
        upstream_sees: Reader { is_upstream: true, awaits_preface: true, ..Reader::default() },
        client_sees: Reader::default(),
        requests: Encoder::new(),
        is_connected: false,
        next_stream: 1,
    };
    let mut rest = data;
    while let [step, len, after @ ..] = rest {
        let (bytes, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        if run.step(*step, bytes).is_none() {
            return;
        }
    }
    run.end();
}

struct Run<'a> {
    to_upstream: ClientToUpstream<'a>,
    to_client: UpstreamToClient<'a>,
    handler: &'a Policy,
    conn: &'a Mutex<ConnState>,
    now: Instant,
    /// What the client sent, and runsd did not use yet; and the upstream.
    client: Vec<u8>,
    upstream: Vec<u8>,
    upstream_sees: Reader,
    client_sees: Reader,
    /// The client's table.
    requests: Encoder,
    is_connected: bool,
    next_stream: u32,
}

impl Run<'_> {
    /// `None` when the connection has ended.
    fn step(&mut self, step: u8, bytes: &[u8]) -> Option<()> {
        match step & 7 {
            0 => self.client.extend_from_slice(PREFACE),
            1 => self.client.extend_from_slice(bytes),
            2 => self.upstream.extend_from_slice(bytes),
            3 => append_frame(&mut self.client, bytes),
            4 => append_frame(&mut self.upstream, bytes),
            5 => self.append_request(step, bytes),
            6 => self.now += Duration::from_millis(u64::from(step >> 3) * 50),
            _ => frame::write_settings(if step & 8 == 0 { &mut self.client } else { &mut self.upstream }, &[]),
        }
        self.receive_from_client()?;
        self.receive_from_upstream()
    }

    /// A request in order, but for what `bytes` add to its path.
    fn append_request(&mut self, step: u8, bytes: &[u8]) {
        let path = [b"/", bytes].concat();
        let authority = if step & 8 == 0 { "hello" } else { "other" };
        let fields =
            [(":method", &b"POST"[..]), (":scheme", b"http"), (":path", &path), (":authority", authority.as_bytes())];
        let fields = fields.map(|(name, value)| Field::new(name, value));
        let mut block = Vec::new();
        self.requests.encode(&fields, &mut block);
        let stream = self.next_stream;
        self.next_stream += 2;
        let flags = flag::END_HEADERS | if step & 16 == 0 { flag::END_STREAM } else { 0 };
        frame::write_header(&mut self.client, block.len(), frame_type::HEADERS, flags, stream);
        self.client.extend_from_slice(&block);
    }

    fn receive_from_client(&mut self) -> Option<()> {
        let input = std::mem::take(&mut self.client);
        let mut splicer = FrameSplicer::new(&input);
        let next = loop {
            match self.to_upstream.receive(&mut splicer, self.now) {
                Ok(Next::Connect(request)) => match self.handler.is_reachable {
                    true => {
                        self.is_connected = true;
                        self.to_upstream.connected(request, &mut splicer);
                    }
                    false => self.to_upstream.connect_failed(&request, unreachable()),
                },
                Ok(Next::AwaitSettings) => self.to_upstream.stop_awaiting_settings(),
                other => break other,
            }
        };
        self.client_sees.read(&self.to_upstream.take_to_client());
        if self.is_connected {
            self.upstream_sees.read(splicer.output());
        }
        self.client = input[splicer.consumed()..].to_vec();
        if let Err(error) = next {
            self.client_sees.read(&self.to_upstream.close(error));
            return None;
        }
        // What is not used is a frame that is not complete.
        assert!(self.client.len() < HEADER_LEN + (1 << 24));
        Some(())
    }

    fn receive_from_upstream(&mut self) -> Option<()> {
        if !self.is_connected {
            self.upstream.clear();
            return Some(());
        }
        let input = std::mem::take(&mut self.upstream);
        let mut splicer = FrameSplicer::new(&input);
        let received = self.to_client.receive(&mut splicer);
        self.client_sees.read(splicer.output());
        self.upstream = input[splicer.consumed()..].to_vec();
        if let Err(error) = received {
            self.client_sees.read(&self.to_client.close(&close_streams::broke_protocol(error)));
            return None;
        }
        Some(())
    }

    /// The upstream closes its connection: all streams end.
    fn end(&mut self) {
        self.client_sees.read(&self.to_client.close(&close_streams::closed("the end")));
        assert!(crate::sync::lock(self.conn).is_closed);
    }
}

/// A frame in order but for its content: type, flags, stream and payload are `bytes`.
fn append_frame(out: &mut Vec<u8>, bytes: &[u8]) {
    let [kind, flags, stream, payload @ ..] = bytes else { return };
    frame::write_header(out, payload.len(), *kind, *flags, u32::from(*stream));
    out.extend_from_slice(payload);
}

fn unreachable() -> ProxyError {
    ProxyError::new(ErrorType::DestinationUnavailable, "the upstream is not there")
}

struct Policy {
    is_reachable: bool,
}

impl Handler for Policy {
    fn connect(&self, _: &[Field]) -> Result<UpstreamHalves, ProxyError> {
        Err(unreachable())
    }

    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        for field in request.iter_mut().filter(|field| field.name == b":authority") {
            if field.value == b"other" {
                return Err(ProxyError::new(ErrorType::DestinationNotFound, "another upstream"));
            }
        }
        request.retain(|field| field.name != b"x-rewritten");
        request.push(Field::new("x-rewritten", "yes"));
        Ok(RequestMeta::default())
    }

    fn can_replay(&self, _: Option<&Secret>) -> Option<RequestMeta> {
        Some(RequestMeta::default())
    }

    fn on_response(&self, _: &RequestMeta, _: &ResponseHead) {}

    fn on_denial(&self, _: &RequestMeta, _: &ResponseHead, _: &[u8]) {}

    fn on_upstream_lost(&self, _: &ProxyError) {}
}

/// What one side gets: whole frames, unbroken header blocks that decode, and, if it is the upstream, rewritten requests.
#[derive(Default)]
struct Reader {
    is_upstream: bool,
    awaits_preface: bool,
    /// A header block without its end, and its stream.
    block: Option<(u32, Vec<u8>)>,
    decoder: Option<Decoder>,
    /// The highest stream of a request.
    last: u32,
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8]) {
        if self.awaits_preface && !bytes.is_empty() {
            bytes = bytes.strip_prefix(PREFACE).expect("the preface");
            self.awaits_preface = false;
        }
        while !bytes.is_empty() {
            let header = *bytes.first_chunk().expect("a whole header of a frame");
            let FrameHeader { len, frame_type: kind, flags, stream_id } = FrameHeader::parse(header);
            let frame = bytes.get(..HEADER_LEN + len).expect("a whole frame");
            let frame = frame::parse(frame, len).expect("a frame").expect("a whole one");
            bytes = &bytes[HEADER_LEN + len..];
            match (self.block.take(), kind) {
                (Some((stream, mut block)), frame_type::CONTINUATION) => {
                    assert_eq!(stream, stream_id, "CONTINUATION of another stream");
                    block.extend_from_slice(frame.payload);
                    self.block = Some((stream, block));
                }
                (Some(_), _) => panic!("a frame of type {kind} in a header block"),
                (None, frame_type::CONTINUATION) => panic!("CONTINUATION without a header block"),
                (None, frame_type::HEADERS) => {
                    let payload = frame.unpadded().expect("padding in order");
                    let skipped = if flags & flag::PRIORITY == 0 { 0 } else { 5 };
                    self.block = Some((stream_id, payload[skipped..].to_vec()));
                }
                (None, frame_type::PUSH_PROMISE) => panic!("a push, which was turned off"),
                (None, _) => {}
            }
            if flags & flag::END_HEADERS != 0
                && let Some((stream, block)) = self.block.take_if(|_| is_block(kind))
            {
                match self.is_upstream {
                    true => self.request(stream, &block),
                    false => self.response(&block),
                }
            }
        }
    }

    fn request(&mut self, stream: u32, block: &[u8]) {
        let decoder = self.decoder.get_or_insert_with(|| Decoder::new(4096));
        let fields = decoder.decode(block, 1 << 20).expect("a block in order").fields;
        if stream > self.last {
            self.last = stream;
            assert!(fields.iter().any(|field| field.name == b"x-rewritten"), "a request as it came: {fields:?}");
        } else {
            assert!(fields.iter().all(|field| !field.name.starts_with(b":")), "trailers: {fields:?}");
        }
    }

    /// The client's table is never out of step, and no field of a response can be two lines of HTTP/1.
    fn response(&mut self, block: &[u8]) {
        let decoder = self.decoder.get_or_insert_with(Decoder::passive);
        for field in decoder.decode(block, 1 << 24).expect("a block in order").fields {
            let is_valid = |&octet: &u8| !matches!(octet, b'\r' | b'\n' | 0);
            assert!(field.name.iter().chain(&field.value).all(is_valid), "{field:?}");
            let is_pseudo = field.name.starts_with(b":");
            assert!(!is_pseudo || field.name == b":status", "{field:?}");
        }
    }
}

fn is_block(kind: u8) -> bool {
    matches!(kind, frame_type::HEADERS | frame_type::CONTINUATION)
}
