//! The only unsafe code: what Linux gives and std has no call for.
//!
//! Each call stands behind a safe function, with the reason why it is sound.

#![allow(unsafe_code)]

pub mod alive;
mod allocator;
mod child;
pub mod connect;
pub mod environment;
pub mod memory;
pub mod net;
pub mod peer;
mod signal;
mod spawn;
pub mod splice;
mod start;
pub mod terminal;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

pub use self::allocator::start_is_over;
pub use self::child::{ChildState, Ended, adopt_orphans, reap};
pub use self::signal::{Sender, Signal, Signals, block, kill, kill_group};
pub use self::spawn::{Command, Credentials, become_command, spawn};

/// The effective user and group of this process.
pub fn ids() -> (u32, u32) {
    // SAFETY: take no memory, and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Takes all the descriptors this process may have, and says how many that
/// are. Its children from before keep the limit they were started with.
pub fn raise_descriptors() -> usize {
    // SAFETY: a structure of two numbers, which outlives the calls.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) < 0 {
            return USUAL_DESCRIPTORS;
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
            0 => limit.rlim_max,
            _ => before,
        }
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

const USUAL_DESCRIPTORS: usize = 1024;

/// How many bytes of address space this process may have.
pub fn address_space() -> usize {
    let limits = [libc::RLIMIT_AS, libc::RLIMIT_DATA].map(|which| {
        // SAFETY: a structure of two numbers, which outlives the call.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            match libc::getrlimit(which, &raw mut limit) {
                0 => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
                _ => usize::MAX,
            }
        }
    });
    limits[0].min(limits[1])
}

/// Has woken threads queue behind the running one instead of pushing it aside:
/// for this thread and those it starts. Only speed depends on it.
pub fn batch() {
    // The kernel's sched_param; musl's is longer, and its function only says ENOSYS.
    let param: libc::c_int = 0;
    // SAFETY: the parameter outlives the call, which reads it.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_BATCH,
            &raw const param,
        )
    };
}

/// Whether a socket is open and nothing has come that was not read.
pub fn is_quiet(socket: BorrowedFd<'_>) -> bool {
    peek(socket) == Err(io::ErrorKind::WouldBlock)
}

fn peek(socket: BorrowedFd<'_>) -> Result<usize, io::ErrorKind> {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one byte is asked for, and one is there.
    let got = unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error().kind())
}

/// Makes a later close say that something went wrong, instead of "the end".
#[allow(clippy::cast_possible_truncation)] // eight octets are no more on any target
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option is a `linger`, which outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}
