//! Signals: all threads block them always; the main thread takes them one at a time, once the application runs.
//!
//! The main thread unblocks them only inside ppoll(2), in [`Signals::wait`]. There a handler of signal-hook queues
//! the signal and its sender, and ppoll returns. Handlers run with all signals blocked, and ppoll has blocked them
//! again when it returns. So no handler interrupts another, no other system call is interrupted, each wait takes one
//! signal, and no descriptor is needed to wake the thread. The other signals stay in the kernel's queue, which loses
//! no real-time signal, gives the lowest number first, and drops a SIGTSTP that a SIGCONT has overtaken.
//!
//! Masks and dispositions are changed by raw system calls: libc hides the signals that it reserves for itself, and
//! the application has to find them as runsd did.

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

use super::net::{PollFd, poll_result};

/// The kernel's sigset_t: bit N-1 is signal N.
type SignalSet = u64;

const fn set(signals: &[i32]) -> SignalSet {
    let mut set = 0;
    let mut index = 0;
    while index < signals.len() {
        set |= 1 << (signals[index] - 1);
        index += 1;
    }
    set
}

/// Signals for a fault of the running thread. The kernel kills a process that blocks them.
const SYNCHRONOUS_SIGNALS: SignalSet = set(&[SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP]);

/// What threads block: all signals that can be.
const BLOCKED: SignalSet = !(SYNCHRONOUS_SIGNALS | set(&[SIGKILL, SIGSTOP]));

/// The real-time signals that libc reserves: 32 and 33 of glibc and musl, 34 of musl.
const LIBC_RESERVED: [i32; 3] = [32, 33, 34];

/// What runsd was started with, and the application has to find. Written once, by [`block_signals`].
struct Inherited {
    mask: AtomicU64,
    sigchld_ignored: AtomicBool,
}

static INHERITED: Inherited = Inherited { mask: AtomicU64::new(0), sigchld_ignored: AtomicBool::new(false) };

/// Blocks all signals in this thread and those it starts. To be called once, before everything else.
///
/// # Errors
/// Those of rt_sigprocmask(2) and rt_sigaction(2).
pub fn block_signals() -> io::Result<()> {
    let mask = change_mask(libc::SIG_BLOCK, BLOCKED)?;
    INHERITED.mask.store(mask, Relaxed);
    // While SIGCHLD is ignored the kernel reaps, and exit statuses are lost.
    let inherited = disposition(SIGCHLD, Some(&Disposition::DEFAULT))?;
    INHERITED.sigchld_ignored.store(inherited.handler == libc::SIG_IGN, Relaxed);
    Ok(())
}

/// Restores the mask and dispositions that runsd was started with, in a process that is about to exec.
///
/// Allocates nothing and takes no lock.
pub(super) fn restore() -> io::Result<()> {
    if INHERITED.sigchld_ignored.load(Relaxed) {
        disposition(SIGCHLD, Some(&Disposition::IGNORE))?;
    }
    change_mask(libc::SIG_SETMASK, INHERITED.mask.load(Relaxed)).map(drop)
}

/// Drops a pending SIGPIPE, from a log line without a reader, which would end the program that this process becomes.
pub(super) fn drop_sigpipe() {
    drop_pending(SIGPIPE, &Disposition::IGNORE);
}

/// Drops a pending signal: the kernel does so when `ignoring`, a disposition that ignores it, is set.
fn drop_pending(signal: i32, ignoring: &Disposition) {
    let _ = disposition(signal, Some(ignoring)).and_then(|before| disposition(signal, Some(&before)));
}

/// Sends `signal` to the process group of runsd with the effect it has on a program without handlers.
///
/// Blocks: until SIGCONT, which is dropped, where the signal stops this process.
pub(super) fn stop_own_group(signal: i32) -> io::Result<()> {
    let handler = disposition(signal, Some(&Disposition::DEFAULT))?;
    change_mask(libc::SIG_UNBLOCK, set(&[signal]))?;
    kill(0, signal);
    change_mask(libc::SIG_BLOCK, set(&[signal]))?;
    disposition(signal, Some(&handler))?;
    // By default SIGCONT is ignored, but for that it continues the process.
    drop_pending(SIGCONT, &Disposition::DEFAULT);
    Ok(())
}

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// As in signal(7).
    pub number: i32,
    /// What sent it.
    pub origin: SignalOrigin,
}

/// What sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalOrigin {
    /// The kernel, as for a key of the terminal.
    Kernel,
    /// A process other than runsd.
    Process,
}

/// The main thread's handlers, and the signals that they queued.
pub struct Signals {
    /// Written by handlers, read by [`Signals::next`]. Leaked, as the handlers stay for as long as the process runs.
    queue: &'static Channel<Signal>,
    /// The signals with a handler.
    handled: SignalSet,
}

impl Signals {
    /// Handles SIGCHLD alone.
    ///
    /// To be called after the application was started, as exec turns a handled signal into a default one, where
    /// runsd may have found it ignored; and before there is another thread.
    ///
    /// # Errors
    /// Those of rt_sigaction(2).
    pub fn handle_sigchld() -> io::Result<Signals> {
        for signal in LIBC_RESERVED {
            // libc unblocks them at times, and their default would end runsd.
            disposition(signal, Some(&Disposition::IGNORE))?;
        }
        let mut signals = Signals { queue: Box::leak(Box::default()), handled: 0 };
        signals.handle(SIGCHLD)?;
        Ok(signals)
    }

    /// Handles all other signals, too.
    ///
    /// # Errors
    /// Those of rt_sigaction(2).
    pub fn handle_all(mut self) -> io::Result<Signals> {
        for signal in 1..=64 {
            if BLOCKED & !self.handled & !set(&LIBC_RESERVED) & set(&[signal]) != 0 {
                self.handle(signal)?;
            }
        }
        Ok(self)
    }

    fn handle(&mut self, signal: i32) -> io::Result<()> {
        let queue = self.queue;
        let handler = move |info: &_| {
            if let Some(signal) = read_siginfo(info) {
                queue.send(signal);
            }
        };
        // SAFETY: async-signal-safe: the channel, with capacity for more than the one signal of a wait, takes no
        // lock and allocates nothing.
        unsafe { register_sigaction(signal, handler) }?;
        let mut installed = disposition(signal, None)?;
        // signal-hook's other signals would interrupt the handler.
        installed.mask = !0;
        disposition(signal, Some(&installed))?;
        self.handled |= set(&[signal]);
        Ok(())
    }

    /// Waits for a signal or the events of `fds`.
    ///
    /// Blocks: until a handled signal came, one of `fds` is ready, or `timeout` has passed.
    ///
    /// # Errors
    /// Those of ppoll(2) but EINTR.
    pub fn wait(&self, fds: &mut [PollFd], timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or_default(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let blocked = BLOCKED & !self.handled;
        // SAFETY: `PollFd` is a transparent pollfd and the slice is as long as said; the timeout is one, or null; the
        // mask has the 8 bytes that are said.
        let result = unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                fds.as_mut_ptr(),
                fds.len(),
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
                &raw const blocked,
                size_of::<SignalSet>(),
            )
        };
        poll_result(result)
    }

    /// Takes the next signal that came, if any did.
    pub fn next(&self) -> Option<Signal> {
        self.queue.recv()
    }
}

/// Reads what a handler is given; `None` for a signal from runsd itself, the SIGPIPE of a log line without a reader.
fn read_siginfo(info: &libc::siginfo_t) -> Option<Signal> {
    let origin = match info.si_code {
        libc::SI_KERNEL => SignalOrigin::Kernel,
        // SAFETY: the kernel sets the sender's pid for this code.
        libc::SI_USER if unsafe { info.si_pid() } == process::id().cast_signed() => return None,
        _ => SignalOrigin::Process,
    };
    Some(Signal { number: info.si_signo, origin })
}

/// Sends a signal to a process. Best effort: it may have ended, or belong to another user.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: takes no memory. rustix has no real-time signals.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to all processes of a group, as [`kill`].
pub fn kill_group(group: i32, signal: i32) {
    kill(-group, signal);
}

/// Changes the calling thread's mask, and returns the one from before.
fn change_mask(how: i32, set: SignalSet) -> io::Result<SignalSet> {
    let mut before: SignalSet = 0;
    // SAFETY: both pointers are to 8 bytes, the size that is given.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut before, size_of::<SignalSet>())
    };
    match result {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a signal does: the kernel's `struct sigaction` on x86-64 and arm64. Each value is one of the two constants,
/// or came from [`disposition`].
#[repr(C)]
#[derive(Clone, Copy)]
struct Disposition {
    handler: usize,
    flags: usize,
    restorer: usize,
    /// The signals that are blocked beside the thread's mask while the handler runs.
    mask: SignalSet,
}

impl Disposition {
    const DEFAULT: Disposition = Disposition::without_handler(libc::SIG_DFL);
    const IGNORE: Disposition = Disposition::without_handler(libc::SIG_IGN);

    const fn without_handler(handler: usize) -> Disposition {
        Disposition { handler, flags: 0, restorer: 0, mask: 0 }
    }
}

/// Sets what a signal does, if `new` is given, and returns what it did before.
fn disposition(signal: i32, new: Option<&Disposition>) -> io::Result<Disposition> {
    let mut before = Disposition::DEFAULT;
    // SAFETY: both are of the kernel's type, the new one may be null, and the size is that of the mask; a handler
    // that is set was set before.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            new.map_or(ptr::null(), ptr::from_ref),
            &raw mut before,
            size_of::<SignalSet>(),
        )
    };
    match result {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}
