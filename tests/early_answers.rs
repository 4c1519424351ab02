//! Answers that come before their request is over, and bytes that nobody
//! asked for: no answer ever reaches another request, and no body ever
//! becomes a request.

use std::time::Duration;

use crate::harness::CloudRun;

const FILE: &str = "early_answers.py";

/// Runs one function of the file; what it printed.
#[track_caller]
fn talk(name: &str) -> String {
    let miniature = CloudRun::new().limit(Duration::from_secs(120));
    miniature.client(FILE, &[name]).stdout
}

#[test]
fn the_recording_upstream_plays_its_script_and_keeps_what_came() {
    let got = talk("recording_upstream");
    assert_eq!(got, "HTTP/1.1 200 OK\nb'ok'\n502\n[['POST /a'], ['POST /b']] [True, False]\n");
}

#[test]
fn an_early_answer_is_passed_on_at_once_and_the_rest_of_the_body_is_no_request() {
    assert_eq!(talk("early"), "260 cases\n");
}

#[test]
fn an_upstream_that_left_in_the_middle_of_a_body_makes_no_request_of_its_rest() {
    assert_eq!(talk("left"), "168 cases\n");
}

#[test]
fn an_error_of_our_own_ends_a_connection_whose_body_was_not_read() {
    assert_eq!(talk("ours"), "30 cases\n");
}

#[test]
fn a_large_early_answer_is_whole_though_nobody_reads_the_body() {
    assert_eq!(talk("deaf"), "5 cases\n");
}

#[test]
fn what_nobody_asked_for_is_no_answer_to_the_next_request() {
    assert_eq!(talk("strays"), "600 cases\n");
}

#[test]
fn a_request_is_not_repeated_once_anything_was_passed_on() {
    let got = talk("not_repeated");
    assert_eq!(got, "never\n");
}

#[test]
fn interim_answers_come_to_an_end() {
    let got = talk("interim_answers");
    assert_eq!(got, "1.1 900 900 200\n1.1 1100 1000 502\n1.0 900 0 200\n1.0 1100 0 502\n");
}

#[test]
fn a_bad_chunk_is_a_sentence_or_at_least_a_warning() {
    let out = CloudRun::new().client(FILE, &["bad_chunks"]);
    assert_eq!(out.stdout, "b'RESET'\n".repeat(6), "{out:?}");
    let warnings = out.stderr.matches(
        "proxy: hello: the response of hello-123456789012.us-east1.run.app was cut: \
         a chunk size that is no hexadecimal number",
    );
    // Said once for all of them.
    assert_eq!(warnings.count(), 1, "{out:?}");
}

#[test]
fn a_client_that_closed_is_not_waited_for() {
    let got = talk("client_closed");
    assert_eq!(got, "noticed\n");
}

#[test]
fn a_connect_that_has_a_body_is_refused() {
    let got = talk("connect_with_body");
    let want = "['400'] True\n".repeat(3) + &"['200', '200'] False\n".repeat(2);
    assert_eq!(got, want + "[['GET /inside', 'GET /inside']]\n");
}

#[test]
fn a_small_body_in_two_segments_keeps_its_connection_though_the_answer_is_early() {
    let got = talk("two_segments");
    assert!(got.starts_with("True"), "{got}");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_no_reset_though_more_was_asked() {
    // A reset would say that the answer is not whole.
    let got = talk("ends_with_connection");
    assert_eq!(got, "b'all of it' [['GET /a']]\n".repeat(2));
}
