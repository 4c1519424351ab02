//! An established connection to an upstream, with TLS or without: a half that receives and a half that sends.
//!
//! Two threads may use the halves. Neither waits for the other's system calls: the TLS session is locked only while it
//! encrypts or decrypts.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use crate::net::buffer::{self, Buffer};
use crate::sync::lock;
use crate::sys::net::{PollFd, send_nonblocking};
use crate::sys::tcp;
use crate::tls::{self, Established, TlsSession};

/// The half that receives.
pub struct Reader {
    shared: Arc<Shared>,
    /// Bytes from the socket. With TLS they are still encrypted; without it they are what is read.
    received: Buffer,
    /// With TLS: decrypted bytes that were not read yet.
    plaintext: Buffer,
    state: State,
}

/// What the upstream may still send.
#[derive(PartialEq)]
enum State {
    Open,
    /// The upstream sent close_notify, or FIN where there is no TLS.
    Closed,
    /// The upstream sent a fatal alert, or bytes that are not TLS. Every later read returns the error again.
    Failed(tls::Error),
}

/// The half that sends.
pub struct Writer {
    shared: Arc<Shared>,
}

/// What the halves share. A thread that locks both locks `outgoing` first.
struct Shared {
    tcp: TcpStream,
    /// Locked by either half while it encrypts or decrypts, and across no system call.
    tls: Option<Mutex<TlsSession>>,
    /// The records of one write; empty between writes. The thread that sends holds the lock until they are sent, so
    /// that records are sent in the order in which they were encrypted.
    outgoing: Mutex<Buffer>,
}

/// Returns the halves of a connection without TLS.
pub fn from_tcp(tcp: TcpStream) -> (Reader, Writer) {
    halves(tcp, None)
}

/// Returns the halves of a connection whose handshake is done.
pub fn from_tls(established: Established) -> (Reader, Writer) {
    let Established { tcp, session, received, plaintext, is_closed } = established;
    let (reader, writer) = halves(tcp, Some(Mutex::new(session)));
    let state = if is_closed { State::Closed } else { State::Open };
    (Reader { received, plaintext, state, ..reader }, writer)
}

fn halves(tcp: TcpStream, tls: Option<Mutex<TlsSession>>) -> (Reader, Writer) {
    let shared = Arc::new(Shared { tcp, tls, outgoing: Mutex::default() });
    let (received, plaintext) = (Buffer::default(), Buffer::default());
    (Reader { shared: shared.clone(), received, plaintext, state: State::Open }, Writer { shared })
}

impl Read for Reader {
    /// Reads what has come. `Ok(0)` is the orderly end.
    ///
    /// Blocks and fails as [`Reader::fill`] does.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let bytes = self.unread();
        let n = bytes.len().min(out.len());
        out[..n].copy_from_slice(&bytes[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl Reader {
    /// Receives until [`Reader::unread`] is not empty, or the upstream ended its direction in an orderly way.
    ///
    /// Blocks and fails as [`Reader::fill_more`] does.
    pub fn fill(&mut self) -> io::Result<()> {
        if self.unread().is_empty() {
            self.fill_more()?;
        }
        Ok(())
    }

    /// Receives more behind the bytes of [`Reader::unread`]. Returns how many came; 0 is the orderly end.
    ///
    /// Blocks: until a byte was decrypted, for the time of [`Reader::set_read_timeout`] in each receive.
    ///
    /// # Errors
    /// `WouldBlock` when the timeout passed, `UnexpectedEof` when the upstream closed without close_notify,
    /// `InvalidData` when it broke the TLS protocol or sent a fatal alert, and those of the socket.
    pub fn fill_more(&mut self) -> io::Result<usize> {
        let before = self.unread().len();
        while self.unread().len() == before && self.state != State::Closed {
            if self.receive()? == 0 {
                match self.shared.tls {
                    Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    None => self.state = State::Closed,
                }
            }
            self.decrypt();
        }
        Ok(self.unread().len() - before)
    }

    /// The bytes that were received and not consumed.
    pub fn unread(&self) -> &[u8] {
        match self.shared.tls {
            Some(_) => self.plaintext.bytes(),
            None => self.received.bytes(),
        }
    }

    /// Removes the first `n` bytes of [`Reader::unread`].
    pub fn consume(&mut self, n: usize) {
        match self.shared.tls {
            Some(_) => self.plaintext.consume(n),
            None => self.received.consume(n),
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        if let State::Failed(err) = &self.state {
            return Err(tls::io_error(err.clone()));
        }
        if self.received.bytes().len() >= buffer::MAX_LEN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut tcp = &self.shared.tcp;
        self.received.fill_with(|space| tcp.read(space))
    }

    /// Decrypts all whole records. What precedes an error is read before the error is returned, however the network
    /// splits the bytes.
    fn decrypt(&mut self) {
        let Some(tls) = &self.shared.tls else {
            return;
        };
        let decrypted = lock(tls).decrypt(&mut self.received, &mut self.plaintext);
        match decrypted {
            Ok(false) => {}
            Ok(true) => self.state = State::Closed,
            Err(err) => {
                self.state = State::Failed(err);
                self.shared.send_alert(tls);
            }
        }
    }

    /// Bounds how long a read waits before it fails with `WouldBlock`; `None`: forever.
    ///
    /// # Errors
    /// Those of `setsockopt`.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.tcp.set_read_timeout(timeout)
    }

    /// Turns TCP keepalive on: it detects an upstream that vanished, and keeps NAT entries of a silent connection.
    pub fn set_keepalive(&self) {
        tcp::set_keepalive(self.shared.tcp.as_fd(), KEEPALIVE_SECS);
    }

    /// Has the connection fail soon when the upstream does not acknowledge what was sent. Only for upstreams that
    /// never stop reading for long.
    pub fn set_user_timeout(&self) {
        tcp::set_user_timeout(self.shared.tcp.as_fd(), USER_TIMEOUT_SECS);
    }

    /// The version of TLS, as `TLS 1.3`; `None` without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        lock(self.shared.tls.as_ref()?).version()
    }

    /// Checks whether the upstream sent anything on a connection without a request. Messages of TLS itself do not
    /// count: a server may send session tickets at any time (RFC 8446 section 4.6.1).
    ///
    /// Mostly nothing has come, and then this is one system call of less than half a microsecond.
    ///
    /// Blocks: where a part of a record has come, until the rest of it has.
    pub fn check_idle(&mut self) -> IdleState {
        for _ in 0..MAX_IDLE_RECEIVES {
            match self.state {
                _ if !self.unread().is_empty() => return IdleState::Data,
                State::Open => {}
                State::Closed | State::Failed(_) => return IdleState::Closed,
            }
            if self.received.bytes().is_empty() && tcp::is_idle(self.shared.tcp.as_fd()) {
                return IdleState::Quiet;
            }
            match self.receive() {
                Ok(1..) => self.decrypt(),
                _ => return IdleState::Closed,
            }
        }
        IdleState::Data
    }

    /// Frees the buffers, for a connection that will be idle.
    pub fn release_buffers(&mut self) {
        self.received.release();
        self.plaintext.release();
        lock(&self.shared.outgoing).release();
    }

    /// Shuts the connection down in both directions: reads and writes of both halves return.
    pub fn shutdown(&self) {
        self.shutdown_handle().shutdown();
    }

    /// Returns a handle that shuts the connection down from another thread.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle(self.shared.clone())
    }
}

/// What [`Reader::check_idle`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleState {
    /// Nothing has come: the next bytes belong to the next request.
    Quiet,
    /// The upstream sent data that no request asked for.
    Data,
    /// The upstream closed the connection, or it broke.
    Closed,
}

/// Shuts a connection down while other threads use its halves.
#[derive(Clone)]
pub struct ShutdownHandle(Arc<Shared>);

impl ShutdownHandle {
    /// Shuts the connection down in both directions.
    pub fn shutdown(&self) {
        let _ = self.0.tcp.shutdown(Shutdown::Both);
    }

    /// Returns what to poll for the connection's end: ready when it was shut down, or broke.
    pub fn poll_fd(&self) -> PollFd {
        PollFd::errors(&self.0.tcp)
    }
}

impl Write for Writer {
    /// Sends all of `data`.
    ///
    /// Blocks: until the kernel has taken it.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.shared.tls else {
            (&self.shared.tcp).write_all(data)?;
            return Ok(data.len());
        };
        let mut outgoing = lock(&self.shared.outgoing);
        // In chunks, so that a large write does not need a buffer of its size.
        for chunk in data.chunks(buffer::MAX_LEN) {
            let encrypted = lock(tls).encrypt(chunk, &mut outgoing);
            self.shared.send(&mut outgoing, encrypted)?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Ends the direction to the upstream: close_notify (RFC 8446 section 6.1) and FIN. The other direction stays open.
    ///
    /// # Errors
    /// Those of the socket and of the TLS session.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        if let Some(tls) = &self.shared.tls {
            let mut outgoing = lock(&self.shared.outgoing);
            let encrypted = lock(tls).close_notify(&mut outgoing);
            self.shared.send(&mut outgoing, encrypted)?;
        }
        self.shared.tcp.shutdown(Shutdown::Write)
    }
}

impl Shared {
    /// Sends all of `outgoing`, also where `encrypted` is an error: then its last record is the alert.
    fn send(&self, outgoing: &mut Buffer, encrypted: Result<(), tls::Error>) -> io::Result<()> {
        let sent = (&self.tcp).write_all(outgoing.bytes());
        outgoing.clear();
        encrypted.map_err(tls::io_error)?;
        sent
    }

    /// Sends the alert that is queued in the session, as far as the socket takes it without blocking. While the other
    /// thread writes, it does nothing: that thread's next write takes the alert along.
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

/// How often [`Reader::check_idle`] receives: far more often than the session tickets take that a server sends after
/// the handshake.
const MAX_IDLE_RECEIVES: usize = 16;

/// Seconds of silence before a TCP keepalive probe. Networks forget idle connections after ten minutes.
const KEEPALIVE_SECS: u32 = 60;

/// Seconds until unacknowledged data ends the connection (TCP_USER_TIMEOUT).
const USER_TIMEOUT_SECS: u32 = 30;

#[cfg(test)]
mod tests;
