//! Where the program begins: C's main, without Rust's runtime before ours.
//!
//! The runtime would take its time to ignore SIGPIPE, to install handlers that
//! put a stack overflow into words, and to give each thread a second stack for
//! them. Signals are held back here and handlers never run, so that nothing of
//! it has to be taken back for the application. A stack that overflows still
//! meets a page that is not there.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::panic;

#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code))] // tests have a main of their own
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    fill_standard_descriptors();
    let count = usize::try_from(count).unwrap_or_default();
    let words = (0..count).map(|at| {
        // SAFETY: libc calls this with `count` strings, which nobody changes.
        let word = unsafe { CStr::from_ptr(*words.add(at)) };
        OsStr::from_bytes(word.to_bytes()).to_owned()
    });
    panic::catch_unwind(|| crate::run(words.collect::<Vec<OsString>>())).unwrap_or(PANICKED)
}

/// As Rust's own programs end.
const PANICKED: c_int = 101;

/// Takes the descriptors 0 to 2 where they are closed, lest a socket of ours
/// becomes what errors are written to. What is there instead can be neither
/// read nor written, and for the application they are closed, as before.
fn fill_standard_descriptors() {
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three structures are there; the sockets take no memory.
    unsafe {
        libc::poll(standard.as_mut_ptr(), 3, 0);
        for _ in standard.iter().filter(|fd| fd.revents & libc::POLLNVAL != 0) {
            // The lowest number that is free is the one in question.
            libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        }
    }
}
