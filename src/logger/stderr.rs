//! stderr, without waiting for its reader.
//!
//! The application has the same stderr. O_NONBLOCK is a flag of the open file that both share, and an application that
//! did not ask for it would lose lines; so it is not set there. A pipe and a terminal are opened again, for runsd alone;
//! a socket takes the flag with each send(2); a file never blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::mem;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use crate::sys::net::{PollFd, poll, send_nonblocking};
use crate::sys::splice::Splicer;

/// The writer of lines. The thread that has it locked writes.
pub struct Stderr {
    output: Output,
    /// The end of a line of which a part was written; the next line comes after it.
    partial: Vec<u8>,
    /// Lines dropped since the last one that was written.
    dropped: u64,
}

/// What stderr is, and so how to write without blocking.
enum Output {
    /// A file, or a device that is not a terminal: write(2) does not block.
    File(File),
    /// A pipe or terminal, opened again with O_NONBLOCK.
    Reopened(File),
    Socket(File),
    /// A pipe that cannot be opened again, as without /proc or as another user's.
    Spliced(File, Splicer),
    /// A terminal that cannot be opened again: runsd writes when poll(2) reports space, and no more than fits then. A
    /// line waits where the application fills the space in the same moment.
    Shared(File),
}

impl Stderr {
    /// Looks at what stderr is; `None` where it is closed.
    pub fn open() -> Option<Stderr> {
        let stderr = io::stderr();
        let file = File::from(stderr.as_fd().try_clone_to_owned().ok()?);
        let file_type = file.metadata().ok()?.file_type();
        let output = if file_type.is_socket() {
            Output::Socket(file)
        } else if file_type.is_fifo() || stderr.is_terminal() {
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            match OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/2") {
                Ok(reopened) => Output::Reopened(reopened),
                Err(_) => match file_type.is_fifo().then(Splicer::new) {
                    Some(Ok(splicer)) => Output::Spliced(file, splicer),
                    _ => Output::Shared(file),
                },
            }
        } else {
            Output::File(file)
        };
        Some(Stderr { output, partial: Vec::new(), dropped: 0 })
    }

    /// Writes a line, or drops it.
    ///
    /// Blocks: until stderr takes the line, [`WRITE_TIMEOUT`] at most. Once a line was dropped the next ones are tried
    /// without waiting, until one is written; `notice` then makes a line of how many were dropped.
    pub fn write(&mut self, line: &str, notice: impl FnOnce(u64) -> String) {
        self.catch_up(notice);
        let timeout = match self.dropped {
            0 => WRITE_TIMEOUT,
            _ => Duration::ZERO,
        };
        if self.dropped > 0 || !self.partial.is_empty() || !self.try_write(line.as_bytes(), timeout) {
            self.dropped += 1;
        }
    }

    /// Writes, without waiting, the end of a partial line, and how many lines were dropped.
    pub fn catch_up(&mut self, notice: impl FnOnce(u64) -> String) {
        let partial = mem::take(&mut self.partial);
        if !partial.is_empty() && !self.try_write(&partial, Duration::ZERO) {
            self.partial = partial;
        }
        if self.dropped > 0
            && self.partial.is_empty()
            && self.try_write(notice(self.dropped).as_bytes(), Duration::ZERO)
        {
            self.dropped = 0;
        }
    }

    /// Returns whether `bytes` were written: all of them, or a part, whose end is saved in `partial`.
    fn try_write(&mut self, bytes: &[u8], timeout: Duration) -> bool {
        let mut deadline = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(len) => rest = &rest[len..],
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert(now + timeout);
                    if now >= deadline {
                        break;
                    }
                    self.output.wait_writable(deadline - now);
                }
                // The reader closed stderr: the line is done with.
                Err(_) => return true,
            }
        }
        if rest.len() < bytes.len() {
            self.partial = rest.to_vec();
        }
        rest.len() < bytes.len()
    }
}

impl Output {
    /// Writes the bytes that stderr takes at once; `WouldBlock` where it takes none.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::File(file) | Output::Reopened(file) => (&*file).write(bytes),
            Output::Socket(socket) => send_nonblocking(socket.as_fd(), bytes),
            Output::Spliced(file, splicer) => match splicer.write(file.as_fd(), bytes) {
                Err(err) if is_splice_unsupported(&err) => self.write_if_writable(file, bytes),
                written => written,
            },
            Output::Shared(file) => self.write_if_writable(file, bytes),
        }
    }

    fn write_if_writable(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        match self.wait_writable(Duration::ZERO) {
            true => file.write(&bytes[..bytes.len().min(libc::PIPE_BUF)]),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Returns whether there is space; waits `timeout` for it.
    fn wait_writable(&self, timeout: Duration) -> bool {
        let (Output::File(file)
        | Output::Reopened(file)
        | Output::Socket(file)
        | Output::Spliced(file, _)
        | Output::Shared(file)) = self;
        let mut fds = [PollFd::writable(file)];
        poll(&mut fds, Some(timeout)).is_ok() && fds[0].is_ready()
    }
}

/// Returns whether a sandbox lacks splice(2), or this use of it.
fn is_splice_unsupported(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied | ErrorKind::Unsupported)
}

/// How long a line waits for a reader: longer than a reader on a busy CPU is away, and nothing that a request or a
/// signal would feel.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);
