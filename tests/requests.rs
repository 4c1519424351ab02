//! What a request may say: hostile, faulty and unusual ones, and what the
//! upstream gets of them, byte for byte.

use crate::harness::CloudRun;

/// Runs one function of `clients/request_bytes.py`; what it printed.
#[track_caller]
fn asked(name: &str) -> String {
    let miniature = CloudRun::new();
    miniature.client("request_bytes.py", &[name]).stdout
}

/// What is printed where each was refused as it should, and nothing went up.
const NOTHING_ELSE: &str = "then []\n";

#[test]
fn a_hostile_first_line_is_refused_with_its_reason_and_goes_nowhere() {
    assert_eq!(asked("first_lines"), NOTHING_ELSE);
}

#[test]
fn a_hostile_host_is_refused_with_its_reason() {
    assert_eq!(asked("hosts"), NOTHING_ELSE);
}

#[test]
fn a_body_that_two_readers_could_end_differently_is_refused() {
    assert_eq!(asked("bodies"), NOTHING_ELSE);
}

#[test]
fn a_chunk_whose_extension_is_malformed_is_refused() {
    // What stood before it has gone up already; the line itself has not.
    let got = asked("chunk_extensions");
    let want = "HTTP/1.1 400 Bad Request True False\n".repeat(10) + &"200 True\n".repeat(5);
    assert_eq!(got, want);
}

#[test]
fn what_is_unusual_and_allowed_goes_up_as_it_should() {
    let got = asked("unusual");
    let want = "200 GET / HTTP/1.1
200 GET / HTTP/1.1
200 GET /?x HTTP/1.1
200 GET /a HTTP/1.1 Host: hello-123456789012.us-east1.run.app
200 GET /a HTTP/1.1 Host: hello-123456789012.us-east1.run.app
200 GET /a|b{}\"<>^`\\c HTTP/1.1
200 OPTIONS * HTTP/1.1
200 OPTIONS * HTTP/1.1
200 OPTIONS / HTTP/1.1
200 OPTIONS /a HTTP/1.1
200 OPTIONS /?a HTTP/1.1
200 POST / HTTP/1.1 Content-Length: 0
200 PUT / HTTP/1.1 Content-Length: 0
200 PATCH / HTTP/1.1 Content-Length: 0
200 DELETE / HTTP/1.1
200 GET / HTTP/1.1
200 POST / HTTP/1.1 Content-Length: 0
200 POST / HTTP/1.1 Content-Length: 0
";
    assert_eq!(got, want);
}

#[test]
fn an_upgrade_is_passed_on_except_to_tls_and_h2c() {
    let got = asked("upgrades");
    let want = "101 hi Connection: Upgrade Upgrade: websocket
101 hi Connection: Upgrade Upgrade: websocket
101 hi Connection: Upgrade Upgrade: SPDY/3.1
101 hi Connection: Upgrade Upgrade: tcp
101 hi Connection: Upgrade Upgrade: websocket
101 hi Connection: Upgrade Upgrade: a/1, b
200 ok
200 ok
200 ok
200 ok
200 ok
";
    assert_eq!(got, want);
}

#[test]
fn a_session_cookie_comes_back_to_the_name_that_was_asked() {
    // Three jars: curl's, Python's by the old rules, and what a browser does.
    let got = asked("session_cookies");
    let want = "['a=1', 'b=2', 'c=3', 'e=5']
['a=1', 'b=2', 'c=3', 'e=5']
Set-Cookie: a=1; Path=/; HttpOnly
Set-Cookie: b=2;Max-Age=60
Set-Cookie: c=3; Path=/
Set-Cookie: d=4; Domain=example.com
Set-Cookie: e=5
Set-Cookie: a=1; Path=/; HttpOnly
";
    assert_eq!(got, want);
}

#[test]
fn a_foreign_hosts_cookies_pass_untouched() {
    let got = CloudRun::new().env("PORT", "80").client("request_bytes.py", &["foreign_cookies"]).stdout;
    let want = "Set-Cookie: a=1; Domain=external.example; Secure
['POST / HTTP/1.1', 'Host: external.example:81', 'Content-Length: 0', '', '']
";
    assert_eq!(got, want);
}

#[test]
fn a_redirect_to_another_host_takes_no_token_along() {
    let want = "ok \nok \nGET /there HTTP/1.1 no token\nPOST /there HTTP/1.1 no token\n";
    // The second one has runsd as its proxy for that host, too.
    for run in [CloudRun::new(), CloudRun::new().env("PORT", "80")] {
        assert_eq!(run.client("request_bytes.py", &["redirects"]).stdout, want);
    }
}

#[test]
fn an_answer_with_a_malformed_chunk_is_not_passed_on_as_whole() {
    let got = asked("response_chunks");
    assert_eq!(got, "b'RESET'\n".repeat(3));
}

#[test]
fn a_malformed_request_is_warned_of_in_the_same_words_over_both_protocols() {
    let out = CloudRun::new().client("request_bytes.py", &["same_words"]);
    let line = "runsd: warning: proxy: hello: the request has a path with \"#\", which is for the \
                client alone; percent-encode it\n";
    // The same line is said once.
    assert_eq!(out.stderr, line);
}
