//! stderr, for lines that must not wait for whoever reads it.
//!
//! The application has the same stderr. O_NONBLOCK is a property of the open
//! file that both share, and an application that did not ask for it would lose
//! lines: it is not set there. A pipe and a terminal are opened a second time
//! for runsd alone; a socket takes the wish with each call; a file never waits.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use crate::sys::net::{PollFd, poll, send_nonblocking};
use crate::sys::splice::Splicer;

/// How a line gets out.
pub struct Stderr {
    way: Way,
    /// What is left of a line of which only a part could be written.
    rest: Vec<u8>,
    /// Lines that could not be written since the last one that was.
    dropped: u64,
}

enum Way {
    /// A file, or a device that is no terminal: a write does not wait.
    Plain(File),
    /// A pipe or terminal, opened a second time with O_NONBLOCK.
    Reopened(File),
    Socket(File),
    /// A pipe that cannot be opened, as without /proc or by another user.
    Spliced(File, Splicer),
    /// A terminal that cannot be opened: written to when it has room, and no
    /// more at once than it then takes. Where the application fills it in the
    /// same moment, a line waits for it.
    Shared(File),
}

impl Stderr {
    /// Looks at what stderr is; `None` where it is closed.
    pub fn open() -> Option<Stderr> {
        let stderr = io::stderr();
        let file = File::from(stderr.as_fd().try_clone_to_owned().ok()?);
        let kind = file.metadata().ok()?.file_type();
        let way = if kind.is_socket() {
            Way::Socket(file)
        } else if kind.is_fifo() || stderr.is_terminal() {
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            let again = OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/2");
            match again {
                Ok(again) => Way::Reopened(again),
                Err(_) if kind.is_fifo() => match Splicer::new() {
                    Ok(splicer) => Way::Spliced(file, splicer),
                    Err(_) => Way::Shared(file),
                },
                Err(_) => Way::Shared(file),
            }
        } else {
            Way::Plain(file)
        };
        Some(Stderr { way, rest: Vec::new(), dropped: 0 })
    }

    /// Writes a line, or drops it where stderr takes nothing for a moment. Once
    /// it did so, lines do not even wait for the moment until one got out;
    /// `notice` then makes a line of how many did not.
    pub fn write(&mut self, line: &str, notice: impl FnOnce(u64) -> String) {
        if self.dropped > 0 || !self.rest.is_empty() {
            self.catch_up(notice);
        }
        let patience = match self.dropped {
            0 => MOMENT,
            _ => Duration::ZERO,
        };
        // A line that follows another in one piece is not begun before its end.
        if self.dropped > 0 || !self.rest.is_empty() || !self.put(line.as_bytes(), patience) {
            self.dropped += 1;
        }
    }

    /// Says how many lines were dropped, if any were and it can be said.
    pub fn catch_up(&mut self, notice: impl FnOnce(u64) -> String) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() && !self.put(&rest, Duration::ZERO) {
            self.rest = rest;
        }
        if self.dropped > 0 && self.rest.is_empty() {
            let dropped = self.dropped;
            if self.put(notice(dropped).as_bytes(), Duration::ZERO) {
                self.dropped = 0;
            }
        }
    }

    /// Whether `bytes` got out: all of them, or a part, of which the rest is kept.
    fn put(&mut self, bytes: &[u8], patience: Duration) -> bool {
        let mut deadline = None;
        let mut left = bytes;
        while !left.is_empty() {
            match self.way.write(left) {
                Ok(count) => left = &left[count..],
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert(now + patience);
                    if now >= deadline {
                        break;
                    }
                    self.way.wait(deadline - now);
                }
                // Nobody is left to tell, and nobody waits for the line.
                Err(_) => return true,
            }
        }
        if left.len() < bytes.len() {
            self.rest = left.to_vec();
        }
        left.len() < bytes.len()
    }
}

impl Way {
    /// Writes what can be written at once; `WouldBlock` where nothing can.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Way::Plain(file) | Way::Reopened(file) => (&*file).write(bytes),
            Way::Socket(socket) => send_nonblocking(socket.as_fd(), bytes),
            Way::Spliced(file, splicer) => match splicer.write(file.as_fd(), bytes) {
                Err(err) if has_no_splice(&err) => self.write_with_room(file, bytes),
                written => written,
            },
            Way::Shared(file) => self.write_with_room(file, bytes),
        }
    }

    fn write_with_room(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        match self.wait(Duration::ZERO) {
            true => file.write(&bytes[..bytes.len().min(libc::PIPE_BUF)]),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits until there is room, `patience` at most; whether there is.
    fn wait(&self, patience: Duration) -> bool {
        let (Way::Plain(file) | Way::Reopened(file) | Way::Socket(file) | Way::Spliced(file, _) | Way::Shared(file)) =
            self;
        let mut room = [PollFd::writable(file)];
        poll(&mut room, Some(patience)).is_ok() && room[0].is_ready()
    }
}

/// Whether a sandbox lacks the call, or this use of it.
fn has_no_splice(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied | ErrorKind::Unsupported)
}

/// What a line waits for a reader that is busy: longer than a reader on a
/// crowded CPU is away, and nothing that a request or a signal would feel.
const MOMENT: Duration = Duration::from_millis(50);
