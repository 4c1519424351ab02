//! Tokens, as the metadata server and the front end see them.

use serde_json::json;

use crate::caller::Caller;
use crate::harness::CloudRun;

const HELLO: &str = "https://hello-123456789012.us-east1.run.app";
/// With these nothing but tokens is asked of the metadata server.
const PLACE: [&str; 2] = ["-gcp_region=us-east1", "-gcp_project_number=123456789012"];

#[test]
fn ten_thousand_requests_one_fetch() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    caller.tell("h2load --h1 -n 10000 -c 10 http://hello/ | grep ^status");
    let line = caller.running.line();
    assert!(line.starts_with("status codes: 10000 2xx"), "{line}");
    assert_eq!(caller.fetches(), json!({ HELLO: 1 }));
}

#[test]
fn a_thousand_at_once_one_fetch() {
    let mut caller = Caller::new(CloudRun::new(), &PLACE);
    let slow = json!({ "delay_ms": 1000 });
    caller.running.post("metadata", &slow);
    // All want a token before they learn that nobody is there, and a thousand
    // handshakes are not what this is about.
    caller
        .running
        .post("frontend", &json!({ "mode": "refuse" }));
    caller.tell("h2load --h1 -n 1000 -c 1000 http://hello/ | grep ^status");
    let line = caller.running.line();
    assert!(line.contains("1000 5xx"), "{line}");
    assert_eq!(caller.fetches(), json!({ HELLO: 1 }));
}

#[test]
fn after_its_end_a_token_is_fetched_again() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    caller.running.post("metadata", &json!({ "exp_in": 2 }));
    let mut requests = 0;
    while caller.fetches()[HELLO] != 2 {
        assert_eq!(caller.status("http://hello"), "200", "request {requests}");
        requests += 1;
    }
    assert!(requests > 2, "each request fetched a token");
}

#[test]
fn an_outage_of_the_metadata_server_is_not_noticed() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    // Short enough to be renewed, long enough to live on.
    caller.running.post("metadata", &json!({ "exp_in": 200 }));
    assert_eq!(caller.status("http://hello"), "200");
    for mode in ["503", "silent", "garbage"] {
        caller.running.post("metadata", &json!({ "mode": mode }));
        for _ in 0..5 {
            assert_eq!(caller.status("http://hello"), "200", "{mode}");
        }
    }
    // And who has no token yet hears why.
    caller.running.post("metadata", &json!({ "mode": "503" }));
    let line = caller.line("http://echo");
    let want = "runsd: no identity token for https://echo-123456789012.us-east1.run.app: \
                the metadata server answered 503 for \
                instance/service-accounts/default/identity, after 5 tries; see runsd -help";
    assert_eq!(line, want);
}

#[test]
fn a_refused_token_is_replaced_and_the_request_repeated() {
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        let mut caller = Caller::new(CloudRun::new(), &[]);
        let h1 = http == "--http1.1";
        let get = format!("{http} http://hello");
        assert_eq!(caller.status(&get), "200");
        assert_eq!(caller.status(&format!("{http} http://echo")), "200");

        // Of the two, the first one is void now.
        caller.running.post("frontend", &json!({ "revoke": 1 }));
        let first = caller.status(&get);
        assert_eq!(first, if h1 { "200" } else { "401" }, "{http}");
        assert_eq!(caller.status(&get), "200", "{http}");
        assert_eq!(caller.status(&format!("{http} http://echo")), "200");
        let echo = HELLO.replace("hello", "echo");
        let want = json!({ HELLO: 2, echo: 1 });
        assert_eq!(caller.fetches(), want, "{http}");

        // What has a body is not repeated, but its token goes as well.
        caller.running.post("frontend", &json!({ "revoke": 3 }));
        let post = format!("{http} -d some http://hello");
        assert_eq!(caller.status(&post), "401", "{http}");
        assert_eq!(caller.status(&post), "200", "{http}");
        let out = caller.finish();
        assert!(!out.stderr.contains("eyJ"), "{}", out.stderr);
    }
}

#[test]
fn a_service_that_refuses_every_token_is_no_loop() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    caller.running.post("frontend", &json!({ "revoke": 1000 }));
    for _ in 0..5 {
        assert_eq!(caller.status("http://hello"), "401");
    }
    let fetches = caller.fetches()[HELLO].as_u64().unwrap_or(0);
    assert!((2..=10).contains(&fetches), "{fetches} fetches");
}

#[test]
fn answers_that_are_no_tokens_are_refused_with_their_reason() {
    let mut caller = Caller::new(CloudRun::new(), &PLACE);
    let what = "instance/service-accounts/default/identity";
    for (settings, want) in [
        (
            json!({ "mode": "empty" }),
            "token for AUDIENCE is empty".to_owned(),
        ),
        (
            json!({ "mode": "garbage" }),
            "token for AUDIENCE has ".to_owned(),
        ),
        (
            json!({ "mode": "stranger" }),
            format!("the answer (status 200) for {what} came without \"Metadata-Flavor: Google\""),
        ),
        (
            json!({ "mode": "302" }),
            format!("the metadata server answered 302 for {what}"),
        ),
        (
            json!({ "mode": "404" }),
            format!("the metadata server answered 404 for {what}"),
        ),
        (
            json!({ "mode": "ok", "exp_in": -100 }),
            "token for AUDIENCE ended 100 s ago by this clock".to_owned(),
        ),
    ] {
        caller.running.post("metadata", &settings);
        let line = caller.line("http://hello");
        let want = want.replace("AUDIENCE", HELLO);
        let start = format!("runsd: no identity token for {HELLO}: ");
        assert!(line.starts_with(&start), "{settings}: {line}");
        assert!(line.contains(&want), "{settings}: {line}");
    }
    // And none of that is kept.
    caller
        .running
        .post("metadata", &json!({ "mode": "ok", "exp_in": 3600 }));
    assert_eq!(caller.status("http://hello"), "200");
}
