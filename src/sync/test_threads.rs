//! For tests: threads that let others run at random moments, and a deadline for those that wait forever.

use std::cell::RefCell;
use std::hint;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Numbers that look random, the same ones for the same seed (xorshift).
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `below`.
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("small")
    }
}

thread_local! {
    static PAUSES: RefCell<Option<Dice>> = const { RefCell::new(None) };
}

/// From now on this thread lets others run at random before it locks: what is done between two locks, and should be done
/// under one, is then seen by other threads.
pub fn pause_at_random(seed: u64) {
    PAUSES.set(Some(Dice::new(seed)));
}

/// Takes a moment, at random, where the thread was told to: mostly as long as another thread takes between two locks. To
/// let others run is rare, since on a busy machine that takes a slice of time of each.
pub fn pause() {
    match PAUSES.with_borrow_mut(|dice| dice.as_mut().map_or(0, |dice| dice.roll(1024))) {
        0 => {}
        1..16 => thread::yield_now(),
        number => (0..number / 4).for_each(|_| hint::spin_loop()),
    }
}

/// Runs `body`, and fails where it does not end: a thread waits for something that does not come.
pub fn with_deadline(body: impl FnOnce() + Send + 'static) {
    let (running, ended) = channel::<()>();
    let thread = thread::spawn(move || {
        let _running = running;
        body();
    });
    let end = ended.recv_timeout(DEADLINE);
    assert_ne!(end, Err(RecvTimeoutError::Timeout), "a thread still waits after {DEADLINE:?}");
    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
}

/// Far longer than the tests take, on a busy machine as well.
const DEADLINE: Duration = Duration::from_secs(120);
