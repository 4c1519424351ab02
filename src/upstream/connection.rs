//! Bytes to and from the far end, through TLS or without it.
//!
//! The two halves may be used by two threads. Neither ever waits for the other's
//! socket call: rustls's connection is locked only while it computes.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use crate::net::buffer;
use crate::net::buffer::Buffer;
use crate::sync::lock;
use crate::sys::net::{PollFd, send_nonblocking};
use crate::sys::tcp;
use crate::tls::session::TlsSession;

/// The half that receives.
pub struct Reader {
    shared: Arc<Shared>,
    /// What was received and is not decrypted yet; without TLS there is no
    /// more to be done with it.
    received: Buffer,
    /// What is decrypted and was not read yet.
    plain: Buffer,
    state: State,
}

/// What the far end may still send.
#[derive(PartialEq)]
enum State {
    Open,
    /// The far end said that nothing more will come.
    Ended,
    /// What came was not TLS, or an alert; every later receive says so again.
    Broken(rustls::Error),
}

/// The half that sends.
pub struct Writer {
    shared: Arc<Shared>,
}

/// Where several are locked: `outgoing` first.
struct Shared {
    tcp: TcpStream,
    tls: Option<Mutex<TlsSession>>,
    /// Records of one write, empty between writes. The thread that sends has it locked, so
    /// that records go in the order they were encrypted in.
    outgoing: Mutex<Buffer>,
}

/// Halves of a connection without TLS.
pub fn plain(tcp: TcpStream) -> (Reader, Writer) {
    halves(tcp, None)
}

/// Halves of a connection whose handshake is done, and what came behind it;
/// `closed`: its end did, too.
pub fn encrypted(
    tcp: TcpStream,
    session: TlsSession,
    received: Buffer,
    plain: Buffer,
    closed: bool,
) -> (Reader, Writer) {
    let (reader, writer) = halves(tcp, Some(Mutex::new(session)));
    let reader = Reader { received, plain, state: if closed { State::Ended } else { State::Open }, ..reader };
    (reader, writer)
}

fn halves(tcp: TcpStream, tls: Option<Mutex<TlsSession>>) -> (Reader, Writer) {
    let shared = Arc::new(Shared { tcp, tls, outgoing: Mutex::default() });
    let reader =
        Reader { shared: shared.clone(), received: Buffer::default(), plain: Buffer::default(), state: State::Open };
    (reader, Writer { shared })
}

impl Reader {
    /// Reads what has come, waiting for at least a byte.
    ///
    /// `Ok(0)` is an orderly end. `WouldBlock` says that nothing came within
    /// [`Reader::patience`]; `UnexpectedEof`, that the far end went away
    /// without saying so.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let bytes = self.unread();
        let n = bytes.len().min(out.len());
        out[..n].copy_from_slice(&bytes[..n]);
        self.consume(n);
        Ok(n)
    }

    /// Waits until [`Reader::unread`] has something, unless it is the end;
    /// errors as those of [`Reader::read`].
    pub fn fill(&mut self) -> io::Result<()> {
        if self.unread().is_empty() {
            self.fill_more()?;
        }
        Ok(())
    }

    /// Waits for more behind what [`Reader::unread`] has; returns how many bytes came, or 0 at the end. Errors as those
    /// of [`Reader::read`].
    pub fn fill_more(&mut self) -> io::Result<usize> {
        let before = self.unread().len();
        while self.unread().len() == before && self.state != State::Ended {
            if self.receive()? == 0 {
                match self.shared.tls {
                    Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    None => self.state = State::Ended,
                }
            }
            self.decrypt();
        }
        Ok(self.unread().len() - before)
    }

    /// What has come and was not used.
    pub fn unread(&self) -> &[u8] {
        match self.shared.tls {
            Some(_) => self.plain.bytes(),
            None => self.received.bytes(),
        }
    }

    /// The first `n` bytes of it are used.
    pub fn consume(&mut self, n: usize) {
        match self.shared.tls {
            Some(_) => self.plain.consume(n),
            None => self.received.consume(n),
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        if let State::Broken(err) = &self.state {
            return Err(tls_error(err.clone()));
        }
        if self.received.bytes().len() >= buffer::MAX_LEN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut tcp = &self.shared.tcp;
        self.received.fill_with(|room| tcp.read(room))
    }

    /// Decrypts all records that are here. What was decrypted before an error
    /// is read before it, however the network cut them.
    fn decrypt(&mut self) {
        let Some(tls) = &self.shared.tls else {
            return;
        };
        let decrypted = lock(tls).decrypt(&mut self.received, &mut self.plain);
        match decrypted {
            Ok(false) => {}
            Ok(true) => self.state = State::Ended,
            Err(err) => {
                self.state = State::Broken(err);
                self.shared.send_alert(tls);
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
        tcp::set_keepalive(self.shared.tcp.as_fd(), KEPT_ALIVE);
    }

    /// Notices soon that what was sent reaches nobody. Only where the far end
    /// never stops reading for long.
    pub fn hurry(&self) {
        tcp::set_user_timeout(self.shared.tcp.as_fd(), GIVEN_UP);
    }

    /// The version of TLS that is spoken.
    pub fn version(&self) -> Option<&'static str> {
        lock(self.shared.tls.as_ref()?).version()
    }

    /// Looks whether anything has come that nobody asked for. What TLS says
    /// for itself is none of that: in TLS 1.3 tickets come when they like.
    ///
    /// One system call where nothing has come, which is nearly always; it takes
    /// less than half a microsecond, a request some twenty. Blocks:
    /// where half a record is here, for the rest of it.
    pub fn look(&mut self) -> Found {
        for _ in 0..LOOKS {
            match self.state {
                _ if !self.unread().is_empty() => return Found::Bytes,
                State::Open => {}
                State::Ended | State::Broken(_) => return Found::End,
            }
            if self.received.bytes().is_empty() && tcp::is_idle(self.shared.tcp.as_fd()) {
                return Found::Nothing;
            }
            match self.receive() {
                Ok(1..) => self.decrypt(),
                _ => return Found::End,
            }
        }
        Found::Bytes
    }

    /// Gives buffers back, for a connection that will be idle.
    pub fn rest(&mut self) {
        self.received.release();
        self.plain.release();
        lock(&self.shared.outgoing).release();
    }

    /// Ends the connection under both halves, whatever they are doing.
    pub fn abort(&self) {
        self.aborter().abort();
    }

    /// What ends it from another thread.
    pub fn aborter(&self) -> ShutdownHandle {
        ShutdownHandle(self.shared.clone())
    }
}

/// What a look at a silent connection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// The far end said something.
    Bytes,
    /// The far end closed it, or it broke.
    End,
}

/// Ends a connection from outside, whatever its halves are doing.
#[derive(Clone)]
pub struct ShutdownHandle(Arc<Shared>);

impl ShutdownHandle {
    /// Ends it.
    pub fn abort(&self) {
        let _ = self.0.tcp.shutdown(Shutdown::Both);
    }

    /// Waits until it was ended, or is broken.
    pub fn wait(&self) -> PollFd {
        PollFd::errors(&self.0.tcp)
    }
}

impl Shared {
    /// Sends all of `outgoing`, after an error, too: then it tells the peer.
    fn send(&self, outgoing: &mut Buffer, encrypted: Result<(), rustls::Error>) -> io::Result<()> {
        let sent = (&self.tcp).write_all(outgoing.bytes());
        outgoing.clear();
        encrypted.map_err(tls_error)?;
        sent
    }

    /// Sends what rustls has to say about what came, as far as it goes at once;
    /// unless the other thread is sending, whose next write has it with it.
    fn send_alert(&self, tls: &Mutex<TlsSession>) {
        let _sending = match self.outgoing.try_lock() {
            Ok(outgoing) => outgoing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let alert = mem::take(&mut lock(tls).queued);
        let _ = send_nonblocking(self.tcp.as_fd(), alert.bytes());
    }
}

impl Writer {
    /// Sends all of `data`.
    pub fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.shared.tls else {
            return (&self.shared.tcp).write_all(data);
        };
        let mut outgoing = lock(&self.shared.outgoing);
        // A piece at a time, so that a large write does not need much memory.
        for part in data.chunks(buffer::MAX_LEN) {
            let encrypted = lock(tls).encrypt(part, &mut outgoing);
            self.shared.send(&mut outgoing, encrypted)?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent; the other direction goes on.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &self.shared.tls {
            let mut outgoing = lock(&self.shared.outgoing);
            let encrypted = lock(tls).close_notify(&mut outgoing);
            self.shared.send(&mut outgoing, encrypted)?;
        }
        self.shared.tcp.shutdown(Shutdown::Write)
    }
}

/// rustls's own words, inside.
pub fn tls_error(err: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

/// How often a look receives: far more than the few tickets that a server
/// sends after the handshake take.
const LOOKS: usize = 16;

/// Seconds between two signs of life; networks forget after ten minutes.
const KEPT_ALIVE: u32 = 60;
/// Seconds until what was sent is known to be lost.
const GIVEN_UP: u32 = 30;
