//! Many threads share a cache, with a metadata server that at times fails and a clock that goes on all the while.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::*;
use crate::sync::test_threads::{Dice, pause, pause_at_random, with_deadline};

/// A metadata server, a clock, and what the threads know of each of two audiences.
#[derive(Default)]
struct World {
    /// Seconds, by both clocks.
    clock: AtomicU64,
    /// The number of the last fetch: the response has it.
    fetches: AtomicU64,
    is_fixed: AtomicBool,
    audiences: [Audience; 2],
}

#[derive(Default)]
struct Audience {
    is_fetching: AtomicBool,
    /// The newest token, and the newest error, that a caller has got.
    token: AtomicU64,
    error: AtomicU64,
    /// The newest token that was invalidated.
    invalidated: AtomicU64,
}

impl World {
    fn fetch(&self, audience: &str) -> Response {
        let audience = &self.audiences[audience.parse::<usize>().unwrap()];
        assert!(!audience.is_fetching.swap(true, SeqCst), "two fetches at once");
        let number = 1 + self.fetches.fetch_add(1, SeqCst);
        let mut dice = Dice::new(number);
        (0..dice.roll(4)).for_each(|_| thread::yield_now());
        let lifetime = 4 + [dice.roll(8), dice.roll(400)][dice.roll(2)];
        let end = self.clock.load(SeqCst) + lifetime as u64;
        audience.is_fetching.store(false, SeqCst);
        match dice.roll(3) == 0 && !self.is_fixed.load(SeqCst) {
            true => Err(format!("failed: {number}")),
            false => Ok(jwt(end, &format!("{end}-{number}"))),
        }
    }

    /// Asks for a token as a request does, and checks what comes.
    fn request(&self, tokens: &Tokens, name: usize, dice: &mut Dice) -> Response {
        let audience = &self.audiences[name];
        // What was before the call.
        let [token, error, invalidated] =
            [&audience.token, &audience.error, &audience.invalidated].map(|number| number.load(SeqCst));
        let now = self.clock.load(SeqCst);
        let response = tokens.bearer(&name.to_string(), at(now));
        match &response {
            Ok(bearer) => {
                let (end, number) = end_and_number(bearer);
                assert!(end > now + MIN_REMAINING, "token {number} ended at {end}, and it was {now}");
                assert!(number >= token, "token {number} is older than {token}");
                assert!(number > invalidated, "token {number} is not newer than {invalidated}, which is invalid");
                audience.token.fetch_max(number, SeqCst);
                if dice.roll(20) == 0 {
                    assert!(tokens.invalidate(&name.to_string(), bearer, at(now)), "token {number} is invalid twice");
                    audience.invalidated.fetch_max(number, SeqCst);
                }
            }
            Err(why) => match why.strip_prefix("failed: ") {
                Some(number) => {
                    let number = number.parse().unwrap();
                    assert!(number > token.max(error), "error {number} was there before {token} and {error}");
                    audience.error.fetch_max(number, SeqCst);
                }
                // The clock goes on during a fetch.
                None => assert!(why.ends_with("by this clock"), "{why}"),
            },
        }
        response
    }
}

fn end_and_number(bearer: &Secret) -> (u64, u64) {
    let (_, text) = bearer.expose().rsplit_once('.').unwrap();
    let (end, number) = text.split_once('-').unwrap();
    (end.parse().unwrap(), number.parse().unwrap())
}

fn run(seed: u64) {
    let world = Arc::new(World::default());
    let (server, clock) = (Arc::clone(&world), Arc::clone(&world));
    let fetch = move |audience: &str| server.fetch(audience);
    let tokens = Tokens::with_uptime(fetch, move || {
        pause();
        clock.clock.load(SeqCst)
    });
    thread::scope(|scope| {
        for thread in 0..8 {
            let (world, tokens) = (&world, &tokens);
            scope.spawn(move || {
                let seed = seed * 100 + thread;
                pause_at_random(seed);
                let mut dice = Dice::new(seed);
                for _ in 0..300 {
                    world.clock.fetch_add(dice.roll(3) as u64, SeqCst);
                    let _ = world.request(tokens, dice.roll(2), &mut dice);
                }
            });
        }
    });
    // After an outage each audience has a token again, at the latest with the second request: the first may wait for a
    // refresh that began before.
    world.is_fixed.store(true, SeqCst);
    world.clock.fetch_add(1000, SeqCst);
    for name in [0, 1] {
        let mut dice = Dice::new(seed);
        let _ = world.request(&tokens, name, &mut dice);
        assert!(world.request(&tokens, name, &mut dice).is_ok(), "seed {seed}");
    }
}

#[test]
fn many_threads_get_tokens_that_are_valid_of_one_fetch_at_a_time() {
    with_deadline(|| (0..4).for_each(run));
}

#[test]
fn a_token_that_expired_while_the_thread_that_fetched_it_stood_still_is_not_used() {
    let (fetched, stopped) = channel();
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let clock = Arc::new(AtomicU64::new(0));
    let uptime = Arc::clone(&clock);
    let ends = Mutex::new([3600, 3700, 9000].into_iter());
    let fetch = move |_: &str| Ok(jwt(ends.lock().unwrap().next().unwrap(), "x"));
    let tokens = Tokens::with_uptime(fetch, move || {
        let now = uptime.load(Ordering::Relaxed);
        // The refresh reads the clock to validate its token, and once more to complete.
        if thread::current().name() == Some("token") {
            fetched.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        now
    });
    let bearer = |now| {
        clock.store(now, Ordering::Relaxed);
        tokens.bearer("https://x", at(now)).map(|bearer| bearer.expose().to_owned())
    };
    assert_eq!((bearer(0), bearer(3400)), (sent(&jwt(3600, "x")), sent(&jwt(3600, "x"))));
    stopped.recv().unwrap();
    go.send(()).unwrap();
    stopped.recv().unwrap();
    // It has a token that is good for 300 s, and goes on after more than that.
    let before = in_flight(&tokens, "https://x").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| bearer(4000));
        while Arc::strong_count(&before) < 4 {
            thread::yield_now();
        }
        go.send(()).unwrap();
        assert_eq!(waiting.join().unwrap(), sent(&jwt(9000, "x")));
    });
}
