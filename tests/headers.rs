//! The headers of a request, as the front end gets them, for each
//! `-auth_header=` and both protocols.

use crate::caller::Caller;
use crate::harness::CloudRun;

const HOST: &str = "echo-123456789012.us-east1.run.app";
const STRIPPED: &str = "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE";

/// What a header holds: `-` nothing, `own` the application's value, `our` token.
fn kind(values: &[String]) -> &'static str {
    match values {
        [] => "-",
        [one] if one == "Bearer own" => "own",
        [one] if one == STRIPPED => "stripped",
        [one] if one.starts_with("Bearer eyJ") => "our",
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_go_where_auth_header_says() {
    // What the application sends, and then for auto, authorization, serverless
    // and off: Authorization and X-Serverless-Authorization.
    let table = [
        ("-", "-", ["our -", "our -", "- our", "- -"]),
        ("own", "-", ["own our", "own -", "own our", "own -"]),
        ("stripped", "-", ["our -", "our -", "- our", "stripped -"]),
        ("-", "own", ["- own", "- own", "- own", "- own"]),
        ("own", "own", ["own own", "own own", "own own", "own own"]),
        ("-", "stripped", ["our -", "our -", "- our", "- stripped"]),
        (
            "own",
            "stripped",
            ["own our", "own stripped", "own our", "own stripped"],
        ),
        (
            "stripped",
            "stripped",
            ["our -", "our -", "- our", "stripped stripped"],
        ),
    ];
    let modes = ["auto", "authorization", "serverless", "off"];
    for (column, mode) in modes.into_iter().enumerate() {
        let mut caller = Caller::new(CloudRun::new(), &[&format!("-auth_header={mode}")]);
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            for (authorization, serverless, want) in &table {
                let mut words = format!("{http} http://echo/headers");
                for (name, what) in [
                    ("Authorization", authorization),
                    ("X-Serverless-Authorization", serverless),
                ] {
                    words += &match *what {
                        "own" => format!(" -H '{name}: Bearer own'"),
                        "stripped" => format!(" -H '{name}: {STRIPPED}'"),
                        _ => String::new(),
                    };
                }
                caller.status(&words);
                let got = format!(
                    "{} {}",
                    kind(&caller.sent(HOST, "authorization")),
                    kind(&caller.sent(HOST, "x-serverless-authorization"))
                );
                assert_eq!(got, want[column], "-auth_header={mode} {words}");
            }
        }
    }
}

#[test]
fn one_value_of_each() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        let words = format!(
            "{http} -H 'X-Serverless-Authorization: {STRIPPED}' \
             -H 'X-Serverless-Authorization: {STRIPPED}' -H 'Authorization: {STRIPPED}' \
             -H 'Authorization;' -A someone http://echo/headers"
        );
        assert_eq!(caller.status(&words), "200", "{http}");
        assert_eq!(kind(&caller.sent(HOST, "authorization")), "our", "{http}");
        assert_eq!(kind(&caller.sent(HOST, "x-serverless-authorization")), "-");
        let version = env!("CARGO_PKG_VERSION");
        let want = format!("runsd version={version}; someone");
        assert_eq!(caller.sent(HOST, "user-agent"), [want], "{http}");
    }
}

#[test]
fn the_application_may_bring_its_token_to_all() {
    let miniature = CloudRun::new().env("CLOUD_RUN_ID_TOKEN", "e30.eyJleHAiOjF9.x");
    let mut caller = Caller::new(miniature, &[]);
    // The front end does not take it, which is whose affair it is.
    assert_eq!(caller.status("http://echo"), "401");
    assert_eq!(
        caller.sent(HOST, "authorization"),
        ["Bearer e30.eyJleHAiOjF9.x"]
    );
    assert_eq!(caller.fetches(), serde_json::json!({}));
}
