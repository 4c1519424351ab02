//! A whole connection over loopback, with all that a server may send on it, and much that it may not.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::*;
use crate::tls::test_peer::{self, ContentType, RECORD, SUITES, Stream, TLS12, TLS13, limited};

mod hostile;
mod random;

/// More than the buffers of two sockets hold.
const LARGE: usize = 24 << 20;

/// A connection on which the server has sent so many session tickets.
fn connect(suite: test_peer::SupportedCipherSuite, tickets: usize) -> (Reader, Writer, test_peer::Server) {
    let (established, server) = test_peer::connect(suite, tickets);
    let (reader, writer) = from_tls(established);
    (reader, writer, server)
}

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
fn every_cipher_suite_works_in_both_directions() {
    for suite in SUITES {
        let (mut reader, mut writer, mut server) = connect(suite, 2);
        for len in [1, 5, RECORD - 1, RECORD, RECORD + 1, 300_000] {
            let text = text(len);
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&text).expect("a write"));
                assert!(server.read(len) == text, "{suite:?}, {len} up");
            });
            thread::scope(|scope| {
                scope.spawn(|| server.write(&text));
                let got = read(&mut reader, len).expect("text");
                assert!(got == text, "{suite:?}, {len} down");
            });
        }
        // Each direction ends by itself.
        writer.shutdown_write().expect("an end");
        assert!(server.is_at_end(), "{suite:?}");
        server.write(b"and on");
        assert_eq!(read(&mut reader, 6).expect("text"), b"and on", "{suite:?}");
        server.close();
        for _ in 0..2 {
            assert_eq!(reader.read(&mut [0]).expect("an end"), 0, "{suite:?}");
        }
    }
}

#[test]
fn data_after_close_notify_is_ignored() {
    for suite in [TLS13, TLS12] {
        let (mut reader, mut writer, server) = connect(suite, 0);
        let mut raw = server.into_raw();
        raw.send(ContentType::ApplicationData, b"whole");
        raw.send(ContentType::Alert, &[1, 0]);
        raw.send(ContentType::ApplicationData, b"more");
        raw.tcp.write_all(b"nonsense").expect("a write");
        assert_eq!(read(&mut reader, 5).expect("text"), b"whole");
        for _ in 0..3 {
            assert_eq!(reader.read(&mut [0; 9]).expect("an end"), 0);
        }
        assert_eq!(reader.check_idle(), IdleState::Closed);
        // The other direction goes on.
        writer.write_all(b"up").expect("a write");
        let record = raw.receive();
        assert_eq!(record, (ContentType::ApplicationData, b"up".to_vec()));
    }
}

#[test]
fn an_end_without_close_notify_is_an_error() {
    for suite in [TLS13, TLS12] {
        let (mut reader, _writer, mut server) = connect(suite, 0);
        server.write(b"half");
        drop(server);
        assert_eq!(read(&mut reader, 4).expect("text"), b"half");
        let err = reader.read(&mut [0]).expect_err("no end");
        assert_eq!(err.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn keys_are_updated_when_the_server_asks() {
    for suite in &SUITES[..3] {
        let (mut reader, mut writer, mut server) = connect(*suite, 0);
        for round in 0..50 {
            server.tls.refresh_traffic_keys().expect("another key");
            server.write(b"down");
            assert_eq!(read(&mut reader, 4).expect("text"), b"down", "{round}");
            // Ours is said before the first record under it.
            writer.write_all(b"up").expect("a write");
            assert_eq!(server.read(2), b"up", "{suite:?}, {round}");
        }
    }
}

#[test]
fn a_key_is_not_used_beyond_its_confidentiality_limit() {
    let (_reader, mut writer, mut server) = connect(limited(TLS13), 0);
    for round in 0..20 {
        writer.write_all(b"up").expect("a write");
        assert_eq!(server.read(2), b"up", "{round}");
    }
    // In TLS 1.2 there is no other key: the connection is over.
    let (mut reader, mut writer, mut server) = connect(limited(TLS12), 0);
    writer.write_all(b"up").expect("a write");
    assert_eq!(server.read(2), b"up");
    let mut sent = 0;
    while writer.write_all(b"up").is_ok() {
        sent += 1;
    }
    for _ in 0..3 {
        let err = writer.write_all(b"up").expect_err("no key");
        assert_eq!(err.kind(), ErrorKind::InvalidData);
    }
    // The server knows that no more will come, and may still send.
    assert_eq!(server.read(2 * sent), b"up".repeat(sent));
    assert!(server.is_at_end());
    server.write(b"down");
    assert_eq!(read(&mut reader, 4).expect("text"), b"down");
}

#[test]
fn an_alert_of_the_reader_follows_the_write_in_progress() {
    let large = text(LARGE);
    let (mut reader, mut writer, server) = connect(TLS13, 0);
    let mut raw = server.into_raw();
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

#[test]
fn reads_go_on_while_a_write_blocks() {
    let large = text(LARGE);
    for suite in SUITES {
        let (mut reader, mut writer, mut server) = connect(suite, 0);
        thread::scope(|scope| {
            // The client does not read it yet.
            let up = scope.spawn(|| writer.write_all(&large));
            for round in 0..40 {
                if suite.tls13().is_some() {
                    server.tls.refresh_traffic_keys().expect("another key");
                }
                server.write(b"down");
                assert_eq!(read(&mut reader, 4).expect("text"), b"down", "{round}");
            }
            assert!(!up.is_finished(), "{suite:?}: {LARGE} bytes are too few");
            assert!(server.read(LARGE) == large, "{suite:?}");
            up.join().expect("no panic").expect("a write");
        });
        writer.write_all(b"and on").expect("a write");
        assert_eq!(server.read(6), b"and on", "{suite:?}");
    }
}

#[test]
fn both_sides_may_write_at_once() {
    let large = text(LARGE / 4);
    for suite in [TLS13, TLS12] {
        let (mut reader, mut writer, server) = connect(suite, 2);
        let (mut from_server, mut to_server) = (server.tcp.try_clone().expect("another"), server.tcp);
        let mut tls = server.tls;
        tls.set_buffer_limit(None);
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&large).expect("a write"));
            let down = scope.spawn(|| read(&mut reader, large.len()).expect("text"));
            // All of it first, before a byte is read.
            tls.writer().write_all(&large).expect("space in the buffer");
            while tls.wants_write() {
                tls.write_tls(&mut to_server).expect("a write");
            }
            assert!(down.join().expect("no panic") == large, "{suite:?}");
            let mut got = vec![0; large.len()];
            Stream::new(&mut tls, &mut from_server).read_exact(&mut got).expect("text");
            assert!(got == large, "{suite:?}");
        });
    }
}

#[test]
fn session_tickets_leave_a_connection_idle_and_data_does_not() {
    for suite in SUITES {
        for bytes in [true, false] {
            let (mut reader, _writer, mut server) = connect(suite, 4);
            for _ in 0..2 {
                assert_eq!(reader.check_idle(), IdleState::Quiet, "{suite:?}");
            }
            match bytes {
                true => server.write(b"x"),
                false => server.close(),
            }
            let want = if bytes { IdleState::Data } else { IdleState::Closed };
            // All of it is here before the look: loopback keeps no one waiting.
            for _ in 0..2 {
                assert_eq!(reader.check_idle(), want, "{suite:?}");
            }
        }
        let (mut reader, _writer, server) = connect(suite, 4);
        drop(server);
        assert_eq!(reader.check_idle(), IdleState::Closed, "{suite:?}");
    }
}

#[test]
fn the_idle_check_waits_for_the_rest_of_a_ticket() {
    let (mut reader, _writer, server) = connect(TLS13, 0);
    let mut raw = server.into_raw();
    let (start, rest) = test_peer::TICKET.split_at(test_peer::TICKET.len() / 2);
    raw.send(ContentType::Handshake, start);
    thread::scope(|scope| {
        let look = scope.spawn(|| reader.check_idle());
        raw.send(ContentType::Handshake, rest);
        assert_eq!(look.join().expect("a look"), IdleState::Quiet);
    });
}

/// rustls remembers offsets in its input while a handshake message is incomplete; a write in between must not confuse
/// them.
#[test]
fn a_ticket_in_records_of_one_byte_survives_writes_in_between() {
    let (mut reader, mut writer, server) = connect(TLS13, 0);
    let mut raw = server.into_raw();
    reader.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
    for round in 0..3 {
        for (at, byte) in test_peer::TICKET.iter().enumerate() {
            raw.send(ContentType::Handshake, &[*byte]);
            let last = at + 1 == test_peer::TICKET.len();
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
fn records_of_one_byte_and_of_none_are_read() {
    for suite in [TLS13, TLS12] {
        let (mut reader, _writer, server) = connect(suite, 0);
        let mut raw = server.into_raw();
        let text = text(1000);
        for byte in &text {
            raw.send(ContentType::ApplicationData, &[*byte]);
            raw.send(ContentType::ApplicationData, b"");
        }
        assert_eq!(read(&mut reader, 1000).expect("text"), text);
    }
}

#[test]
fn a_shutdown_wakes_the_threads_of_both_halves() {
    let (mut reader, mut writer, _server) = connect(TLS13, 0);
    let handle = reader.shutdown_handle();
    let large = text(LARGE);
    thread::scope(|scope| {
        let up = scope.spawn(|| writer.write_all(&large));
        let down = scope.spawn(|| reader.read(&mut [0]));
        handle.shutdown();
        assert!(up.join().expect("no panic").is_err());
        assert!(down.join().expect("no panic").is_err());
    });
}
