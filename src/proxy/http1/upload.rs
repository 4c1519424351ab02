//! Sends the rest of a request's body from a thread of its own, while the connection's thread relays the response.
//!
//! A response may come before the body is sent, and then must not wait behind it (RFC 9112 section 9.5).
//!
//! ```text
//!           end of the body found              sent
//! Sending ──────────────────────▶ SendingLast ──────▶ Complete
//!    │                                │
//!    ├───────────────┬────────────────┴─┐
//!    │ malformed     │ the client       │ a write failed, the upstream is
//!    │ chunk         │ closed           │ shut down, or `stop` was called
//!    ▼               ▼                  ▼
//! Malformed      ClientGone       UpstreamClosed ──▶ drain: the body is read and dropped,
//!    │               │                               until its end or `stop`
//!    ▼               ▼
//! shuts the upstream down, which wakes the thread
//! that waits for a response
//! ```
//!
//! The connection's thread calls `stop` once the response is relayed. A client that sends its whole body before it
//! reads gets the response because of the drain.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::body::ChunkError;
use super::client::NonBlocking;
use super::head::Framing;
use super::input::RequestBody;
use crate::sync::{lock, wait_timeout_while};
use crate::sys::net::{PollFd, poll};
use crate::upstream::ShutdownHandle;

/// What the upload thread and the connection's thread share.
pub struct Upload<'a> {
    client: &'a TcpStream,
    upstream: ShutdownHandle,
    /// How long a response may wait for the rest of the body.
    grace: Duration,
    /// Written by the upload thread, read by the connection's thread.
    progress: Mutex<Progress>,
    /// Signalled when `progress` is [`Progress::Ended`].
    ended: Condvar,
    /// Written by the connection's thread, read by the upload thread.
    stopped: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The end of the body was not found.
    Sending,
    /// The last bytes of the body are being sent.
    SendingLast,
    /// Nothing more is sent.
    Ended(UploadOutcome),
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The whole body was sent.
    Complete,
    /// The upstream takes no more; its response may have come all the same.
    UpstreamClosed,
    /// What the client sent is not a body.
    Malformed(ChunkError),
    /// The client closed or reset its connection before the end of the body.
    ClientGone,
}

impl<'a> Upload<'a> {
    /// An upload that [`Upload::run`] starts. `framing` is that of the request.
    pub fn new(client: &'a TcpStream, framing: Framing, upstream: ShutdownHandle) -> Upload<'a> {
        let is_small = matches!(framing, Framing::Length(..=MAX_SMALL_BODY));
        Upload {
            client,
            upstream,
            grace: if is_small { SMALL_BODY_GRACE } else { Duration::ZERO },
            progress: Mutex::new(Progress::Sending),
            ended: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Sends `head_and_body`, whose end is what `body` has received, and then the rest of the body. For the upload
    /// thread.
    ///
    /// Blocks: until the body's end, an error, or [`Upload::stop`].
    pub fn run(&self, head_and_body: Vec<u8>, body: &mut RequestBody, writer: &mut impl Write) {
        let outcome = self.send(head_and_body, body, writer).err().unwrap_or(UploadOutcome::Complete);
        *lock(&self.progress) = Progress::Ended(outcome);
        self.ended.notify_all();
        match outcome {
            UploadOutcome::Complete => {}
            UploadOutcome::UpstreamClosed => self.drain(body),
            // Wakes the connection's thread, which waits for a response that will not come.
            UploadOutcome::Malformed(_) | UploadOutcome::ClientGone => self.upstream.shutdown(),
        }
    }

    fn send(
        &self,
        head_and_body: Vec<u8>,
        body: &mut RequestBody,
        writer: &mut impl Write,
    ) -> Result<(), UploadOutcome> {
        writer.write_all(&head_and_body).map_err(|_| UploadOutcome::UpstreamClosed)?;
        drop(head_and_body);
        body.advance();
        while !body.is_complete() {
            self.receive(body, true)?;
            body.scan().map_err(UploadOutcome::Malformed)?;
            if body.is_complete() {
                *lock(&self.progress) = Progress::SendingLast;
            }
            let sent = writer.write_all(body.bytes());
            body.advance();
            sent.map_err(|_| UploadOutcome::UpstreamClosed)?;
        }
        Ok(())
    }

    /// Waits for more of the body; no longer than the upstream is open if `watch_upstream`.
    fn receive(&self, body: &mut RequestBody, watch_upstream: bool) -> Result<(), UploadOutcome> {
        while !self.stopped.load(Ordering::Relaxed) {
            match body.fill(NonBlocking(self.client)) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => return Ok(()),
                Ok(0) | Err(_) => return Err(UploadOutcome::ClientGone),
            }
            let mut fds = vec![PollFd::readable(self.client)];
            if watch_upstream {
                fds.push(self.upstream.poll_fd());
            }
            let _ = poll(&mut fds, Some(STOP_INTERVAL));
            if fds.get(1).is_some_and(PollFd::is_ready) {
                break;
            }
        }
        Err(UploadOutcome::UpstreamClosed)
    }

    /// Reads and drops the body: some clients read a response only when they have sent all of it.
    fn drain(&self, body: &mut RequestBody) {
        while !body.is_complete() && self.receive(body, false).is_ok() && body.scan().is_ok() {
            body.advance();
        }
    }

    /// How the upload ended; `None` if it has not.
    pub fn outcome(&self) -> Option<UploadOutcome> {
        match *lock(&self.progress) {
            Progress::Ended(outcome) => Some(outcome),
            Progress::Sending | Progress::SendingLast => None,
        }
    }

    /// Whether the whole body was sent.
    ///
    /// Blocks: for [`LAST_BYTES_GRACE`] at most, if the last bytes are being sent. The response to them may be here
    /// before their thread is back from the system call, and both connections are reused only if the body was sent.
    pub fn is_complete(&self) -> bool {
        self.is_complete_within(Duration::ZERO)
    }

    /// The same when the response's head has come, which tells the client whether its connection is kept.
    ///
    /// Blocks: for [`SMALL_BODY_GRACE`] at most, if the body is small. Many clients send a head and then its body, and
    /// many services respond without reading that: its rest may come at once.
    pub fn is_complete_soon(&self) -> bool {
        self.is_complete_within(self.grace)
    }

    fn is_complete_within(&self, grace: Duration) -> bool {
        let progress = lock(&self.progress);
        let grace = if *progress == Progress::SendingLast { LAST_BYTES_GRACE } else { grace };
        let has_not_ended = |progress: &mut Progress| !matches!(progress, Progress::Ended(_));
        *wait_timeout_while(&self.ended, progress, grace, has_not_ended) == Progress::Ended(UploadOutcome::Complete)
    }

    /// Ends the upload, and the upstream's connection: the response is over, and nothing more is sent.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the upload thread from a write.
        self.upstream.shutdown();
    }
}

/// How long the last bytes of a body may take when their response is here: a system call on a busy machine.
const LAST_BYTES_GRACE: Duration = Duration::from_millis(100);
/// How long a response may wait for the rest of a small body. A client that is sending it takes far less; one that has
/// paused loses no more than this.
const SMALL_BODY_GRACE: Duration = Duration::from_millis(10);
/// The largest small body, in bytes: what a client sends in one write or a few.
const MAX_SMALL_BODY: u64 = 64 * 1024;
/// Bounds the time until the upload thread sees a `stop` that does not wake it.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
