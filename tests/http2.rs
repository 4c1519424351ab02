//! HTTP/2 through runsd, as curl, nghttp, h2load and the Python package h2 see
//! it. What the last one does is in `clients/h2_frames.py`.

use serde_json::{Value, json};

use crate::harness::CloudRun;

const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";

#[track_caller]
fn frames(name: &str) {
    CloudRun::new().python(&["/tests/clients/h2_frames.py", name]);
}

#[test]
fn curl_gets_and_posts() {
    for protocol in ["--http2-prior-knowledge", "--http2"] {
        let get = CloudRun::new().sh(&format!("curl -sS {protocol} http://hello"));
        assert_eq!((get.stdout.as_str(), get.stderr.as_str()), (HELLO, ""));
        let post = CloudRun::new().sh(&format!(
            "head -c 3000000 /dev/urandom >/tmp/body
             curl -sS {protocol} --data-binary @/tmp/body http://hello
             curl -sS {protocol} --data-binary @/tmp/body http://echo | cmp - /tmp/body && echo same"
        ));
        let want = format!("{HELLO}POST of 3000000 bytes\nsame\n");
        assert_eq!((post.stdout, post.stderr), (want, String::new()), "{protocol}");
    }
}

#[test]
fn nghttp_has_hundreds_of_answers_over_one_connection() {
    let mut running = CloudRun::new().start(&[
        "/runsd",
        "--",
        "sh",
        "-c",
        "nghttp -m 500 http://hello; echo; head -c 20000 /dev/zero >/tmp/body; \
         nghttp -m 100 -d /tmp/body http://hello; echo done; read line",
    ]);
    let (mut answers, mut bodies) = (0, 0);
    loop {
        match running.line().as_str() {
            "done" => break,
            "POST of 20000 bytes" => bodies += 1,
            line if line == HELLO.trim_end() => answers += 1,
            line => assert_eq!(line, ""),
        }
    }
    assert_eq!((answers, bodies), (600, 100));
    assert_eq!(running.stats()["protocols"], json!({"h2": 2}));
}

#[test]
fn h2load_sees_no_stream_fail() {
    for (options, streams) in
        [("-n 3000 -c 1 -m 100", 3000), ("-n 3000 -c 20 -m 20", 3000), ("-n 1000 -c 4 -m 50 -d /tmp/body", 1000)]
    {
        let script = format!("head -c 20000 /dev/zero >/tmp/body; h2load {options} http://hello");
        let out = CloudRun::new().sh(&script);
        let want = format!(
            "{streams} total, {streams} started, {streams} done, {streams} succeeded, \
             0 failed, 0 errored, 0 timeout"
        );
        assert!(out.stdout.contains(&want), "{options}: {out:?}");
        let statuses = format!("status codes: {streams} 2xx, 0 3xx, 0 4xx, 0 5xx");
        assert!(out.stdout.contains(&statuses), "{options}: {out:?}");
    }
}

#[test]
fn requests_may_come_before_any_settings() {
    frames("hasty");
}

#[test]
fn a_client_may_wait_for_settings() {
    frames("patient");
}

#[test]
fn another_authority_is_misdirected_and_the_rest_goes_on() {
    frames("other_authority");
}

#[test]
fn a_refused_token_is_dropped_each_time() {
    frames("refused_tokens");
}

#[test]
fn a_refusal_says_its_sentence() {
    frames("sentences");
}

#[test]
fn the_log_has_a_line_for_each_answer() {
    let script = "for path in hello/ status/418 forbidden/; do
             curl -sS -o /dev/null --http2-prior-knowledge -A me http://$path
         done";
    let flags = ["/runsd", "-v=5", "-log_format=json", "--", "sh", "-c", script];
    let stderr = CloudRun::new().run(&flags).stderr;
    let lines = stderr.lines().filter_map(|line| serde_json::from_str(line).ok());
    let requests = lines.map(|line: Value| line["httpRequest"].clone());
    let requests: Vec<Value> = requests.filter(|request| !request.is_null()).collect();
    let urls = ["http://hello/", "http://status/418", "http://forbidden/"];
    assert_eq!(requests.len(), urls.len(), "{stderr}");
    for ((request, url), status) in requests.iter().zip(urls).zip([200, 418, 403]) {
        assert_eq!(request["requestMethod"], "GET", "{request}");
        assert_eq!(request["requestUrl"], url, "{request}");
        assert_eq!(request["status"], status, "{request}");
        assert_eq!(request["userAgent"], "me", "{request}");
        let latency = request["latency"].as_str().unwrap_or_default();
        assert!(latency.ends_with('s'), "{request}");
    }
}

#[test]
fn a_dying_upstream_ends_each_stream_with_an_error() {
    frames("upstream_dies");
}

#[test]
fn a_silent_upstream_is_detected_by_ping() {
    frames("silent_upstream");
}

#[test]
fn a_client_that_leaves_cancels_its_stream_at_the_service() {
    frames("client_leaves");
}

#[test]
fn without_an_upstream_or_a_token_there_is_a_502_that_says_why() {
    for (room, mode, reason) in [
        ("frontend", "refuse", "refused the connection"),
        ("frontend", "http1", "HTTP/2"),
        ("metadata", "refuse", "metadata server"),
    ] {
        let order = json!({"mode": mode});
        let out = CloudRun::new().sh(&format!(
            "curl -sS -d '{order}' -o /dev/null http://192.0.2.53/{room}
             curl -sSi --http2-prior-knowledge http://hello"
        ));
        for want in ["HTTP/2 502", "proxy-status: runsd; error=", reason, "\nrunsd: "] {
            assert!(out.stdout.contains(want), "{mode}: {want}: {out:?}");
        }
    }
}
