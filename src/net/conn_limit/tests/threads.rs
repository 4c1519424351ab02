//! Many connections at the limit come, are idle, and go.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::sync::test_threads::{Dice, pause, pause_at_random, with_deadline};

/// What the threads of connections tell each other.
#[derive(Default)]
struct Shared {
    permits: AtomicUsize,
    /// Connections that were closed for others, and of these the ones whose permits are still held.
    closed: AtomicUsize,
    closing: AtomicUsize,
    /// A clock that goes on by 1 with each reading.
    clock: AtomicUsize,
    /// Idle connections, and a time at which they were idle already.
    idle_since: Mutex<HashMap<u64, usize>>,
}

impl Shared {
    fn now(&self) -> usize {
        self.clock.fetch_add(1, SeqCst)
    }

    /// Serves a connection with a few requests, as its thread does.
    fn serve(&self, permit: Permit, mut client: UnixStream, seed: u64) {
        pause_at_random(seed);
        let mut dice = Dice::new(seed);
        let mut is_closed = false;
        while !is_closed && dice.roll(4) > 0 {
            let before = self.now();
            permit.set_closable(Duration::ZERO);
            lock(&self.idle_since).insert(seed, self.now());
            // One in four sends no other request, and waits for its end.
            let is_silent = dice.roll(4) == 0;
            if is_silent {
                assert_eq!(permit.tcp().read(&mut [0]).expect("an end"), 0, "connection {seed}");
            }
            (0..8).for_each(|_| pause());
            lock(&self.idle_since).remove(&seed);
            if !is_silent && dice.roll(4) == 0 {
                // The client goes. Whether it was closed is the same to it.
                break;
            }
            is_closed = !permit.set_busy();
            assert!(is_closed || !is_silent, "connection {seed} was closed, and is served");
            if is_closed {
                assert_eq!(self.closing.fetch_add(1, SeqCst), 0, "two are closed for one");
                for (other, since) in &*lock(&self.idle_since) {
                    assert!(*since > before, "connection {seed} is closed, and {other} was idle before it");
                }
                self.closed.fetch_add(1, SeqCst);
            } else {
                permit.tcp().write_all(b"x").expect("open");
            }
            let want = usize::from(!is_closed);
            assert_eq!(client.read(&mut [0]).expect("a byte or the end"), want, "connection {seed}");
        }
        self.permits.fetch_sub(1, SeqCst);
        if is_closed {
            self.closing.fetch_sub(1, SeqCst);
        }
        drop(permit);
    }
}

/// Both ends of a connection, without a port: thousands of them would be in TIME-WAIT.
fn pair() -> (TcpStream, UnixStream) {
    let (server, client) = UnixStream::pair().expect("a pair");
    (OwnedFd::from(server).into(), client)
}

/// Has one thread accept 500 connections, as in the proxy, of which at most `max` are served at once.
fn run(limiter: &Arc<ConnLimiter>, max: usize) {
    let shared = Shared::default();
    thread::scope(|scope| {
        for seed in 0..500 {
            let (tcp, client) = pair();
            let permit = limiter.acquire(tcp, |_, _| ());
            let permits = shared.permits.fetch_add(1, SeqCst);
            assert!(permits < max && limiter.active() <= max, "{permits} permits, and {}", limiter.active());
            let shared = &shared;
            scope.spawn(move || shared.serve(permit, client, seed));
        }
        while limiter.active() > 0 {
            limiter.evict_idle(Duration::from_millis(1));
        }
    });
    assert!(shared.closed.load(SeqCst) > 50, "{} were closed", shared.closed.load(SeqCst));
    let counts = [&limiter.active, &limiter.busy, &limiter.waiting, &limiter.needing_connections];
    assert_eq!(counts.map(|count| count.load(SeqCst)), [0; 4]);
    assert_eq!(limiter.lock().closing, 0);
}

#[test]
fn many_connections_at_the_limit_are_served_and_none_is_forgotten() {
    with_deadline(|| {
        for (nofile, max) in [(4, 1), (12, 3), (32, 8)] {
            run(&ConnLimiter::new(nofile, usize::MAX), max);
        }
    });
}

#[test]
fn each_request_that_ends_wakes_one_that_waits_for_memory() {
    with_deadline(|| {
        let (limit, group) = (8 << 20, Group::new("threads"));
        group.put("memory.max", limit);
        group.put("memory.current", 0);
        let limiter = ConnLimiter::new(64, usize::MAX);
        limiter.limit_memory(CgroupMemory::of_directory(&group.0).expect("a limit"));
        let acquire = |_| limiter.acquire(pair().0, |_, _| panic!("there is room"));
        let permits: Vec<Permit> = (0..MIN_SERVED + 2).map(acquire).collect();
        // Enough for all of them but one.
        group.put("memory.current", limit - (MIN_SERVED as u64 + 1) * REQUEST_MEMORY);
        let (turn, ended) = (Mutex::new(()), AtomicUsize::new(0));
        let (hand_offs, by_signal) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let is_waiting = || limiter.waiting.load(SeqCst) > 0;
        thread::scope(|scope| {
            for (seed, permit) in (0..).zip(&permits) {
                let (limiter, turn, ended, is_waiting) = (&limiter, &turn, &ended, &is_waiting);
                let (hand_offs, by_signal) = (&hand_offs, &by_signal);
                scope.spawn(move || {
                    pause_at_random(seed);
                    // None of these may be closed for others: only the end of a request helps.
                    permit.set_new();
                    for _ in 0..10 {
                        assert!(permit.set_busy(), "connection {seed}");
                        let _turn = lock(turn);
                        while !is_waiting() && ended.load(SeqCst) == 0 {
                            thread::yield_now();
                        }
                        // Once it has the lock, the other one waits for the signal.
                        drop(limiter.lock());
                        let is_hand_off = is_waiting();
                        let since = Instant::now();
                        permit.set_new();
                        while is_waiting() {
                            thread::yield_now();
                        }
                        // By the signal, and not as the other one looks anew; but for a machine that is busy.
                        let is_quick = since.elapsed() < RECHECK_INTERVAL / 2;
                        hand_offs.fetch_add(usize::from(is_hand_off), SeqCst);
                        by_signal.fetch_add(usize::from(is_hand_off && is_quick), SeqCst);
                    }
                    ended.fetch_add(1, SeqCst);
                });
            }
        });
        let [by_signal, hand_offs] = [by_signal, hand_offs].map(|count| count.into_inner());
        assert!(hand_offs >= 10 && by_signal > hand_offs / 2, "{by_signal} of {hand_offs}");
        assert_eq!([&limiter.busy, &limiter.waiting].map(|count| count.load(SeqCst)), [0; 2]);
    });
}
