//! Memory of a thread's stack that was taken once and is no longer needed.

#![allow(unsafe_code)]

use std::mem;
use std::ptr;

/// Gives the kernel back what this thread's stack has taken below the caller.
///
/// A TLS handshake goes deep, once; what it touched would stay for as long as
/// the connection lives. Not for the main thread, whose stack has no fixed end.
pub fn release_unused_stack() {
    let here = 0_u8;
    let here = ptr::from_ref(&here).addr();
    let Some(lowest) = lowest() else { return };
    // Rounded up, and down: madvise takes whole pages only.
    let page = page_size();
    let start = lowest.addr().next_multiple_of(page);
    let end = here.saturating_sub(ROOM) / page * page;
    if end <= start {
        return;
    }
    let start = lowest.with_addr(start);
    // SAFETY: all of this is stack of this very thread, and far enough below
    // the running frame that neither it nor the calls it still makes are in it;
    // nothing may point to what is below. Pages come back, as zeros, when the
    // stack grows again.
    unsafe { libc::madvise(start, end - start.addr(), libc::MADV_DONTNEED) };
}

/// The lowest address of this thread's stack.
fn lowest() -> Option<*mut libc::c_void> {
    // SAFETY: the attributes are written by the first call, read by the second
    // and not used after the third; each takes only what is here.
    unsafe {
        let mut attributes: libc::pthread_attr_t = mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        let (mut lowest, mut size) = (ptr::null_mut(), 0);
        let got = libc::pthread_attr_getstack(&raw const attributes, &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
        (got == 0).then_some(lowest)
    }
}

/// The kernel's page size: 4 KiB on x86-64; 4, 16 or 64 KiB on arm64, where a
/// smaller one would give `madvise` a length that it rounds up, past what is free.
fn page_size() -> usize {
    // SAFETY: takes no memory.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(LARGEST_PAGE)
}

/// The largest page of x86-64 and arm64: a multiple of every other.
const LARGEST_PAGE: usize = 65_536;
/// Bytes below the caller's frame that keep their pages: far more than the calls
/// made here need, whatever a compiler makes of their frames. A page of x86-64.
const ROOM: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::thread;

    /// Goes down at least so many bytes, and comes back with their sum.
    #[inline(never)]
    fn deep(bytes: usize) -> usize {
        let frame = black_box([1_u8; 1024]);
        let sum: usize = frame.iter().map(|&byte| usize::from(byte)).sum();
        match bytes.checked_sub(1024) {
            Some(rest) => sum + black_box(deep(rest)),
            None => sum,
        }
    }

    fn resident(from: *mut libc::c_void, pages: usize) -> usize {
        let mut found = vec![0_u8; pages];
        let len = pages * page_size();
        // SAFETY: the range is mapped, and there is a byte for each page of it.
        unsafe { libc::mincore(from, len, found.as_mut_ptr()) };
        found.iter().filter(|&&page| page & 1 == 1).count()
    }

    #[test]
    fn what_was_deep_is_given_back() {
        let page = page_size();
        let thread = thread::Builder::new().stack_size(64 * page);
        let work = move || {
            let sum = deep(30 * page);
            let lowest = lowest().expect("a stack");
            let start = lowest.with_addr(lowest.addr().next_multiple_of(page));
            let before = resident(start, 60);
            release_unused_stack();
            let after = resident(start, 60);
            // And what stays is still whole.
            (before, after, sum == deep(30 * page))
        };
        let (before, after, same) = thread.spawn(work).expect("a thread").join().expect("no panic");
        assert!(before >= 25 && after <= before - 20 && same, "{before} pages, then {after}");
    }
}
