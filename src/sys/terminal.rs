//! The controlling terminal, and which process group is in its foreground.
//!
//! SIGTTOU is blocked whenever these functions are called, so that a process in the background may change the
//! foreground group without being stopped (tcsetpgrp(3)).

#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use super::signal;

/// The controlling terminal, on a standard descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Terminal(BorrowedFd<'static>);

impl Terminal {
    /// Finds the controlling terminal on any of the descriptors 0 to 2: a pager reads a pipe on 0, and its keys from
    /// the terminal on 1.
    pub fn find() -> Option<Terminal> {
        let mut standard = [stdin(), stdout(), stderr()].into_iter().map(Terminal);
        standard.find(|terminal| terminal.foreground_group().is_some())
    }

    /// Returns the process group that may read, and that the terminal's keys signal; 0 where it is in another PID
    /// namespace, `None` where this is not, or no longer, the controlling terminal.
    pub fn foreground_group(self) -> Option<i32> {
        match tcgetpgrp(self.0) {
            Ok(group) => Some(group.as_raw_pid()),
            // What rustix makes of 0.
            Err(Errno::OPNOTSUPP) => Some(0),
            Err(_) => None,
        }
    }

    /// Puts a process group in the foreground. Best effort: the terminal may be gone, or the group in another PID
    /// namespace.
    pub fn set_foreground_group(self, group: i32) {
        if let Some(group) = Pid::from_raw(group) {
            let _ = tcsetpgrp(self.0, group);
        }
    }
}

/// Returns the process group of runsd; 0 where it is in another PID namespace.
pub fn own_group() -> i32 {
    // rustix's getpgrp takes 0 for impossible.
    // SAFETY: takes no memory, and cannot fail.
    unsafe { libc::getpgrp() }
}

/// Stops the process group of runsd with `signal`, as the terminal would have done if the application were in it.
///
/// Blocks: until SIGCONT comes. Returns at once where no process could send SIGCONT, as the kernel does not stop
/// PID 1, or an orphaned process group (one without a shell above it).
pub fn stop_own_group(signal: i32) {
    // Where it cannot be stopped, it goes on.
    let _ = signal::stop_own_group(signal);
}
