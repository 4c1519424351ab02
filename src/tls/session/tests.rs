//! A whole connection over loopback; the far end is rustls, and where that
//! would never send such a thing, records by hand.

use std::io::{self, ErrorKind, Read as _, Write as _};
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
    CipherSuiteCommon, ClientConfig, ConnectionTrafficSecrets, ContentType, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

use super::*;
use crate::net::context::Background;
use crate::tls::handshake::handshake;
use crate::upstream::connection::{Found, Reader, Writer};

mod far;
mod hostile;
mod random;

/// Every suite a certificate of ours can serve.
const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
const TLS13: SupportedCipherSuite = SUITES[0];
const TLS12: SupportedCipherSuite = SUITES[3];
/// More than the buffers of two sockets hold.
const LARGE: usize = 24 << 20;
const RECORD: usize = MAX_FRAGMENT_LEN;

/// Bytes that are not the same at any two places nearby.
fn text(len: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(len).collect()
}

/// Reads so many bytes.
fn read(reader: &mut Reader, len: usize) -> io::Result<Vec<u8>> {
    let mut got = vec![0; len];
    let mut n = 0;
    while n < len {
        match reader.read(&mut got[n..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => n += more,
        }
    }
    Ok(got)
}

#[test]
fn every_suite_in_both_directions() {
    for suite in SUITES {
        let (mut reader, mut writer, mut far) = far::connect(suite, 2);
        for len in [1, 5, RECORD - 1, RECORD, RECORD + 1, 300_000] {
            let text = text(len);
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&text).expect("a write"));
                assert!(far.read(len) == text, "{suite:?}, {len} up");
            });
            thread::scope(|scope| {
                scope.spawn(|| far.write(&text));
                let got = read(&mut reader, len).expect("text");
                assert!(got == text, "{suite:?}, {len} down");
            });
        }
        // Each direction ends by itself.
        writer.finish().expect("an end");
        assert!(far.is_at_end(), "{suite:?}");
        far.write(b"and on");
        assert_eq!(read(&mut reader, 6).expect("text"), b"and on", "{suite:?}");
        far.close();
        for _ in 0..2 {
            assert_eq!(reader.read(&mut [0]).expect("an end"), 0, "{suite:?}");
        }
    }
}

#[test]
fn what_comes_after_the_end_is_nothing() {
    for suite in [TLS13, TLS12] {
        let (mut reader, mut writer, far) = far::connect(suite, 0);
        let mut raw = far.into_raw();
        raw.send(ContentType::ApplicationData, b"whole");
        raw.send(ContentType::Alert, &[1, 0]);
        raw.send(ContentType::ApplicationData, b"more");
        raw.tcp.write_all(b"nonsense").expect("a write");
        assert_eq!(read(&mut reader, 5).expect("text"), b"whole");
        for _ in 0..3 {
            assert_eq!(reader.read(&mut [0; 9]).expect("an end"), 0);
        }
        assert_eq!(reader.look(), Found::End);
        // The other direction goes on.
        writer.write_all(b"up").expect("a write");
        let record = raw.receive();
        assert_eq!(record, (ContentType::ApplicationData, b"up".to_vec()));
    }
}

#[test]
fn an_end_that_was_not_announced_is_an_error() {
    for suite in [TLS13, TLS12] {
        let (mut reader, _writer, mut far) = far::connect(suite, 0);
        far.write(b"half");
        drop(far);
        assert_eq!(read(&mut reader, 4).expect("text"), b"half");
        let err = reader.read(&mut [0]).expect_err("no end");
        assert_eq!(err.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn keys_change_when_the_far_end_wants_it() {
    for suite in &SUITES[..3] {
        let (mut reader, mut writer, mut far) = far::connect(*suite, 0);
        for round in 0..50 {
            far.tls.refresh_traffic_keys().expect("another key");
            far.write(b"down");
            assert_eq!(read(&mut reader, 4).expect("text"), b"down", "{round}");
            // Ours is said before the first record under it.
            writer.write_all(b"up").expect("a write");
            assert_eq!(far.read(2), b"up", "{suite:?}, {round}");
        }
    }
}

#[test]
fn a_key_encrypts_so_many_records_and_no_more() {
    let (_reader, mut writer, mut far) = far::connect(limited(TLS13), 0);
    for round in 0..20 {
        writer.write_all(b"up").expect("a write");
        assert_eq!(far.read(2), b"up", "{round}");
    }
    // In TLS 1.2 there is no other key: the connection is over.
    let (mut reader, mut writer, mut far) = far::connect(limited(TLS12), 0);
    writer.write_all(b"up").expect("a write");
    assert_eq!(far.read(2), b"up");
    let mut sent = 0;
    while writer.write_all(b"up").is_ok() {
        sent += 1;
    }
    for _ in 0..3 {
        let err = writer.write_all(b"up").expect_err("no key");
        assert_eq!(err.kind(), ErrorKind::InvalidData);
    }
    // The far end knows that it has all there is, and may answer.
    assert_eq!(far.read(2 * sent), b"up".repeat(sent));
    assert!(far.is_at_end());
    far.write(b"down");
    assert_eq!(read(&mut reader, 4).expect("text"), b"down");
}

#[test]
fn an_alert_that_no_reader_could_send_goes_after_the_write_that_was_under_way() {
    let large = text(LARGE);
    let (mut reader, mut writer, far) = far::connect(TLS13, 0);
    let mut raw = far.into_raw();
    thread::scope(|scope| {
        let up = scope.spawn(|| {
            writer.write_all(&large)?;
            writer.write_all(b"more")
        });
        // So it is under way.
        raw.tcp.peek(&mut [0]).expect("a record");
        raw.send(ContentType::Handshake, &[0x18, 0, 0, 0]);
        assert!(reader.read(&mut [0]).is_err());
        let last = loop {
            match raw.receive() {
                (ContentType::ApplicationData, _) => {}
                other => break other,
            }
        };
        let decode_error = vec![2, 50];
        assert_eq!(last, (ContentType::Alert, decode_error));
        assert!(up.join().expect("no panic").is_err());
    });
}

/// The same suite with keys that are used up soon.
fn limited(suite: SupportedCipherSuite) -> SupportedCipherSuite {
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

#[test]
fn while_a_write_waits_all_that_comes_is_read() {
    let large = text(LARGE);
    for suite in SUITES {
        let (mut reader, mut writer, mut far) = far::connect(suite, 0);
        thread::scope(|scope| {
            // The client does not read it yet.
            let up = scope.spawn(|| writer.write_all(&large));
            for round in 0..40 {
                if suite.tls13().is_some() {
                    far.tls.refresh_traffic_keys().expect("another key");
                }
                far.write(b"down");
                assert_eq!(read(&mut reader, 4).expect("text"), b"down", "{round}");
            }
            assert!(!up.is_finished(), "{suite:?}: {LARGE} bytes are too few");
            assert!(far.read(LARGE) == large, "{suite:?}");
            up.join().expect("no panic").expect("a write");
        });
        writer.write_all(b"and on").expect("a write");
        assert_eq!(far.read(6), b"and on", "{suite:?}");
    }
}

#[test]
fn both_sides_may_write_at_once() {
    let large = text(LARGE / 4);
    for suite in [TLS13, TLS12] {
        let (mut reader, mut writer, far) = far::connect(suite, 2);
        let (mut from_far, mut to_far) = (far.tcp.try_clone().expect("another"), far.tcp);
        let mut tls = far.tls;
        tls.set_buffer_limit(None);
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&large).expect("a write"));
            let down = scope.spawn(|| read(&mut reader, large.len()).expect("text"));
            // All of it first, before a byte is read.
            tls.writer().write_all(&large).expect("room");
            while tls.wants_write() {
                tls.write_tls(&mut to_far).expect("a write");
            }
            assert!(down.join().expect("no panic") == large, "{suite:?}");
            let mut got = vec![0; large.len()];
            rustls::Stream::new(&mut tls, &mut from_far).read_exact(&mut got).expect("text");
            assert!(got == large, "{suite:?}");
        });
    }
}

#[test]
fn tickets_that_wait_are_no_answer_and_all_else_is() {
    for suite in SUITES {
        for bytes in [true, false] {
            let (mut reader, _writer, mut far) = far::connect(suite, 4);
            for _ in 0..2 {
                assert_eq!(reader.look(), Found::Nothing, "{suite:?}");
            }
            match bytes {
                true => far.write(b"x"),
                false => far.close(),
            }
            let want = if bytes { Found::Bytes } else { Found::End };
            // All of it is here before the look: loopback keeps no one waiting.
            for _ in 0..2 {
                assert_eq!(reader.look(), want, "{suite:?}");
            }
        }
        let (mut reader, _writer, far) = far::connect(suite, 4);
        drop(far);
        assert_eq!(reader.look(), Found::End, "{suite:?}");
    }
}

#[test]
fn half_a_ticket_is_waited_for() {
    let (mut reader, _writer, far) = far::connect(TLS13, 0);
    let mut raw = far.into_raw();
    let (start, rest) = far::TICKET.split_at(far::TICKET.len() / 2);
    raw.send(ContentType::Handshake, start);
    thread::scope(|scope| {
        let look = scope.spawn(|| reader.look());
        raw.send(ContentType::Handshake, rest);
        assert_eq!(look.join().expect("a look"), Found::Nothing);
    });
}

/// rustls has places of its input in mind while a message is not whole; a write
/// in between must not confuse them.
#[test]
fn a_ticket_in_records_of_a_byte_with_writes_in_between() {
    let (mut reader, mut writer, far) = far::connect(TLS13, 0);
    let mut raw = far.into_raw();
    reader.patience(Some(Duration::from_millis(1))).expect("set");
    for round in 0..3 {
        for (at, byte) in far::TICKET.iter().enumerate() {
            raw.send(ContentType::Handshake, &[*byte]);
            let last = at + 1 == far::TICKET.len();
            if last {
                raw.send(ContentType::ApplicationData, b"down");
                assert_eq!(read(&mut reader, 4).expect("text"), b"down", "{round}");
            } else {
                let err = reader.read(&mut [0]).expect_err("nothing");
                assert_eq!(err.kind(), ErrorKind::WouldBlock, "{round}, {at}");
            }
            writer.write_all(b"up").expect("a write");
            let record = raw.receive();
            assert_eq!(record, (ContentType::ApplicationData, b"up".to_vec()));
        }
    }
}

#[test]
fn records_of_one_byte_and_of_none() {
    for suite in [TLS13, TLS12] {
        let (mut reader, _writer, far) = far::connect(suite, 0);
        let mut raw = far.into_raw();
        let text = text(1000);
        for byte in &text {
            raw.send(ContentType::ApplicationData, &[*byte]);
            raw.send(ContentType::ApplicationData, b"");
        }
        assert_eq!(read(&mut reader, 1000).expect("text"), text);
    }
}

#[test]
fn a_connection_that_is_aborted_wakes_both_its_threads() {
    let (mut reader, mut writer, _far) = far::connect(TLS13, 0);
    let aborter = reader.aborter();
    let large = text(LARGE);
    thread::scope(|scope| {
        let up = scope.spawn(|| writer.write_all(&large));
        let down = scope.spawn(|| reader.read(&mut [0]));
        aborter.abort();
        assert!(up.join().expect("no panic").is_err());
        assert!(down.join().expect("no panic").is_err());
    });
}
