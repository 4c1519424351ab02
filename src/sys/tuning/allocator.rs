//! The allocator: libc's, with a cache of the blocks that TLS records are encrypted in.
//!
//! rustls allocates a buffer for each record. musl unmaps a block of that size when it is freed and maps it when it
//! is allocated: for an upload that would be two system calls per 16 kB.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// libc's allocator behind [`CACHE`].
struct CachingAllocator;

#[cfg_attr(not(fuzzing), global_allocator)]
static ALLOCATOR: CachingAllocator = CachingAllocator;

/// Free blocks of [`BLOCK_LEN`] bytes, or null. Any thread takes or puts one, in one atomic step.
static CACHE: [AtomicPtr<u8>; CACHE_LEN] = [const { AtomicPtr::new(ptr::null_mut()) }; CACHE_LEN];

// SAFETY: each block comes from the system's allocator and goes back with the layout it came with: a block that
// `is_cached` was allocated with `block_layout()`. It is either in the cache or in use, as it is put there and taken
// in one atomic step.
unsafe impl GlobalAlloc for CachingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_cached(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        for entry in &CACHE {
            let block = entry.swap(ptr::null_mut(), Ordering::Acquire);
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: its size is not zero.
        unsafe { System.alloc(block_layout()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_cached(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(block, layout) };
        }
        for entry in &CACHE {
            if entry.compare_exchange(ptr::null_mut(), block, Ordering::Release, Ordering::Relaxed).is_ok() {
                return;
            }
        }
        // SAFETY: it was allocated with this layout.
        unsafe { System.dealloc(block, block_layout()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = if is_cached(layout) { block_layout() } else { layout };
        // SAFETY: the caller's promise, or a size that is not zero.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promised that the new size is good for the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if !is_cached(layout) && !is_cached(new_layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: both are blocks of this allocator, and the shorter length is in both.
        unsafe {
            let new_block = self.alloc(new_layout);
            if !new_block.is_null() {
                ptr::copy_nonoverlapping(block, new_block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new_block
        }
    }
}

/// Returns whether it is the size of a full record's plaintext, or of the record with header, type and tag.
fn is_cached(layout: Layout) -> bool {
    (MIN_BLOCK_LEN..=BLOCK_LEN).contains(&layout.size()) && layout.align() <= BLOCK_ALIGN
}

const fn block_layout() -> Layout {
    // SAFETY: the alignment is a power of two, and the size is small.
    unsafe { Layout::from_size_align_unchecked(BLOCK_LEN, BLOCK_ALIGN) }
}

/// Bytes: the largest plaintext of a TLS record (RFC 8446, section 5.1).
const MIN_BLOCK_LEN: usize = 16 * 1024;
/// Bytes of each block: that, and more than a record adds to it.
const BLOCK_LEN: usize = MIN_BLOCK_LEN + 64;
/// Bytes: what malloc aligns to on 64-bit machines.
const BLOCK_ALIGN: usize = 16;
/// Blocks: the records of two large writes, 132 kB for the process.
const CACHE_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reallocation_keeps_the_bytes_at_every_size() {
        for sizes in [
            [100, MIN_BLOCK_LEN, BLOCK_LEN],
            [MIN_BLOCK_LEN, BLOCK_LEN, BLOCK_LEN + 1],
            [BLOCK_LEN, 100, MIN_BLOCK_LEN],
            [MIN_BLOCK_LEN - 1, MIN_BLOCK_LEN, MIN_BLOCK_LEN - 1],
        ] {
            let mut text: Vec<u8> = Vec::new();
            for size in sizes {
                text.shrink_to(size);
                text.truncate(size);
                text.reserve_exact(size - text.len());
                let from = text.len();
                text.extend((from..size).map(|index| index.to_le_bytes()[0]));
                let whole = text.iter().enumerate().all(|(index, &b)| index.to_le_bytes()[0] == b);
                assert!(whole && text.len() == size, "{sizes:?} at {size}");
            }
        }
        for size in [MIN_BLOCK_LEN, BLOCK_LEN] {
            drop(vec![7; size]);
            assert!(vec![0; size].iter().all(|&b| b == 0), "{size}");
        }
    }

    #[test]
    fn threads_never_share_a_block() {
        let work = |mark: u8| {
            for _ in 0..50 {
                let blocks: Vec<Vec<u8>> = (0..6).map(|_| vec![mark; MIN_BLOCK_LEN]).collect();
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
