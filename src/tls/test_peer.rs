//! For tests: the server at the other end of a TLS connection. It is rustls's, and where that would never send such a
//! thing, records that are made by hand.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use rustls::crypto::ring::{self, cipher_suite};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    CipherSuiteCommon, ClientConfig, ConnectionTrafficSecrets, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, Tls12CipherSuite, Tls13CipherSuite,
};

pub use rustls::{ContentType, Stream, SupportedCipherSuite};

use crate::net::context::Background;
use crate::tls::handshake::{Established, handshake};
use crate::tls::session::{MAX_FRAGMENT_LEN, TlsSession};

/// All cipher suites that an ECDSA certificate can serve.
pub const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
pub const TLS13: SupportedCipherSuite = SUITES[0];
pub const TLS12: SupportedCipherSuite = SUITES[3];

/// Bytes of plaintext in a full record.
pub const RECORD: usize = MAX_FRAGMENT_LEN;

/// The server, as rustls has it.
pub struct Server {
    pub tcp: TcpStream,
    pub tls: ServerConnection,
    suite: SupportedCipherSuite,
}

/// A connection whose handshake is done, and on which the server has sent so many session tickets (in TLS 1.3).
pub fn connect(suite: SupportedCipherSuite, tickets: usize) -> (Established, Server) {
    let (client, mut server) = configs(suite);
    server.send_tls13_tickets = tickets;
    let name = ServerName::try_from("hello").expect("a name");
    let session = TlsSession::new(Arc::new(client), name).expect("a client");
    let tls = ServerConnection::new(Arc::new(server)).expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let tcp = TcpStream::connect(address).expect("a connection");
    tcp.set_nodelay(true).expect("set");
    let server_thread = thread::spawn(move || {
        let (tcp, _) = listener.accept().expect("its other end");
        tcp.set_nodelay(true).expect("set");
        let limit = Some(Duration::from_secs(60));
        tcp.set_read_timeout(limit).expect("set");
        let mut server = Server { tcp, tls, suite };
        while server.tls.is_handshaking() || server.tls.wants_write() {
            server.tls.complete_io(&mut server.tcp).expect("a handshake");
        }
        server
    });
    let established = handshake(tcp, session, Duration::from_secs(10), &mut Background);
    (established.expect("a handshake"), server_thread.join().expect("the server"))
}

fn configs(suite: SupportedCipherSuite) -> (ClientConfig, ServerConfig) {
    let provider = Arc::new(CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() });
    let made = rcgen::generate_simple_self_signed(["hello".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[suite.version()])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate that fits");
    server.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[suite.version()])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (client, server)
}

impl Server {
    pub fn write(&mut self, text: &[u8]) {
        let mut stream = Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(text).expect("a write");
        stream.flush().expect("a write");
    }

    pub fn read(&mut self, len: usize) -> Vec<u8> {
        let mut got = vec![0; len];
        let mut stream = Stream::new(&mut self.tls, &mut self.tcp);
        stream.read_exact(&mut got).expect("text");
        got
    }

    /// Whether nothing more comes, by close_notify.
    pub fn is_at_end(&mut self) -> bool {
        let mut stream = Stream::new(&mut self.tls, &mut self.tcp);
        matches!(stream.read(&mut [0]), Ok(0))
    }

    pub fn close(&mut self) {
        self.tls.send_close_notify();
        self.tls.write_tls(&mut self.tcp).expect("a write");
    }

    /// From here on records are made by hand.
    pub fn into_raw(self) -> Raw {
        let secrets = self.tls.dangerous_extract_secrets().expect("secrets");
        let (key, iv) = parts(secrets.tx.1);
        let encrypter = match self.suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                let (iv, explicit) = iv.as_ref().split_at(fixed);
                suite.aead_alg.encrypter(key, iv, explicit)
            }
        };
        let (key, iv) = parts(secrets.rx.1);
        let decrypter = match self.suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
            }
        };
        Raw { tcp: self.tcp, encrypter, decrypter, sent: secrets.tx.0, received: secrets.rx.0 }
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("a cipher of another kind"),
    }
}

/// Whatever is sent is encrypted as it should be, sensible or not.
pub struct Raw {
    pub tcp: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    decrypter: Box<dyn MessageDecrypter>,
    sent: u64,
    received: u64,
}

impl Raw {
    pub fn send(&mut self, typ: ContentType, payload: &[u8]) {
        let record = self.record(typ, payload);
        self.tcp.write_all(&record).expect("a write");
    }

    pub fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message =
            OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: OutboundChunks::Single(payload) };
        let record = self.encrypter.encrypt(message, self.sent);
        self.sent += 1;
        record.expect("a record").encode()
    }

    /// The next record that comes.
    pub fn receive(&mut self) -> (ContentType, Vec<u8>) {
        let mut header = [0; 5];
        self.tcp.read_exact(&mut header).expect("a record");
        let mut body = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
        self.tcp.read_exact(&mut body).expect("a record");
        let version = ProtocolVersion::TLSv1_2;
        let message = InboundOpaqueMessage::new(header[0].into(), version, &mut body);
        let plain = self.decrypter.decrypt(message, self.received);
        self.received += 1;
        let plain = plain.expect("a good record");
        (plain.typ, plain.payload.to_vec())
    }
}

/// A NewSessionTicket (RFC 8446 section 4.6.1).
pub const TICKET: [u8; 22] = [
    0x04, 0x00, 0x00, 0x12, // type, length 18
    0x00, 0x00, 0x00, 0x3c, // lifetime: 60 s
    0x01, 0x02, 0x03, 0x04, // ticket_age_add
    0x01, 0x00, // ticket_nonce
    0x00, 0x04, b't', b'i', b'c', b'k', // ticket
    0x00, 0x00, // no extensions
];

/// The same suite with keys that may encrypt 5 records.
pub fn limited(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon { confidentiality_limit: 5, ..*common };
    match suite {
        SupportedCipherSuite::Tls13(suite) => {
            let limited = Tls13CipherSuite { common: common(&suite.common), ..*suite };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(limited)))
        }
        SupportedCipherSuite::Tls12(suite) => {
            let limited = Tls12CipherSuite { common: common(&suite.common), ..*suite };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(limited)))
        }
    }
}
