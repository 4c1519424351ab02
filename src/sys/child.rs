//! Children: how they end or stop, and those that come to us as orphans.

use rustix::io::Errno;
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

/// How a child came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Exited(i32),
    Killed(i32),
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    ExitStatus(ExitStatus),
    /// By this signal, until SIGCONT.
    Stopped(i32),
}

/// Reaps one child that has ended, or finds one that has stopped; or waits for
/// either.
pub fn reap(waiting: bool) -> Option<(i32, ChildState)> {
    let mut options = WaitOptions::UNTRACED;
    options.set(WaitOptions::NOHANG, !waiting);
    loop {
        match wait(options) {
            Ok(found) => {
                let (pid, status) = found?;
                let state = match (status.stopping_signal(), status.exit_status()) {
                    (Some(signal), _) => ChildState::Stopped(signal),
                    (None, Some(code)) => ChildState::ExitStatus(ExitStatus::Exited(code)),
                    // It leaves out the bit that tells of a core dump.
                    (None, None) => ChildState::ExitStatus(ExitStatus::Killed(status.terminating_signal()?)),
                };
                return Some((pid.as_raw_nonzero().get(), state));
            }
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Makes orphans below us our children, as PID 1 has it; where the kernel
/// cannot do it, they stay with PID 1.
pub fn adopt_orphans() {
    let _ = set_child_subreaper(Some(getpid()));
}
