//! The headers of a request, as the front end gets them, for each
//! `-auth_header=` and both protocols.

use std::collections::HashSet;

use serde_json::Value;

use crate::caller::Caller;
use crate::harness::{CloudRun, Output};

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
        ("own", "stripped", ["own our", "own stripped", "own our", "own stripped"]),
        ("stripped", "stripped", ["our -", "our -", "- our", "stripped stripped"]),
    ];
    let modes = ["auto", "authorization", "serverless", "off"];
    for (column, mode) in modes.into_iter().enumerate() {
        let mut caller = Caller::new(CloudRun::new(), &[&format!("-auth_header={mode}")]);
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            for (authorization, serverless, want) in &table {
                let mut words = format!("{http} http://echo/headers");
                for (name, what) in [("Authorization", authorization), ("X-Serverless-Authorization", serverless)] {
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

/// All lines of a header there can be: none, one, or two.
fn lines() -> Vec<Vec<&'static str>> {
    let values = ["", "Bearer x.y.z", "Basic eDp5", STRIPPED];
    let mut all = vec![vec![]];
    for one in values {
        all.push(vec![one]);
        all.extend(values.map(|two| vec![one, two]));
    }
    all
}

/// What is to arrive, as design and issue say it; `None` is our token.
fn expected<'a>(mode: &str, first: &[&'a str], second: &[&'a str]) -> [Vec<Option<&'a str>>; 2] {
    let stripped = |lines: &[&str]| lines.contains(&STRIPPED);
    let own = |lines: &[&str]| !stripped(lines) && lines.iter().any(|line| !line.is_empty());
    let same = |lines: &[&'a str]| lines.iter().copied().map(Some).collect::<Vec<_>>();
    let ours = || vec![None];
    let (theirs, mine) = (own(first), own(second));
    match mode {
        _ if mine => [same(first), same(second)],
        "auto" if theirs => [same(first), ours()],
        "auto" => [ours(), vec![]],
        "authorization" if theirs => [same(first), same(second)],
        "authorization" => [ours(), vec![]],
        "serverless" if stripped(first) => [vec![], ours()],
        "serverless" => [same(first), ours()],
        _ => [same(first), same(second)],
    }
}

#[test]
fn any_credentials_over_http_1_arrive_as_auth_header_says() {
    whatever_is_sent(|requests, miniature| {
        let mut words = String::new();
        for headers in requests {
            words += "next\nhttp1.1\nsilent\nurl = http://billing/headers\n";
            for (name, value) in headers {
                // A semicolon is how curl is told to send an empty one.
                let colon = if value.is_empty() { ";" } else { ": " };
                words += &format!("header = \"{name}{colon}{value}\"\n");
            }
        }
        let curl = ["/runsd", "--", "curl", "-K", "-"];
        miniature.stdin(words).run(&curl)
    });
}

#[test]
fn any_credentials_over_http_2_arrive_as_auth_header_says() {
    whatever_is_sent(|requests, miniature| {
        let words = serde_json::to_string(requests).expect("JSON");
        let python = ["/venv/bin/python", "-B", "/tests/clients/h2_headers.py"];
        miniature.stdin(words).in_venv(&python)
    });
}

type Headers = Vec<(&'static str, &'static str)>;

/// Has all requests there can be sent, for each `-auth_header`, and looks at
/// what arrived.
#[track_caller]
fn whatever_is_sent(send: impl Fn(&[Headers], CloudRun) -> Output) {
    let mut all = Vec::new();
    for first in lines() {
        all.extend(lines().into_iter().map(|second| (first.clone(), second)));
    }
    let requests: Vec<Headers> = all
        .iter()
        .map(|(first, second)| {
            let first = first.iter().map(|line| (NAMES[0], *line));
            first.chain(second.iter().map(|line| (NAMES[1], *line))).collect()
        })
        .collect();
    for mode in ["auto", "authorization", "serverless", "off"] {
        let route = "billing=https://billing.example.com,audience=my-aud";
        let miniature = CloudRun::new().env("RUNSD_AUTH_HEADER", mode).env("RUNSD_ROUTE", route);
        let out = send(&requests, miniature);
        assert_eq!(out.status, 0, "{}", out.stderr);
        let answers = serde_json::Deserializer::from_str(&out.stdout).into_iter();
        let answers: Vec<Value> =
            answers.collect::<Result<_, _>>().unwrap_or_else(|err| panic!("{err}: {}", out.stdout));
        assert_eq!(answers.len(), all.len());
        let mut tokens = HashSet::new();
        for ((first, second), answer) in all.iter().zip(&answers) {
            let case = format!("-auth_header={mode} {first:?} {second:?}");
            let want = expected(mode, first, second);
            for (name, want) in NAMES.iter().zip(want) {
                let got = values(answer, name);
                assert_eq!(got.len(), want.len(), "{case}: {name}: {got:?}");
                for (got, want) in got.iter().zip(want) {
                    match want {
                        Some(want) => assert_eq!(*got, want, "{case}: {name}"),
                        None => {
                            assert!(got.starts_with("Bearer eyJ"), "{case}: {name}: {got}");
                            tokens.insert(*got);
                        }
                    }
                }
            }
            assert_eq!(values(answer, "User-Agent").len(), 1, "{case}");
        }
        // All with the same one.
        assert_eq!(tokens.len(), usize::from(mode != "off"), "{mode}");
    }
}

fn values<'a>(answer: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = answer["headers"].as_array().into_iter().flatten();
    let named = headers.filter(|pair| pair[0] == name.to_lowercase());
    named.filter_map(|pair| pair[1].as_str()).collect()
}

const NAMES: [&str; 2] = ["Authorization", "X-Serverless-Authorization"];

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
    assert_eq!(caller.sent(HOST, "authorization"), ["Bearer e30.eyJleHAiOjF9.x"]);
    assert_eq!(caller.fetches(), serde_json::json!({}));
}
