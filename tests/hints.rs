//! What a person reads when the front end says no.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::CloudRun;

const ACCOUNT: &str = "123456789012-compute@developer.gserviceaccount.com";

fn url(service: &str) -> String {
    format!("https://{service}-123456789012.us-east1.run.app")
}

fn warnings(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.strip_prefix("runsd: warning: ")).collect()
}

#[test]
fn the_first_denial_of_the_front_end_is_explained() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    for _ in 0..3 {
        assert_eq!(caller.status("http://forbidden"), "403");
        assert_eq!(caller.status("http://nosuch/path"), "404");
    }
    caller.running.post("frontend", &json!({ "revoke": 1000 }));
    for _ in 0..3 {
        assert_eq!(caller.status("-d x http://hello"), "401");
        // This one is repeated first, and refused again.
        assert_eq!(caller.status("http://echo"), "401");
    }
    let out = caller.finish();
    let want = [
        format!(
            "forbidden: 403: {ACCOUNT} may not call {}; grant it roles/run.invoker on the \
             service, and check the service's ingress setting",
            url("forbidden")
        ),
        format!(
            "nosuch: 404: there is no {}, or its ingress setting does not let this instance in; \
             check the name, the region, and whether internal traffic goes through the VPC",
            url("nosuch")
        ),
        format!(
            "hello: 401: the front end did not accept the token of {ACCOUNT} for {}; check that \
             the service answers at this URL (region, project, custom audiences)",
            url("hello")
        ),
        format!(
            "echo: 401: the front end did not accept the token of {ACCOUNT} for {}; check that \
             the service answers at this URL (region, project, custom audiences)",
            url("echo")
        ),
    ];
    assert_eq!(warnings(&out.stderr), want);
}

#[test]
fn the_first_denial_over_http_2_is_explained_as_well() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    for _ in 0..2 {
        assert_eq!(caller.status("--http2-prior-knowledge http://forbidden"), "403");
        assert_eq!(caller.status("--http2-prior-knowledge http://nosuch"), "404");
        assert_eq!(caller.status("--http2-prior-knowledge http://status/404"), "404");
    }
    let out = caller.finish();
    let warnings = warnings(&out.stderr);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("forbidden: 403: "), "{warnings:?}");
    assert!(warnings[1].starts_with("nosuch: 404: "), "{warnings:?}");
}

#[test]
fn a_hint_makes_no_request_and_delays_no_response() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    assert_eq!(caller.status("http://forbidden/first"), "403");
    let asked = caller.running.stats()["metadata"].to_string();
    assert!(asked.contains("/identity"), "{asked}");
    assert!(!asked.contains("/email"), "{asked}");
    // It names the account all the same, and is there before the answer ends:
    // an application that gives up at once has its hint in the log.
    let out = caller.finish();
    let [hint] = warnings(&out.stderr)[..] else {
        panic!("{}", out.stderr);
    };
    assert!(hint.starts_with(&format!("forbidden: 403: {ACCOUNT} may not call ")), "{hint}");
}

#[test]
fn a_denial_of_the_application_itself_is_not_explained() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    for status in ["401", "403", "404", "500"] {
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            let url = format!("{http} http://status/{status}");
            assert_eq!(caller.status(&url), status);
            // One that looks much like the front end's.
            assert_eq!(caller.status(&format!("{url}?page=1")), status);
        }
    }
    assert_eq!(caller.finish().stderr, "");
}

#[test]
fn without_a_token_the_hint_says_so() {
    let mut caller = Caller::new(CloudRun::new(), &["-auth_header=off"]);
    assert_eq!(caller.status("http://hello"), "403");
    let want = format!(
        "hello: 403 from the front end of {}, with no token of runsd's own; check -auth_header, \
         and the token the application sends",
        url("hello")
    );
    assert_eq!(warnings(&caller.finish().stderr), [want]);
}

#[test]
fn a_denial_of_the_front_end_is_passed_on_unchanged() {
    let page = "curl -s --http1.1 http://nosuch/a > /tmp/through; \
                curl -s --http1.1 https://nosuch-123456789012.us-east1.run.app/a > /tmp/direct; \
                cmp /tmp/through /tmp/direct && wc -l < /tmp/through";
    let mut caller = Caller::new(CloudRun::new(), &[]);
    caller.tell(page);
    assert_eq!(caller.running.line(), "7");
}

#[test]
fn request_lines_for_cloud_logging() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut caller = Caller::new(CloudRun::new(), &["-v=5", "-log_format=json"]);
    let h1 = format!("-A me -H 'traceparent: 00-{trace}-00f067aa0ba902b7-01' http://hello/a?b");
    let h2 = format!("--http2-prior-knowledge -A me -H 'X-Cloud-Trace-Context: {trace}/1;o=1' http://hello/a?b");
    assert_eq!(caller.status(&h1), "200");
    assert_eq!(caller.status(&h2), "200");
    let out = caller.finish();
    let lines = out
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|err| panic!("{err}: {line}")));
    let requests: Vec<Value> = lines.filter(|line| line["httpRequest"].is_object()).collect();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    for line in &requests {
        let request = &line["httpRequest"];
        assert_eq!(request["requestMethod"], "GET");
        assert_eq!(request["requestUrl"], "http://hello/a?b");
        assert_eq!(request["userAgent"], "me");
        let name = format!("projects/123456789012/traces/{trace}");
        assert_eq!(line["logging.googleapis.com/trace"], name);
    }
    let first = &requests[0]["httpRequest"];
    assert_eq!(first["status"], 200);
    let latency = first["latency"].as_str().unwrap_or_default();
    let seconds = latency.strip_suffix('s').and_then(|text| text.parse().ok());
    assert!(seconds.is_some_and(|seconds: f64| seconds > 0.0), "{latency}");
}
