//! The allocator: libc's, with a shelf for the buffers that TLS records are
//! sealed in.
//!
//! rustls allocates a buffer for each record. musl gives a block of that size
//! back to the kernel as it is freed, by a system call, and gets it again by
//! another: for an upload that is one of each per 16 kB.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// libc's allocator behind a shelf of a few blocks of one size.
struct Shelved;

#[global_allocator]
static ALLOCATOR: Shelved = Shelved;

static SHELF: [AtomicPtr<u8>; BLOCKS] = [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS];

// SAFETY: all blocks come from the system's allocator and go back to it with the
// layout they came with: those of the one size that is shelved all have been
// allocated with `block()`, and a block is either on the shelf or in use, for it
// is put there and taken in one atomic step.
unsafe impl GlobalAlloc for Shelved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_shelved(layout) {
            // SAFETY: as the caller promised.
            return unsafe { System.alloc(layout) };
        }
        for place in &SHELF {
            let taken = place.swap(ptr::null_mut(), Ordering::Acquire);
            if !taken.is_null() {
                return taken;
            }
        }
        // SAFETY: its size is not zero.
        unsafe { System.alloc(block()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_shelved(layout) {
            // SAFETY: as the caller promised.
            return unsafe { System.dealloc(pointer, layout) };
        }
        for place in &SHELF {
            let empty = ptr::null_mut();
            let put = place.compare_exchange(empty, pointer, Ordering::Release, Ordering::Relaxed);
            if put.is_ok() {
                return;
            }
        }
        // SAFETY: it was allocated as a block.
        unsafe { System.dealloc(pointer, block()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_shelved(layout) {
            // SAFETY: its size is not zero; a block of its own, never shelved before.
            return unsafe { System.alloc_zeroed(block()) };
        }
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promised that the new size is good for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if !is_shelved(layout) && !is_shelved(new) {
            // SAFETY: as the caller promised.
            return unsafe { System.realloc(pointer, layout, new_size) };
        }
        // SAFETY: both are blocks of this allocator, and the shorter length is in both.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(pointer, moved, layout.size().min(new_size));
                self.dealloc(pointer, layout);
            }
            moved
        }
    }
}

/// Whether it is the size of a full record's text, or of the record: header,
/// text, type and tag.
fn is_shelved(layout: Layout) -> bool {
    let beyond = layout.size().wrapping_sub(SMALLEST);
    beyond <= BLOCK - SMALLEST && layout.align() <= ALIGN
}

const fn block() -> Layout {
    // SAFETY: the alignment is a power of two, and the size is small.
    unsafe { Layout::from_size_align_unchecked(BLOCK, ALIGN) }
}

/// Blocks are of this size, and serve what is not much smaller.
const BLOCK: usize = 16 * 1024 + 64;
const SMALLEST: usize = 16 * 1024;
const ALIGN: usize = 16;
/// How many are kept: the records of two large writes.
const BLOCKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_stays_through_every_size() {
        for sizes in [
            [100, SMALLEST, BLOCK],
            [SMALLEST, BLOCK, BLOCK + 1],
            [BLOCK, 100, SMALLEST],
            [SMALLEST - 1, SMALLEST, SMALLEST - 1],
        ] {
            let mut text: Vec<u8> = Vec::new();
            for size in sizes {
                text.shrink_to(size);
                text.truncate(size);
                text.reserve_exact(size - text.len());
                let from = text.len();
                text.extend((from..size).map(|at| at.to_le_bytes()[0]));
                let whole = text.iter().enumerate().all(|(at, &b)| at.to_le_bytes()[0] == b);
                assert!(whole && text.len() == size, "{sizes:?} at {size}");
            }
        }
        for size in [SMALLEST, BLOCK] {
            drop(vec![7; size]);
            assert!(vec![0; size].iter().all(|&b| b == 0), "{size}");
        }
    }

    #[test]
    fn threads_never_share_a_block() {
        let work = |mark: u8| {
            for _ in 0..50 {
                let blocks: Vec<Vec<u8>> = (0..6).map(|_| vec![mark; SMALLEST]).collect();
                std::thread::yield_now();
                let all = blocks.iter().flatten().all(|&b| b == mark);
                assert!(all, "{mark}");
            }
        };
        std::thread::scope(|scope| {
            for mark in 1..=3 {
                scope.spawn(move || work(mark));
            }
        });
    }
}
