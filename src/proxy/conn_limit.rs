//! How many connections are served at a time: those that there are descriptors
//! for. Who comes when all seats are taken waits for one, and is told nothing.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The seats of all listeners together.
pub struct Seats {
    most: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// All were taken, and half of them are not free yet.
    crowded: bool,
}

/// A seat, until it is dropped.
pub struct Seat(Arc<Seats>);

/// How many connections there are descriptors for: each has one to its client
/// and one to its far end.
pub fn for_descriptors(descriptors: usize) -> usize {
    let half = descriptors.saturating_sub(RESERVED) / 2;
    half.max(descriptors / 4).max(1)
}

impl Seats {
    /// As many as that.
    pub fn new(most: usize) -> Arc<Seats> {
        Arc::new(Seats {
            most,
            state: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// One of them, when there is one; `crowd` is called where that may take a
    /// while, once until half of them have been free.
    pub fn take(self: &Arc<Seats>, crowd: impl FnOnce(usize)) -> Seat {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.taken >= self.most && !state.crowded {
            state.crowded = true;
            crowd(self.most);
        }
        while state.taken >= self.most {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.taken += 1;
        Seat(Arc::clone(self))
    }

    /// How many are not taken.
    pub fn free(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.most - state.taken
    }

    /// Waits until someone leaves, or for `longest`.
    pub fn pause(&self, longest: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.freed.wait_timeout(state, longest));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Seats { most, state, freed } = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken -= 1;
        state.crowded &= state.taken > most / 2;
        drop(state);
        freed.notify_one();
    }
}

/// Descriptors for all else: listeners, nameservers, the metadata server, the
/// standard streams.
const RESERVED: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::thread;

    use super::*;

    #[test]
    fn seats_for_descriptors() {
        for (descriptors, want) in [
            (0, 1),
            (3, 1),
            (20, 5),
            (64, 16),
            (100, 34),
            (1_024, 496),
            (25_000, 12_484),
        ] {
            assert_eq!(for_descriptors(descriptors), want, "{descriptors}");
        }
    }

    #[test]
    fn a_crowd_is_told_of_once() {
        let seats = Seats::new(4);
        let told = AtomicUsize::new(0);
        let sit = || {
            seats.take(|most| {
                assert_eq!(most, 4);
                told.fetch_add(1, Relaxed);
            })
        };
        let mut sitting: Vec<Seat> = (0..4).map(|_| sit()).collect();
        assert_eq!((told.load(Relaxed), seats.free()), (0, 0));
        // One of them leaves while the fifth waits; then all but one.
        for (leaving, want) in [(1, 1), (1, 1), (3, 1), (1, 2)] {
            thread::scope(|scope| {
                let waiting = scope.spawn(sit);
                sitting.drain(..leaving);
                sitting.push(waiting.join().expect("a seat"));
            });
            while seats.free() > 0 {
                sitting.push(sit());
            }
            // Whether the fifth came before one had left is nobody's choice.
            assert!(told.load(Relaxed) <= want, "{leaving} left");
        }
        drop(sitting);
        assert_eq!(seats.free(), 4);
    }
}
