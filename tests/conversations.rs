//! Random HTTP/1 conversations: whatever client and upstream do, no body becomes a
//! request, and no response reaches another's request.

use std::time::Duration;

use crate::harness::CloudRun;

/// Where the upstream of `clients/conversations.py` listens, in a namespace of its own.
const PORT: &str = "8099";

#[track_caller]
fn conversations(seed: u64, rounds: u64) {
    let route = format!("-route=echo=http://127.0.0.1:{PORT}");
    let program = "/tests/clients/conversations.py";
    let (seed, rounds) = (seed.to_string(), rounds.to_string());
    let out = CloudRun::new()
        .limit(Duration::from_secs(600))
        .run(&["/runsd", &route, "--", "python3", "-B", program, &seed, &rounds, PORT]);
    assert_eq!((out.status, &*out.stdout), (0, "nothing went astray\n"), "seed {seed}: {}", out.stderr);
}

#[test]
fn in_random_conversations_no_body_is_a_request_and_no_response_goes_astray() {
    // `CONVERSATIONS=100000 SEED=7 cargo test conversations` has more, and others.
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    conversations(number("SEED", 1), number("CONVERSATIONS", 1500));
}
