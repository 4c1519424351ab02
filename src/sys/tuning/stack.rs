//! Gives the kernel memory back that a thread's stack no longer needs.

#![allow(unsafe_code)]

use std::mem;
use std::ptr;

/// Releases the pages of the calling thread's stack below its caller's frame.
///
/// A TLS handshake goes deep once; the pages it touched would otherwise stay for as long as the connection lives.
/// Not for the main thread, whose stack has no fixed end.
pub fn release_unused_stack() {
    let local = 0_u8;
    let frame = ptr::from_ref(&local).addr();
    let Some((lowest, size)) = thread_stack() else { return };
    // A sanitizer keeps locals elsewhere, where they say nothing about the frame.
    if !(lowest.addr()..lowest.addr() + size).contains(&frame) {
        return;
    }
    // madvise takes whole pages.
    let page = page_size();
    let start = lowest.addr().next_multiple_of(page);
    let end = frame.saturating_sub(RED_ZONE) / page * page;
    if end <= start {
        return;
    }
    let start = lowest.with_addr(start);
    // SAFETY: the range is stack of this very thread, so far below the running frame that neither it nor the calls
    // it still makes are in it, and nothing may point there. A page that the stack grows into again reads as zeros.
    unsafe { libc::madvise(start, end - start.addr(), libc::MADV_DONTNEED) };
}

/// Returns the lowest address of the calling thread's stack, and its size in bytes.
fn thread_stack() -> Option<(*mut libc::c_void, usize)> {
    // SAFETY: the first call writes the attributes, the second reads them, the third ends their use.
    unsafe {
        let mut attributes: libc::pthread_attr_t = mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        let (mut lowest, mut size) = (ptr::null_mut(), 0);
        let result = libc::pthread_attr_getstack(&raw const attributes, &raw mut lowest, &raw mut size);
        libc::pthread_attr_destroy(&raw mut attributes);
        (result == 0).then_some((lowest, size))
    }
}

/// Returns the kernel's page size, in bytes: 4 KiB on x86-64; 4, 16 or 64 KiB on arm64, where a smaller one would
/// give `madvise` a length that it rounds up, into stack that is in use.
fn page_size() -> usize {
    // SAFETY: takes no memory.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(MAX_PAGE_SIZE)
}

/// Bytes: the largest page of x86-64 and arm64, and a multiple of every other.
const MAX_PAGE_SIZE: usize = 65_536;
/// Bytes below the frame that keep their pages: far more than the calls made here need, whatever the compiler makes
/// of their frames. One page of x86-64.
const RED_ZONE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::thread;

    /// Uses at least so many bytes of stack, and returns their sum.
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
        // SAFETY: the range is mapped, and `found` has a byte for each page.
        unsafe { libc::mincore(from, len, found.as_mut_ptr()) };
        found.iter().filter(|&&page| page & 1 == 1).count()
    }

    #[test]
    fn pages_of_deep_calls_are_released() {
        let page = page_size();
        let thread = thread::Builder::new().stack_size(64 * page);
        let work = move || {
            let sum = deep(30 * page);
            let (lowest, _) = thread_stack().expect("a stack");
            let start = lowest.with_addr(lowest.addr().next_multiple_of(page));
            let before = resident(start, 60);
            release_unused_stack();
            let after = resident(start, 60);
            (before, after, sum == deep(30 * page))
        };
        let (before, after, same) = thread.spawn(work).expect("a thread").join().expect("no panic");
        assert!(before >= 25 && after <= before - 20 && same, "{before} pages, then {after}");
    }
}
