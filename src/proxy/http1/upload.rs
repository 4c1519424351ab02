//! A request's body on its way up, in a thread of its own.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::body::ChunkError;
use super::head::Framing;
use crate::proxy::http1::request_body::RequestBody;
use crate::sync::lock;
use crate::sys::net::{PollFd, poll};
use crate::upstream::{ShutdownHandle, Writer};

/// What the thread that sends the body and the one that reads the answer know
/// of each other.
pub struct Upload<'a> {
    tcp: &'a TcpStream,
    /// The body is a small one.
    is_small: bool,
    aborter: ShutdownHandle,
    /// Written once, by the thread that sends.
    outcome: Mutex<Option<Uploaded>>,
    ended: Condvar,
    /// The last bytes are being sent.
    ending: AtomicBool,
    /// Written by the thread that reads the answer: no more is to be sent.
    stopped: AtomicBool,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// All of it went up.
    Complete,
    /// The upstream took no more; its answer may be there all the same.
    UpstreamStopped,
    /// What the client sent was no body.
    Bad(ChunkError),
    ClientGone,
}

impl<'a> Upload<'a> {
    /// `framing` is that of the request.
    pub fn new(tcp: &'a TcpStream, framing: Framing, aborter: ShutdownHandle) -> Upload<'a> {
        Upload {
            tcp,
            is_small: matches!(framing, Framing::Length(..=SMALL)),
            aborter,
            outcome: Mutex::new(None),
            ended: Condvar::new(),
            ending: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    /// Sends the head and the body after it.
    ///
    /// Blocks: until the body's end, an error, or [`Upload::stop`].
    pub fn run(&self, head: &[u8], body: &mut RequestBody, writer: &mut Writer) {
        let outcome = match self.send(head, body, writer) {
            Ok(()) => Uploaded::Complete,
            Err(why) => why,
        };
        *lock(&self.outcome) = Some(outcome);
        self.ended.notify_all();
        if matches!(outcome, Uploaded::Bad(_) | Uploaded::ClientGone) {
            // Wakes the thread that waits for an answer none will give; it
            // finds the reason.
            self.aborter.abort();
        }
        if outcome == Uploaded::UpstreamStopped {
            self.discard(body);
        }
    }

    fn send(&self, head: &[u8], body: &mut RequestBody, writer: &mut Writer) -> Result<(), Uploaded> {
        writer.write_all(&[head, body.bytes()].concat()).map_err(|_| Uploaded::UpstreamStopped)?;
        body.advance();
        while !body.is_whole() {
            self.receive(body)?;
            body.scan().map_err(Uploaded::Bad)?;
            if body.is_whole() {
                self.ending.store(true, Ordering::Relaxed);
            }
            let sent = writer.write_all(body.bytes());
            body.advance();
            sent.map_err(|_| Uploaded::UpstreamStopped)?;
        }
        Ok(())
    }

    /// Waits for more of the body, unless the upstream is gone.
    fn receive(&self, body: &mut RequestBody) -> Result<(), Uploaded> {
        while !self.stopped.load(Ordering::Relaxed) {
            match body.fill_now(self.tcp) {
                Ok(0) => return Err(Uploaded::ClientGone),
                Ok(_) => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Uploaded::ClientGone),
            }
            let mut waits = [PollFd::readable(self.tcp), self.aborter.wait()];
            let _ = poll(&mut waits, Some(PAUSE));
            if waits[1].is_ready() {
                break;
            }
        }
        Err(Uploaded::UpstreamStopped)
    }

    /// Reads what nobody wants any more until the answer is through: some
    /// clients read it only when they are done sending.
    fn discard(&self, body: &mut RequestBody) {
        while !self.stopped.load(Ordering::Relaxed) {
            match body.fill_now(self.tcp) {
                Ok(0) => return,
                Ok(_) if body.scan().is_err() || body.is_whole() => return,
                Ok(_) => body.advance(),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::readable(self.tcp)], Some(PAUSE));
                }
                Err(_) => return,
            }
        }
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Uploaded> {
        *lock(&self.outcome)
    }

    /// Whether all of it went up.
    ///
    /// An answer to the last bytes may be here before their sender is back
    /// from sending them; that is worth a moment, as it decides whether both
    /// connections live on.
    pub fn is_complete(&self) -> bool {
        self.is_complete_within(Duration::ZERO)
    }

    /// The same at an answer's head, with which the client learns whether its
    /// connection lives on.
    ///
    /// Many clients write a head and then its body, and many services answer
    /// without reading one: the rest of a small body may be here at once.
    pub fn is_complete_soon(&self) -> bool {
        self.is_complete_within(match self.is_small {
            true => SOON,
            false => Duration::ZERO,
        })
    }

    fn is_complete_within(&self, wait: Duration) -> bool {
        let outcome = lock(&self.outcome);
        let wait = match self.ending.load(Ordering::Relaxed) {
            true => MOMENT,
            false => wait,
        };
        let waited = self.ended.wait_timeout_while(outcome, wait, |outcome| outcome.is_none());
        let outcome = waited.unwrap_or_else(PoisonError::into_inner).0;
        *outcome == Some(Uploaded::Complete)
    }

    /// The upstream has said what it had to say: no more is sent to it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Also wakes the thread that sends.
        self.aborter.abort();
    }
}

/// How long the last bytes of a body may take after their answer is there.
const MOMENT: Duration = Duration::from_millis(100);
/// How long an early answer may wait for the rest of a small body. A client
/// that is still busy sending it takes far less; one that has paused loses no
/// more than that.
const SOON: Duration = Duration::from_millis(10);
/// The largest body that is small, in bytes.
const SMALL: u64 = 64 * 1024;
/// How long it takes at most until a stop is noticed that wakes nobody.
const PAUSE: Duration = Duration::from_millis(50);
