//! Tokens, as the metadata server and the front end see them.

use serde_json::json;

use crate::caller::Caller;
use crate::harness::{CloudRun, needs_descriptors};

const HELLO: &str = "https://hello-123456789012.us-east1.run.app";
/// What a token is asked for at the metadata server.
const IDENTITY: &str = "instance/service-accounts/default/identity";
/// With these nothing but tokens is asked of the metadata server.
const PLACE: [&str; 2] = ["-gcp_region=us-east1", "-gcp_project_number=123456789012"];

#[test]
fn ten_thousand_requests_fetch_one_token() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    caller.tell("h2load --h1 -n 10000 -c 10 http://hello/ | grep ^status");
    let line = caller.running.line();
    assert!(line.starts_with("status codes: 10000 2xx"), "{line}");
    assert_eq!(caller.fetches(), json!({ HELLO: 1 }));
}

#[test]
fn a_thousand_requests_at_once_fetch_one_token() {
    needs_descriptors(4_000);
    let mut caller = Caller::new(CloudRun::new(), &PLACE);
    let slow = json!({ "delay_ms": 1000 });
    caller.running.post("metadata", &slow);
    // All want a token before they learn that nobody is there, and a thousand
    // handshakes are not what this is about.
    caller.running.post("frontend", &json!({ "mode": "refuse" }));
    caller.tell("h2load --h1 -n 1000 -c 1000 http://hello/ | grep ^status");
    let line = caller.running.line();
    assert!(line.contains("1000 5xx"), "{line}");
    assert_eq!(caller.fetches(), json!({ HELLO: 1 }));
}

#[test]
fn an_expired_token_is_fetched_again() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    // Two seconds before that it is not used any more.
    caller.running.post("metadata", &json!({ "exp_in": 4 }));
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
                instance/service-accounts/default/identity, after 5 tries; check the metadata server and the service account";
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
fn a_request_without_a_body_is_repeated_whatever_its_method() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    let upgrade = "-H 'Connection: Upgrade' -H 'Upgrade: websocket'";
    for (tokens, words) in ["-X PUT -d ''", "-X DELETE", "-d ''", "-X POST", upgrade].into_iter().enumerate() {
        let words = format!("--http1.1 {words} http://hello");
        assert_eq!(caller.status(&words), "200", "{words}");
        let revoke = json!({ "revoke": tokens + 1 });
        caller.running.post("frontend", &revoke);
        assert_eq!(caller.status(&words), "200", "{words}, revoked");
        assert_eq!(caller.fetches(), json!({ HELLO: tokens + 2 }), "{words}");
    }
    // The far end closes after each answer, without a word.
    for words in ["-X PUT -d ''", "-X DELETE -d ''"] {
        let words = format!("--http1.1 {words} 'http://close/quietly?[1-5]'");
        assert_eq!(caller.line(&words), "gone".repeat(5), "{words}");
    }
}

#[test]
fn answers_that_are_no_tokens_are_refused_with_their_reason() {
    let mut caller = Caller::new(CloudRun::new(), &PLACE);
    let mode = |mode: &str, want: &str| (json!({ "mode": mode }), want.to_owned());
    let says = |text: &str, want: &str| {
        let settings = json!({ "mode": "says", "text": text });
        (settings, format!("token for AUDIENCE {want}"))
    };
    for (settings, want) in [
        mode("empty", "token for AUDIENCE is empty"),
        mode("garbage", "token for AUDIENCE has characters that no token has"),
        mode("stranger", "the response (status 200) for WHAT came without \"Metadata-Flavor: Google\""),
        mode("redirect", "the metadata server answered 302 for WHAT"),
        mode("huge", "the metadata server's response is over 65536 bytes"),
        mode("404", "the metadata server answered 404 for WHAT"),
        says(&format!("a.e30.{}", "x".repeat(20_000)), "is too large for a header"),
        says("a.b", "is not three parts with dots between them"),
        says("a.e=0.c", "is not base64url inside"),
        says("a.e30.c", "has no end in it (no \"exp\")"),
        says("a.eyJleHAiOiJ4In0.c", "has no end in it (no \"exp\")"),
        says("a.e30.c\r\nX-Injected: 1", "has characters that no token has"),
        (json!({ "mode": "ok", "exp_in": -100 }), "token for AUDIENCE ended 100 s ago by this clock".to_owned()),
    ] {
        caller.running.post("metadata", &settings);
        let line = caller.line("http://hello");
        let want = want.replace("AUDIENCE", HELLO).replace("WHAT", IDENTITY);
        let start = format!("runsd: no identity token for {HELLO}: ");
        assert!(line.starts_with(&start), "{settings}: {line}");
        assert!(line.contains(&want), "{settings}: {line}");
    }
    // Where the redirect leads nobody has gone, and none of that is kept.
    let asked = caller.running.stats()["metadata"].to_string();
    assert!(!asked.contains("elsewhere"), "{asked}");
    caller.running.post("metadata", &json!({ "mode": "ok", "exp_in": 3600 }));
    assert_eq!(caller.status("http://hello"), "200");
}

#[test]
fn a_malformed_region_or_project_is_refused_with_its_reason() {
    let what = "the region and project of this instance are not known: ";
    for (settings, want) in [
        (
            json!({ "region": "moon" }),
            "the metadata server answered \"projects/123456789012/zones/moon-1\" for instance/zone",
        ),
        (
            json!({ "project": "my-project" }),
            "the metadata server answered \"projects/my-project/zones/us-east1-1\" for \
             instance/zone",
        ),
        (
            json!({ "mode": "stranger" }),
            "the response (status 200) for instance/zone came without \"Metadata-Flavor: Google\", \
             so it is not the metadata server's",
        ),
        (json!({ "mode": "redirect" }), "the metadata server answered 302 for instance/zone"),
        (json!({ "mode": "huge" }), "the metadata server's response is over 65536 bytes"),
    ] {
        let mut caller = Caller::after("metadata", &settings);
        let line = caller.line("http://hello");
        let want =
            format!("runsd: {what}{want}; check the metadata server, or give -gcp_region and -gcp_project_number");
        assert_eq!(line, want, "{settings}");
        // Asked again with the next request, and then it is well.
        let well = json!({ "mode": "ok", "region": "us-east1", "project": "123456789012" });
        caller.running.post("metadata", &well);
        assert_eq!(caller.status("http://hello"), "200", "{settings}");
    }
}

#[test]
fn a_proxy_of_the_environment_is_never_asked_for_a_token() {
    let mut miniature = CloudRun::new();
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"] {
        miniature = miniature.env(name, "http://127.0.0.1:1");
    }
    let out = miniature.sh("curl -sS --noproxy '*' http://hello");
    let want = "Hello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}
