//! Clocks that are set, slow or absurd.

use super::*;

#[test]
fn a_clock_set_forward_expires_tokens() {
    let server = server();
    let (one, two) = (jwt(3600, "one"), jwt(103_600, "two"));
    server.responses.send(Ok(one.clone())).unwrap();
    assert_eq!(server.bearer_by(0, 0), sent(&one));
    // A day, in a second: the old token is past its end now.
    server.responses.send(Ok(two.clone())).unwrap();
    assert_eq!(server.bearer_by(100_000, 1), sent(&two));
    assert_eq!(server.fetches(), 2);
}

#[test]
fn a_clock_set_back_does_not_prolong_tokens() {
    let server = server();
    let (one, two) = (jwt(3600, "one"), jwt(7200, "two"));
    server.responses.send(Ok(one.clone())).unwrap();
    assert_eq!(server.bearer_by(0, 0), sent(&one));
    // An hour, soon after: the token is good for what it was good for, and
    // not for two hours.
    let wall = |second| at(second) - Duration::from_secs(3600);
    let bearer = |second| {
        server.uptime.store(second, Ordering::Relaxed);
        let value = server.tokens.bearer("https://x", wall(second));
        value.map(|value| value.expose().to_owned())
    };
    assert_eq!(bearer(60), sent(&one));
    assert_eq!(bearer(3359), sent(&one));
    assert_eq!(server.fetches(), 1);
    server.responses.send(Err("status 503".to_owned())).unwrap();
    assert_eq!(bearer(3597), sent(&one), "and is renewed before its end");
    server.settle();
    server.responses.send(Ok(two.clone())).unwrap();
    assert_eq!(bearer(3600), sent(&two));
    assert_eq!(server.fetches(), 2);
}

#[test]
fn a_clock_set_back_does_not_prolong_a_short_token() {
    let server = server();
    let (one, two) = (jwt(600, "one"), jwt(3600, "two"));
    server.responses.send(Ok(one.clone())).unwrap();
    assert_eq!(server.bearer_by(0, 0), sent(&one));
    server.responses.send(Ok(two.clone())).unwrap();
    assert_eq!(server.bearer_by(0, 600), sent(&two));
    assert_eq!(server.fetches(), 2);
}

#[test]
fn a_slow_clock_does_not_prolong_tokens() {
    let server = server();
    // Two hours: a token of one hour looks as if it had three.
    let (one, two) = (jwt(3600 + 7200, "one"), jwt(7200 + 7200, "two"));
    server.responses.send(Ok(one.clone())).unwrap();
    assert_eq!(server.bearer(0), sent(&one));
    assert_eq!(server.bearer(3359), sent(&one));
    server.responses.send(Ok(two.clone())).unwrap();
    assert_eq!(server.bearer(3600), sent(&two));
    assert_eq!(server.fetches(), 2);
}

#[test]
fn absurd_clocks_are_survived() {
    let server = server();
    let token = jwt(3600, "one");
    for (second, time) in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH].into_iter().enumerate() {
        let _ = server.responses.send(Ok(token.clone()));
        let value = server.tokens.bearer("https://x", time).unwrap();
        assert_eq!(Ok(value.expose().to_owned()), sent(&token), "{second}");
    }
    // Far in the future every token has ended, and the reason says so.
    let end_of_time = UNIX_EPOCH + Duration::from_secs(1 << 40);
    server.responses.send(Ok(token.clone())).unwrap();
    let err = server.tokens.bearer("https://x", end_of_time).unwrap_err();
    assert!(err.contains("s ago by this clock"), "{err}");
    // The steady clock is not steady, either.
    server.responses.send(Ok(token.clone())).unwrap();
    assert_eq!(server.bearer_by(0, 1 << 40), sent(&token));
    assert_eq!(server.bearer_by(0, 0), sent(&token));
}
