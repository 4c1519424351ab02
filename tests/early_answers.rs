//! Answers that come before their request is over, and bytes that nobody
//! asked for: no answer ever reaches another request, and no body ever
//! becomes a request.

use std::time::Duration;

use crate::harness::CloudRun;

#[test]
fn the_recording_upstream_plays_its_script_and_keeps_what_came() {
    let got = CloudRun::new().conversation(
        r#"
OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
script("hello", [HEAD, say(OK), cued("go"), say("ok"), read(4), do("close")], [HEAD, do("reset")])
s = dial()
s.sendall(b"POST /a HTTP/1.1\r\nHost: hello\r\nContent-Length: 4\r\n\r\nbody")
print(head(s).split("\r\n")[0])
cue("go")
print(rest_of(s, 2))
wait("ended", "hello")
t = dial()
t.sendall(b"POST /b HTTP/1.1\r\nHost: hello\r\n\r\n")
print(answer(t)[0])
print(requests(), [one.endswith("\r\n\r\nbody") for one in recorded("hello")])
"#,
    );
    assert_eq!(
        got,
        "HTTP/1.1 200 OK\nb'ok'\n502\n[['POST /a'], ['POST /b']] [True, False]\n"
    );
}

/// Runs one of the tables of `early_answers.py`; how many cases it has.
#[track_caller]
fn table(name: &str) -> String {
    CloudRun::new()
        .limit(Duration::from_secs(120))
        .conversation(&format!("import early_answers\nearly_answers.{name}()"))
}

#[test]
fn an_early_answer_is_passed_on_at_once_and_the_rest_of_the_body_is_no_request() {
    assert_eq!(table("early"), "260 cases\n");
}

#[test]
fn an_upstream_that_left_in_the_middle_of_a_body_makes_no_request_of_its_rest() {
    assert_eq!(table("left"), "168 cases\n");
}

#[test]
fn what_nobody_asked_for_is_no_answer_to_the_next_request() {
    assert_eq!(table("strays"), "600 cases\n");
}
