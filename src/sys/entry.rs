//! C's `main`, in place of the one that Rust's runtime has.
//!
//! The runtime's would change what the application has to find as runsd was started: it ignores SIGPIPE, and opens
//! `/dev/null` in the place of closed standard descriptors. It would also take its time to install handlers that
//! report a stack overflow, and to give each thread a second stack for them; without them an overflow still ends
//! the process, by the guard page.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::panic;

/// Defines C's `main`: it calls a `fn(Vec<OsString>) -> i32` with argv, and exits with what that returns.
macro_rules! entry_point {
    ($run:path) => {
        #[allow(unsafe_code)]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[cfg_attr(test, allow(dead_code))] // the test harness has a main of its own
        extern "C" fn main(argc: std::ffi::c_int, argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: libc calls main with `argc` strings, which nothing changes.
            unsafe { $crate::sys::entry::start(argc, argv, $run) }
        }
    };
}
pub(crate) use entry_point;

/// Calls `run` with argv; the exit status is its result, or that of a Rust program that panicked.
///
/// # Safety
/// `argv` points to `argc` strings, each with null at its end, that do not change for as long as this runs.
pub unsafe fn start(argc: c_int, argv: *const *const c_char, run: fn(Vec<OsString>) -> i32) -> c_int {
    fill_standard_descriptors();
    let argc = usize::try_from(argc).unwrap_or_default();
    let arguments = (0..argc).map(|index| {
        // SAFETY: the caller's promise.
        let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
        OsStr::from_bytes(argument.to_bytes()).to_owned()
    });
    panic::catch_unwind(|| run(arguments.collect())).unwrap_or(PANIC_EXIT_CODE)
}

/// Opens the descriptors 0 to 2 where they are closed, so that no socket of runsd's becomes the one that errors are
/// written to. They can be neither read nor written, and close on exec: the application finds them closed.
fn fill_standard_descriptors() {
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the three structures outlive the call; socket takes no memory.
    unsafe {
        libc::poll(standard.as_mut_ptr(), 3, 0);
        for _ in standard.iter().filter(|fd| fd.revents & libc::POLLNVAL != 0) {
            // The kernel gives the lowest number that is free.
            libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        }
    }
}

/// The exit code of a Rust program whose main thread panicked.
const PANIC_EXIT_CODE: c_int = 101;
