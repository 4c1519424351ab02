//! A scripted client and a scripted upstream over sockets.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::http2::frame::{self, FrameHeader, PREFACE, flag, frame_type};
use crate::proxy::http2::hpack::{Decoder, Encoder, Field};
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::proxy::http2::{Handler, UpstreamHalves, serve};
use crate::secret::Secret;
use crate::sync::lock;

/// A served connection with a scripted client and a scripted upstream.
pub struct Pair {
    pub client: Peer,
    pub upstream: Peer,
    pub handler: Arc<TestHandler>,
    served: JoinHandle<io::Result<()>>,
}

pub struct TestHandler {
    upstream: TcpStream,
    /// `connect` fails.
    pub unreachable: AtomicBool,
    /// Calls of `connect`.
    pub connects: AtomicUsize,
    /// Calls of `can_replay`.
    pub replays: AtomicUsize,
    /// The token is another one now, so nothing can be replayed.
    pub token_renewed: AtomicBool,
    /// Status and challenge of each `on_response`.
    pub responses: Mutex<Vec<(u16, Option<String>)>>,
    /// Status and start of the body of each `on_denial`.
    pub denials: Mutex<Vec<(u16, Vec<u8>)>>,
    /// The error of each `on_upstream_lost`.
    pub lost: Mutex<Vec<String>>,
}

impl Handler for TestHandler {
    fn connect(&self, _: &[Field]) -> Result<UpstreamHalves, ProxyError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        if self.unreachable.load(Ordering::Relaxed) {
            return Err(error(502, "it is not there"));
        }
        let clone = || self.upstream.try_clone().unwrap();
        let socket = clone();
        let close = Box::new(move || drop(socket.shutdown(Shutdown::Both)));
        Ok(UpstreamHalves { reader: Box::new(clone()), writer: Box::new(clone()), close })
    }

    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError> {
        for field in request.iter_mut().filter(|field| field.name == b":authority") {
            if field.value != b"hello" {
                return Err(error(421, "another connection"));
            }
            field.value = b"hello.example".to_vec();
        }
        request.push(Field::new("authorization", "Bearer x"));
        Ok(RequestMeta::default())
    }

    fn can_replay(&self, _: Option<&Secret>) -> Option<RequestMeta> {
        self.replays.fetch_add(1, Ordering::Relaxed);
        (!self.token_renewed.load(Ordering::Relaxed)).then(RequestMeta::default)
    }

    fn on_response(&self, _: &RequestMeta, response: &ResponseHead) {
        let challenge = response.challenge.as_deref();
        let challenge = challenge.map(|value| String::from_utf8(value.to_vec()).unwrap());
        lock(&self.responses).push((response.status, challenge));
    }

    fn on_denial(&self, _: &RequestMeta, response: &ResponseHead, body: &[u8]) {
        lock(&self.denials).push((response.status, body.to_vec()));
    }

    fn on_upstream_lost(&self, error: &ProxyError) {
        lock(&self.lost).push(error.reason());
    }
}

/// Flags of HEADERS that are the whole request or response.
pub const END: u8 = flag::END_HEADERS | flag::END_STREAM;

/// The payload of runsd's own SETTINGS: MAX_CONCURRENT_STREAMS of 100.
pub const OWN_SETTINGS: &[u8] = &[0, 3, 0, 0, 0, 100];

pub fn error(status: u16, details: &str) -> ProxyError {
    let error_type = match status {
        400..=499 => ErrorType::HttpRequestError(status),
        _ => ErrorType::ConnectionRefused,
    };
    ProxyError::new(error_type, details)
}

impl Pair {
    pub fn start() -> Pair {
        let (client, here) = pair();
        let (there, upstream) = pair();
        let handler = Arc::new(TestHandler {
            upstream: there,
            unreachable: AtomicBool::new(false),
            connects: AtomicUsize::default(),
            replays: AtomicUsize::default(),
            token_renewed: AtomicBool::new(false),
            responses: Mutex::default(),
            denials: Mutex::default(),
            lost: Mutex::default(),
        });
        let served = thread::spawn({
            let handler = handler.clone();
            move || serve(&here, Vec::new(), &*handler)
        });
        Pair { client: Peer::new(client), upstream: Peer::new(upstream), handler, served }
    }

    /// Sends requests on these streams, which the upstream receives.
    pub fn request_all(&mut self, streams: &[u32]) {
        for &stream in streams {
            self.client.request(stream, "hello", &[], true);
        }
        self.upstream.receive_greeting();
        for &stream in streams {
            assert_eq!(self.upstream.headers().0, stream);
        }
    }

    /// Waits until `serve` has returned.
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

/// One end of a connection, with its HPACK tables.
pub struct Peer {
    pub stream: TcpStream,
    pub encoder: Encoder,
    pub decoder: Decoder,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Peer {
        // So that a test fails rather than hangs.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Peer { stream, encoder: Encoder::new(), decoder: Decoder::new(4096) }
    }

    /// The same end for another thread, with HPACK tables of its own.
    pub fn try_clone(&self) -> Peer {
        Peer::new(self.stream.try_clone().unwrap())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send_frame(&mut self, frame_type: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&raw(frame_type, flags, stream, payload));
    }

    pub fn try_send_frame(&mut self, frame_type: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream.write_all(&raw(frame_type, 0, stream, payload)).is_ok()
    }

    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut out = Vec::new();
        frame::write_settings(&mut out, settings);
        self.send(&out);
    }

    pub fn window_update(&mut self, stream: u32, increment: u32) {
        self.send_frame(frame_type::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    /// Sends preface and SETTINGS, and receives those of runsd.
    pub fn greet(&mut self) {
        self.send(PREFACE);
        self.settings(&[]);
        assert_eq!(self.frame(), (frame_type::SETTINGS, 0, 0, OWN_SETTINGS.to_vec()));
        assert_eq!(self.frame(), (frame_type::SETTINGS, flag::ACK, 0, vec![]));
        self.send_frame(frame_type::SETTINGS, flag::ACK, 0, b"");
    }

    /// Receives what [`Peer::greet`] sent, with push turned off.
    pub fn receive_greeting(&mut self) {
        self.preface();
        assert_eq!(self.frame(), (frame_type::SETTINGS, 0, 0, vec![0, 2, 0, 0, 0, 0]));
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
        self.send_frame(frame_type::HEADERS, if end { END } else { flag::END_HEADERS }, stream, &block);
    }

    /// A request for "hello" that changes no table.
    pub fn raw_request(stream: u32, flags: u8) -> Vec<u8> {
        let block = b"\x82\x86\x84\x01\x05hello";
        raw(frame_type::HEADERS, flags, stream, block)
    }

    pub fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|&(name, value)| Field::new(name, value));
        let mut block = Vec::new();
        self.encoder.encode(&fields.collect::<Vec<_>>(), &mut block);
        self.send_frame(frame_type::HEADERS, END, stream, &block);
    }

    /// Receives a frame: type, flags, stream and payload.
    pub fn frame(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).unwrap();
        let header = FrameHeader::parse(header);
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload).unwrap();
        (header.frame_type, header.flags, header.stream_id, payload)
    }

    /// Receives HEADERS: stream, flags and fields.
    pub fn headers(&mut self) -> (u32, u8, Vec<(String, String)>) {
        let ((stream, flags), block) = self.headers_block();
        (stream, flags, self.decode(&block))
    }

    pub fn headers_block(&mut self) -> ((u32, u8), Vec<u8>) {
        let (frame_type, flags, stream, mut block) = self.frame();
        assert_eq!(frame_type, frame_type::HEADERS);
        let mut last = flags;
        while last & flag::END_HEADERS == 0 {
            let (frame_type, flags, _, payload) = self.frame();
            assert_eq!(frame_type, frame_type::CONTINUATION);
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

    /// Receives the rest.
    pub fn rest(&mut self) -> Vec<u8> {
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
