//! Upstreams that are hard to reach: addresses that do not answer, or not any
//! more, clients that do not wait for them, and what is said about it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::caller::Caller;
use crate::harness::CloudRun;

/// A route to a host of the miniature that is not on Cloud Run.
fn route(name: &str) -> String {
    format!("-route={name}=https://{name}.example.com,audience=none")
}

/// Clients that ask and leave.
const LEAVE: &str = "/tests/clients/leave.py";

/// What curl says of the last request: status and `Proxy-Status`.
const SAID: &str = "-m 60 -o /dev/null -w '%{http_code} %header{proxy-status}\\n'";

#[test]
fn an_ipv4_black_hole_beside_a_good_ipv6_address_costs_a_moment_once() {
    let mut caller = Caller::new(CloudRun::new(), &[&route("hole")]);
    let started = Instant::now();
    // Each connection of HTTP/2 has an upstream connection of its own.
    let get = "--http2-prior-knowledge http://hole";
    assert_eq!(caller.line(get), "hole.example.com, asked for /");
    let first = started.elapsed();
    assert!(first < Duration::from_secs(3), "{first:?}");
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(caller.line(get), "hole.example.com, asked for /");
    }
    // It would be 250 ms for each.
    let others = started.elapsed();
    assert!(others < Duration::from_secs(4), "{others:?}");
    // And one lookup of AAAA was enough.
    let stats = caller.running.stats();
    assert_eq!(stats["dns"]["hole.example.com AAAA"], 1, "{stats:#}");
}

#[test]
fn where_there_is_no_way_at_all_nothing_is_waited_for() {
    let mut caller = Caller::new(CloudRun::new(), &["-route=far=https://[2001:db8::1]"]);
    let started = Instant::now();
    for _ in 0..3 {
        let line = caller.line(&format!("{SAID} http://far"));
        assert!(line.starts_with("502 runsd; error=destination_ip_unroutable"), "{line}");
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_good_address_is_reached_behind_four_black_holes() {
    let mut caller = Caller::new(CloudRun::new(), &[&route("holes")]);
    let started = Instant::now();
    let get = "--http2-prior-knowledge http://holes";
    for _ in 0..5 {
        assert_eq!(caller.line(get), "holes.example.com, asked for /");
    }
    // The first one may wait for a place beside four others.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_good_ipv4_address_is_all_that_is_asked_for() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    assert_eq!(caller.status("http://hello"), "200");
    let stats = caller.running.stats();
    let host = "hello-123456789012.us-east1.run.app";
    assert_eq!(stats["dns"][format!("{host} A")], 1, "{stats:#}");
    let aaaa = &stats["dns"][format!("{host} AAAA")];
    assert!(aaaa.is_null(), "{stats:#}");
}

#[test]
fn a_service_that_moved_is_found_before_its_ttl_is_over() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    // Nothing listens at port 443 of that one.
    let elsewhere = json!({ "front": "192.0.2.3" });
    caller.running.post("dns", &elsewhere);
    let refused = "502 runsd; error=connection_refused";
    assert!(caller.line(&format!("{SAID} http://hello")).starts_with(refused));
    let back = json!({ "front": "192.0.2.1" });
    caller.running.post("dns", &back);
    let started = Instant::now();
    // Its TTL is 300 s.
    while caller.status("http://hello") != "200" {
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    let took = started.elapsed().as_secs();
    let asked = caller.running.stats()["dns"]["hello-123456789012.us-east1.run.app A"].clone();
    assert!(asked.as_u64().is_some_and(|asked| asked <= 2 + took), "{asked} in {took} s");
}

#[test]
fn a_connect_takes_75_seconds_at_most_only_before_the_first_one() {
    let flag = route("blackhole");
    let mut caller = Caller::new(CloudRun::new(), &[&flag]);
    assert_eq!(caller.status("http://hello"), "200");
    let started = Instant::now();
    let line = caller.line(&format!("{SAID} http://blackhole"));
    let took = started.elapsed();
    let want = "504 runsd; error=connection_timeout; details=\"blackhole.example.com at \
                192.0.2.99:443 did not answer within 10 s\"";
    assert_eq!(line, want);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_cut_answer_of_a_nameserver_that_is_silent_by_tcp_is_a_timeout() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    let order = json!({ "mode": "truncated-for-good" });
    caller.running.post("dns", &order);
    let line = caller.line(&format!("{SAID} http://hello"));
    let want = "504 runsd; error=dns_timeout; details=\"no nameserver answered for A of \
                \\\"hello-123456789012.us-east1.run.app\\\"\"";
    assert_eq!(line, want);
}

#[test]
fn a_nameserver_that_fails_is_not_a_wrong_name() {
    for (mode, status, advice) in [
        ("servfail", 502, "check the nameservers"),
        ("refused", 502, "check the nameservers"),
        ("silent", 504, "check the nameservers"),
        ("nxdomain", 502, "check the name, its region and its domain"),
        ("nodata", 502, "check the name, its region and its domain"),
    ] {
        let mut caller = Caller::new(CloudRun::new(), &[]);
        caller.running.post("dns", &json!({ "mode": mode }));
        let line = caller.line("-m 60 http://hello");
        assert!(line.contains(advice), "{mode}: {line}");
        let name = "\"hello-123456789012.us-east1.run.app\"";
        assert!(line.contains(name), "{mode}: {line}");
        assert_eq!(caller.status("-m 60 http://hello"), status.to_string());
    }
}

#[test]
fn a_client_that_leaves_while_its_upstream_is_dialled_leaves_nothing_behind() {
    for (room, order, host) in [
        // No connection, no handshake, no address.
        ("service", json!({}), "blackhole"),
        ("frontend", json!({ "mode": "silent" }), "billing"),
        ("dns", json!({ "mode": "silent", "only": "external.example" }), "other"),
    ] {
        for kind in ["close", "reset", "h2"] {
            let routes = [
                route("blackhole"),
                route("billing"),
                "-route=other=https://external.example,audience=none".to_owned(),
            ];
            let order = order.to_string();
            let command: Vec<&str> = ["/runsd"]
                .into_iter()
                .chain(routes.iter().map(String::as_str))
                .chain(["--", "python3", "-B", LEAVE, "nothing_stays", kind, "5", host, room, &order])
                .collect();
            let out = CloudRun::new().run(&command);
            assert_eq!(out.stdout, "True True\n", "{kind} {host}: {}", out.stderr);
        }
    }
}

#[test]
fn clients_that_give_up_on_a_black_hole_take_no_connection_of_others() {
    // 64 descriptors are for 16 connections.
    let script = format!("ulimit -n 64; exec /runsd {} -- python3 -B {LEAVE} give_up", route("blackhole"));
    let out = CloudRun::new().run(&["sh", "-c", &script]);
    let want = "HTTP/1.1 200\n".repeat(50) + "in time\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn a_client_that_half_closed_gets_its_response() {
    let script = "printf 'GET / HTTP/1.1\\r\\nHost: hello\\r\\nConnection: close\\r\\n\\r\\n' \
                  | busybox nc hello 80 | head -n 1";
    let out = CloudRun::new().sh(script);
    assert_eq!(out.stdout, "HTTP/1.1 200 OK\r\n", "{}", out.stderr);
}

#[test]
fn a_failed_connection_says_that_nothing_was_sent() {
    for mode in ["refuse", "silent", "reset", "bad-cert", "no-tls", "alert"] {
        for http in ["--http1.1", "--http2-prior-knowledge"] {
            let mut caller = Caller::new(CloudRun::new(), &[]);
            caller.running.post("frontend", &json!({ "mode": mode }));
            let line = caller.line(&format!("{http} -m 60 -d x http://hello"));
            assert!(line.starts_with("runsd: "), "{mode}: {line}");
            assert!(!line.contains("may or may not"), "{mode}: {line}");
        }
    }
}

#[test]
fn without_the_certificates_that_were_asked_for_nothing_starts() {
    for (flag, variable, want) in [
        ("-ca_file=/none", "", "cannot read the certificates of /none: "),
        ("-ca_file=/dev/null", "", "no certificate in /dev/null"),
        ("-ca_file=/etc/hosts", "", "no certificate in /etc/hosts"),
        ("-v=0", "/none", "cannot read the certificates of /none: "),
    ] {
        let miniature = || CloudRun::new().env("RUNSD_CA_FILE", variable);
        let out = miniature().run(&["/runsd", flag, "--", "echo", "started"]);
        assert_eq!((out.status, out.stdout.as_str()), (2, ""), "{out:?}");
        let start = format!("runsd: {want}");
        assert!(out.stderr.starts_with(&start), "{out:?}");
        assert_eq!(out.stderr.lines().count(), 1, "{out:?}");
        let out = miniature().run(&["/runsd", flag, "-check"]);
        let line = format!("WRONG TLS roots   {want}");
        assert!(out.status == 1 && out.stdout.contains(&line), "{out:?}");
        // Where nothing is served nothing is trusted either.
        let out = miniature().option("--off");
        let out = out.run(&["/runsd", flag, "--", "echo", "started"]);
        assert_eq!((out.status, out.stdout.as_str()), (0, "started\n"), "{out:?}");
    }
    // One that can be used is all that is trusted.
    let flag = "-ca_file=/etc/ssl/cloudrun-ca.pem";
    let miniature = CloudRun::new().env("SSL_CERT_FILE", "/none");
    let out = miniature.run(&["/runsd", flag, "--", "curl", "-s", "http://hello"]);
    assert!(out.stdout.starts_with("Hello from hello"), "{out:?}");
    assert_eq!(out.stderr, "");
}

#[test]
fn a_variable_that_names_no_certificates_is_a_warning() {
    let miniature = CloudRun::new().env("SSL_CERT_FILE", "/none");
    let out = miniature.sh("curl -s http://hello");
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains("certificate is not valid"), "{out:?}");
    let want = "runsd: warning: cannot read the certificates of /none: ";
    let warnings = out.stderr.lines().filter(|line| line.starts_with(want));
    assert_eq!(warnings.count(), 1, "{out:?}");
    assert!(out.stderr.contains("; trusting the built-in roots"), "{out:?}");
}
