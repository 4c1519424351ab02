//! Faults that are injected, and what the application sees of them. The rest of them:
//! early ends and answers in `early_answers.rs`; addresses and handshakes in
//! `upstreams.rs`; tokens and the metadata server in `identity.rs` and `refusals.rs`;
//! nameservers in `nameservers.rs`; descriptors, threads and memory in `limits.rs`;
//! a log that nobody reads in `stderr.rs`; all of it at once in `soak.rs`.

use std::time::Duration;

use serde_json::json;

use crate::caller::Caller;
use crate::harness::CloudRun;

/// Runs one function of `clients/faults.py`; what it printed.
#[track_caller]
fn table(words: &[&str]) -> String {
    let miniature = CloudRun::new().limit(Duration::from_secs(600));
    miniature.client("faults.py", words).stdout
}

#[test]
fn a_response_that_is_cut_anywhere_never_looks_whole() {
    assert_eq!(table(&["cuts"]), "190 cases\n");
}

#[test]
fn a_response_that_stalls_anywhere_holds_up_nobody_else_and_is_whole() {
    assert_eq!(table(&["stalls"]), "163 cases\n");
}

#[test]
fn tls_records_of_one_byte_and_new_keys_between_them() {
    let want = "length 200 0123456789\nchunks 200 0123456789\n";
    assert_eq!(table(&["records"]), want);
}

#[test]
fn of_many_requests_on_connections_that_turn_out_closed_none_fails() {
    // `make release-test` has ten thousand.
    let gets = std::env::var("REUSES").unwrap_or("1000".into());
    assert_eq!(table(&["reuse", &gets, "300"]), "all answered\n");
}

#[test]
fn a_post_that_may_have_been_carried_out_is_not_sent_again() {
    let want = ["close", "fin", "reset"].map(|way| format!("{way} POST 200 502 1\n{way} GET 200 200 2\n")).concat();
    assert_eq!(table(&["posts"]), want);
}

#[test]
fn restarts_of_the_front_end_under_load_are_not_noticed() {
    assert_eq!(table(&["restarts"]), "none failed\n");
}

#[test]
fn tokens_and_connections_are_renewed_after_a_long_sigstop() {
    // The first process of a namespace is not stopped from inside.
    let script = "/runsd -- sh -c 'python3 -B /tests/clients/faults.py stopped $PPID' & wait";
    let out = CloudRun::new().run(&["sh", "-c", script]);
    assert_eq!(out.stdout, "HTTP/1.1 200 OK\n".repeat(4), "{}", out.stderr);
    assert_eq!(out.stderr, "");
}

#[test]
fn losing_ipv6_loopback_leaves_ipv4_served() {
    let want = "HTTP/1.1 200 OK\n".repeat(3) + "127.0.0.1 192.0.2.3\n";
    assert_eq!(table(&["without_ipv6"]), want);
}

#[test]
fn a_certificate_that_is_not_this_hosts_and_good_now_gets_no_token() {
    for (mode, want) in [
        ("bad-cert", "tls_certificate_error"),
        ("wrong-name", "tls_certificate_error"),
        ("expired", "tls_certificate_error"),
        ("not-yet", "tls_certificate_error"),
    ] {
        let mut caller = Caller::new(CloudRun::new(), &[]);
        caller.running.post("frontend", &json!({ "mode": mode }));
        for protocol in ["--http1.1", "--http2-prior-knowledge"] {
            let said = "-o /dev/null -w '%{http_code} %header{proxy-status}\\n'";
            let line = caller.line(&format!("{protocol} {said} http://hello"));
            let want = format!("502 runsd; error={want}");
            assert!(line.starts_with(&want), "{mode} {protocol}: {line}");
        }
        let seen = caller.running.stats();
        assert_eq!(seen["requests"], json!({}), "{mode}");
        // As soon as it is a good one, all is well.
        caller.running.post("frontend", &json!({ "mode": "ok" }));
        assert_eq!(caller.status("http://hello"), "200", "{mode}");
    }
}
