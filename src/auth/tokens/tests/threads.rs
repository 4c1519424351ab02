//! What several threads get of one cache.

use super::*;

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
