mod clocks;
mod threads;

use super::*;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A wall clock far from the machine's own.
fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// A token that ends at [`at`] `end`; `which` tells it from others.
fn jwt(end: u64, which: &str) -> Secret {
    let payload = format!(r#"{{"exp":{}}}"#, 1_000_000 + end);
    Secret::new(&format!("a.{}.{which}", base64url(payload.as_bytes())))
}

fn base64url(bytes: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = [0; 3];
        bits[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for at in 0..=three.len() {
            text.push(char::from(letters[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

type Response = Result<Secret, String>;

/// Tokens whose fetches are reported through one channel, and take their responses from another. A test that is wrong
/// blocks for a minute at most.
struct Server {
    tokens: Arc<Tokens>,
    /// What the steady clock says.
    uptime: Arc<AtomicU64>,
    fetched: Receiver<String>,
    responses: Sender<Response>,
}

fn server() -> Server {
    let (started, fetched) = channel();
    let (responses, response) = channel::<Response>();
    let response = Mutex::new(response);
    let fetch = move |audience: &str| {
        started.send(audience.to_owned()).unwrap();
        let response = response.lock().unwrap();
        response.recv_timeout(Duration::from_secs(60)).unwrap()
    };
    let uptime = Arc::new(AtomicU64::new(0));
    let steady = Arc::clone(&uptime);
    let tokens = Tokens::with_uptime(fetch, move || steady.load(Ordering::Relaxed));
    Server { tokens: Arc::new(tokens), uptime, fetched, responses }
}

impl Server {
    /// The text that is sent at a time on which both clocks agree.
    fn bearer(&self, now: u64) -> Result<String, String> {
        self.bearer_by(now, now)
    }

    /// The same where they do not.
    fn bearer_by(&self, wall: u64, steady: u64) -> Result<String, String> {
        self.uptime.store(steady, Ordering::Relaxed);
        let value = self.tokens.bearer("https://x", at(wall))?;
        Ok(value.expose().to_owned())
    }

    fn fetches(&self) -> usize {
        self.fetched.try_iter().count()
    }

    /// Waits until no fetch is in progress.
    fn settle(&self) {
        if let Some(in_flight) = in_flight(&self.tokens, "https://x") {
            let _ = in_flight.wait();
        }
    }
}

fn in_flight(tokens: &Tokens, audience: &str) -> Option<Arc<InFlightFetch>> {
    let Source::Fetched(cache) = &tokens.0 else {
        panic!("fixed");
    };
    lock(&cache.entry(audience).state).in_flight.clone()
}

fn sent(token: &Secret) -> Result<String, String> {
    Ok(format!("Bearer {}", token.expose()))
}

#[test]
fn many_requests_use_one_token() {
    let server = server();
    let token = jwt(3600, "one");
    server.responses.send(Ok(token.clone())).unwrap();
    for second in 0..3360 {
        assert_eq!(server.bearer(second), sent(&token), "at {second}");
    }
    assert_eq!(server.fetches(), 1);
}

#[test]
fn near_its_expiry_a_token_is_used_while_one_thread_refreshes_it() {
    let server = server();
    let (old, new) = (jwt(3600, "old"), jwt(7200, "new"));
    server.responses.send(Ok(old.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&old));
    for _ in 0..100 {
        assert_eq!(server.bearer(3360), sent(&old));
    }
    assert_eq!(server.fetched.recv().unwrap(), "https://x");
    assert_eq!(server.fetched.recv().unwrap(), "https://x");
    server.responses.send(Ok(new.clone())).unwrap();
    server.settle();
    assert_eq!(server.bearer(3361), sent(&new));
    assert_eq!(server.fetches(), 0);
}

#[test]
fn a_failed_refresh_is_repeated_after_10_seconds() {
    let server = server();
    let (old, new) = (jwt(3600, "old"), jwt(7200, "new"));
    server.responses.send(Ok(old.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&old));
    server.responses.send(Err("status 503".to_owned())).unwrap();
    assert_eq!(server.bearer(3400), sent(&old));
    server.settle();
    for second in 3400..3410 {
        assert_eq!(server.bearer(second), sent(&old), "at {second}");
    }
    assert_eq!(server.fetches(), 2);
    server.responses.send(Ok(new.clone())).unwrap();
    assert_eq!(server.bearer(3410), sent(&old));
    server.settle();
    assert_eq!(server.bearer(3410), sent(&new));
    assert_eq!(server.fetches(), 1);
}

#[test]
fn an_outage_of_a_minute_loses_no_request() {
    let server = server();
    let (old, new) = (jwt(3600, "old"), jwt(7200, "new"));
    server.responses.send(Ok(old.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&old));
    for second in 3500..3560 {
        if (second - 3500) % 10 == 0 {
            server.responses.send(Err("silence".to_owned())).unwrap();
        }
        assert_eq!(server.bearer(second), sent(&old), "at {second}");
        server.settle();
    }
    assert_eq!(server.fetches(), 1 + 6, "one try in ten seconds");
    server.responses.send(Ok(new.clone())).unwrap();
    assert_eq!(server.bearer(3570), sent(&old));
    server.settle();
    assert_eq!(server.bearer(3571), sent(&new));
}

#[test]
fn the_same_token_again_is_not_fetched_in_a_loop() {
    let server = server();
    let old = jwt(3600, "old");
    server.responses.send(Ok(old.clone())).unwrap();
    server.responses.send(Ok(old.clone())).unwrap();
    assert_eq!(server.bearer(3370), sent(&old));
    for second in 3370..3380 {
        assert_eq!(server.bearer(second), sent(&old), "at {second}");
    }
    assert_eq!(server.fetches(), 1);
    assert_eq!(server.bearer(3450), sent(&old));
    server.settle();
    assert_eq!(server.bearer(3451), sent(&old));
    assert_eq!(server.fetches(), 1);
}

#[test]
fn a_token_is_not_used_within_a_second_of_its_expiry() {
    let server = server();
    let (old, new) = (jwt(3600, "old"), jwt(7200, "new"));
    server.responses.send(Ok(old.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&old));
    server.responses.send(Err("status 503".to_owned())).unwrap();
    assert_eq!(server.bearer(3597), sent(&old));
    server.settle();
    // 3598.99 is less than a second from the time on its way.
    server.responses.send(Err("status 503".to_owned())).unwrap();
    assert_eq!(server.bearer(3598), Err("status 503".to_owned()));
    // Nor is one that comes too late.
    server.responses.send(Ok(old)).unwrap();
    let late = "the metadata server's token for https://x ends within 2 s by this clock";
    assert_eq!(server.bearer(3599), Err(late.to_owned()));
    server.responses.send(Ok(jwt(3601, "short"))).unwrap();
    assert_eq!(server.bearer(3599), Err(late.to_owned()));
    server.responses.send(Ok(new.clone())).unwrap();
    assert_eq!(server.bearer(3599), sent(&new));
}

#[test]
fn a_token_of_three_seconds_is_used_for_one() {
    let server = server();
    let (short, new) = (jwt(103, "short"), jwt(3600, "new"));
    server.responses.send(Ok(short.clone())).unwrap();
    assert_eq!(server.bearer(100), sent(&short));
    server.responses.send(Ok(new.clone())).unwrap();
    assert_eq!(server.bearer(101), sent(&new));
    assert_eq!(server.fetches(), 2);
}

#[test]
fn an_expired_token_is_not_used() {
    let server = server();
    let (old, new) = (jwt(3600, "old"), jwt(7200, "new"));
    server.responses.send(Ok(old.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&old));
    server.responses.send(Err("status 503".to_owned())).unwrap();
    assert_eq!(server.bearer(3600), Err("status 503".to_owned()));
    // An error is not cached: the next request fetches again.
    server.responses.send(Ok(new.clone())).unwrap();
    assert_eq!(server.bearer(3600), sent(&new));
    assert_eq!(server.fetches(), 3);
}

#[test]
fn concurrent_requests_share_one_fetch_and_other_audiences_do_not_wait() {
    for response in [Err("status 403".to_owned()), Ok(jwt(3600, "slow"))] {
        let (go, gate) = channel::<Response>();
        let gate = Mutex::new(gate);
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let tokens = Tokens::new(move |audience| {
            if audience == "https://quick" {
                return Ok(jwt(3600, "quick"));
            }
            counted.fetch_add(1, Ordering::Relaxed);
            gate.lock().unwrap().recv().unwrap()
        });
        let got = thread::scope(|scope| {
            let askers: Vec<_> = (0..100).map(|_| scope.spawn(|| tokens.bearer("https://slow", at(0)))).collect();
            // The cache, the fetching thread and 99 others share it; and this one, for a moment.
            while in_flight(&tokens, "https://slow").is_none_or(|fetch| Arc::strong_count(&fetch) < 102) {
                thread::yield_now();
            }
            assert!(tokens.bearer("https://quick", at(0)).is_ok());
            go.send(response.clone()).unwrap();
            let got = askers.into_iter().map(|asker| asker.join().unwrap());
            got.collect::<Vec<_>>()
        });
        assert_eq!(count.load(Ordering::Relaxed), 1, "{response:?}");
        for got in got {
            let want = response.as_ref().map(header_value).map_err(Clone::clone);
            assert_eq!(got, want);
        }
    }
}

#[test]
fn an_invalid_token_is_removed_once() {
    let server = server();
    let (one, two) = (jwt(3600, "one"), jwt(3600, "two"));
    server.responses.send(Ok(one.clone())).unwrap();
    let value = server.tokens.bearer("https://x", at(0)).unwrap();
    let invalidate = |value: &Secret, now| {
        server.uptime.store(now, Ordering::Relaxed);
        server.tokens.invalidate("https://x", value, at(now))
    };
    assert!(invalidate(&value, 1), "this very token goes");
    server.responses.send(Ok(two.clone())).unwrap();
    assert_eq!(server.bearer(1), sent(&two));
    assert!(invalidate(&value, 1), "a late response to the old one");
    assert_eq!(server.bearer(1), sent(&two), "leaves the new one");
    // The metadata server insists on a token that is refused.
    let value = header_value(&two);
    assert!(invalidate(&value, 2));
    server.responses.send(Ok(two.clone())).unwrap();
    assert_eq!(server.bearer(2), sent(&two));
    assert!(!invalidate(&value, 3), "asking again at once is not worth it");
    assert_eq!(server.bearer(3), sent(&two));
    assert_eq!(server.fetches(), 3);
    assert!(!invalidate(&value, 11));
    assert!(invalidate(&value, 12), "ten seconds later it is");
}

#[test]
fn the_least_recently_used_audience_is_evicted() {
    let fetches = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&fetches);
    let tokens = Tokens::new(move |audience| {
        seen.lock().unwrap().push(audience.to_owned());
        Ok(jwt(3600, "x"))
    });
    let ask = |n: usize| tokens.bearer(&format!("https://{n}"), at(0)).unwrap();
    for n in 0..MAX_AUDIENCES {
        ask(n);
    }
    ask(0); // 1 is the oldest now
    ask(MAX_AUDIENCES); // and goes
    fetches.lock().unwrap().clear();
    for n in 2..=MAX_AUDIENCES {
        ask(n);
    }
    ask(0);
    assert!(fetches.lock().unwrap().is_empty());
    ask(1);
    assert_eq!(*fetches.lock().unwrap(), ["https://1"]);
}

#[test]
fn responses_that_are_not_tokens_are_errors() {
    for (token, want) in [
        (Secret::new(""), "token for https://x is empty"),
        (Secret::new("<html>secret"), "has characters that no token has"),
        (Secret::new("secret.b"), "is not three parts with dots"),
        (jwt(1000, "secret"), "token for https://x ended "),
        (jwt(900, "secret"), " s ago by this clock"),
    ] {
        let server = server();
        server.responses.send(Ok(token)).unwrap();
        let err = server.bearer(1000).unwrap_err();
        assert!(err.contains(want), "{err}; wanted {want}");
        assert!(!err.contains("secret"), "{err}");
        // It is not cached.
        let good = jwt(3600, "good");
        server.responses.send(Ok(good.clone())).unwrap();
        assert_eq!(server.bearer(1000), sent(&good));
    }
}

#[test]
fn the_account_is_that_of_the_first_token() {
    let server = server();
    assert_eq!(server.tokens.account(), None);
    let payload = base64url(br#"{"email":"me@example.com","exp":1003600}"#);
    let token = Secret::new(&format!("a.{payload}.c"));
    server.responses.send(Ok(token.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&token));
    let account = Some("me@example.com".to_owned());
    assert_eq!(server.tokens.account(), account);
    assert_eq!(Tokens::fixed(&token).unwrap().account(), account);
}

#[test]
fn a_panic_during_a_fetch_is_an_error() {
    let tokens = Tokens::new(|_| panic!("on purpose"));
    for _ in 0..2 {
        let got = tokens.bearer("https://x", at(0));
        assert_eq!(got, Err("the fetch of a token broke off".to_owned()));
    }
}

#[test]
fn a_fixed_token_serves_every_audience() {
    let tokens = Tokens::fixed(&Secret::new("a.b.c")).unwrap();
    for audience in ["https://x", "https://y"] {
        let value = tokens.bearer(audience, at(0)).unwrap();
        assert_eq!(value.expose(), "Bearer a.b.c");
        assert!(!tokens.invalidate(audience, &value, at(0)));
    }
    assert!(Tokens::fixed(&Secret::new("a.b.c\r\nX: y")).is_err());
}

#[test]
fn an_expired_fixed_token_is_reported_with_its_age() {
    let tokens = Tokens::fixed(&jwt(100, "x")).unwrap();
    let notice = |seconds| tokens.expiry_notice(at(100) + Duration::from_secs(seconds));
    for (seconds, want) in [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (864_000, "10 days"),
    ] {
        let sentence = notice(seconds).expect(want);
        assert!(sentence.starts_with(&format!("the token in CLOUD_RUN_ID_TOKEN ended {want} ago; ")), "{sentence}");
    }
    assert_eq!(tokens.expiry_notice(at(99)), None);
    assert_eq!(Tokens::fixed(&Secret::new("a.b.c")).unwrap().expiry_notice(at(1000)), None);
    assert_eq!(server().tokens.expiry_notice(at(1000)), None);
}

#[test]
fn no_order_of_events_returns_an_expired_token() {
    // A server that fails each third time, and gives some tokens little time.
    let count = AtomicU64::new(0);
    let clock = Arc::new(AtomicU64::new(0));
    let server_clock = Arc::clone(&clock);
    let uptime = Arc::clone(&clock);
    let fetch = move |_: &str| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        let now = server_clock.load(Ordering::Relaxed);
        match n % 3 {
            0 => Err("status 503".to_owned()),
            // The end is the last part too, where this test can read it.
            _ => Ok(jwt(now + n % 500, &format!("{}", now + n % 500))),
        }
    };
    let tokens = Tokens::with_uptime(fetch, move || uptime.load(Ordering::Relaxed));
    thread::scope(|scope| {
        for thread in 0..8 {
            let (tokens, clock) = (&tokens, &clock);
            scope.spawn(move || {
                for round in 0..3000 {
                    let now = clock.fetch_add(round % 3, Ordering::Relaxed);
                    let Ok(value) = tokens.bearer("https://x", at(now)) else {
                        continue;
                    };
                    let (_, end) = value.expose().rsplit_once('.').unwrap();
                    let end: u64 = end.parse().unwrap();
                    assert!(end > now, "sent at {now}, ended at {end}");
                    if round % 50 == thread {
                        tokens.invalidate("https://x", &value, at(now));
                    }
                }
            });
        }
    });
}
