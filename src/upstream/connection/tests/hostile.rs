//! A server that violates the protocol. It may neither cause a panic nor block a thread, and no error shows what was
//! sent.

use super::*;

/// Handshake messages that no server sends after the handshake, and some that are malformed.
const MESSAGES: [(&str, &[u8]); 9] = [
    ("a KeyUpdate without a body", &[0x18, 0, 0, 0]),
    ("the same, and a byte more", &[0x18, 0, 0, 0, 0]),
    ("a KeyUpdate of no known kind", &[0x18, 0, 0, 1, 2]),
    ("a KeyUpdate that is too long", &[0x18, 0, 0, 2, 0, 0]),
    ("a KeyUpdate and the start of more", &[0x18, 0, 0, 1, 0, 4]),
    ("a ticket without a body", &[0x04, 0, 0, 0]),
    ("a ClientHello", &[0x01, 0, 0, 1, 0]),
    ("a Finished", &[0x14, 0, 0, 1, 0]),
    ("a message of 16 MB", &[0x04, 0xff, 0xff, 0xff, 0]),
];
const SECRET: &[u8] = b"Bearer s3cret";

fn is_quiet_about(err: &io::Error, what: &str) {
    let said = format!("{err} {err:?}");
    assert!(!said.contains("s3cret"), "{what}: {said}");
}

#[test]
fn unexpected_handshake_messages_end_the_connection_with_an_alert() {
    for suite in [TLS13, TLS12] {
        for (what, message) in MESSAGES {
            for pieces in [message.len(), 1] {
                let (mut reader, mut writer, server) = connect(suite, 0);
                let mut raw = server.into_raw();
                for piece in message.chunks(pieces) {
                    raw.send(ContentType::Handshake, piece);
                }
                // In case the client waits for more.
                raw.send(ContentType::ApplicationData, SECRET);
                let err = read(&mut reader, 1).expect_err(what);
                assert_eq!(err.kind(), ErrorKind::InvalidData, "{what}");
                is_quiet_about(&err, what);
                assert_eq!(reader.check_idle(), IdleState::Closed, "{what}");
                assert!(reader.read(&mut [0]).is_err(), "{what}");
                let _ = writer.write_all(b"up");
            }
        }
    }
    let (mut reader, _writer, server) = connect(TLS13, 0);
    let mut raw = server.into_raw();
    raw.send(ContentType::Handshake, MESSAGES[0].1);
    assert!(reader.read(&mut [0]).is_err());
    let decode_error = vec![2, 50];
    assert_eq!(raw.receive(), (ContentType::Alert, decode_error));
}

#[test]
fn records_that_are_not_encrypted_as_agreed_are_errors() {
    for suite in SUITES {
        for (what, input) in [
            ("no record at all", &b"HTTP/1.1 400 s3cret and so on"[..]),
            ("too long", b"\x17\x03\x03\x48\x01"),
            ("not encrypted", b"\x15\x03\x03\x00\x02\x01\x00"),
            ("a fatal alert, not encrypted", b"\x15\x03\x03\x00\x02\x02\x28"),
            ("text, not encrypted", b"\x17\x03\x03\x00\x06s3cret"),
            ("not with this key", &[&b"\x17\x03\x03\x00\x20"[..], &[1; 32]].concat()),
            ("empty", b"\x17\x03\x03\x00\x00"),
            ("of an unknown kind", b"\x19\x03\x03\x00\x01\x00"),
        ] {
            let (mut reader, mut writer, mut server) = connect(suite, 0);
            // What is not encrypted is taken for an alert until something was.
            server.write(b"x");
            assert_eq!(read(&mut reader, 1).expect("text"), b"x");
            server.tcp.write_all(input).expect("a write");
            let err = reader.read(&mut [0]).expect_err(what);
            assert_eq!(err.kind(), ErrorKind::InvalidData, "{suite:?}: {what}");
            is_quiet_about(&err, what);
            assert_eq!(reader.check_idle(), IdleState::Closed, "{suite:?}: {what}");
            let _ = writer.write_all(b"up");
        }
    }
}

#[test]
fn too_many_alerts_or_empty_records_end_the_connection() {
    let warning = |description: u8| (ContentType::Alert, vec![1, description]);
    let hello_request = (ContentType::Handshake, vec![0, 0, 0, 0]);
    let user_canceled = warning(90);
    let unrecognized_name = warning(112);
    for (what, suite, (typ, payload), allowed) in [
        ("warnings", TLS12, unrecognized_name.clone(), 4),
        ("warnings", TLS13, unrecognized_name, 0),
        ("announcements of an end", TLS12, user_canceled.clone(), 4),
        ("announcements of an end", TLS13, user_canceled, 4),
        ("wishes for another handshake", TLS12, hello_request, 1),
        ("nothing", TLS13, (ContentType::ApplicationData, vec![]), 10),
        ("fatal alerts", TLS13, (ContentType::Alert, vec![2, 40]), 0),
        ("fatal alerts", TLS12, (ContentType::Alert, vec![2, 40]), 0),
        ("alerts of no known level", TLS12, (ContentType::Alert, vec![3, 40]), 0),
        ("alerts that are none", TLS12, (ContentType::Alert, vec![1]), 0),
    ] {
        let (mut reader, mut writer, server) = connect(suite, 0);
        let mut raw = server.into_raw();
        for _ in 0..allowed {
            raw.send(typ, &payload);
        }
        raw.send(ContentType::ApplicationData, b"x");
        assert_eq!(read(&mut reader, 1).expect(what), b"x", "{suite:?}");
        writer.write_all(b"up").expect(what);
        for _ in 0..100 {
            let record = raw.record(typ, &payload);
            let _ = raw.tcp.write_all(&record);
        }
        let err = reader.read(&mut [0]).expect_err(what);
        assert_eq!(err.kind(), ErrorKind::InvalidData, "{suite:?}: {what}");
    }
}

#[test]
fn endless_key_updates_end_the_connection() {
    let (mut reader, _writer, mut server) = connect(TLS13, 0);
    for _ in 0..100 {
        server.tls.refresh_traffic_keys().expect("another key");
        server.tls.write_tls(&mut server.tcp).expect("a write");
    }
    let err = reader.read(&mut [0]).expect_err("an end");
    assert_eq!(err.kind(), ErrorKind::InvalidData);
}

#[test]
fn renegotiation_is_refused_with_the_next_write() {
    let (mut reader, mut writer, server) = connect(TLS12, 0);
    let mut raw = server.into_raw();
    raw.send(ContentType::Handshake, &[0, 0, 0, 0]);
    raw.send(ContentType::ApplicationData, b"x");
    assert_eq!(read(&mut reader, 1).expect("text"), b"x");
    writer.write_all(b"up").expect("a write");
    let no_renegotiation = vec![1, 100];
    assert_eq!(raw.receive(), (ContentType::Alert, no_renegotiation));
    let text = (ContentType::ApplicationData, b"up".to_vec());
    assert_eq!(raw.receive(), text);
}

#[test]
fn an_alert_is_read_while_a_write_blocks() {
    let large = text(LARGE);
    for suite in [TLS13, TLS12] {
        let (mut reader, mut writer, server) = connect(suite, 0);
        let mut raw = server.into_raw();
        thread::scope(|scope| {
            let up = scope.spawn(|| writer.write_all(&large));
            raw.send(ContentType::Alert, &[2, 40]);
            assert!(reader.read(&mut [0]).is_err());
            // As all do after an error.
            reader.shutdown();
            assert!(up.join().expect("no panic").is_err());
        });
    }
}

/// Records of every kind with anything in them, in records of any size, and
/// writes in between.
#[test]
fn random_records_never_panic() {
    let mut dice = 88_172_645_463_325_252_u64;
    let mut roll = move |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % below as u64).expect("small")
    };
    for round in 0..400 {
        let suite = [TLS13, TLS12][round % 2];
        let (mut reader, mut writer, server) = connect(suite, 0);
        reader.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        let mut raw = server.into_raw();
        for _ in 0..20 {
            let (_, message) = MESSAGES[roll(MESSAGES.len())];
            let mut message = [message, &test_peer::TICKET].concat();
            if roll(2) == 0 {
                let at = roll(message.len());
                message[at] = u8::try_from(roll(256)).expect("a byte");
            }
            if roll(4) > 0 {
                message = test_peer::TICKET[..1 + roll(test_peer::TICKET.len())].to_vec();
            }
            let typ = match roll(8) {
                0 => ContentType::Alert,
                1 => ContentType::ApplicationData,
                2 => ContentType::ChangeCipherSpec,
                _ => ContentType::Handshake,
            };
            let mut bytes = Vec::new();
            for piece in message.chunks(1 + roll(message.len())) {
                bytes.extend(raw.record(typ, piece));
            }
            if roll(8) == 0 {
                let at = roll(bytes.len());
                bytes[at] ^= 1;
            }
            let _ = raw.tcp.write_all(&bytes);
            let got = reader.read(&mut [0; 100]);
            let _ = writer.write_all(b"up");
            if got.is_err_and(|err| err.kind() != ErrorKind::WouldBlock) {
                break;
            }
        }
        let _ = writer.shutdown_write();
    }
}
