//! The controlling terminal, and the process groups that take turns in its
//! foreground.
//!
//! SIGTTOU is blocked whenever these are called: a process that is not in the
//! foreground may change it without being stopped.

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
    /// Finds the controlling terminal on the descriptors 0 to 2: a pager reads
    /// a pipe on 0 and its keys from the terminal behind 1.
    pub fn find() -> Option<Terminal> {
        let standard = [stdin(), stdout(), stderr()];
        let mut terminals = standard.into_iter().map(Terminal);
        terminals.find(|terminal| terminal.foreground_group().is_some())
    }

    /// The process group that keys are sent to, and that may read; 0 where it
    /// is of another PID namespace. `None` where this is not the controlling
    /// terminal, or no more.
    pub fn foreground_group(self) -> Option<i32> {
        match tcgetpgrp(self.0) {
            Ok(group) => Some(group.as_raw_pid()),
            // rustix's word for 0.
            Err(Errno::OPNOTSUPP) => Some(0),
            Err(_) => None,
        }
    }

    /// Puts a process group in the foreground. A terminal that is gone is no
    /// reason to give up, nor is a group of another PID namespace.
    pub fn set_foreground_group(self, group: i32) {
        if let Some(group) = Pid::from_raw(group) {
            let _ = tcsetpgrp(self.0, group);
        }
    }
}

/// The process group of runsd; 0 where it is of another PID namespace.
pub fn own_group() -> i32 {
    // rustix's getpgrp takes it for never 0.
    // SAFETY: takes no memory, and cannot fail.
    unsafe { libc::getpgrp() }
}

/// Stops the process group of runsd with `signal`, as the terminal would have
/// done if the application were a part of it, and returns when SIGCONT has come.
///
/// Returns at once where nobody is there to send SIGCONT, for the kernel then
/// stops nobody: PID 1, and groups without a shell above them.
pub fn stop_own_group(signal: i32) {
    // Where it cannot be stopped, it goes on.
    let _ = signal::stop_own_group(signal);
}
