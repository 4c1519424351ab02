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

#[test]
fn each_fault_has_its_sentence() {
    for (room, order, curl, wants) in [
        (
            "frontend",
            "{}",
            "http://127.0.0.1/ -H 'Host: example.com'",
            [
                "500 runsd; error=destination_not_found",
                "is not the name of a service",
            ],
        ),
        (
            "frontend",
            r#"{"mode":"refuse"}"#,
            "http://hello/",
            [
                "502 runsd; error=connection_refused",
                "refused the connection",
            ],
        ),
        (
            "frontend",
            r#"{"mode":"silent"}"#,
            "http://hello/",
            [
                "504 runsd; error=connection_read_timeout",
                "silence in the TLS handshake",
            ],
        ),
        (
            "frontend",
            r#"{"mode":"reset"}"#,
            "http://hello/",
            ["502 runsd; error=connection_", "connection"],
        ),
        (
            "frontend",
            r#"{"mode":"bad-cert"}"#,
            "http://hello/",
            [
                "502 runsd; error=tls_certificate_error",
                "its certificate is not valid",
            ],
        ),
        (
            "metadata",
            r#"{"mode":"refuse"}"#,
            "http://hello/",
            [
                "502 runsd; error=proxy_configuration_error",
                "metadata server",
            ],
        ),
        (
            "metadata",
            r#"{"mode":"silent"}"#,
            "http://hello/",
            [
                "502 runsd; error=proxy_configuration_error",
                "metadata server",
            ],
        ),
        (
            "dns",
            r#"{"mode":"servfail"}"#,
            "http://hello/",
            [
                "502 runsd; error=dns_error",
                "hello-123456789012.us-east1.run.app",
            ],
        ),
        (
            "dns",
            r#"{"mode":"silent"}"#,
            "http://hello/",
            [
                "504 runsd; error=dns_timeout",
                "hello-123456789012.us-east1.run.app",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/nothing",
            [
                "502 runsd; error=connection_terminated",
                "closed the connection without an answer",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/garbage",
            [
                "502 runsd; error=http_protocol_error",
                "first line that is not of HTTP/1",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/two-lengths",
            [
                "502 runsd; error=http_protocol_error",
                "two different Content-Length",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/half-a-head",
            [
                "502 runsd; error=http_response_incomplete",
                "broke off its answer; it may or may not have been carried out",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/large-head",
            [
                "502 runsd; error=http_response_header_section_size",
                "; make the service send fewer headers",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/gzip",
            [
                "502 runsd; error=http_response_transfer_coding",
                "; look at what the service sends",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://close/switched",
            [
                "502 runsd; error=http_upgrade_failed",
                "switched protocols unasked; check that the service takes this upgrade",
            ],
        ),
        (
            "frontend",
            r#"{"mode":"no-tls"}"#,
            "http://hello/",
            [
                "502 runsd; error=tls_protocol_error",
                "; check that the other side speaks TLS 1.2 or 1.3",
            ],
        ),
        (
            "frontend",
            r#"{"mode":"alert"}"#,
            "http://hello/",
            [
                "502 runsd; error=tls_alert_received",
                "; check the host's name",
            ],
        ),
        (
            "frontend",
            "{}",
            "http://hello/ -H 'Accept: application/json' -H 'Host: example.com'",
            [
                "\"error\":\"destination_not_found\",\"status\":500",
                "is not the name of a service",
            ],
        ),
    ] {
        let got = after(room, order, curl);
        for want in wants {
            assert!(got.contains(want), "{room} {order} {curl}: {got}");
        }
    }
}

#[test]
fn heads_that_two_readers_could_read_differently() {
    let ask = r"
import socket
def ask(head):
    s = socket.create_connection(('hello', 80)); s.settimeout(20)
    s.sendall(head)
    got = b''
    while True:
        more = s.recv(65536)
        if not more: break
        got += more
    print(got.decode().split('\r\n')[0])
start = b'GET / HTTP/1.1\r\n'
ask(start + b'\r\n')
ask(start + b'Host: hello\r\nHost: echo\r\n\r\n')
ask(start + b'Host: hello\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n')
ask(start + b'Host: hello\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n')
ask(start + b'Host: hello\r\nTransfer-Encoding: gzip, chunked\r\n\r\n')
ask(start + b'Host: hello\r\nX: a\r\n b\r\n\r\n')
ask(start + b'Host: hello\r\nX : a\r\n\r\n')
ask(start + b'Host: hello\nX: a\n\n')
ask(b'POST / HTTP/1.1\r\nHost: hello\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n')
ask(b'GET / HTTP/3.0\r\nHost: hello\r\n\r\n')
ask(start + b'Host: hello\r\nX: ' + b'a' * 70000 + b'\r\n\r\n')
";
    let out = CloudRun::new().run(&["/runsd", "--", "python3", "-c", ask]);
    let mut got: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(
        got.pop(),
        Some("HTTP/1.1 431 Request Header Fields Too Large"),
        "{out:?}"
    );
    assert_eq!(
        got.pop(),
        Some("HTTP/1.1 505 HTTP Version Not Supported"),
        "{out:?}"
    );
    assert_eq!(got.remove(4), "HTTP/1.1 501 Not Implemented", "{out:?}");
    assert_eq!(got, ["HTTP/1.1 400 Bad Request"; 8], "{out:?}");
}

#[test]
fn no_log_shows_a_token() {
    for level in ["-v=5", "-v=6"] {
        let script = "curl -sS -o /dev/null http://hello/ http://forbidden/ -d x
                      curl -sS -o /dev/null -H 'Authorization: Bearer eyJmine.eyJmine.eyJmine' http://hello/
                      curl -sS http://192.0.2.53/metadata -d '{\"mode\":\"garbage\"}' -o /dev/null
                      curl -sS -o /dev/null http://echo/";
        let out = CloudRun::new().run(&["/runsd", level, "--", "sh", "-c", script]);
        assert!(out.stderr.contains("hello"), "{level}: {out:?}");
        assert!(!out.stderr.contains("eyJ"), "{level}: {}", out.stderr);
        assert!(
            !out.stderr.to_lowercase().contains("bearer"),
            "{level}: {}",
            out.stderr
        );
    }
}

#[test]
fn a_route_that_leads_nowhere() {
    let mut caller = Caller::new(
        CloudRun::new(),
        &[
            "-route=far=https://[2001:db8::1]",
            "-route=loop=http://127.0.0.1",
        ],
    );
    for (name, kind, want) in [
        (
            "far",
            "destination_ip_unroutable",
            "cannot be reached from here; check the egress and VPC settings",
        ),
        (
            "loop",
            "proxy_loop_detected",
            "\"loop\" leads back to runsd; give the name another URL with -route",
        ),
    ] {
        let words =
            format!("-w ' %{{http_code}} %header{{proxy-status}}' http://{name} | tr '\\n' ' '");
        let line = caller.line(&words);
        assert!(line.contains(want), "{name}: {line}");
        let status = format!("502 runsd; error={kind}; details=");
        assert!(line.contains(&status), "{name}: {line}");
    }
}
