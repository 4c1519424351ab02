use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::*;
use crate::sync::test_threads::{Dice, pause, pause_at_random, with_deadline};

/// A client that takes some bytes at a time, and at times waits until a frame was enqueued before it takes more.
#[derive(Default)]
struct Client {
    received: Mutex<Vec<u8>>,
    /// Calls of `enqueue` that have returned.
    enqueued: AtomicUsize,
    /// Threads that enqueue, and have not ended.
    enqueueing: AtomicUsize,
    /// The client resets the connection after as many bytes.
    max: usize,
}

impl Write for &Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = lock(&self.received).len();
        if len >= self.max {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut dice = Dice::new(len as u64);
        let (waits, enqueued) = (dice.roll(8) == 0, self.enqueued.load(SeqCst));
        // Of two threads that enqueue, one may be the one that writes.
        while waits && self.enqueued.load(SeqCst) == enqueued && self.enqueueing.load(SeqCst) > 1 {
            thread::yield_now();
        }
        let (taken, _) = bytes.split_at(bytes.len().min(1 + dice.roll(30)));
        lock(&self.received).extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame of a thread: who, which one, and a length.
fn frame(thread: usize, number: usize, dice: &mut Dice) -> Vec<u8> {
    let [high, low] = u16::try_from(number).expect("few").to_be_bytes();
    let thread = u8::try_from(thread).expect("few");
    let len = u8::try_from(dice.roll(60)).expect("short");
    [vec![thread, high, low, len], vec![thread; len.into()]].concat()
}

/// Has the threads of [`WRITING`] write, and those of [`ENQUEUEING`] enqueue, `frames` each, or until there is an error.
/// Returns what a client received that resets the connection after `max` bytes, and the threads that saw an error.
fn run(seed: usize, frames: usize, max: usize) -> (Vec<u8>, Vec<io::ErrorKind>) {
    let client = Client { max, enqueueing: ENQUEUEING.len().into(), ..Client::default() };
    let writer = SharedWriter::new(&client);
    let send = |thread: usize| {
        let seed = (seed * 100 + thread) as u64;
        pause_at_random(seed);
        let mut dice = Dice::new(seed);
        let result = (0..frames).try_for_each(|number| {
            pause();
            let bytes = frame(thread, number, &mut dice);
            if WRITING.contains(&thread) {
                return writer.write(&bytes);
            }
            writer.enqueue(&bytes)?;
            client.enqueued.fetch_add(1, SeqCst);
            Ok(())
        });
        if ENQUEUEING.contains(&thread) {
            client.enqueueing.fetch_sub(1, SeqCst);
        }
        result.err().map(|err| err.kind())
    };
    let errors = thread::scope(|scope| {
        let threads: Vec<_> = (WRITING.start..ENQUEUEING.end).map(|thread| scope.spawn(move || send(thread))).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
    });
    (lock(&client.received).clone(), errors)
}

#[test]
fn frames_of_many_threads_arrive_whole_in_order_and_all_of_them() {
    with_deadline(|| {
        for seed in 0..500 {
            // Few, as a frame that is forgotten is sent with the next one.
            let frames = 1 + seed % 20;
            let (received, errors) = run(seed, frames, usize::MAX);
            assert_eq!(errors, [], "seed {seed}");
            let mut next = [0; ENQUEUEING.end];
            let mut rest = &received[..];
            while let [thread, high, low, len, after @ ..] = rest {
                let number = usize::from(u16::from_be_bytes([*high, *low]));
                let (body, after) = after.split_at(usize::from(*len));
                assert!(body.iter().all(|byte| byte == thread), "seed {seed}: {thread}'s frame {number}: {body:?}");
                let place = &mut next[usize::from(*thread)];
                assert_eq!(number, *place, "seed {seed}: thread {thread}");
                *place += 1;
                rest = after;
            }
            assert_eq!(next, [frames; ENQUEUEING.end], "seed {seed}");
        }
    });
}

#[test]
fn each_thread_sees_that_the_client_has_reset_the_connection() {
    with_deadline(|| {
        for seed in 0..20 {
            let (_, errors) = run(seed, 60_000, 1000 + seed * 10);
            assert_eq!(errors.len(), ENQUEUEING.end, "seed {seed}: {errors:?}");
            assert_eq!(errors[WRITING], [io::ErrorKind::ConnectionReset; WRITING.end], "seed {seed}");
        }
    });
}

/// The threads that write, by number. In a connection it is one.
const WRITING: std::ops::Range<usize> = 0..2;

/// The threads that enqueue. In a connection it is one.
const ENQUEUEING: std::ops::Range<usize> = 2..5;
