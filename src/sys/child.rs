//! Child processes: how they ended or stopped, and adopting orphans.

use rustix::io::Errno;
use rustix::process::{WaitOptions, getpid, wait};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

/// What wait(2) reports about a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// It ended, and was reaped.
    Ended(ExitStatus),
    /// This signal stopped it, until SIGCONT.
    Stopped(i32),
}

/// Reaps one child that has ended, or reports one that has stopped; `None` where there is none.
///
/// Blocks: with `block`, until a child of this process ends or stops.
pub fn reap(block: bool) -> Option<(i32, ChildState)> {
    let mut options = WaitOptions::UNTRACED;
    options.set(WaitOptions::NOHANG, !block);
    loop {
        match wait(options) {
            Ok(child) => {
                let (pid, status) = child?;
                let state = match (status.stopping_signal(), status.exit_status()) {
                    (Some(signal), _) => ChildState::Stopped(signal),
                    (None, Some(code)) => ChildState::Ended(ExitStatus::Exited(code)),
                    // Without the bit for a core dump.
                    (None, None) => ChildState::Ended(ExitStatus::Killed(status.terminating_signal()?)),
                };
                return Some((pid.as_raw_nonzero().get(), state));
            }
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Makes orphans among this process's descendants its children, as PID 1 of a container has them. Best effort:
/// otherwise they go to PID 1.
pub fn set_child_subreaper() {
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}
