//! The controlling terminal, and the process groups that take turns in its
//! foreground.
//!
//! SIGTTOU is held back in every thread: a process that is not in the
//! foreground may change it without being stopped.

#![allow(unsafe_code)]

use std::ffi::c_int;

use super::signal::{NOW, bit, set_mask, take_signal};

/// The controlling terminal, by the number of a standard descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal(c_int);

impl Terminal {
    /// Finds the controlling terminal on the descriptors 0 to 2: a pager reads
    /// a pipe on 0 and its keys from the terminal behind 1.
    pub fn find() -> Option<Terminal> {
        (0..=2).map(Terminal).find(|terminal| {
            let group = terminal.foreground_group();
            group >= 0
        })
    }

    /// The process group that keys are sent to, and that may read.
    pub fn foreground_group(self) -> i32 {
        // SAFETY: takes no memory, and any number for a descriptor.
        unsafe { libc::tcgetpgrp(self.0) }
    }

    /// Puts a process group in the foreground. A terminal that is gone is no
    /// reason to give up.
    pub fn set_foreground_group(self, group: i32) {
        // SAFETY: takes no memory, and any number for a descriptor.
        unsafe { libc::tcsetpgrp(self.0, group) };
    }
}

/// The process group of runsd.
pub fn own_group() -> i32 {
    // SAFETY: takes no memory, and cannot fail.
    unsafe { libc::getpgrp() }
}

/// Stops the process group of runsd with `signal`, as the terminal would have
/// done if the application were a part of it, and returns when SIGCONT has come.
///
/// Returns at once where nobody is there to send SIGCONT, for the kernel then
/// stops nobody: PID 1, and groups without a shell above them.
pub fn stop_own_group(signal: i32) {
    if set_mask(libc::SIG_UNBLOCK, bit(signal)).is_err() {
        return;
    }
    // SAFETY: takes no memory; our handling of the signal is the kernel's.
    unsafe { libc::kill(0, signal) };
    let _ = set_mask(libc::SIG_BLOCK, bit(signal));
    // The SIGCONT that let us go on is not another one for the application.
    let _ = take_signal(bit(libc::SIGCONT), Some(&NOW));
}
