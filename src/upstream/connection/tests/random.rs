//! What the server sent is read once, in order, to its last byte: whatever it is, however the network splits it, and
//! whatever the client does in between.

use std::net::Shutdown;

use super::*;
use crate::sync::test_threads::Dice;

impl Dice {
    /// Mostly small, at times more than a record holds.
    fn len(&mut self) -> usize {
        match self.roll(8) {
            0 => self.roll(3 * RECORD),
            1 => RECORD - 1 + self.roll(3),
            2 | 3 => self.roll(2000),
            _ => 1 + self.roll(20),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let start = u32::try_from(self.roll(1 << 30)).expect("small");
        (start..).flat_map(u32::to_be_bytes).take(len).collect()
    }
}

/// A server that makes records and sends none of them by itself.
enum Peer {
    /// Changes its keys.
    Rustls(Box<test_peer::Server>),
    /// Cuts its messages as it likes.
    Raw(Box<test_peer::Raw>),
}

impl Peer {
    fn new(server: test_peer::Server, is_raw: bool) -> Peer {
        match is_raw {
            true => Peer::Raw(Box::new(server.into_raw())),
            false => Peer::Rustls(Box::new(server)),
        }
    }

    fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Peer::Rustls(server) => &mut server.tcp,
            Peer::Raw(raw) => &mut raw.tcp,
        }
    }

    /// More records, and the text that is in them.
    fn more(&mut self, dice: &mut Dice, is_13: bool) -> (Vec<u8>, Vec<u8>) {
        let len = dice.len();
        let mut text = dice.bytes(len);
        let mut wire = Vec::new();
        match self {
            Peer::Rustls(server) => {
                if is_13 && dice.roll(3) == 0 {
                    server.tls.refresh_traffic_keys().expect("another key");
                }
                server.tls.writer().write_all(&text).expect("space in the buffer");
                while server.tls.wants_write() {
                    server.tls.write_tls(&mut wire).expect("a record");
                }
            }
            Peer::Raw(raw) => match dice.roll(4) {
                0 if is_13 => {
                    let tickets = test_peer::TICKET.repeat(1 + dice.roll(3));
                    for piece in tickets.chunks(1 + dice.roll(2 * test_peer::TICKET.len())) {
                        wire.extend(raw.record(ContentType::Handshake, piece));
                    }
                    text.clear();
                }
                1 => {
                    wire.extend(raw.record(ContentType::ApplicationData, b""));
                    text.clear();
                }
                _ => {
                    for piece in text.chunks(1 + dice.roll(RECORD)) {
                        wire.extend(raw.record(ContentType::ApplicationData, piece));
                    }
                }
            },
        }
        (wire, text)
    }

    /// Reads so many bytes of text.
    fn read(&mut self, len: usize) -> Vec<u8> {
        match self {
            Peer::Rustls(server) => server.read(len),
            Peer::Raw(raw) => {
                let mut got = Vec::new();
                while got.len() < len {
                    let (typ, payload) = raw.receive();
                    assert_eq!(typ, ContentType::ApplicationData);
                    got.extend(payload);
                }
                got
            }
        }
    }
}

/// How it ends, as the reader sees it.
#[derive(Debug, Clone, Copy)]
enum End {
    Announced,
    Unannounced,
    Fault,
}

const ENDS: [End; 3] = [End::Announced, End::Unannounced, End::Fault];

impl End {
    fn is(self, got: &io::Result<usize>) -> bool {
        match (self, got) {
            (End::Announced, Ok(0)) => true,
            (End::Unannounced, Err(err)) => err.kind() == ErrorKind::UnexpectedEof,
            (End::Fault, Err(err)) => err.kind() == ErrorKind::InvalidData,
            _ => false,
        }
    }

    fn record(self, peer: &mut Peer) -> Vec<u8> {
        let (level, description) = match self {
            End::Announced => (1, 0),
            End::Unannounced => return Vec::new(),
            End::Fault => (2, 40),
        };
        let mut wire = Vec::new();
        match (peer, self) {
            (Peer::Raw(raw), _) => wire = raw.record(ContentType::Alert, &[level, description]),
            (Peer::Rustls(server), End::Announced) => {
                server.tls.send_close_notify();
                server.tls.write_tls(&mut wire).expect("a record");
            }
            // Nothing that is encrypted with this key.
            (Peer::Rustls(_), _) => wire = [&b"\x17\x03\x03\x00\x20"[..], &[1; 32]].concat(),
        }
        wire
    }
}

/// Reads what is here, by either way to do so; adds it to `got`.
fn take(reader: &mut Reader, dice: &mut Dice, got: &mut Vec<u8>) -> io::Result<usize> {
    let mut space = vec![0; dice.len().max(1)];
    let n = match dice.roll(2) {
        0 => {
            let n = reader.read(&mut space)?;
            got.extend(&space[..n]);
            n
        }
        _ => {
            reader.fill()?;
            let n = reader.unread().len().min(space.len());
            got.extend(&reader.unread()[..n]);
            reader.consume(n);
            n
        }
    };
    Ok(n)
}

/// Reads all that comes while the last of it is sent, and says how it ended.
fn read_to_end(
    reader: &mut Reader,
    dice: &mut Dice,
    got: &mut Vec<u8>,
    tcp: &mut TcpStream,
    wire: &[u8],
) -> io::Result<usize> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = tcp.write_all(wire);
            let _ = tcp.shutdown(Shutdown::Write);
        });
        loop {
            let n = take(reader, dice, got);
            if !is_silence(&n) && !matches!(n, Ok(1..)) {
                return n;
            }
        }
    })
}

fn is_silence(got: &io::Result<usize>) -> bool {
    matches!(got, Err(err) if err.kind() == ErrorKind::WouldBlock)
}

#[test]
fn random_reads_and_writes_lose_no_byte() {
    for seed in 0..150 {
        let mut dice = Dice::new(seed);
        let suite = SUITES[dice.roll(SUITES.len())];
        let tickets = dice.roll(3);
        let (mut reader, mut writer, server) = connect(suite, tickets);
        reader.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        let mut peer = Peer::new(server, dice.roll(2) == 0);
        let end = ENDS[dice.roll(ENDS.len())];
        let what = format!("seed {seed}: {suite:?}, {end:?}");
        let (mut wire, mut want, mut got) = (Vec::new(), Vec::new(), Vec::new());
        let mut up = Vec::new();
        for _ in 0..60 {
            match dice.roll(6) {
                0 => {
                    let (more, text) = peer.more(&mut dice, suite.tls13().is_some());
                    wire.extend(more);
                    want.extend(text);
                }
                1 | 2 => {
                    let n = dice.len().min(wire.len());
                    let now: Vec<u8> = wire.drain(..n).collect();
                    peer.tcp().write_all(&now).expect("a write");
                }
                3 | 4 => {
                    let n = take(&mut reader, &mut dice, &mut got);
                    assert!(is_silence(&n) || n.is_ok_and(|n| n > 0), "{what}");
                }
                _ => {
                    let len = dice.len();
                    let text = dice.bytes(len);
                    writer.write_all(&text).expect("a write");
                    up.extend(text);
                    if up.len() > RECORD {
                        assert!(peer.read(up.len()) == up, "{what}: up");
                        up.clear();
                    }
                }
            }
        }
        assert!(peer.read(up.len()) == up, "{what}: up");
        wire.extend(end.record(&mut peer));
        let last = read_to_end(&mut reader, &mut dice, &mut got, peer.tcp(), &wire);
        assert!(end.is(&last), "{what}: {last:?}");
        assert!(got == want, "{what}: {} of {}", got.len(), want.len());
        for _ in 0..3 {
            assert_eq!(reader.check_idle(), IdleState::Closed, "{what}");
            let n = take(&mut reader, &mut dice, &mut got);
            assert!(end.is(&n) && got.len() == want.len(), "{what}: {n:?}");
        }
        let _ = writer.write_all(b"up");
    }
}

/// Text, a ticket in two records, text, and an end.
fn script(raw: &mut test_peer::Raw, end: End) -> Vec<u8> {
    let (start, rest) = test_peer::TICKET.split_at(7);
    let mut wire = raw.record(ContentType::ApplicationData, b"first");
    wire.extend(raw.record(ContentType::Handshake, start));
    wire.extend(raw.record(ContentType::Handshake, rest));
    wire.extend(raw.record(ContentType::ApplicationData, b"second"));
    match end {
        End::Announced => wire.extend(raw.record(ContentType::Alert, &[1, 0])),
        End::Unannounced => {}
        End::Fault => wire.extend(raw.record(ContentType::Alert, &[2, 40])),
    }
    wire
}

#[test]
fn a_stream_split_anywhere_reads_the_same() {
    for end in ENDS {
        for cut in 0.. {
            let (mut reader, mut writer, server) = connect(TLS13, 0);
            reader.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
            let mut raw = server.into_raw();
            let wire = script(&mut raw, end);
            if cut > wire.len() {
                break;
            }
            let (mut got, mut space) = (Vec::<u8>::new(), [0; 100]);
            let mut read_all = |reader: &mut Reader| {
                loop {
                    match reader.read(&mut space) {
                        Ok(n @ 1..) => got.extend(&space[..n]),
                        last => return (last, got.len()),
                    }
                }
            };
            raw.tcp.write_all(&wire[..cut]).expect("a write");
            let (last, _) = read_all(&mut reader);
            if cut < wire.len() {
                assert!(is_silence(&last), "{end:?}, {cut}: {last:?}");
                // The part of a record that has come survives a write.
                writer.write_all(b"up").expect("a write");
                let record = raw.receive();
                assert_eq!(record, (ContentType::ApplicationData, b"up".to_vec()));
            }
            raw.tcp.write_all(&wire[cut..]).expect("a write");
            let _ = raw.tcp.shutdown(Shutdown::Write);
            for _ in 0..2 {
                let (last, n) = read_all(&mut reader);
                assert!(end.is(&last) && n == 11, "{end:?}, {cut}: {last:?}");
            }
            assert_eq!(got, b"firstsecond", "{end:?}, {cut}");
        }
    }
}

/// Before a request only whole session tickets may have come; anything else would be taken for the response, or start
/// something that would.
#[test]
fn unsolicited_data_is_found_wherever_it_is_split() {
    for cut in 0.. {
        let (mut reader, _writer, server) = connect(TLS13, 0);
        reader.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        let mut raw = server.into_raw();
        let (start, rest) = test_peer::TICKET.split_at(7);
        let mut wire = raw.record(ContentType::Handshake, start);
        wire.extend(raw.record(ContentType::Handshake, rest));
        let tickets = wire.len();
        wire.extend(raw.record(ContentType::ApplicationData, b"HTTP/1.1 200 OK"));
        if cut > wire.len() {
            break;
        }
        raw.tcp.write_all(&wire[..cut]).expect("a write");
        let want = match cut {
            0 => IdleState::Quiet,
            _ if cut == tickets => IdleState::Quiet,
            _ if cut == wire.len() => IdleState::Data,
            _ => IdleState::Closed,
        };
        assert_eq!(reader.check_idle(), want, "cut at {cut}");
    }
}

/// Text in records of any size, with tickets in between that are cut anywhere.
fn download(raw: &mut test_peer::Raw, dice: &mut Dice, is_13: bool) -> (Vec<u8>, Vec<u8>) {
    let (mut wire, mut want) = (Vec::new(), Vec::new());
    while want.len() < 400_000 {
        let len = dice.len();
        for piece in dice.bytes(len).chunks(1 + dice.roll(RECORD)) {
            wire.extend(raw.record(ContentType::ApplicationData, piece));
            want.extend(piece);
        }
        if is_13 {
            for piece in test_peer::TICKET.chunks(1 + dice.roll(test_peer::TICKET.len())) {
                wire.extend(raw.record(ContentType::Handshake, piece));
            }
        }
    }
    (wire, want)
}

#[test]
fn two_threads_lose_no_byte_and_a_third_may_shut_down() {
    for seed in 0..30 {
        let mut dice = Dice::new(seed);
        let suite = SUITES[dice.roll(SUITES.len())];
        let (mut reader, mut writer, server) = connect(suite, 2);
        let mut raw = server.into_raw();
        let (wire, want) = download(&mut raw, &mut dice, suite.tls13().is_some());
        let large = dice.bytes(400_000);
        let handle = reader.shutdown_handle();
        let limit = match dice.roll(2) {
            0 => usize::MAX,
            _ => dice.roll(large.len()),
        };
        let mut tcp = raw.tcp.try_clone().expect("another");
        let [cut, piece] = [(); 2].map(|()| 1 + dice.roll(3 * RECORD));
        let (got, up) = thread::scope(|scope| {
            scope.spawn(|| wire.chunks(cut).try_for_each(|piece| tcp.write_all(piece)));
            let up = scope.spawn(|| {
                let sent = large.chunks(piece).try_for_each(|p| writer.write_all(p));
                sent.and_then(|()| writer.shutdown_write())
            });
            let down = scope.spawn(|| {
                let mut got = Vec::new();
                while got.len() < want.len() {
                    match take(&mut reader, &mut dice, &mut got) {
                        Ok(1..) => {}
                        _ => break,
                    }
                }
                got
            });
            let mut up_got = Vec::new();
            while up_got.len() < large.len().min(limit) {
                let (typ, payload) = raw.receive();
                assert_eq!(typ, ContentType::ApplicationData, "seed {seed}");
                up_got.extend(payload);
            }
            if limit < large.len() {
                handle.shutdown();
                // Whoever waits for a server that reads no more.
                let _ = raw.tcp.shutdown(Shutdown::Both);
            }
            assert!(large.starts_with(&up_got), "seed {seed}");
            (down.join().expect("no panic"), up.join().expect("no panic"))
        });
        assert!(want.starts_with(&got), "seed {seed}");
        if limit > large.len() {
            assert!(got.len() == want.len() && up.is_ok(), "seed {seed}: {up:?}");
            assert_eq!(raw.receive(), (ContentType::Alert, vec![1, 0]), "seed {seed}");
        }
    }
}
