//! A request's body on its way up, in a thread of its own.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::{BadChunk, Body};
use super::input::Input;
use crate::proxy::upstream::{Aborter, Writer};

/// The job, and what came of it.
pub struct Upload<'a> {
    tcp: &'a TcpStream,
    aborter: Aborter,
    work: Mutex<Work>,
    outcome: Mutex<Option<Uploaded>>,
    ended: Condvar,
    /// The last bytes are being sent.
    ending: AtomicBool,
    draining: AtomicBool,
}

struct Work {
    input: Input,
    body: Body,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// All of it went up.
    Complete,
    /// The upstream took no more; its answer may be there all the same.
    Refused,
    /// What the client sent was no body.
    Bad(BadChunk),
    ClientGone,
}

impl<'a> Upload<'a> {
    /// `input` holds what has come of the body already.
    pub fn new(tcp: &'a TcpStream, input: Input, body: Body, aborter: Aborter) -> Upload<'a> {
        Upload {
            tcp,
            aborter,
            work: Mutex::new(Work { input, body }),
            outcome: Mutex::new(None),
            ended: Condvar::new(),
            ending: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// Sends the head and the body after it.
    pub fn run(&self, head: &[u8], writer: &mut Writer) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match writer.write_all(head) {
            Ok(()) => self.send(&mut work, writer),
            Err(_) => Uploaded::Refused,
        };
        if matches!(outcome, Uploaded::Bad(_) | Uploaded::ClientGone) {
            // Wakes the thread that waits for an answer none will give.
            self.aborter.abort();
        }
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.ended.notify_all();
        if outcome == Uploaded::Refused {
            work.drain(self.tcp, &self.draining);
        }
    }

    fn send(&self, work: &mut Work, writer: &mut Writer) -> Uploaded {
        loop {
            let bytes = work.input.bytes();
            if !bytes.is_empty() {
                let (n, done) = match work.body.take(bytes, |_| {}) {
                    Ok(taken) => taken,
                    Err(bad) => return Uploaded::Bad(bad),
                };
                if done {
                    self.ending.store(true, Ordering::Relaxed);
                }
                let sent = writer.write_all(&bytes[..n]);
                work.input.consume(n);
                if sent.is_err() {
                    return Uploaded::Refused;
                }
                if done {
                    return Uploaded::Complete;
                }
            }
            match work.input.fill(self.tcp) {
                Ok(0) => return Uploaded::ClientGone,
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    if self.draining.load(Ordering::Relaxed) {
                        return Uploaded::Refused;
                    }
                }
                Err(_) => return Uploaded::ClientGone,
            }
        }
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Uploaded> {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all of it went up.
    ///
    /// An answer to the last bytes may be here before their sender is back
    /// from sending them; that is worth a moment, as it decides whether both
    /// connections live on.
    pub fn is_complete(&self) -> bool {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ending.load(Ordering::Relaxed) {
            let wait = self
                .ended
                .wait_timeout_while(outcome, MOMENT, |outcome| outcome.is_none());
            outcome = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        *outcome == Some(Uploaded::Complete)
    }

    /// From now on the client is only heard out, and not for long.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// What came after the body.
    pub fn into_input(self) -> Input {
        let work = self.work.into_inner();
        work.unwrap_or_else(PoisonError::into_inner).input
    }
}

impl Work {
    /// Reads what nobody wants any more: the client reads our answer only
    /// when it is done sending, and a close would take the answer from it.
    fn drain(&mut self, tcp: &TcpStream, draining: &AtomicBool) {
        let mut since = None;
        loop {
            let n = self.input.bytes().len();
            self.input.consume(n);
            match self.input.fill(tcp) {
                Ok(0) => return,
                Err(err) if err.kind() != io::ErrorKind::WouldBlock => return,
                got => {
                    if draining.load(Ordering::Relaxed) {
                        let since = *since.get_or_insert_with(Instant::now);
                        if got.is_err() || since.elapsed() > LONGEST_DRAIN {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// How long the last bytes of a body may take after their answer is there.
const MOMENT: Duration = Duration::from_millis(100);
/// How long a client is heard out that does not stop sending.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);
