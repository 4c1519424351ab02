//! DNS on the wire, asked with dig and by hand: what is not ours is what the
//! nameserver said to the byte, and whatever the nameserver does, there is an
//! answer.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{CloudRun, Output};

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
fn answers_that_are_not_ours_are_the_nameservers_to_the_byte() {
    let out = sh("python3 /tests/clients/dns_bytes.py");
    assert_eq!(out.stdout, "True 0\n", "{}", out.stderr);
}

#[test]
fn our_own_names() {
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
fn records_of_every_kind() {
    dig(&[
        ("external.example", "192.0.2.3\n"),
        ("external.example. AAAA", "2001:db8::3\n"),
        ("external.example MX", "10 mail.external.example.\n"),
        ("external.example CAA", "0 issue \"ca.example\"\n"),
        ("external.example HTTPS", "1 . alpn=\"h2\"\n"),
        (
            "_grpc._tcp.external.example SRV",
            "0 5 443 external.example.\n",
        ),
        ("-x 192.0.2.3", "external.example.\n"),
        ("vm.c.miniature.internal", "192.0.2.3\n"),
    ]);
    // Over 4 KB: dig sees it cut and comes again by TCP.
    let out = sh("dig +short long.external.example TXT");
    assert!(out.stdout.len() > 5000, "{out:?}");
}

#[test]
fn codes_and_flags() {
    let status = "sed -n 's/.*status: \\([A-Z]*\\),.*/\\1/p'";
    for (words, want) in [
        ("nothing.example", "NXDOMAIN\n"),
        ("nobody_here.run.internal", "NXDOMAIN\n"),
        ("unknown.google.internal", "NXDOMAIN\n"),
        ("hello.run.internal TYPE999", "NOERROR\n"),
        ("hello.run.internal CH TXT", "REFUSED\n"),
        ("+opcode=NOTIFY hello.run.internal", "NOTIMP\n"),
        ("+header-only hello.run.internal", "FORMERR\n"),
        ("+edns=1 +noednsneg hello.run.internal", "BADVERS\n"),
    ] {
        let out = sh(&format!("dig {words} | {status}"));
        assert_eq!(out.stdout, want, "dig {words}");
    }
}

/// A lookup by glibc while the nameserver is in this mode: what came of it.
fn in_mode(mode: &str, name: &str) -> String {
    let script = format!("read go; getent ahostsv4 {name} | sed -n 's/ .*STREAM.*//p'; echo end");
    let mut running = CloudRun::new().start(&["/runsd", "--", "sh", "-c", &script]);
    running.post("dns", &json!({ "mode": mode }));
    let mut stdin = running.stdin.take().expect("stdin is a pipe");
    stdin.write_all(b"go\n").expect("the shell reads");
    running.finish().stdout
}

#[test]
fn our_own_names_need_no_nameserver() {
    for mode in ["silent", "servfail", "garbage", "wrong-id", "refuse"] {
        let begun = Instant::now();
        assert_eq!(in_mode(mode, "hello"), "127.0.0.1\nend\n", "{mode}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{mode}");
    }
}

#[test]
fn a_nameserver_out_of_order_is_no_answer_to_believe() {
    // At once, for most of these cost a resolver's whole patience.
    let modes = ["servfail", "refused", "garbage", "wrong-id", "short"];
    let runs = modes.map(|mode| thread::spawn(move || in_mode(mode, "external.example")));
    for (mode, run) in modes.iter().zip(runs) {
        assert_eq!(run.join().expect("a run"), "end\n", "{mode}");
    }
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
