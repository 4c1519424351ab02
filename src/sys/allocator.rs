//! The allocator: libc's, with a shelf for the buffers that TLS records are
//! sealed in, and a few pages for what the start allocates.
//!
//! rustls allocates a buffer for each record. musl gives a block of that size
//! back to the kernel as it is freed, by a system call, and gets it again by
//! another: for an upload that is one of each per 16 kB.
//!
//! For its first block musl makes five system calls and touches seven pages.
//! What runsd needs before the application is there has its place in the
//! program instead.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// libc's allocator behind a shelf of a few blocks of one size.
struct Shelved;

#[global_allocator]
static ALLOCATOR: Shelved = Shelved;

static SHELF: [AtomicPtr<u8>; BLOCKS] = [const { AtomicPtr::new(ptr::null_mut()) }; BLOCKS];

// SAFETY: blocks that lie in `EARLY` come from there and go back there. All
// others come from the system's allocator and go back to it with the layout
// they came with: those of the one size that is shelved all have been
// allocated with `block()`, and a block is either on the shelf or in use, for it
// is put there and taken in one atomic step.
unsafe impl GlobalAlloc for Shelved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let early = EARLY.take(layout);
        if !early.is_null() {
            return early;
        }
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
        if EARLY.has(pointer) {
            return EARLY.give_back(pointer, layout);
        }
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
        let early = EARLY.take(layout);
        if !early.is_null() {
            // SAFETY: the block is as large, and may have been used before.
            unsafe { early.write_bytes(0, layout.size()) };
            return early;
        }
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
        if !is_shelved(layout) && !is_shelved(new) && !EARLY.has(pointer) {
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

/// Where the first blocks are, one behind the other. Only the last of them can
/// be had again; the others stay, for there are few.
struct Early {
    space: UnsafeCell<[u128; EARLY_SIZE / ALIGN]>,
    used: AtomicUsize,
}

// SAFETY: each block is given to one owner, by an atomic step; what is in it is
// the owner's affair.
unsafe impl Sync for Early {}

static EARLY: Early = Early {
    space: UnsafeCell::new([0; EARLY_SIZE / ALIGN]),
    used: AtomicUsize::new(0),
};

impl Early {
    /// A block; null once there is no room, or [`start_is_over`].
    fn take(&self, layout: Layout) -> *mut u8 {
        let used = self.used.load(Ordering::Relaxed);
        let next = used.checked_add(layout.size().next_multiple_of(ALIGN));
        let Some(next) = next.filter(|&next| next <= EARLY_SIZE && layout.align() <= ALIGN) else {
            return ptr::null_mut();
        };
        // Whoever comes second goes to libc, once.
        let taken = self
            .used
            .compare_exchange(used, next, Ordering::Acquire, Ordering::Relaxed);
        match taken {
            // SAFETY: within the space, whose end was compared with.
            Ok(_) => unsafe { self.space.get().cast::<u8>().add(used) },
            Err(_) => ptr::null_mut(),
        }
    }

    fn has(&self, pointer: *mut u8) -> bool {
        pointer.addr().wrapping_sub(self.space.get().addr()) < EARLY_SIZE
    }

    fn give_back(&self, pointer: *mut u8, layout: Layout) {
        let start = pointer.addr() - self.space.get().addr();
        let end = start + layout.size().next_multiple_of(ALIGN);
        // Where it is not the last, it is left.
        let _ = self
            .used
            .compare_exchange(end, start, Ordering::Release, Ordering::Relaxed);
    }
}

/// From here on there are threads, which would get in each other's way there:
/// all that is new is libc's.
pub fn start_is_over() {
    EARLY.used.store(usize::MAX, Ordering::Relaxed);
}

/// More than a start takes; in bytes.
const EARLY_SIZE: usize = 8 * 1024;

/// Whether it is the size of a full record's text, or of the record: header,
/// text, type and tag.
fn is_shelved(layout: Layout) -> bool {
    (SMALLEST..=BLOCK).contains(&layout.size()) && layout.align() <= ALIGN
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
                let whole = text
                    .iter()
                    .enumerate()
                    .all(|(at, &b)| at.to_le_bytes()[0] == b);
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

    #[test]
    fn early_blocks_lie_side_by_side_until_there_is_no_room() {
        let early = Early {
            space: UnsafeCell::new([0; EARLY_SIZE / ALIGN]),
            used: AtomicUsize::new(0),
        };
        let of = |size, align| Layout::from_size_align(size, align).expect("a layout");
        let first = early.take(of(1, 1));
        let second = early.take(of(17, 16));
        assert_eq!(second.addr() - first.addr(), 16);
        // The last can be had again, another not.
        early.give_back(second, of(17, 16));
        assert_eq!(early.take(of(32, 8)), second);
        early.give_back(first, of(1, 1));
        let third = early.take(of(16, 16));
        assert_eq!(third.addr() - first.addr(), 48);
        assert!(early.has(first) && early.has(third) && !early.has(&mut 0));

        for refused in [
            of(1, 32),
            of(EARLY_SIZE - 63, 1),
            of(isize::MAX as usize, 1),
        ] {
            assert!(early.take(refused).is_null(), "{refused:?}");
        }
        let rest = early.take(of(EARLY_SIZE - 64, 1));
        assert!(early.has(rest) && early.take(of(1, 1)).is_null());
        early.used.store(usize::MAX, Ordering::Relaxed);
        assert!(early.take(of(1, 1)).is_null());
        early.give_back(rest, of(EARLY_SIZE - 64, 1));
        assert!(early.take(of(1, 1)).is_null());
    }
}
