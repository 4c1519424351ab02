//! Locks and counters that threads share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks `mutex`, also where a thread panicked while it held the lock: each of runsd's critical sections leaves its data
/// consistent at every step that can panic.
///
/// Blocks: until no other thread holds the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(test)]
    test_threads::pause();
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unlocks `guard`, waits for `condvar`, and locks again.
///
/// Blocks: until another thread signals `condvar`, for `timeout` at most; a wake-up may also have no reason.
pub fn wait_timeout<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}

/// Unlocks `guard`, waits for `condvar` while `condition` holds, and locks again.
///
/// Blocks: until `condition` does not hold, for `timeout` at most.
pub fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner).0
}

/// Adds 1 to a counter until it is dropped.
pub struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    /// Adds 1 to `count`. Also returns what it was before.
    pub fn new(count: &AtomicUsize) -> (Counted<'_>, usize) {
        let before = count.fetch_add(1, Ordering::SeqCst);
        (Counted(count), before)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
pub mod test_threads;
