//! HTTP/2 and gRPC as clients meet them in situations of their own: behind
//! `http_proxy`, with few streams, with deadlines, and with names that speak
//! HTTP/1.1 only. What Python does is in `clients/h2_proxy.py`.

use crate::harness::CloudRun;

const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";
const SCRIPT: &str = "/tests/clients/h2_proxy.py";

/// Runs one function of the script, with a route to a server of its own; what
/// came on stderr.
#[track_caller]
fn with_route(name: &str) -> String {
    CloudRun::new().env("RUNSD_ROUTE", "few=http://127.0.0.1:9000 fewer=http://127.0.0.1:9001").python(&[SCRIPT, name])
}

/// A container whose application has port 80.
fn http_proxy() -> CloudRun {
    CloudRun::new().env("PORT", "80")
}

#[test]
fn grpc_goes_through_http_proxy_to_services_and_to_others() {
    http_proxy().python(&[SCRIPT, "through_http_proxy"]);
}

#[test]
fn curl_tunnels_http1_and_http2_through_http_proxy() {
    let out = http_proxy().sh("get() { curl -sS -p -x $http_proxy -w '%{http_version}\\n' $1 $2/x; }
         for version in --http1.1 --http2-prior-knowledge; do
             get $version http://hello
             get $version http://hello.us-east1.run.internal
         done
         get --http1.1 http://external.example");
    let hello = |version| format!("{HELLO}{version}\n").repeat(2);
    let want = hello("1.1") + &hello("2") + "external.example, asked for /x\n1.1\n";
    assert_eq!(out.stdout, want, "{out:?}");
}

#[test]
fn eighty_calls_at_once_to_a_server_of_few_streams_all_have_answers() {
    with_route("few_streams");
    with_route("few_streams_grpc");
}

#[test]
fn deadlines_of_many_calls_end_no_other_call() {
    with_route("deadlines");
}

#[test]
fn a_name_that_speaks_http1_only_is_called_so_with_tls_and_without() {
    let stderr = with_route("http1_only");
    for name in ["few", "hello"] {
        let line = format!("warning: proxy: {name}: ");
        assert!(stderr.contains(&line), "{name}: {stderr}");
    }
}

#[test]
fn a_fault_is_told_in_the_same_words_over_both_protocols() {
    let order = "{\"mode\": \"refuse\"}";
    let out = CloudRun::new().sh(&format!(
        "curl -sS -d '{order}' -o /dev/null http://192.0.2.53/frontend
         for version in 1.1 2-prior-knowledge; do
             curl -sS -o /dev/null --http$version http://hello
         done"
    ));
    // What is the same is logged once.
    let lines: Vec<&str> = out.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{out:?}");
    let start = "runsd: warning: proxy: hello: ";
    assert!(lines[0].starts_with(start), "{out:?}");
}

#[test]
fn the_proxys_credentials_reach_no_service_over_either_protocol() {
    let out = CloudRun::new().sh("for version in 1.1 2-prior-knowledge; do
             curl -sS --http$version -H 'Proxy-Authorization: Basic eDp5' -H 'X-Mine: 1' http://echo/headers
         done");
    assert_eq!(out.stdout.matches("x-mine").count(), 2, "{out:?}");
    assert_eq!(out.stdout.matches("roxy-").count(), 0, "{out:?}");
}

#[test]
fn a_client_that_gives_credit_at_the_end_is_never_stuck() {
    CloudRun::new().python(&["/tests/clients/h2_frames.py", "credit_at_the_end"]);
}

#[test]
fn curl_reads_an_early_answer_in_the_middle_of_its_upload() {
    let out = CloudRun::new().sh("for size in 200000 400000 3000000; do
             head -c $size /dev/zero >/tmp/body
             for i in 1 2 3 4 5 6 7 8; do
                 curl -sS -o /dev/null -w '%{http_code}\\n' --http2-prior-knowledge \
                     --data-binary @/tmp/body http://early
             done
         done");
    assert_eq!(out.stdout, "413\n".repeat(24), "{out:?}");
}
