//! Bytes to and from the far end, through TLS or without it.
//!
//! The two halves may be used by two threads. Each has its own key and its own
//! buffers, so neither ever waits for the other.

use std::io::{self, IoSlice, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::cipher::OutboundChunks;

use super::incoming::Incoming;
use super::record::{Keys, Opened, Opener, RECORD, Sealer};
use crate::sys::net::Wait;
use crate::sys::{self, alive};

/// The half that receives.
pub struct Reader {
    shared: Arc<Shared>,
    opener: Option<Opener>,
    incoming: Incoming,
    /// The far end said that nothing more will come.
    ended: bool,
}

/// The half that sends.
pub struct Writer {
    shared: Arc<Shared>,
    sealer: Option<Sealer>,
    /// Records of one write; empty between writes.
    records: Vec<Vec<u8>>,
}

struct Shared {
    tcp: TcpStream,
    tls: Option<Tls>,
}

struct Tls {
    keys: Keys,
    version: Option<&'static str>,
}

/// Halves of a connection without TLS.
pub fn plain(tcp: TcpStream) -> (Reader, Writer) {
    halves(tcp, None, Incoming::default())
}

/// Halves of a connection; `tls` is what a handshake left.
pub fn halves(
    tcp: TcpStream,
    tls: Option<(Keys, Opener, Sealer, Option<&'static str>)>,
    incoming: Incoming,
) -> (Reader, Writer) {
    let (tls, opener, sealer) = match tls {
        Some((keys, opener, sealer, version)) => {
            (Some(Tls { keys, version }), Some(opener), Some(sealer))
        }
        None => (None, None, None),
    };
    let shared = Arc::new(Shared { tcp, tls });
    let reader = Reader {
        shared: shared.clone(),
        opener,
        incoming,
        ended: false,
    };
    let writer = Writer {
        shared,
        sealer,
        records: Vec::new(),
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
        self.fill()?;
        let mut n = 0;
        for piece in self.incoming.plain() {
            let fits = piece.len().min(out.len() - n);
            out[n..n + fits].copy_from_slice(&piece[..fits]);
            n += fits;
            if n == out.len() {
                break;
            }
        }
        self.incoming.consume(n);
        Ok(n)
    }

    /// Waits until [`Reader::pieces`] has something, unless it is the end;
    /// errors as those of [`Reader::read`].
    pub fn fill(&mut self) -> io::Result<()> {
        while self.incoming.plain().next().is_none() && !self.ended {
            self.open()?;
            if self.incoming.plain().next().is_some() || self.ended {
                break;
            }
            if self.incoming.receive(&self.shared.tcp)? == 0 {
                match self.opener {
                    Some(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    None => self.ended = true,
                }
            }
        }
        Ok(())
    }

    /// What has come and was not used, where it stands.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.incoming.plain()
    }

    /// The first `n` bytes of it are used.
    pub fn consume(&mut self, n: usize) {
        self.incoming.consume(n);
    }

    /// Opens all records that are here.
    fn open(&mut self) -> io::Result<()> {
        let (Some(opener), Some(tls)) = (&mut self.opener, &self.shared.tls) else {
            self.incoming.open_all();
            return Ok(());
        };
        while !self.ended {
            let opened = opener.open(self.incoming.sealed(), &tls.keys);
            let Some((n, opened)) = opened.map_err(tls_error)? else {
                break;
            };
            match opened {
                Opened::Data(place) => self.incoming.opened(n, place),
                Opened::Nothing => self.incoming.discard(n),
                Opened::End => {
                    self.incoming.discard(n);
                    self.ended = true;
                }
            }
        }
        Ok(())
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
        self.shared.tls.as_ref()?.version
    }

    /// Looks whether anything has come that nobody asked for. What TLS says
    /// for itself is none of that: in TLS 1.3 tickets come when they like.
    ///
    /// One system call where nothing has come, which is nearly always; it takes
    /// less than half a microsecond, a request some twenty. Blocks:
    /// where half a record is here, for the rest of it.
    pub fn look(&mut self) -> Found {
        for _ in 0..LOOKS {
            match self.open() {
                Err(_) => return Found::End,
                Ok(()) if self.incoming.plain().next().is_some() => return Found::Bytes,
                Ok(()) if self.ended => return Found::End,
                Ok(()) => {}
            }
            if self.incoming.is_empty() && sys::is_quiet(self.shared.tcp.as_fd()) {
                return Found::Nothing;
            }
            match self.incoming.receive(&self.shared.tcp) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Found::End,
            }
        }
        Found::Bytes
    }

    /// Gives buffers back, for a connection that will be idle.
    pub fn rest(&mut self) {
        self.incoming.rest();
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
pub struct Aborter(Arc<Shared>);

impl Aborter {
    /// Ends it.
    pub fn abort(&self) {
        let _ = self.0.tcp.shutdown(Shutdown::Both);
    }

    /// Waits until it was ended, or is broken.
    pub fn wait(&self) -> Wait {
        Wait::broken(&self.0.tcp)
    }
}

impl Writer {
    /// Sends all of `data`.
    pub fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.write_parts(&[data])
    }

    /// Sends all of these, one after the other, as if they were one.
    pub fn write_parts(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let (Some(sealer), Some(tls)) = (&mut self.sealer, &self.shared.tls) else {
            return send(&self.shared.tcp, parts.iter().copied());
        };
        let mut left = OutboundChunks::new(parts);
        while !left.is_empty() {
            // A few records at a time, so that a large write does not need
            // much memory.
            while !left.is_empty() && self.records.len() < RECORDS {
                let (piece, rest) = left.split_at(RECORD);
                let sealed = sealer.seal(piece, &tls.keys, &mut self.records);
                sealed.map_err(tls_error)?;
                left = rest;
            }
            let sent = send(&self.shared.tcp, self.records.iter().map(Vec::as_slice));
            self.records.clear();
            sent?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent; the other direction goes on.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(sealer) = &mut self.sealer {
            let record = sealer.farewell().map_err(tls_error)?;
            (&self.shared.tcp).write_all(&record)?;
        }
        self.shared.tcp.shutdown(Shutdown::Write)
    }
}

/// Sends all of these with as few system calls as the socket allows.
pub fn send<'a>(mut tcp: &TcpStream, parts: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let mut parts = parts.into_iter().filter(|part| !part.is_empty());
    loop {
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&mut parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        match &mut slices[..count] {
            [] => return Ok(()),
            [one] => tcp.write_all(one)?,
            mut many => {
                while !many.is_empty() {
                    match tcp.write_vectored(many) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(n) => IoSlice::advance_slices(&mut many, n),
                        Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                        Err(err) => return Err(err),
                    }
                }
            }
        }
    }
}

/// rustls's own words, inside.
pub fn tls_error(err: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

/// How many records are sealed before they are sent.
const RECORDS: usize = 4;
/// How many pieces go with one system call.
const SLICES: usize = 16;

/// How often a look receives: far more than the few tickets that a server
/// sends after the handshake take.
const LOOKS: usize = 16;

/// Seconds between two signs of life; networks forget after ten minutes.
const KEPT_ALIVE: u32 = 60;
/// Seconds until what was sent is known to be lost.
const GIVEN_UP: u32 = 30;
