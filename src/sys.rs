//! The only unsafe code: what Linux gives and std has no call for.
//!
//! Each call stands behind a safe function, with the reason why it is sound.
//! Signals go by raw system calls and 64-bit masks, bit N-1 for signal N: musl
//! and glibc keep a few signals for themselves, which a container may still be
//! sent, and a mask of 64 bits is all the kernel knows.

#![allow(unsafe_code)]

pub mod alive;
mod allocator;
pub mod connect;
pub mod environment;
pub mod memory;
pub mod net;
pub mod peer;
mod spawn;
pub mod splice;
mod start;
pub mod terminal;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub use self::spawn::{Command, Credentials, become_command, spawn};

/// A set of signals: bit N-1 is signal N.
pub type SignalSet = u64;

/// The bit of one signal.
pub const fn bit(signal: i32) -> SignalSet {
    1 << (signal - 1)
}

/// What runsd itself was started with, and the application is to find.
struct Inherited {
    mask: AtomicU64,
    child_ignored: AtomicBool,
}

static INHERITED: Inherited = Inherited {
    mask: AtomicU64::new(0),
    child_ignored: AtomicBool::new(false),
};

/// Holds `signals` back from this thread and those it starts, until
/// [`next_signal`] takes them. To be called once, before anything else.
pub fn hold(signals: SignalSet) -> io::Result<()> {
    let mask = set_mask(libc::SIG_BLOCK, signals)?;
    INHERITED.mask.store(mask, Relaxed);
    // Where it is ignored the kernel reaps by itself, and an exit status is gone.
    // SAFETY: sets a disposition that runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let ignored = before == libc::SIG_IGN;
    INHERITED.child_ignored.store(ignored, Relaxed);
    Ok(())
}

/// Sends to `pid` the signals that libc keeps for itself and that have come so
/// far. To be called before the first thread is started: for that, libc lets
/// them through, and they would be the end of us.
pub fn pass_on_libcs(pid: i32) {
    while let Ok(signal) = take_signal(LIBCS, Some(&NOW)) {
        kill(pid, signal.number);
    }
}

/// Forgets a SIGPIPE that has come, if it is one of ours.
fn drop_own_sigpipe() {
    if take_signal(bit(libc::SIGPIPE), Some(&NOW)).is_ok() {
        // Another's: held back still, until the mask is what it was.
        kill(std::process::id().cast_signed(), libc::SIGPIPE);
    }
}

const NOW: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What a thread does, with all signals held back also in it: libc takes one or
/// two that it keeps for itself out of the mask a new thread inherits, and one
/// that is sent to us would be lost there, or be the end of us.
pub fn held<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    move || {
        hold_libcs();
        work()
    }
}

/// The same for a thread that has started another one: for the first of them
/// libc changes the mask of both.
pub fn hold_libcs() {
    // Cannot fail, and only two odd signals depend on it.
    let _ = set_mask(libc::SIG_BLOCK, LIBCS);
}

/// 32 and 33 are glibc's, and 34 is musl's, too.
const LIBCS: SignalSet = bit(32) | bit(33) | bit(34);

fn set_mask(how: i32, set: SignalSet) -> io::Result<SignalSet> {
    let mut before: SignalSet = 0;
    // SAFETY: both pointers are to 8 bytes, the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set,
            &raw mut before,
            size_of::<SignalSet>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

/// A signal as it was taken from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    pub number: i32,
    pub from: Sender,
}

/// Who sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The kernel, as for a key of the terminal.
    Kernel,
    Other,
}

/// Waits for one of `signals`, which must be held back.
pub fn next_signal(signals: SignalSet) -> io::Result<Signal> {
    take_signal(signals, None)
}

/// A descriptor that can be read while one of `signals`, which must be held
/// back, has come; they are not to be taken from it.
pub fn signal_descriptor(signals: SignalSet) -> io::Result<OwnedFd> {
    // SAFETY: the set is 8 bytes as said; a descriptor that was just made
    // belongs to nobody else.
    unsafe {
        let size = size_of::<SignalSet>();
        let flags = libc::SFD_CLOEXEC;
        let made = libc::syscall(libc::SYS_signalfd4, -1, &raw const signals, size, flags);
        match i32::try_from(made) {
            Ok(fd @ 0..) => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Takes one of `signals`; what we sent ourselves, a SIGPIPE of a log line that
/// nobody reads, is nobody's.
fn take_signal(signals: SignalSet, patience: Option<&libc::timespec>) -> io::Result<Signal> {
    loop {
        // SAFETY: the set is 8 bytes as said, the info is the kernel's type, and
        // all zeroes is a valid value of it; the time-out is one, or null. si_pid
        // is only read where the sender is a process.
        let (number, info, is_own) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let number = libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const signals,
                &raw mut info,
                patience.map_or(ptr::null(), ptr::from_ref),
                size_of::<SignalSet>(),
            );
            let is_own = info.si_code == libc::SI_USER && info.si_pid() == libc::getpid();
            (number, info, is_own)
        };
        let Ok(number @ 1..) = i32::try_from(number) else {
            return Err(io::Error::last_os_error());
        };
        let from = match info.si_code {
            libc::SI_KERNEL => Sender::Kernel,
            _ => Sender::Other,
        };
        if !is_own {
            return Ok(Signal { number, from });
        }
    }
}

/// Sends a signal; a process that is gone, or not ours to signal, is no error.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: takes no memory.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to all processes of a group.
pub fn kill_group(group: i32, signal: i32) {
    kill(-group, signal);
}

/// How a child came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Killed(i32),
}

/// What became of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    Ended(Ended),
    /// By this signal, until SIGCONT.
    Stopped(i32),
}

/// Reaps one child that has ended, or finds one that has stopped; or waits for
/// either.
pub fn reap(waiting: bool) -> Option<(i32, ChildState)> {
    let options = libc::WUNTRACED | if waiting { 0 } else { libc::WNOHANG };
    let mut status = 0;
    loop {
        // SAFETY: the status is an int of ours.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, options) };
        if pid > 0 {
            let state = if libc::WIFSTOPPED(status) {
                ChildState::Stopped(libc::WSTOPSIG(status))
            } else if libc::WIFEXITED(status) {
                ChildState::Ended(Ended::Exited(libc::WEXITSTATUS(status)))
            } else {
                // WTERMSIG leaves out the bit that tells of a core dump.
                ChildState::Ended(Ended::Killed(libc::WTERMSIG(status)))
            };
            return Some((pid, state));
        }
        if pid == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Makes orphans below us our children, as PID 1 has it; where the kernel
/// cannot do it, they stay with PID 1.
pub fn adopt_orphans() {
    // SAFETY: takes no memory.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

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
