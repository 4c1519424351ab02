//! DNS on the wire, asked with dig and by hand: what is not ours is what the
//! nameserver said to the byte, and whatever the nameserver does, there is an
//! answer.

use std::io::Write;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{CloudRun, Output, Running};

fn sh(script: &str) -> Output {
    CloudRun::new().sh(script)
}

/// What dig prints for each of these, with `+short` unless it asks for more.
#[track_caller]
fn dig(table: &[(&str, &str)]) {
    for (words, want) in table {
        let out = sh(&format!("dig +short {words}"));
        assert_eq!(out.stdout, *want, "dig {words}: {}", out.stderr);
    }
}

#[test]
fn other_names_have_the_nameservers_response_byte_for_byte() {
    let out = sh("python3 /tests/clients/dns_bytes.py");
    assert_eq!(out.stdout, "True 0\n", "{}", out.stderr);
}

#[test]
fn names_of_services_lead_to_loopback_in_every_form() {
    dig(&[
        ("hello.run.internal", "127.0.0.1\n"),
        ("HELLO.Us-East1.RUN.internal.", "127.0.0.1\n"),
        ("hello.us-east1.123456789012.run.internal", "127.0.0.1\n"),
        ("hello.run.internal AAAA", "::1\n"),
        ("+search hello", "127.0.0.1\n"),
        ("+search hello.us-east1", "127.0.0.1\n"),
        ("+search hello.us-east1.123456789012", "127.0.0.1\n"),
        ("+search metadata", "169.254.169.254\n"),
        ("metadata.google.internal", "169.254.169.254\n"),
        ("metadata.google.internal AAAA", ""),
        ("+tcp hello.run.internal", "127.0.0.1\n"),
        ("@::1 hello.run.internal", "127.0.0.1\n"),
    ]);
}

#[test]
fn other_names_have_records_of_every_type() {
    dig(&[
        ("external.example", "192.0.2.3\n"),
        ("external.example. AAAA", "2001:db8::3\n"),
        ("external.example MX", "10 mail.external.example.\n"),
        ("external.example DS", "28769 115 115 6564206F6E2061732062797465732C20746F6F\n"),
        ("external.example CAA", "0 issue \"ca.example\"\n"),
        ("external.example HTTPS", "1 . alpn=\"h2\"\n"),
        ("_grpc._tcp.external.example SRV", "0 5 443 external.example.\n"),
        ("-x 192.0.2.3", "external.example.\n"),
        ("vm.c.miniature.internal", "192.0.2.3\n"),
    ]);
    // Over 4 KB: dig sees it cut and comes again by TCP.
    let out = sh("dig +short long.external.example TXT");
    assert!(out.stdout.len() > 5000, "{out:?}");
}

#[test]
fn each_query_has_the_response_code_of_its_rfc() {
    for (words, want) in [
        ("nothing.example", "NXDOMAIN\n"),
        ("broken.example", "SERVFAIL\n"),
        ("broken.example HTTPS +tcp", "SERVFAIL\n"),
        ("nobody_here.run.internal", "NXDOMAIN\n"),
        ("unknown.google.internal", "NXDOMAIN\n"),
        ("hello.run.internal TYPE999", "NOERROR\n"),
        ("hello.run.internal CH TXT", "REFUSED\n"),
        ("+opcode=NOTIFY hello.run.internal", "NOTIMP\n"),
        ("+header-only hello.run.internal", "FORMERR\n"),
        ("+edns=1 +noednsneg hello.run.internal", "BADVERS\n"),
    ] {
        let out = sh(&format!("dig {words} | {STATUS}"));
        assert_eq!(out.stdout, want, "dig {words}");
    }
}

/// `script` under runsd, which goes on once the nameserver is told this.
fn with_nameserver(told: &Value, script: &str) -> Running {
    let script = format!("read go; {script}");
    let mut running = CloudRun::new().start(&["/runsd", "--", "sh", "-c", &script]);
    running.post("dns", told);
    let stdin = running.stdin.as_mut().expect("stdin is a pipe");
    stdin.write_all(b"go\n").expect("the shell reads");
    running
}

/// What dig makes of a name while the nameserver is in this mode: a code.
fn in_mode(mode: &str, words: &str) -> String {
    let script = format!("dig +tries=1 +time=20 {words} | {STATUS}");
    let running = with_nameserver(&json!({ "mode": mode }), &script);
    running.finish().stdout
}

const STATUS: &str = "sed -n 's/.*status: \\([A-Z]*\\),.*/\\1/p'";

#[test]
fn our_own_names_need_no_nameserver() {
    for mode in ["silent", "servfail", "garbage", "wrong-id", "refuse"] {
        let script = "getent ahostsv4 hello | sed -n 's/ .*STREAM.*//p'; read end";
        let mut running = with_nameserver(&json!({ "mode": mode }), script);
        assert_eq!(running.line(), "127.0.0.1", "{mode}");
        // Not even asked, so that it cannot have been waited for.
        let stats = running.stats();
        let asked = stats["dns"].as_object().expect("a map");
        let ours = asked.keys().find(|asked| asked.contains("hello."));
        assert_eq!(ours, None, "{mode}: {stats:#}");
    }
}

#[test]
fn a_slow_nameserver_holds_up_nobody_else() {
    let told = json!({ "delay_ms": 60_000, "only": "slow.example" });
    // The one that waits is still there when the others have their answers.
    let script = "dig +tries=1 +time=30 slow.example >/dev/null & slow=$!; \
                  getent ahostsv4 hello | sed -n 's/ .*STREAM.*//p'; \
                  dig +short external.example; kill $slow && echo waits";
    let out = with_nameserver(&told, script).finish();
    assert_eq!(out.stdout, "127.0.0.1\n192.0.2.3\nwaits\n", "{out:?}");
}

#[test]
fn forged_and_malformed_responses_are_dropped_and_servfail_is_sent() {
    // At once, for each of these costs all of our patience: two seconds, and
    // two more for a datagram that may have been lost.
    let modes = ["silent", "garbage", "wrong-id", "wrong-question", "other-port", "short"];
    let runs = modes.map(|mode| thread::spawn(move || in_mode(mode, "external.example")));
    // Under a search domain it is an answer that lets a resolver walk on.
    let conf = "nameserver 192.0.2.99\nsearch miniature.internal\n";
    let searched = format!("dig +tries=1 +time=20 vm.c.miniature.internal | {STATUS}");
    let searched = thread::spawn(move || CloudRun::new().resolv_conf(conf).sh(&searched));
    for (mode, run) in modes.iter().zip(runs) {
        assert_eq!(run.join().expect("a run"), "SERVFAIL\n", "{mode}");
    }
    assert_eq!(searched.join().expect("a run").stdout, "NXDOMAIN\n");
    // These cost nothing.
    for (mode, want) in [("servfail", "SERVFAIL\n"), ("refused", "REFUSED\n")] {
        assert_eq!(in_mode(mode, "external.example"), want, "{mode}");
    }
}

#[test]
fn a_response_that_comes_twice_is_passed_on_once() {
    let script = "python3 -B /tests/clients/dns_order.py once";
    let out = with_nameserver(&json!({ "mode": "twice" }), script).finish();
    assert_eq!(out.stdout, "once\n", "{}", out.stderr);
}

#[test]
fn queries_on_one_tcp_connection_are_answered_as_responses_come() {
    let script = "python3 -B /tests/clients/dns_order.py order";
    // Long enough for two others to be answered before, and less than 2 s.
    let told = json!({ "delay_ms": 1500, "only": "slow.external.example" });
    let out = with_nameserver(&told, script).finish();
    assert_eq!(out.stdout, "slow.external.example 3\n", "{}", out.stderr);
}

#[test]
fn a_flood_of_queries_drops_the_oldest_and_starves_no_client() {
    let told = json!({ "mode": "silent", "only": ".slow.example" });
    let script = "python3 -B /tests/clients/dns_flood.py";
    let out = with_nameserver(&told, script).finish();
    assert_eq!(out.stdout, "well\n", "{}", out.stderr);
}

#[test]
fn a_nameserver_is_asked_at_its_ipv6_address() {
    let conf = "nameserver fd00::53\nsearch google.internal\n";
    let script = "dig +short external.example; dig +short +tcp external.example; \
                  dig +short hello.run.internal; curl -s http://hello";
    let out = CloudRun::new().resolv_conf(conf).sh(script);
    let want = "192.0.2.3\n192.0.2.3\n127.0.0.1\n\
                Hello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn upstreams_are_reached_at_whichever_address_answers() {
    // By IPv6 where there is no IPv4 or it refuses; at the second address
    // where the first one refuses; at the end of two aliases.
    let names = ["billing", "six", "dual", "several", "alias"];
    let mut words = vec!["/runsd".to_owned()];
    words.extend(names.map(|name| format!("-route={name}=https://{name}.example.com,audience=none")));
    words.extend(["--", "curl", "-s"].map(str::to_owned));
    words.extend(names.map(|name| format!("http://{name}")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let out = CloudRun::new().run(&words);
    let want = names.map(|name| format!("{name}.example.com, asked for /\n"));
    assert_eq!(out.stdout, want.concat(), "{}", out.stderr);
}

#[test]
fn a_truncated_address_is_asked_for_again_over_tcp() {
    let script = "curl -s http://hello && read end";
    let mut running = with_nameserver(&json!({ "mode": "truncated" }), script);
    assert_eq!(running.line(), "Hello from hello in us-east1, project 123456789012");
    let stats = running.stats();
    let asked = &stats["dns_tcp"]["hello-123456789012.us-east1.run.app A"];
    assert_eq!(asked, 1, "{stats:#}");
}

#[test]
fn a_dead_nameserver_costs_two_seconds_once_and_two_dead_ones_an_answer_in_time() {
    // Nobody is at 192.0.2.98 nor at 192.0.2.99; a resolver gives us 5 s.
    let dig = "dig +tries=1 +time=5 external.example | sed -n 's/.*status: \\([A-Z]*\\),.*/\\1/p'; \
               dig +tries=1 +time=1 +short external.example";
    let two = "nameserver 192.0.2.98\nnameserver 169.254.169.254\nsearch google.internal\n";
    let dead = "nameserver 192.0.2.98\nnameserver 192.0.2.99\n";
    let one = thread::spawn(move || CloudRun::new().resolv_conf(two).sh(dig).stdout);
    let none = thread::spawn(move || {
        let dig = dig.split(';').next().unwrap_or_default();
        CloudRun::new().resolv_conf(dead).sh(dig).stdout
    });
    assert_eq!(one.join().expect("a run"), "NOERROR\n192.0.2.3\n");
    assert_eq!(none.join().expect("a run"), "SERVFAIL\n");
}

#[test]
fn a_shorter_timeout_in_resolv_conf_gives_up_sooner() {
    let dead = "nameserver 192.0.2.98\nnameserver 192.0.2.99\noptions timeout:1\n";
    let dig = "dig +tries=1 +time=20 external.example | sed -n 's/.*Query time: \\(.*\\) msec/\\1/p'";
    let out = CloudRun::new().resolv_conf(dead).sh(dig);
    // Some 900; it would be 4,000.
    let took: u64 = out.stdout.trim().parse().expect("a number");
    assert!((500..3500).contains(&took), "{took} ms");
}

#[test]
fn the_tenth_nameserver_is_asked_when_nine_refuse() {
    // Nothing listens at port 53 of nine other addresses of loopback.
    let closed = |n| format!("nameserver 127.0.0.{n}\n");
    let conf: String = (2..11).map(closed).collect();
    let conf = conf + "nameserver 169.254.169.254\n";
    let script = "dig +short external.example; dig +short +tcp external.example; curl -s http://hello";
    let out = CloudRun::new().resolv_conf(&conf).sh(script);
    let want = "192.0.2.3\n192.0.2.3\nHello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}
