//! What runsd answers when it is runsd that says no: a status, a
//! `Proxy-Status` and a sentence, and never a wait without end.

use crate::caller::Caller;
use crate::harness::CloudRun;

/// Orders a fault and asks; prints status, Proxy-Status and body.
fn after(room: &str, order: &str, curl: &str) -> String {
    let out = CloudRun::new().sh(&format!(
        "curl -sS -o /dev/null http://192.0.2.53/{room} -d '{order}'
         curl -sS -m 12 -w '%{{http_code}} %header{{proxy-status}}\\n' {curl} 2>&1"
    ));
    out.stdout
}

/// What a fault comes to at the client: the status, the error type of RFC 9209, and
/// words of the sentence.
struct Wanted(u16, &'static str, &'static str);

#[track_caller]
fn assert_refused(fault: &str, got: &str, Wanted(status, error, words): &Wanted) {
    let line = format!("{status} runsd; error={error}; details=");
    assert!(got.contains(&line), "{fault}: {got}");
    assert!(got.contains(words), "{fault}: {got}");
}

#[test]
fn each_fault_on_the_way_to_a_service_has_its_sentence() {
    let named = "hello-123456789012.us-east1.run.app";
    for (room, mode, wanted) in [
        ("frontend", "refuse", Wanted(502, "connection_refused", "refused the connection")),
        ("frontend", "silent", Wanted(504, "connection_read_timeout", "silence in the TLS handshake")),
        ("frontend", "reset", Wanted(502, "connection_terminated", "connection")),
        ("frontend", "bad-cert", Wanted(502, "tls_certificate_error", "its certificate is not valid")),
        ("frontend", "no-tls", Wanted(502, "tls_protocol_error", "; check that the other side speaks TLS 1.2 or 1.3")),
        ("frontend", "alert", Wanted(502, "tls_alert_received", "; check the host's name")),
        ("metadata", "refuse", Wanted(502, "proxy_configuration_error", "metadata server")),
        ("metadata", "silent", Wanted(502, "proxy_configuration_error", "metadata server")),
        ("dns", "servfail", Wanted(502, "dns_error", named)),
        ("dns", "silent", Wanted(504, "dns_timeout", named)),
    ] {
        let order = format!(r#"{{"mode":"{mode}"}}"#);
        let got = after(room, &order, "http://hello/");
        assert_refused(&format!("{room} {mode}"), &got, &wanted);
    }
}

#[test]
fn each_fault_of_a_response_has_its_sentence() {
    let incomplete = "broke off its response; it may or may not have been carried out";
    let switched = "switched protocols unasked; check that the service takes this upgrade";
    for (path, error, words) in [
        ("nothing", "connection_terminated", "closed the connection without a response"),
        ("garbage", "http_protocol_error", "first line that is not of HTTP/1"),
        ("two-lengths", "http_protocol_error", "two different Content-Length"),
        ("half-a-head", "http_response_incomplete", incomplete),
        ("large-head", "http_response_header_section_size", "; make the service send fewer headers"),
        ("gzip", "http_response_transfer_coding", "; look at what the service sends"),
        ("switched", "http_upgrade_failed", switched),
    ] {
        let got = after("frontend", "{}", &format!("http://close/{path}"));
        assert_refused(path, &got, &Wanted(502, error, words));
    }
}

#[test]
fn a_name_of_no_service_has_its_sentence_as_text_and_as_json() {
    let words = "is not the name of a service";
    let curl = "http://hello/ -H 'Host: example.com'";
    let got = after("frontend", "{}", curl);
    assert_refused(curl, &got, &Wanted(500, "destination_not_found", words));
    let got = after("frontend", "{}", &format!("{curl} -H 'Accept: application/json'"));
    let json = "\"error\":\"destination_not_found\",\"status\":500";
    assert!(got.contains(json) && got.contains(words), "{got}");
}

#[test]
fn a_head_that_two_readers_could_read_differently_is_refused() {
    let out = CloudRun::new().client("request_bytes.py", &["heads"]);
    let mut got: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(got.pop(), Some("HTTP/1.1 431 Request Header Fields Too Large"), "{out:?}");
    assert_eq!(got.pop(), Some("HTTP/1.1 505 HTTP Version Not Supported"), "{out:?}");
    assert_eq!(got.remove(4), "HTTP/1.1 501 Not Implemented", "{out:?}");
    assert_eq!(got, ["HTTP/1.1 400 Bad Request"; 8], "{out:?}");
}

#[test]
fn no_log_of_a_failure_shows_a_token() {
    for level in ["-v=5", "-v=6"] {
        let script = "curl -sS -o /dev/null http://hello/ http://forbidden/ -d x
                      curl -sS -o /dev/null -H 'Authorization: Bearer eyJmine.eyJmine.eyJmine' http://hello/
                      curl -sS http://192.0.2.53/metadata -d '{\"mode\":\"garbage\"}' -o /dev/null
                      curl -sS -o /dev/null http://echo/";
        let out = CloudRun::new().run(&["/runsd", level, "--", "sh", "-c", script]);
        assert!(out.stderr.contains("hello"), "{level}: {out:?}");
        assert!(!out.stderr.contains("eyJ"), "{level}: {}", out.stderr);
        assert!(!out.stderr.to_lowercase().contains("bearer"), "{level}: {}", out.stderr);
    }
}

#[test]
fn a_route_that_leads_nowhere_has_its_sentence() {
    let mut caller =
        Caller::new(CloudRun::new(), &["-route=far=https://[2001:db8::1]", "-route=loop=http://127.0.0.1"]);
    for (name, kind, want) in [
        ("far", "destination_ip_unroutable", "cannot be reached from here; check the egress and VPC settings"),
        ("loop", "proxy_loop_detected", "\"loop\" leads back to runsd; give the name another URL with -route"),
    ] {
        let words = format!("-w ' %{{http_code}} %header{{proxy-status}}' http://{name} | tr '\\n' ' '");
        let line = caller.line(&words);
        assert!(line.contains(want), "{name}: {line}");
        let status = format!("502 runsd; error={kind}; details=");
        assert!(line.contains(&status), "{name}: {line}");
    }
}
