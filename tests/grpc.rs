//! gRPC through runsd, as grpcio (the Python package) sees it. What is called
//! and what has to come is in `clients/grpc_calls.py`.

use crate::harness::CloudRun;

/// Runs one function of the script; its stderr, which is runsd's too.
#[track_caller]
fn calls(name: &str) -> String {
    CloudRun::new().python(&["/tests/clients/grpc_calls.py", name])
}

#[test]
fn a_unary_call_has_its_answer_and_its_trailers() {
    calls("unary");
}

#[test]
fn messages_stream_from_either_side_and_from_both() {
    calls("streams");
}

#[test]
fn messages_of_8_mb_go_both_ways() {
    calls("big");
}

#[test]
fn a_failure_keeps_its_status_and_its_message() {
    calls("status");
}

#[test]
fn a_deadline_ends_the_call_at_the_service_too() {
    calls("deadline");
}

#[test]
fn a_call_can_be_cancelled_by_the_client() {
    calls("cancelled_by_the_client");
}

#[test]
fn a_call_can_be_ended_by_the_server_early() {
    calls("ended_by_the_server");
}

#[test]
fn metadata_arrives_with_one_token() {
    calls("metadata");
}

#[test]
fn a_thousand_calls_take_one_connection_and_one_token() {
    calls("a_thousand_calls");
}

#[test]
fn a_hundred_streams_are_open_at_once() {
    calls("a_hundred_streams");
}

#[test]
fn without_an_upstream_a_call_is_unavailable_and_says_why() {
    calls("no_upstream");
}

#[test]
fn without_a_token_a_call_is_unavailable_and_says_why() {
    calls("no_token");
}

#[test]
fn a_dying_upstream_ends_its_calls_at_once() {
    calls("the_upstream_dies");
}

#[test]
fn a_denied_call_is_explained_once_in_the_log() {
    let stderr = calls("not_allowed");
    for hint in ["forbidden: 403", "nobody: 404"] {
        assert_eq!(stderr.matches(hint).count(), 1, "{hint}: {stderr}");
    }
}
