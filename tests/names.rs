//! Names as applications write them, and where their requests arrive.

use serde_json::json;

use crate::caller::Caller;
use crate::harness::CloudRun;

/// Calls each name and looks at what answers, at which host, for which audience.
#[track_caller]
fn all(caller: &mut Caller, table: &[(&str, &str, &str, &str)]) {
    for &(name, text, host, audience) in table {
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            let words = format!("{http} http://{name}");
            assert_eq!(caller.line(&words), text, "{words}");
            let stats = caller.running.stats();
            assert!(stats["requests"][host].is_u64(), "{words}: {stats:#}");
            let fetched = &stats["token_fetches"][audience];
            assert!(fetched.is_u64(), "{words}: {stats:#}");
        }
    }
    // And nothing was ever fetched for another audience.
    let fetches = caller.fetches();
    for audience in fetches.as_object().into_iter().flat_map(|map| map.keys()) {
        let known = table.iter().any(|row| row.3 == audience);
        assert!(known, "{audience}");
        assert!(!audience.contains("---"), "{audience} has a tag");
    }
}

#[test]
fn names_with_tag_region_and_project_reach_their_service() {
    let own = "123456789012.us-east1.run.app";
    let west = "123456789012.europe-west1.run.app";
    let other = "210987654321.us-east1.run.app";
    let hello = format!("https://hello-{own}");
    let host = format!("hello-{own}");
    let here = "Hello from hello in us-east1, project 123456789012";
    let tagged = "Hello from hello (tag canary) in us-east1, project 123456789012";
    let mut caller = Caller::new(CloudRun::new(), &[]);
    all(
        &mut caller,
        &[
            ("hello", here, &host, &hello),
            ("HELLO", here, &host, &hello),
            ("hello:80", here, &host, &hello),
            ("hello.", here, &host, &hello),
            ("hello.run.internal", here, &host, &hello),
            ("hello.us-east1.run.internal.", here, &host, &hello),
            ("canary---hello", tagged, &format!("canary---hello-{own}"), &hello),
            (
                "hello.europe-west1",
                "Hello from hello in europe-west1, project 123456789012",
                &format!("hello-{west}"),
                &format!("https://hello-{west}"),
            ),
            (
                "hello.us-east1.210987654321",
                "Hello from hello in us-east1, project 210987654321",
                &format!("hello-{other}"),
                &format!("https://hello-{other}"),
            ),
            (
                "canary---hello.us-east1.210987654321.run.internal",
                "Hello from hello (tag canary) in us-east1, project 210987654321",
                &format!("canary---hello-{other}"),
                &format!("https://hello-{other}"),
            ),
        ],
    );
}

#[test]
fn project_hash_reaches_urls_of_the_older_form() {
    let miniature = CloudRun::new().env("CLOUD_RUN_PROJECT_HASH", "abcdefghij");
    let mut caller = Caller::new(miniature, &[]);
    let number = "hello-210987654321.us-east1.run.app";
    all(
        &mut caller,
        &[
            (
                "hello",
                "Hello from hello in us-east1, project 123456789012",
                "hello-abcdefghij-ue.a.run.app",
                "https://hello-abcdefghij-ue.a.run.app",
            ),
            (
                "canary---hello.europe-west1",
                "Hello from hello (tag canary) in europe-west1, project 123456789012",
                "canary---hello-abcdefghij-ew.a.run.app",
                "https://hello-abcdefghij-ew.a.run.app",
            ),
            // The hash is that of our own project.
            (
                "hello.us-east1.210987654321",
                "Hello from hello in us-east1, project 210987654321",
                number,
                &format!("https://{number}"),
            ),
        ],
    );
}

#[test]
fn a_route_reaches_its_url_with_its_audience() {
    let flags = [
        "-route",
        "billing=https://billing.example.com,audience=my-aud",
        "-route=open=https://billing.example.com/,audience=none",
        "-route=own=https://billing.example.com:443",
        "-route=refused=https://billing.example.com:8443",
        "-route=sidecar=http://127.0.0.1:9",
        "-route=loop=http://localhost",
        // A name of the grammar leads elsewhere, too.
        "-route=hello=https://echo-123456789012.us-east1.run.app",
    ];
    let mut caller = Caller::new(CloudRun::new(), &flags);
    let host = "billing.example.com";
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        for (name, tokens) in [("billing", 1), ("open", 0), ("own", 1)] {
            let got = caller.line(&format!("{http} http://{name}/some/path"));
            assert_eq!(got, "billing.example.com, asked for /some/path");
            let sent = caller.sent(host, "authorization");
            assert_eq!(sent.len(), tokens, "{http} {name}: {sent:?}");
        }
        assert_eq!(caller.status(&format!("{http} http://hello/headers")), "200");
    }
    let want = json!({
        "my-aud": 1,
        "https://billing.example.com": 1,
        "https://echo-123456789012.us-east1.run.app": 1,
    });
    assert_eq!(caller.fetches(), want);
    for (name, want) in
        [("refused", "connection_refused"), ("sidecar", "connection_refused"), ("loop", "proxy_loop_detected")]
    {
        let line = caller.line(&format!("-i http://{name} | grep -i ^proxy-status"));
        assert!(line.contains(want), "{name}: {line}");
    }
}

#[test]
fn a_malformed_route_ends_the_start_with_its_reason() {
    for (route, want) in [
        ("billing", "expected NAME=URL[,audience=AUD]"),
        (
            "billing=https://billing.example.com/v1",
            "\"https://billing.example.com/v1\" has a path; a route names a host, the request \
             brings the path",
        ),
        (
            "billing=http://billing.example.com",
            "\"http://billing.example.com\" is not encrypted, which only loopback may be; write \
             https://",
        ),
        ("billing=https://billing.example.com,audience=", "the audience is empty"),
    ] {
        let flag = format!("-route={route}");
        let out = CloudRun::new().run(&["/runsd", &flag, "--", "true"]);
        assert_eq!(out.status, 2, "{route}");
        assert!(out.stderr.contains(want), "{route}: {}", out.stderr);
    }
}

#[test]
fn a_name_that_no_service_can_have_is_refused_with_its_reason() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    // 49 characters make a name, and with a number of 12 digits they just fit.
    let long = "a".repeat(49);
    let longer = format!("{long}.us-east1.12345678901234");
    for (name, want) in [
        (
            longer.as_str(),
            "has 64 characters; the first part of a host may have 63; names are NAME, \
             NAME.REGION or NAME.REGION.PROJECTNUMBER",
        ),
        (&"a".repeat(50), "is not the name of a service"),
        ("www.example.com", "is not the name of a service"),
    ] {
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            let words = format!("{http} -H 'Host: {name}' http://hello");
            let line = caller.line(&words);
            assert!(line.contains(want), "{words}: {line}");
        }
    }
    // The front end says that there is none.
    assert_eq!(caller.status(&format!("http://{long}")), "404");
    // What is no name of ours is as without runsd.
    let line = caller.line("-m 5 http://www.external.example; echo $?");
    assert!(!line.contains("runsd"), "{line}");
}

#[test]
fn only_serves_the_names_it_lists() {
    let mut caller = Caller::new(CloudRun::new(), &["-only=hello,echo.europe-west1"]);
    for name in ["hello", "hello.europe-west1", "canary---hello", "echo.europe-west1"] {
        assert_eq!(caller.status(&format!("http://{name}")), "200", "{name}");
    }
    let before = caller.fetches();
    for name in ["echo", "slow", "echo.us-east1"] {
        caller.tell(&format!("curl -s http://{name}; echo $?"));
        assert_eq!(caller.running.line(), "6", "{name} has an address");
    }
    let line = caller.line("-H 'Host: slow' http://hello");
    assert!(line.contains("\"slow\" is not the name of a service"), "{line}");
    assert_eq!(caller.fetches(), before);
}

#[test]
fn run_domain_calls_hosts_of_another_domain() {
    let mut caller = Caller::new(CloudRun::new(), &["-run_domain=run.example"]);
    let line = caller.line("http://hello");
    assert!(line.contains("hello-123456789012.us-east1.run.example"), "{line}");
    let want = json!({ "https://hello-123456789012.us-east1.run.example": 1 });
    assert_eq!(caller.fetches(), want);
}

#[test]
fn the_metadata_server_has_its_name_and_gets_no_token() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    let path = "computeMetadata/v1/instance/region";
    for name in ["metadata", "metadata.google.internal"] {
        let line = caller.line(&format!("-H Metadata-Flavor:Google http://{name}/{path}"));
        assert_eq!(line, "projects/123456789012/regions/us-east1", "{name}");
    }
    assert_eq!(caller.fetches(), json!({}));
}
