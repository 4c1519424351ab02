//! Signals: blocked from the first line of `main` on, and taken by the main
//! thread alone, one at a time, from the moment that there is an application.
//!
//! Every thread blocks all signals always, but for the main thread while it is
//! in ppoll(2) in [`Signals::wait`]. There signal-hook's handlers note a signal
//! and its sender, and ppoll returns. A handler runs with all signals blocked,
//! and ppoll has blocked them again when it returns: so no handler interrupts
//! another, no other system call is ever interrupted, and each wait takes one
//! signal; nothing has to wake it, which would take descriptors. The others stay
//! in the kernel's queue, which keeps every real-time signal, gives the lowest
//! number first, and drops a SIGTSTP that a SIGCONT has overtaken.
//!
//! Masks and dispositions go by raw system calls: libc does not let a program
//! see the signals that it keeps for itself, and the application is to find them
//! as runsd did.

#![allow(unsafe_code)]

use std::io;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
use libc::{SIGCHLD, SIGCONT, SIGKILL, SIGPIPE, SIGSTOP};
use signal_hook::low_level::channel::Channel;
use signal_hook_registry::register_sigaction;

use super::net::PollFd;

/// A set of signals: bit N-1 is signal N, as the kernel has it.
type SignalSet = u64;

const fn set(signals: &[i32]) -> SignalSet {
    let mut set = 0;
    let mut at = 0;
    while at < signals.len() {
        set |= 1 << (signals[at] - 1);
        at += 1;
    }
    set
}

/// Sent by the kernel to the thread that did wrong; blocked, they would kill
/// all the same.
const FAULTS: SignalSet = set(&[SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP]);

/// What is blocked: all that can be.
const BLOCKED: SignalSet = !(FAULTS | set(&[SIGKILL, SIGSTOP]));

/// The signals of libc's own: 32 and 33 of glibc and musl, 34 of musl.
const LIBCS: [i32; 3] = [32, 33, 34];

/// What runsd itself was started with, and the application is to find.
struct Inherited {
    mask: AtomicU64,
    child_ignored: AtomicBool,
}

static INHERITED: Inherited = Inherited { mask: AtomicU64::new(0), child_ignored: AtomicBool::new(false) };

/// Blocks all signals in this thread and those it starts. To be called once,
/// before anything else.
pub fn block_signals() -> io::Result<()> {
    let mask = change_mask(libc::SIG_BLOCK, BLOCKED)?;
    INHERITED.mask.store(mask, Relaxed);
    // Where it is ignored the kernel reaps by itself, and an exit status is gone.
    let before = disposition(SIGCHLD, Some(&Disposition::DEFAULT))?;
    let ignored = before.handler == libc::SIG_IGN;
    INHERITED.child_ignored.store(ignored, Relaxed);
    Ok(())
}

/// Gives this process back the mask and dispositions that runsd was started
/// with, for it is about to become the application.
///
/// Allocates nothing and takes no lock.
pub(super) fn restore() -> io::Result<()> {
    if INHERITED.child_ignored.load(Relaxed) {
        disposition(SIGCHLD, Some(&Disposition::IGNORE))?;
    }
    change_mask(libc::SIG_SETMASK, INHERITED.mask.load(Relaxed)).map(drop)
}

/// Drops a SIGPIPE that is pending: one of a log line without a reader would
/// be the end of what this process is about to become.
pub(super) fn drop_sigpipe() {
    let before = disposition(SIGPIPE, Some(&Disposition::IGNORE));
    let _ = before.and_then(|before| disposition(SIGPIPE, Some(&before)));
}

/// Sends `signal` to the process group of runsd with the effect that it has on
/// a program without handlers, and drops the SIGCONT that ends it.
pub(super) fn stop_own_group(signal: i32) -> io::Result<()> {
    let ours = disposition(signal, Some(&Disposition::DEFAULT))?;
    change_mask(libc::SIG_UNBLOCK, set(&[signal]))?;
    kill(0, signal);
    change_mask(libc::SIG_BLOCK, set(&[signal]))?;
    disposition(signal, Some(&ours))?;
    // The kernel drops what is pending of a signal that comes to be ignored.
    let ours = disposition(SIGCONT, Some(&Disposition::DEFAULT))?;
    disposition(SIGCONT, Some(&ours)).map(drop)
}

/// A signal that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    pub number: i32,
    pub from: SignalOrigin,
}

/// Where a signal came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalOrigin {
    /// The kernel, as for a key of the terminal.
    Kernel,
    Other,
}

/// The signals that have come, for the main thread.
pub struct Signals {
    /// What handlers put in. They stay for good: to take them out again takes its time.
    come: &'static Channel<Signal>,
    /// Those with a handler.
    handled: SignalSet,
}

impl Signals {
    /// Handles SIGCHLD alone. To be called when the application was started, for
    /// a handler in place of an ignored signal is the default one for a child,
    /// and before there is another thread.
    pub fn of_children() -> io::Result<Signals> {
        for signal in LIBCS {
            // libc unblocks them as it likes, and they would be the end of us.
            disposition(signal, Some(&Disposition::IGNORE))?;
        }
        let mut signals = Signals { come: Box::leak(Box::default()), handled: 0 };
        signals.handle(SIGCHLD)?;
        Ok(signals)
    }

    /// Handles all signals that can be.
    pub fn of_all(mut self) -> io::Result<Signals> {
        for signal in 1..=64 {
            if BLOCKED & !self.handled & !set(&LIBCS) & set(&[signal]) != 0 {
                self.handle(signal)?;
            }
        }
        Ok(self)
    }

    fn handle(&mut self, signal: i32) -> io::Result<()> {
        let come = self.come;
        let note = move |info: &_| {
            if let Some(signal) = told(info) {
                come.send(signal);
            }
        };
        // SAFETY: all of it is async-signal-safe: the channel, with room for more
        // than the one signal of a wait, takes no lock and no memory.
        unsafe { register_sigaction(signal, note) }?;
        let mut handler = disposition(signal, None)?;
        // signal-hook has a handler interrupted by all other signals.
        handler.mask = !0;
        disposition(signal, Some(&handler))?;
        self.handled |= set(&[signal]);
        Ok(())
    }

    /// Blocks: until a signal has come, one of `waits` is ready, or `timeout` is
    /// over.
    pub fn wait(&self, waits: &mut [PollFd], timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or_default(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let blocked = BLOCKED & !self.handled;
        // SAFETY: `PollFd` is a transparent pollfd and the slice is as long as
        // said; the time-out is one, or null; the mask is of 8 bytes, as said.
        let found = unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                waits.as_mut_ptr(),
                waits.len(),
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
                &raw const blocked,
                size_of::<SignalSet>(),
            )
        };
        let err = io::Error::last_os_error();
        if found < 0 && err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
        Ok(())
    }

    /// A signal that has come.
    pub fn next(&self) -> Option<Signal> {
        self.come.recv()
    }
}

/// What a handler was told; `None` for what we sent ourselves, a SIGPIPE of a log
/// line without a reader.
fn told(info: &libc::siginfo_t) -> Option<Signal> {
    let from = match info.si_code {
        libc::SI_KERNEL => SignalOrigin::Kernel,
        // SAFETY: a process has sent it, and the kernel says which one.
        libc::SI_USER if unsafe { info.si_pid() } == own_pid() => return None,
        _ => SignalOrigin::Other,
    };
    let number = info.si_signo;
    Some(Signal { number, from })
}

fn own_pid() -> i32 {
    process::id().cast_signed()
}

/// Sends a signal; a process that is gone, or not ours to signal, is no error.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: takes no memory. rustix has no real-time signals.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to all processes of a group.
pub fn kill_group(group: i32, signal: i32) {
    kill(-group, signal);
}

fn change_mask(how: i32, set: SignalSet) -> io::Result<SignalSet> {
    let mut before: SignalSet = 0;
    // SAFETY: both pointers are to 8 bytes, the size that is given.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut before, size_of::<SignalSet>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

/// What a signal does: the kernel's `struct sigaction` on x86-64 and arm64. Each
/// is one of the two here, or came from [`disposition`].
#[repr(C)]
#[derive(Clone, Copy)]
struct Disposition {
    handler: usize,
    flags: usize,
    restorer: usize,
    /// What else is blocked while the handler runs.
    mask: SignalSet,
}

impl Disposition {
    const DEFAULT: Disposition = Disposition::without_handler(libc::SIG_DFL);
    const IGNORE: Disposition = Disposition::without_handler(libc::SIG_IGN);

    const fn without_handler(handler: usize) -> Disposition {
        Disposition { handler, flags: 0, restorer: 0, mask: 0 }
    }
}

/// Changes what a signal does where there is a `new` disposition, and gives the
/// one from before.
fn disposition(signal: i32, new: Option<&Disposition>) -> io::Result<Disposition> {
    let mut before = Disposition::DEFAULT;
    // SAFETY: both are of the kernel's type, the new one may be null, and the
    // size is that of the mask; no other handler comes in than one that was
    // there.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            new.map_or(ptr::null(), ptr::from_ref),
            &raw mut before,
            size_of::<SignalSet>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}
