//! Bytes to and from the far end, through TLS or without it.
//!
//! The two halves may be used by two threads. They share the TLS session
//! under a lock that is never held during a system call: a reader that waits
//! never stops a writer.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, WriteTraffic};

use crate::proxy::room::lengthen;
use crate::sys::{self, alive};

/// The half that receives.
pub struct Reader {
    shared: Arc<Shared>,
    incoming: Incoming,
    /// Plain text that was decrypted and did not fit the caller's buffer.
    rest: Vec<u8>,
    rest_at: usize,
}

/// The half that sends.
pub struct Writer {
    shared: Arc<Shared>,
    outgoing: Vec<u8>,
}

struct Shared {
    tcp: TcpStream,
    tls: Option<Mutex<Session>>,
}

struct Session {
    connection: UnbufferedClientConnection,
    /// rustls says this once, to whichever half asks first.
    peer_closed: bool,
    /// Records that the reading half had to make (answers to key updates).
    /// They carry sequence numbers, so only the writing half may send them,
    /// before its own next record.
    pending: Vec<u8>,
}

/// Halves of a connection without TLS.
pub fn plain(tcp: TcpStream) -> (Reader, Writer) {
    halves(tcp, None, Incoming::default())
}

/// Goes through the TLS handshake, within `limit` in all, and says which
/// protocol was agreed on.
pub fn handshake(
    tcp: TcpStream,
    mut connection: UnbufferedClientConnection,
    limit: Duration,
) -> io::Result<(Reader, Writer, Option<Vec<u8>>)> {
    let deadline = Instant::now() + limit;
    let mut incoming = Incoming::default();
    let mut outgoing = Vec::new();
    loop {
        let status = connection.process_tls_records(incoming.filled());
        let discard = status.discard;
        let mut wants_more = false;
        match status.state.map_err(tls_error) {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut outgoing, SMALLEST, |buffer| data.encode(buffer))?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                (&tcp).write_all(&outgoing)?;
                outgoing.clear();
                data.done();
            }
            Ok(ConnectionState::BlockedHandshake) => wants_more = true,
            Ok(ConnectionState::WriteTraffic(_) | ConnectionState::ReadTraffic(_)) => break,
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(err) => {
                // The alert that tells the far end why.
                farewell(&tcp, &mut connection);
                return Err(err);
            }
        }
        incoming.discard(discard);
        if wants_more {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tcp.set_read_timeout(Some(left))?;
            match incoming.receive(&tcp) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(err) => return Err(err),
            }
        }
    }
    let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
    let session = Session {
        connection,
        peer_closed: false,
        pending: Vec::new(),
    };
    let (reader, writer) = halves(tcp, Some(Mutex::new(session)), incoming);
    Ok((reader, writer, protocol))
}

fn halves(tcp: TcpStream, tls: Option<Mutex<Session>>, incoming: Incoming) -> (Reader, Writer) {
    let shared = Arc::new(Shared { tcp, tls });
    let reader = Reader {
        shared: shared.clone(),
        incoming,
        rest: Vec::new(),
        rest_at: 0,
    };
    let writer = Writer {
        shared,
        outgoing: Vec::new(),
    };
    (reader, writer)
}

impl Reader {
    /// Reads what has come, waiting for at least a byte.
    ///
    /// `Ok(0)` is an orderly end. `WouldBlock` says that nothing came within
    /// [`Reader::patience`]; `UnexpectedEof`, that the far end went away
    /// without saying so.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.shared.tls else {
            return (&self.shared.tcp).read(out);
        };
        if self.rest_at < self.rest.len() {
            let n = out.len().min(self.rest.len() - self.rest_at);
            out[..n].copy_from_slice(&self.rest[self.rest_at..self.rest_at + n]);
            self.rest_at += n;
            return Ok(n);
        }
        loop {
            let (n, ended) = {
                let mut session = lock(tls);
                let n = session.decrypt(&mut self.incoming, out, &mut self.rest)?;
                (n, session.peer_closed)
            };
            self.rest_at = 0;
            if n > 0 || ended || out.is_empty() {
                return Ok(n);
            }
            if self.incoming.receive(&self.shared.tcp)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// How long a read may wait before it answers `WouldBlock`; `None`: for ever.
    pub fn patience(&self, limit: Option<Duration>) -> io::Result<()> {
        self.shared.tcp.set_read_timeout(limit)
    }

    /// Notices a far end that is gone without a word, and keeps what is on the
    /// way from forgetting a connection that is silent for long.
    pub fn keep_alive(&self) {
        alive::keep_alive(self.shared.tcp.as_fd(), KEPT_ALIVE);
    }

    /// Notices soon that what was sent reaches nobody. Only where the far end
    /// never stops reading for long.
    pub fn hurry(&self) {
        alive::give_up_after(self.shared.tcp.as_fd(), GIVEN_UP);
    }

    /// The version of TLS that is spoken.
    pub fn version(&self) -> Option<&'static str> {
        let session = lock(self.shared.tls.as_ref()?);
        session.connection.protocol_version()?.as_str()
    }

    /// Whether nothing has come that was not read, not even an end.
    pub fn is_quiet(&self) -> bool {
        self.rest_at == self.rest.len()
            && self.incoming.is_empty()
            && sys::is_quiet(self.shared.tcp.as_fd())
    }

    /// Gives buffers back, for a connection that will be idle.
    pub fn rest(&mut self) {
        self.incoming.rest();
        self.rest = Vec::new();
        self.rest_at = 0;
    }

    /// Ends the connection under both halves, whatever they are doing.
    pub fn abort(&self) {
        self.aborter().abort();
    }

    /// What ends it from another thread.
    pub fn aborter(&self) -> Aborter {
        Aborter(self.shared.clone())
    }
}

/// Ends a connection from outside, whatever its halves are doing.
#[derive(Clone)]
pub struct Aborter(Arc<Shared>);

impl Aborter {
    /// Ends it.
    pub fn abort(&self) {
        let _ = self.0.tcp.shutdown(Shutdown::Both);
    }
}

impl Writer {
    /// Sends all of `data`.
    pub fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.shared.tls else {
            return (&self.shared.tcp).write_all(data);
        };
        // A few records at a time, so that a large write does not need a
        // large buffer.
        for piece in data.chunks(4 * RECORD) {
            self.outgoing.clear();
            {
                let mut session = lock(tls);
                self.outgoing.append(&mut session.pending);
                session.with_traffic(&mut self.outgoing, |traffic, outgoing| {
                    let overhead = (1 + piece.len() / RECORD) * OVERHEAD;
                    encode(outgoing, piece.len() + overhead, |buffer| {
                        traffic.encrypt(piece, buffer)
                    })
                })?;
            }
            (&self.shared.tcp).write_all(&self.outgoing)?;
        }
        if self.outgoing.capacity() > 2 * RECORD {
            self.outgoing = Vec::new();
        }
        Ok(())
    }

    /// Says that nothing more will be sent; the other direction goes on.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &self.shared.tls {
            self.outgoing.clear();
            {
                let mut session = lock(tls);
                session.with_traffic(&mut self.outgoing, |traffic, outgoing| {
                    encode(outgoing, SMALLEST, |buffer| {
                        traffic.queue_close_notify(buffer)
                    })
                })?;
            }
            (&self.shared.tcp).write_all(&self.outgoing)?;
        }
        self.shared.tcp.shutdown(Shutdown::Write)
    }
}

impl Session {
    /// Decrypts as many records as fit `out`; one that fits only in part
    /// leaves its end in `rest`.
    fn decrypt(
        &mut self,
        incoming: &mut Incoming,
        out: &mut [u8],
        rest: &mut Vec<u8>,
    ) -> io::Result<usize> {
        rest.clear();
        let mut n = 0;
        while !incoming.is_empty() && !self.peer_closed {
            let status = self.connection.process_tls_records(incoming.filled());
            let mut discard = status.discard;
            let mut idle = false;
            match status.state.map_err(tls_error)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(tls_error)?;
                        discard += record.discard;
                        let fits = record.payload.len().min(out.len() - n);
                        out[n..n + fits].copy_from_slice(&record.payload[..fits]);
                        rest.extend_from_slice(&record.payload[fits..]);
                        n += fits;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut self.pending, SMALLEST, |buffer| data.encode(buffer))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed | ConnectionState::Closed => self.peer_closed = true,
                _ => idle = true,
            }
            incoming.discard(discard);
            if idle || out.len() - n < RECORD {
                break;
            }
        }
        Ok(n)
    }

    fn with_traffic(
        &mut self,
        outgoing: &mut Vec<u8>,
        f: impl FnOnce(
            &mut WriteTraffic<'_, rustls::client::ClientConnectionData>,
            &mut Vec<u8>,
        ) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let status = self.connection.process_tls_records(&mut []);
            match status.state.map_err(tls_error)? {
                ConnectionState::WriteTraffic(mut traffic) => return f(&mut traffic, outgoing),
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(outgoing, SMALLEST, |buffer| data.encode(buffer))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.peer_closed = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

/// Cipher text that has come and was not decrypted yet.
#[derive(Default)]
struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn filled(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn discard(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// One receive, for as much as there is room; the room grows with what
    /// comes.
    fn receive(&mut self, mut tcp: &TcpStream) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let larger = (2 * self.buffer.len()).clamp(SMALLEST, LARGEST.max(self.end + SMALLEST));
            lengthen(&mut self.buffer, larger);
        }
        let n = loop {
            match tcp.read(&mut self.buffer[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        self.end += n;
        Ok(n)
    }

    fn rest(&mut self) {
        if self.is_empty() {
            self.buffer = Vec::new();
        }
    }
}

/// Calls `f` with `room` at the end of `outgoing`, and again with more of it
/// when it says how much it needs.
fn encode<E: TooSmall>(
    outgoing: &mut Vec<u8>,
    mut room: usize,
    mut f: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let before = outgoing.len();
    loop {
        lengthen(outgoing, before + room);
        match f(&mut outgoing[before..]) {
            Ok(n) => {
                outgoing.truncate(before + n);
                return Ok(());
            }
            Err(err) => {
                room = err
                    .required()
                    .ok_or_else(|| io::Error::other("TLS state"))?
            }
        }
    }
}

/// The errors of rustls that ask for a larger buffer.
trait TooSmall {
    fn required(&self) -> Option<usize>;
}

impl TooSmall for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            EncodeError::InsufficientSize(info) => Some(info.required_size),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl TooSmall for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            EncryptError::InsufficientSize(info) => Some(info.required_size),
            EncryptError::EncryptExhausted => None,
        }
    }
}

/// Sends what rustls still has to say after an error: an alert.
fn farewell(mut tcp: &TcpStream, connection: &mut UnbufferedClientConnection) {
    let mut outgoing = Vec::new();
    if let Ok(ConnectionState::EncodeTlsData(mut data)) =
        connection.process_tls_records(&mut []).state
        && encode(&mut outgoing, SMALLEST, |buffer| data.encode(buffer)).is_ok()
    {
        let _ = tcp.write_all(&outgoing);
    }
}

fn tls_error(err: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

fn lock(tls: &Mutex<Session>) -> MutexGuard<'_, Session> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most plain text one TLS record carries (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;
/// At least what TLS adds to that: header, type and tag, or an explicit nonce.
const OVERHEAD: usize = 32;
/// The receive buffer's first size, and its largest.
const SMALLEST: usize = 4 * 1024;
const LARGEST: usize = 64 * 1024;
/// Seconds between two signs of life; networks forget after ten minutes.
const KEPT_ALIVE: i32 = 60;
/// Seconds until what was sent is known to be lost.
const GIVEN_UP: i32 = 30;
