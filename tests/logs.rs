//! What runsd says on stderr, and that it says nothing when all is well.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::CloudRun;

/// Asks one service, twice; what came on stderr.
#[track_caller]
fn said(flags: &[&str]) -> String {
    let mut caller = Caller::new(CloudRun::new(), flags);
    for _ in 0..2 {
        assert_eq!(caller.status("-A me http://hello/path?q=1"), "200");
    }
    let stderr = caller.finish().stderr;
    // A JSON Web Token begins like this, whatever it holds.
    assert!(!stderr.contains("eyJ"), "a token in the log: {stderr}");
    stderr
}

#[test]
fn nothing_is_logged_when_all_is_well() {
    assert_eq!(said(&[]), "");
    assert_eq!(said(&["-log_format=json"]), "");
}

#[test]
fn each_level_of_v_logs_more() {
    let sign = "on Cloud Run, by K_SERVICE";
    let decision = "connected in";
    let request = "GET http://hello";
    for (flag, wants, nots) in [
        ("-v=1", &[sign, "exit code 0"][..], &[decision, request][..]),
        ("-v=3", &[sign, decision], &[request]),
        ("-v=5", &[sign, decision, request, "dns: hello"], &[]),
    ] {
        let stderr = said(&[flag]);
        for want in wants {
            assert!(stderr.contains(want), "{flag}: no {want:?} in {stderr}");
        }
        for not in nots {
            assert!(!stderr.contains(not), "{flag}: {not:?} in {stderr}");
        }
        for line in stderr.lines() {
            assert!(line.starts_with("runsd: "), "{flag}: {line}");
        }
    }
}

#[test]
fn json_lines_are_as_cloud_logging_reads_them() {
    let stderr = said(&["-v=5", "-log_format=json"]);
    let mut requests = 0;
    for line in stderr.lines() {
        let got: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
        let severity = got["severity"].as_str().unwrap_or_default();
        assert!(["INFO", "DEBUG"].contains(&severity), "{line}");
        assert!(got["message"].is_string(), "{line}");
        // 2026-11-21T08:52:38.004Z
        let time = got["time"].as_str().unwrap_or_default();
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
        assert_eq!(got["logging.googleapis.com/labels"]["app"], "runsd", "{line}");
        let request = &got["httpRequest"];
        if request.is_null() {
            continue;
        }
        requests += 1;
        assert_eq!(request["requestMethod"], "GET", "{line}");
        assert_eq!(request["requestUrl"], "http://hello/path?q=1", "{line}");
        assert_eq!(request["status"], 200, "{line}");
        assert_eq!(request["userAgent"], "me", "{line}");
        let latency = request["latency"].as_str().unwrap_or_default();
        assert!(latency.ends_with('s'), "{line}");
    }
    assert_eq!(requests, 2, "{stderr}");
}

#[test]
fn log_lines_have_words_for_people_and_no_debug_output() {
    let stderr = said(&["-v=5"]);
    for want in [
        "dns: hello.run.internal A: 127.0.0.1\n",
        "dns: hello.run.internal AAAA: ::1\n",
        "dns: upstream hello-123456789012.us-east1.run.app: ",
    ] {
        assert!(stderr.contains(want), "no {want:?} in {stderr}");
    }
    // As structures are printed.
    for not in ["Some(", "Ok(", "Answer {", "TLSv1_", "Exited", " type "] {
        assert!(!stderr.contains(not), "{not:?} in {stderr}");
    }
}

#[test]
fn a_warning_is_given_once_then_counted() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    caller.running.post("frontend", &json!({ "mode": "refuse" }));
    for _ in 0..100 {
        assert_eq!(caller.status("http://hello"), "502");
    }
    let stderr = caller.finish().stderr;
    let warnings: Vec<&str> = stderr.lines().collect();
    let [first, tenth, hundredth] = warnings[..] else {
        panic!("100 failures were told so: {stderr}");
    };
    assert!(first.starts_with("runsd: warning: proxy: hello: "), "{first}");
    assert_eq!(tenth, format!("{first} (10 times so far)"));
    assert_eq!(hundredth, format!("{first} (100 times so far)"));
}

#[test]
fn no_byte_of_a_token_shows_however_much_is_logged() {
    // The token is spelled in ways a library could log it: as text, and as bytes.
    for flags in [&["-v=9"][..], &["-v=9", "-log_format=json"]] {
        let stderr = said(flags);
        for other in ["ureq", "eyJ", "101, 121, 74", "65 79 4a", "65794a"] {
            assert!(!stderr.contains(other), "{flags:?}: {other:?} in {stderr}");
        }
    }
}
