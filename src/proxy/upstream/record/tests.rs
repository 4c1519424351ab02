use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::client::UnbufferedClientConnection;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::unbuffered::ConnectionState;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};

use super::super::incoming::Incoming;
use super::super::stream::{Found, Reader, halves};
use super::*;

/// Every suite a certificate of ours can serve.
const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A connection whose handshake is done, in memory: rustls is the far end.
struct Pair {
    keys: Keys,
    opener: Opener,
    sealer: Sealer,
    /// Sealed, on its way to us.
    input: Vec<u8>,
    far: ServerConnection,
}

impl Pair {
    fn new(suite: SupportedCipherSuite) -> Pair {
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            ..ring::default_provider()
        };
        let provider = Arc::new(provider);
        let made = rcgen::generate_simple_self_signed(["hello".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[suite.version()])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate that fits");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[suite.version()])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        let name = ServerName::try_from("hello").expect("a name");
        let near = UnbufferedClientConnection::new(Arc::new(client), name).expect("a client");
        let far = ServerConnection::new(Arc::new(server)).expect("a server");
        Pair::shake_hands(near, far)
    }

    fn shake_hands(mut near: UnbufferedClientConnection, mut far: ServerConnection) -> Pair {
        let mut input = Vec::new();
        let mut output = Vec::new();
        loop {
            let status = near.process_tls_records(&mut input);
            let discard = status.discard;
            let (mut wants_more, mut done) = (false, false);
            match status.state.expect("a state") {
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut room = [0; 4096];
                    let n = data.encode(&mut room).expect("room enough");
                    output.extend_from_slice(&room[..n]);
                }
                ConnectionState::TransmitTlsData(data) => {
                    far.read_tls(&mut &output[..]).expect("a read");
                    far.process_new_packets().expect("a good handshake");
                    output.clear();
                    data.done();
                }
                ConnectionState::BlockedHandshake => wants_more = true,
                ConnectionState::WriteTraffic(_) => done = true,
                other => panic!("{other:?}"),
            }
            input.drain(..discard);
            if done {
                break;
            }
            if wants_more {
                far.write_tls(&mut input).expect("a write");
            }
        }
        let (secrets, connection) = near.dangerous_into_kernel_connection().expect("secrets");
        let (keys, opener, sealer) = directions(secrets, connection).expect("keys");
        Pair {
            keys,
            opener,
            sealer,
            input,
            far,
        }
    }

    /// Seals `text` and has the far end open it.
    fn send(&mut self, text: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        for piece in text.chunks(RECORD) {
            let piece = OutboundChunks::Single(piece);
            let sealed = self.sealer.seal(piece, &self.keys, &mut records);
            sealed.expect("a record");
        }
        let mut got = Vec::new();
        for record in records {
            let mut left = &record[..];
            while !left.is_empty() {
                self.far.read_tls(&mut left).expect("a read");
                self.far.process_new_packets().expect("a good record");
            }
            let _ = self.far.reader().read_to_end(&mut got); // "would block", at its end
        }
        got
    }

    /// Has the far end seal `text`, and opens it.
    fn receive(&mut self, text: &[u8]) -> Result<(Vec<u8>, bool), Error> {
        let mut got = Vec::new();
        let mut ended = false;
        for piece in text.chunks(RECORD) {
            self.far.writer().write_all(piece).expect("a write");
            ended |= self.open(&mut got)?;
        }
        ended |= self.open(&mut got)?;
        Ok((got, ended))
    }

    fn open(&mut self, got: &mut Vec<u8>) -> Result<bool, Error> {
        while self.far.wants_write() {
            self.far.write_tls(&mut self.input).expect("a write");
        }
        let mut ended = false;
        while let Some((n, opened)) = self.opener.open(&mut self.input, &self.keys)? {
            match opened {
                Opened::Data(place) => got.extend_from_slice(&self.input[place]),
                Opened::Nothing => {}
                Opened::End => ended = true,
            }
            self.input.drain(..n);
        }
        Ok(ended)
    }
}

#[test]
fn every_suite_in_both_directions() {
    let large = vec![7; 3 * RECORD + 1];
    for suite in SUITES {
        let mut pair = Pair::new(suite);
        for text in [&b"x"[..], b"hello", &large, b"and on"] {
            assert!(pair.send(text) == text, "{suite:?}, {} up", text.len());
            let got = pair.receive(text);
            let shown = got.as_ref().map(|(got, ended)| (got.len(), *ended));
            assert!(
                got == Ok((text.to_vec(), false)),
                "{suite:?}, {} down: {shown:?}",
                text.len()
            );
        }
        pair.far.send_close_notify();
        assert_eq!(pair.receive(b""), Ok((Vec::new(), true)), "{suite:?}");
        let farewell = pair.sealer.farewell().expect("a record");
        pair.far.read_tls(&mut &farewell[..]).expect("a read");
        let state = pair.far.process_new_packets().expect("a good record");
        assert!(state.peer_has_closed(), "{suite:?}");
    }
}

#[test]
fn several_parts_are_one_record() {
    let mut pair = Pair::new(SUITES[0]);
    let mut records = Vec::new();
    let parts: [&[u8]; 3] = [b"GET", b"", b" /"];
    let sealed = pair
        .sealer
        .seal(OutboundChunks::new(&parts), &pair.keys, &mut records);
    assert!(sealed.is_ok() && records.len() == 1);
    pair.far.read_tls(&mut &records[0][..]).expect("a read");
    pair.far.process_new_packets().expect("a good record");
    let mut got = [0; 5];
    pair.far.reader().read_exact(&mut got).expect("five bytes");
    assert_eq!(&got, b"GET /");
}

#[test]
fn keys_change_when_the_far_end_wants_it() {
    for suite in &SUITES[..3] {
        let mut pair = Pair::new(*suite);
        for round in 0..3 {
            pair.far.refresh_traffic_keys().expect("another key");
            assert_eq!(
                pair.receive(b"down"),
                Ok((b"down".to_vec(), false)),
                "{suite:?}, {round}"
            );
            // Ours is said before the first record under it.
            assert_eq!(pair.send(b"up"), b"up", "{suite:?}, {round}");
            assert!(!pair.keys.wanted.load(Ordering::Relaxed));
        }
    }
}

#[test]
fn a_key_seals_so_many_records_and_no_more() {
    let mut pair = Pair::new(SUITES[0]);
    pair.sealer.limit = 3;
    for round in 0..10 {
        assert_eq!(pair.send(b"up"), b"up", "{round}");
        assert!(pair.sealer.sequence <= 3, "{round}");
    }
    // In TLS 1.2 there is no other key: the connection is over.
    let mut pair = Pair::new(SUITES[3]);
    pair.sealer.limit = pair.sealer.sequence + 1;
    assert_eq!(pair.send(b"up"), b"up");
    let piece = OutboundChunks::Single(b"up");
    let refused = pair.sealer.seal(piece, &pair.keys, &mut Vec::new());
    assert_eq!(refused, Err(Error::EncryptError));
}

#[test]
fn a_record_is_opened_when_all_of_it_is_here() {
    let mut pair = Pair::new(SUITES[0]);
    // What the handshake left, sessions for next time.
    assert_eq!(pair.receive(b""), Ok((Vec::new(), false)));
    pair.far.writer().write_all(b"hello").expect("a write");
    pair.far.write_tls(&mut pair.input).expect("a write");
    for cut in 0..pair.input.len() {
        let got = pair.opener.open(&mut pair.input[..cut], &pair.keys);
        assert_eq!(got, Ok(None), "cut at {cut}");
    }
    let got = pair.opener.open(&mut pair.input, &pair.keys);
    assert_eq!(got, Ok(Some((pair.input.len(), Opened::Data(5..10)))));
}

#[test]
fn what_is_refused() {
    for (what, suite, input) in [
        (
            "no record at all",
            SUITES[0],
            &b"HTTP/1.1 400 Bad Request"[..],
        ),
        ("too long", SUITES[0], b"\x17\x03\x03\x48\x01"),
        ("not encrypted", SUITES[0], b"\x15\x03\x03\x00\x02\x01\x00"),
        ("not encrypted", SUITES[3], b"\x15\x03\x03\x00\x02\x01\x00"),
        (
            "not sealed with this key",
            SUITES[0],
            &[&b"\x17\x03\x03\x00\x20"[..], &[1; 32]].concat(),
        ),
        ("empty", SUITES[0], b"\x17\x03\x03\x00\x00"),
    ] {
        let mut pair = Pair::new(suite);
        let got = pair.opener.open(&mut input.to_vec(), &pair.keys);
        assert!(got.is_err(), "{what}: {got:?}");
    }
}

/// A connection to [`Pair::far`], and where its records are to be written.
fn connected(pair: Pair) -> (Reader, TcpStream, Vec<u8>, ServerConnection) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("its address");
    let tcp = TcpStream::connect(to).expect("a connection");
    let (line, _) = listener.accept().expect("its other end");
    let tls = (pair.keys, pair.opener, pair.sealer, None);
    let (reader, _) = halves(tcp, Some(tls), Incoming::default());
    let (mut waiting, mut far) = (pair.input, pair.far);
    while far.wants_write() {
        far.write_tls(&mut waiting).expect("a write");
    }
    (reader, line, waiting, far)
}

#[test]
fn tickets_that_wait_are_no_answer_and_all_else_is() {
    for suite in SUITES {
        let is_tls13 = suite.tls13().is_some();
        let (mut reader, mut line, tickets, mut far) = connected(Pair::new(suite));
        assert_eq!(reader.look(), Found::Nothing, "{suite:?}");
        assert_eq!(!tickets.is_empty(), is_tls13, "{suite:?}");
        line.write_all(&tickets).expect("a write");
        for _ in 0..2 {
            assert_eq!(reader.look(), Found::Nothing, "{suite:?}");
        }
        far.writer().write_all(b"x").expect("a write");
        far.write_tls(&mut line).expect("a write");
        for _ in 0..2 {
            assert_eq!(reader.look(), Found::Bytes, "{suite:?}");
        }
        let (mut reader, mut line, tickets, mut far) = connected(Pair::new(suite));
        line.write_all(&tickets).expect("a write");
        far.send_close_notify();
        far.write_tls(&mut line).expect("a write");
        assert_eq!(reader.look(), Found::End, "{suite:?}");
        let (mut reader, line, ..) = connected(Pair::new(suite));
        drop(line);
        assert_eq!(reader.look(), Found::End, "{suite:?}");
    }
}

#[test]
fn half_a_ticket_is_waited_for() {
    let (mut reader, mut line, tickets, _far) = connected(Pair::new(SUITES[0]));
    let (start, rest) = tickets.split_at(tickets.len() / 2 + 1);
    line.write_all(start).expect("a write");
    thread::scope(|scope| {
        let look = scope.spawn(|| reader.look());
        line.write_all(rest).expect("a write");
        assert_eq!(look.join().expect("a look"), Found::Nothing);
    });
}
