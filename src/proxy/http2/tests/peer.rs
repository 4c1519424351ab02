//! A client and an upstream that do as a test says.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::super::frame::{FrameHeader, flag, frame_type};
use super::super::hpack::{Decoder, Encoder};
use super::super::*;

/// A served connection with a scripted client and a scripted upstream.
pub struct Pair {
    pub client: Peer,
    pub upstream: Peer,
    pub policy: Arc<TestPolicy>,
    served: JoinHandle<io::Result<()>>,
}

pub struct TestPolicy {
    upstream: TcpStream,
    pub unreachable: AtomicBool,
    pub opened: AtomicUsize,
    /// How many requests were known already, octet for octet.
    pub repeated: AtomicUsize,
    /// The token is another one now.
    pub renewed: AtomicBool,
    pub statuses: Mutex<Vec<(u16, Option<String>)>>,
    pub refusals: Mutex<Vec<(u16, Vec<u8>)>>,
    pub lost: Mutex<Vec<String>>,
}

impl Handler for TestPolicy {
    fn connect(&self, _: &[Field]) -> Result<UpstreamHalves, ProxyError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.unreachable.load(Ordering::Relaxed) {
            return Err(refusal(502, "it is not there"));
        }
        let clone = || self.upstream.try_clone().unwrap();
        let socket = clone();
        let close = Box::new(move || drop(socket.shutdown(Shutdown::Both)));
        Ok(UpstreamHalves { reader: Box::new(clone()), writer: Box::new(clone()), close })
    }

    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        for field in request.iter_mut().filter(|field| field.name == b":authority") {
            if field.value != b"hello" {
                return Err(refusal(421, "another connection"));
            }
            field.value = b"hello.example".to_vec();
        }
        request.push(Field::new("authorization", "Bearer x"));
        Ok(RequestMeta::default())
    }

    fn can_replay(&self, _: Option<&Secret>) -> Option<RequestMeta> {
        self.repeated.fetch_add(1, Ordering::Relaxed);
        (!self.renewed.load(Ordering::Relaxed)).then(RequestMeta::default)
    }

    fn on_response(&self, _: &RequestMeta, answer: &ResponseHead) {
        let challenge = answer.challenge.as_deref();
        let challenge = challenge.map(|value| String::from_utf8(value.to_vec()).unwrap());
        lock(&self.statuses).push((answer.status, challenge));
    }

    fn on_denial(&self, _: &RequestMeta, answer: &ResponseHead, body: &[u8]) {
        lock(&self.refusals).push((answer.status, body.to_vec()));
    }

    fn on_upstream_lost(&self, refusal: &ProxyError) {
        lock(&self.lost).push(refusal.reason());
    }
}

/// The SETTINGS of runsd's own: a hundred streams.
pub const OURS: &[u8] = &[0, 3, 0, 0, 0, 100];

pub fn refusal(status: u16, sentence: &str) -> ProxyError {
    let kind = match status {
        400..=499 => ErrorType::HttpRequestError(status),
        _ => ErrorType::ConnectionRefused,
    };
    ProxyError::new(kind, sentence)
}

impl Pair {
    pub fn start() -> Pair {
        let (client, here) = pair();
        let (there, upstream) = pair();
        let policy = Arc::new(TestPolicy {
            upstream: there,
            unreachable: AtomicBool::new(false),
            opened: AtomicUsize::default(),
            repeated: AtomicUsize::default(),
            renewed: AtomicBool::new(false),
            statuses: Mutex::default(),
            refusals: Mutex::default(),
            lost: Mutex::default(),
        });
        let served = thread::spawn({
            let policy = policy.clone();
            move || serve(&here, Vec::new(), &*policy)
        });
        Pair { client: Peer::new(client), upstream: Peer::new(upstream), policy, served }
    }

    /// Requests on these streams, received by the upstream.
    pub fn upstream_of(&mut self, streams: &[u32]) {
        for &stream in streams {
            self.client.request(stream, "hello", &[], true);
        }
        self.upstream.greeted();
        for &stream in streams {
            assert_eq!(self.upstream.headers().0, stream);
        }
    }

    /// Waits until the connection is no longer served.
    pub fn end(self) {
        let _ = self.served.join().unwrap();
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    for stream in [&one, &other] {
        stream.set_nodelay(true).unwrap();
    }
    (one, other)
}

/// One end of a connection that speaks frames.
pub struct Peer {
    pub stream: TcpStream,
    pub encoder: Encoder,
    pub decoder: Decoder,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Peer {
        // A test that would hang fails instead.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Peer { stream, encoder: Encoder::new(), decoder: Decoder::new(4096) }
    }

    pub fn another(&self) -> Peer {
        Peer::new(self.stream.try_clone().unwrap())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&raw(kind, flags, stream, payload));
    }

    pub fn try_send_frame(&mut self, kind: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream.write_all(&raw(kind, 0, stream, payload)).is_ok()
    }

    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut out = Vec::new();
        frame::write_settings(&mut out, settings);
        self.send(&out);
    }

    pub fn window_update(&mut self, stream: u32, increment: u32) {
        self.send_frame(frame_type::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    /// Preface and SETTINGS, and what runsd says to them.
    pub fn greet(&mut self) {
        self.send(PREFACE);
        self.settings(&[]);
        assert_eq!(self.frame(), (frame_type::SETTINGS, 0, 0, OURS.to_vec()));
        assert_eq!(self.frame(), (frame_type::SETTINGS, flag::ACK, 0, vec![]));
        self.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    }

    /// The other end of [`Peer::greet`].
    pub fn greeted(&mut self) {
        self.preface();
        assert_eq!(self.frame(), (frame_type::SETTINGS, 0, 0, vec![]));
    }

    pub fn preface(&mut self) {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
    }

    pub fn encode_request(&mut self, authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", authority)];
        let fields = pseudo.iter().chain(more).map(|&(name, value)| Field::new(name, value));
        let mut block = Vec::new();
        self.encoder.encode(&fields.collect::<Vec<_>>(), &mut block);
        block
    }

    pub fn request(&mut self, stream: u32, authority: &str, more: &[(&str, &str)], end: bool) {
        let block = self.encode_request(authority, more);
        self.send_frame(frame_type::HEADERS, if end { 0x05 } else { 0x04 }, stream, &block);
    }

    /// A request for "hello" that touches no table.
    pub fn raw_request(stream: u32, flags: u8) -> Vec<u8> {
        let block = b"\x82\x86\x84\x01\x05hello";
        raw(frame_type::HEADERS, flags, stream, block)
    }

    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|&(name, value)| Field::new(name, value));
        let mut block = Vec::new();
        self.encoder.encode(&fields.collect::<Vec<_>>(), &mut block);
        self.send_frame(frame_type::HEADERS, 0x05, stream, &block);
    }

    /// Type, flags, stream and payload of the next frame.
    pub fn frame(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).unwrap();
        let header = FrameHeader::parse(header);
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).unwrap();
        (header.frame_type, header.flags, header.stream_id, payload)
    }

    /// Stream, flags and fields of the HEADERS that must come next.
    pub fn headers(&mut self) -> (u32, u8, Vec<(String, String)>) {
        let ((stream, flags), block) = self.headers_block();
        (stream, flags, self.decode(&block))
    }

    pub fn headers_block(&mut self) -> ((u32, u8), Vec<u8>) {
        let (kind, flags, stream, mut block) = self.frame();
        assert_eq!(kind, frame_type::HEADERS);
        let mut last = flags;
        while last & flag::END_HEADERS == 0 {
            let (kind, flags, _, payload) = self.frame();
            assert_eq!(kind, frame_type::CONTINUATION);
            block.extend(payload);
            last = flags;
        }
        ((stream, flags), block)
    }

    pub fn decode(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let fields = self.decoder.decode(block, 1 << 20).unwrap().fields;
        let text = |octets| String::from_utf8(octets).unwrap();
        fields.into_iter().map(|field| (text(field.name), text(field.value))).collect()
    }

    /// What comes until the end.
    pub fn end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

pub fn raw(frame_type: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_header(&mut out, payload.len(), frame_type, flags, stream);
    out.extend_from_slice(payload);
    out
}
