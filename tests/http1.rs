//! What curl and other clients of HTTP/1 get from `http://NAME`, without a
//! flag and without a variable.

use serde_json::Value;

use crate::harness::{CloudRun, needs_descriptors};

const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";
const HOST: &str = "123456789012.us-east1.run.app";

#[track_caller]
fn sh(script: &str) -> String {
    let out = CloudRun::new().sh(script);
    assert_eq!(out.status, 0, "{script}: {out:?}");
    out.stdout
}

/// Runs one function of `clients/http1.py`, a client that curl cannot be; what it printed.
#[track_caller]
fn python(name: &str) -> String {
    CloudRun::new().client("http1.py", &[name]).stdout
}

#[test]
fn a_name_is_all_it_takes() {
    for name in ["hello", "HELLO", "hello:80", "hello.us-east1", "hello.us-east1.123456789012", "hello.run.internal"] {
        assert_eq!(sh(&format!("curl -sS http://{name}/")), HELLO, "{name}");
    }
    let eu = sh("curl -sS http://canary---hello.europe-west1");
    let want = "Hello from hello (tag canary) in europe-west1, project 123456789012\n";
    assert_eq!(eu, want);
}

#[test]
fn fifty_megabytes_come_back_byte_for_byte() {
    let got = sh("head -c 50000000 /dev/urandom > /tmp/a
         curl -sS --data-binary @/tmp/a -H 'Expect:' http://echo/ | cmp - /tmp/a && echo posted
         curl -sS --data-binary @/tmp/a -H 'Expect: 100-continue' http://echo/ | cmp - /tmp/a && echo continued
         curl -sS -T - http://echo/ < /tmp/a | cmp - /tmp/a && echo chunked
         head -c 60000 /tmp/a | curl -sS --data-binary @- http://echo/ | cmp -n 60000 - /tmp/a && echo small");
    assert_eq!(got, "posted\ncontinued\nchunked\nsmall\n");
}

#[test]
fn large_uploads_keep_their_connection() {
    let got = sh("head -c 200000 /dev/zero > /tmp/a
         for i in $(seq 300); do echo 'url = http://hello/'; echo 'upload-file = /tmp/a'; done > /tmp/all
         curl -sS -H 'Expect:' -K /tmp/all -w '%{num_connects}\\n' | grep -c '^0$'");
    assert_eq!(got, "299\n");
}

#[test]
fn a_download_of_two_hundred_megabytes_is_whole() {
    let got = sh("curl -sS http://bytes/200000000 | sha256sum
         curl -sS 'http://bytes/200000000?chunked=1' | sha256sum
         python3 -c 'import sys
block = bytes(i % 251 for i in range(251 * 1000))
n = 200000000
while n: sys.stdout.buffer.write(block[:n]); n -= min(n, len(block))' | sha256sum");
    let sums: Vec<&str> = got.lines().collect();
    assert_eq!((sums[0], sums[1]), (sums[2], sums[2]));
}

#[test]
fn five_hundred_requests_on_one_connection_take_one_token() {
    let out = CloudRun::new().sh("curl -sS 'http://hello/[1-500]' -w '%{num_connects}\\n' | sort | uniq -c | sort -n
         curl -sS http://192.0.2.53/stats");
    let (counts, stats) = out.stdout.split_once('{').expect("stats");
    let counts: Vec<&str> = counts.split_whitespace().take(4).collect();
    assert_eq!(counts, ["1", "1", "499", "0"], "{out:?}");
    let stats: Value = serde_json::from_str(&format!("{{{stats}")).expect("JSON");
    let host = format!("hello-{HOST}");
    assert_eq!(stats["requests"][&host], 500, "{stats:#}");
    assert_eq!(stats["token_fetches"][format!("https://{host}")], 1);
    assert_eq!(stats["connections"]["frontend"], 1);
}

#[test]
fn answers_without_a_body_do_not_hold_up_the_next() {
    let got = sh("curl -sSI http://hello/ http://hello/ -o /dev/null -o /dev/null \
             -w '%{http_code} %{num_connects} %header{content-length}\\n'
         curl -sS 'http://status/{204,304,500}' -w '%{http_code} %{num_connects}\\n'");
    assert_eq!(got, "200 1 51\n200 0 51\n204 1\n304 0\n500 Internal Server Error\n500 0\n");
}

#[test]
fn interim_answers_and_trailers_pass() {
    let hints = sh("curl -sSi http://hints/");
    assert!(hints.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </style.css>"), "{hints}");
    assert!(hints.ends_with("after hints"), "{hints}");
    let got = python("trailers");
    assert!(got.to_lowercase().contains("transfer-encoding: chunked"), "{got}");
}

#[test]
fn http_1_0_clients_get_responses_they_understand() {
    let got = sh("curl -sS -0 http://hello/; curl -sS -0 'http://bytes/100000?chunked=1' | wc -c");
    assert_eq!(got, format!("{HELLO}100000\n"));
    let got = python("http_1_0");
    assert_eq!(got, "True 51\nTrue 51\n51\n200\n500\n");
}

#[test]
fn requests_are_answered_in_the_order_they_came() {
    let got = python("in_order");
    assert_eq!(got, "3 True\nchunked\n");
}

#[test]
fn a_half_closed_client_still_gets_the_response() {
    let got = python("half_closed");
    assert_eq!(got, "at last\n\n");
}

#[test]
fn an_early_answer_is_not_stuck_behind_the_upload() {
    let got = sh("head -c 100000000 /dev/zero > /tmp/a
         curl -sS -m 20 -T /tmp/a -H 'Expect:' http://early/ -w '%{http_code}\\n' 2>&1
         curl -sS -m 20 -T /tmp/a -H 'Expect: 100-continue' http://early/ -w '%{http_code}\\n' 2>&1
         curl -sS -m 20 -T - http://early/ -w '%{http_code}\\n' < /tmp/a 2>&1");
    assert_eq!(got.matches("too much, seen from afar\n413\n").count(), 3, "{got}");
}

/// curl's exit code where the connection is reset; for one that only ends too early it
/// would be 18.
const CURLE_RECV_ERROR: &str = "56\n";

#[test]
fn an_answer_cut_short_is_an_error_at_the_client() {
    for path in ["close/mid", "close/mid-chunked", "close/cut", "bytes/100000?break=1"] {
        let got = sh(&format!("curl -s -o /dev/null 'http://{path}'; echo $?"));
        assert_eq!(got, CURLE_RECV_ERROR, "{path}");
    }
    assert_eq!(sh("curl -sS http://close/until-close"), "to the end");
}

#[test]
fn a_connection_the_far_end_closed_is_replaced() {
    let got = sh("curl -sS 'http://close/quietly?[1-20]' http://close/");
    assert_eq!(got, "gone".repeat(20) + "bye\n");
    let got = sh("for i in 1 2 3; do curl -sS -d x http://hello/ | tail -n 1; \
                  curl -sS http://192.0.2.53/frontend -d '{\"cut\": true}' -o /dev/null; done");
    assert_eq!(got, "POST of 1 bytes\n".repeat(3));
}

#[test]
fn the_service_hears_of_a_client_that_left() {
    let mut running = CloudRun::new().start(&[
        "/runsd",
        "--",
        "sh",
        "-c",
        "curl -s -m 0.3 'http://slow/?ms=15000'; curl -sN 'http://sse/?n=1000&ms=50' | head -n 1; \
         echo left; read line",
    ]);
    while running.line() != "left" {}
    running.control.wait("gone", &format!("slow-{HOST}"), 1);
    running.control.wait("gone", &format!("sse-{HOST}"), 1);
}

#[test]
fn a_location_leads_back_to_the_name() {
    let got = sh("curl -sSL http://redirect/ -w '%{url_effective}\\n'
         curl -sS -o /dev/null -w '%{redirect_url}\\n' 'http://redirect/?to=https://elsewhere.example/x'");
    assert_eq!(got, "landed\nhttp://redirect/landed\nhttps://elsewhere.example/x\n");
}

#[test]
fn the_headers_the_service_sees() {
    let seen = |words: &str| -> Value {
        let text = sh(&format!("curl -sS {words} http://echo/headers"));
        serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"))
    };
    let plain = seen("-A me/1");
    let text = plain.to_string();
    assert!(text.contains(concat!("runsd version=", env!("CARGO_PKG_VERSION"), "; me/1")), "{text}");
    assert!(text.contains(&format!("echo-{HOST}")), "{text}");
    assert!(!text.contains("x-serverless-authorization"), "{text}");
    let own = seen("-H 'Authorization: Basic abc' -H 'Connection: x-hop' -H 'X-Hop: 1' -H 'X-End: 2'");
    let text = own.to_string();
    assert!(text.contains("Basic abc") && text.contains("x-serverless-authorization"), "{text}");
    assert!(text.contains("x-end") && !text.contains("x-hop"), "{text}");
}

#[test]
fn an_upgrade_to_h2c_is_answered_in_http_1_1() {
    let got = sh("curl -sS --http2 http://hello/ -w '%{http_version}\\n'
         curl -sS --http2 -d abc http://echo/ -w ' %{http_version}\\n'");
    assert_eq!(got, format!("{HELLO}1.1\nabc 1.1\n"));
}

#[test]
fn a_web_socket_echoes_and_ends_in_order() {
    let got = python("web_socket");
    assert_eq!(got, "101 True\nb'\\x88\\x02\\x03\\xe8'\n");
}

#[test]
fn a_thousand_connections_at_once() {
    needs_descriptors(4_000);
    let got = python("thousand");
    assert_eq!(got, "1000\n");
}

#[test]
fn a_revoked_token_is_replaced_before_anyone_notices() {
    let got = sh("curl -sS http://hello/ -o /dev/null
         curl -sS http://192.0.2.53/frontend -d '{\"revoke\": true}' -o /dev/null
         curl -sS -o /dev/null -w '%{http_code}\\n' http://hello/
         curl -sS -o /dev/null -w '%{http_code}\\n' http://hello/");
    assert_eq!(got, "200\n200\n");
}
