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
fn an_error_of_our_own_ends_a_connection_whose_body_was_not_read() {
    assert_eq!(table("ours"), "30 cases\n");
}

#[test]
fn a_large_early_answer_is_whole_though_nobody_reads_the_body() {
    assert_eq!(table("deaf"), "5 cases\n");
}

#[test]
fn what_nobody_asked_for_is_no_answer_to_the_next_request() {
    assert_eq!(table("strays"), "600 cases\n");
}

#[test]
fn a_request_is_not_repeated_once_anything_was_passed_on() {
    let got = CloudRun::new().conversation(
        r#"
OK = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
INVALID = 'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer error="invalid_token"\r\ncontent-length: 0\r\n\r\n'
for version in ["1.1", "1.0"]:
    for interim in ["100 Continue", "103 Early Hints"]:
        for end in [do("close"), do("reset"), do("fin"), say(INVALID)]:
            # Used before, so that a silent end would be worth another try.
            script("hello", [HEAD, say(OK + "first"), HEAD, say("HTTP/1.1 %s\r\n\r\n" % interim), cued("go"), end], [HEAD, say(OK + "again")])
            s = dial()
            s.sendall(b"GET /first HTTP/1.1\r\nHost: hello\r\n\r\n")
            answer(s)
            s.sendall(b"GET /second HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
            if version == "1.1": assert head(s).split(" ")[1] == interim[:3]
            else: wait("recorded", "hello", len("".join(recorded())))
            cue("go")
            status = answer(s)[0]
            assert status == (401 if end.get("say") else 502), (version, interim, end, status)
            assert requests() == [["GET /first", "GET /second"]], requests()
print("never")
"#,
    );
    assert_eq!(got, "never\n");
}

#[test]
fn interim_answers_come_to_an_end() {
    let got = CloudRun::new().conversation(
        r#"
HINT = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
for version in ["1.1", "1.0"]:
    for n in [900, 1100]:
        script("hello", [HEAD, say(HINT, n), say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")])
        s = dial()
        s.sendall(b"GET / HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
        got = b""
        while not got.endswith((b"ok", b"sends\n")): got += s.recv(65536)
        hints = got.count(b"HTTP/1.1 103")
        print(version, n, hints, got.split(b"HTTP/1.1 ")[hints + 1][:3].decode())
"#,
    );
    assert_eq!(
        got,
        "1.1 900 900 200\n1.1 1100 1000 502\n1.0 900 0 200\n1.0 1100 0 502\n"
    );
}

#[test]
fn a_bad_chunk_is_a_sentence_or_at_least_a_warning() {
    let out = CloudRun::new().run_conversation(
        r#"
HEADERS = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
for version in ["1.1", "1.0"]:
    for bad in ["zz\r\nhello\r\n", "5\r\nhello\r\nzz\r\n", "5\r\nhelloX"]:
        script("hello", [HEAD, say(HEADERS + bad)])
        s = dial()
        s.sendall(b"GET / HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
        status, body = answer(s)
        assert status == 502 and "chunk" in body, (version, bad, status, body)
        script("hello", [HEAD, say(HEADERS + "5\r\nhello\r\n"), cued("go"), say("zz\r\n")])
        s = dial()
        s.sendall(b"GET / HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
        head(s)
        while not b"hello" in s.recv(65536): pass
        cue("go")
        print(rest(s)[-5:])
"#,
    );
    assert_eq!(out.stdout, "b'RESET'\n".repeat(6), "{out:?}");
    let warnings = out.stderr.matches(
        "proxy: hello: the answer of hello-123456789012.us-east1.run.app was cut: \
         a chunk size that is no hexadecimal number",
    );
    // Said once for all of them.
    assert_eq!(warnings.count(), 1, "{out:?}");
}

#[test]
fn a_client_that_closed_is_not_waited_for() {
    let got = CloudRun::new().conversation(
        r#"
import time
for request in [
    b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n", b"GET / HTTP/1.0\r\nHost: hello\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: hello\r\nContent-Length: 4\r\n\r\nbody",
    # What it asked for beside it hides nothing.
    b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n" * 2,
]:
    script("hello", [HEAD])
    s = dial()
    s.sendall(request)
    wait("recorded", "hello", 100)
    s.close()
    started = time.monotonic()
    wait("ended", "hello")
    # It looks around once a second; a client that may only have ended its
    # direction would be waited for ten times as long.
    assert time.monotonic() - started < 8, request
print("noticed")
"#,
    );
    assert_eq!(got, "noticed\n");
}

#[test]
fn a_connect_that_has_a_body_is_refused() {
    let got = CloudRun::new().conversation(
        r#"
script("hello", [HEAD, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")] * 2)
for fields, body in [(b"Content-Length: 50\r\n", b""), (b"Content-Length: 5\r\n", b"xxxxx"), (b"Transfer-Encoding: chunked\r\n", b"5\r\nxx"), (b"Content-Length: 0\r\n", b""), (b"", b"")]:
    s = dial()
    s.sendall(b"CONNECT hello:80 HTTP/1.1\r\nHost: hello:80\r\n" + fields + b"\r\n" + body + b"GET /inside HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")
    got = rest(s)
    print([part[:3].decode() for part in got.split(b"HTTP/1.1 ")[1:]], b"a body, which CONNECT never has" in got)
print(requests())
"#,
    );
    let want = "['400'] True\n".repeat(3) + &"['200', '200'] False\n".repeat(2);
    assert_eq!(got, want + "[['GET /inside', 'GET /inside']]\n");
}

#[test]
fn a_small_body_in_two_segments_keeps_its_connection_though_the_answer_is_early() {
    // The service answers at the head, as one that reads no body would.
    let got = CloudRun::new().conversation(
        r#"
import threading
OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
script("hello", [HEAD, say(OK), read(5)] * 100)
s = dial()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
kept = 0
for i in range(100):
    s.sendall(b"POST / HTTP/1.1\r\nHost: hello\r\nContent-Length: 5\r\n\r\n")
    s.sendall(b"hello")
    h = head(s)
    rest_of(s, 2)
    if "connection: close" in h.lower(): s = dial()
    else: kept += 1
# A machine that is busy with something else may lose one.
print(kept > 80, kept)
"#,
    );
    assert!(got.starts_with("True"), "{got}");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_no_reset_though_more_was_asked() {
    // Behind the first request, and read by nobody: a reset would say that
    // the answer is not whole.
    let got = CloudRun::new().conversation(
        r#"
for more in [b"GET /b HTTP/1.1\r\nHost: hello\r\n\r\n", b"\r\n"]:
    script("hello", [HEAD, cued("go"), say("HTTP/1.1 200 OK\r\n\r\nall of it"), do("close")])
    s = dial()
    s.sendall(b"GET /a HTTP/1.1\r\nHost: hello\r\n\r\n")
    wait("recorded", "hello")
    s.sendall(more)
    cue("go")
    got = rest(s)
    print(got.split(b"\r\n\r\n")[1], requests())
"#,
    );
    assert_eq!(got, "b'all of it' [['GET /a']]\n".repeat(2));
}
