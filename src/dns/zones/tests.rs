use super::*;
use crate::dns::message::CNAME;
use crate::names::destination::Destination;
use crate::names::policy::Route;

const MX: u16 = 15;
const TXT: u16 = 16;
const SRV: u16 = 33;
const CHAOS: u16 = 3;

const V4: Reply = Reply::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
const V6: Reply = Reply::Answer { v4: None, v6: Some(Ipv6Addr::LOCALHOST) };
const BOTH: Reply = Reply::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST) };
const SERVER: Reply = Reply::Answer { v4: Some(METADATA_SERVER), v6: None };
const FORWARD: Reply = Reply::Forward(Otherwise::Failure);
const SEARCHED: Reply = Reply::Forward(Otherwise::NxDomain);

fn none(apex: &str) -> Reply {
    Reply::NxDomain { apex: apex.len() }
}

fn empty(apex: &str) -> Reply {
    Reply::Empty { apex: apex.len() }
}

/// Asked of the nameservers; where they do not know it, there is no such record.
fn asked(apex: &str) -> Reply {
    Reply::Forward(Otherwise::Empty { apex: apex.len() })
}

fn names(only: Option<&[&str]>) -> NamePolicy {
    let host = "billing.example.com".to_owned();
    let destination = Destination { host, port: 443, tls: true, audience: None };
    let route = |name: &str| Route { name: name.to_owned(), destination: destination.clone() };
    NamePolicy {
        zone: "run.internal".to_owned(),
        routes: vec![route("bill_ing"), route("billing.example.com")],
        allowlist: only.map(|only| only.iter().map(|&name| name.to_owned()).collect()),
    }
}

fn decide(names: &NamePolicy, ipv6: bool, name: &str, kind: u16, class: u16) -> Reply {
    let search = ["google.internal", "c.proj.internal"].map(str::to_owned);
    let zones = Zones { names, search: &search, ipv6 };
    zones.decide(Question { name, kind, class })
}

#[test]
fn whose_is_a_name() {
    let names = names(None);
    let run = "run.internal";
    let google = "google.internal";
    for (name, kind, want) in [
        ("hello.run.internal", A, V4),
        ("hello.run.internal", AAAA, V6),
        ("hello.run.internal", ANY, BOTH),
        ("hello.run.internal", HTTPS, empty(run)),
        ("hello.run.internal", TXT, empty(run)),
        ("hello.run.internal", CNAME, empty(run)),
        ("hello.run.internal", 65_280, empty(run)),
        ("canary---hello.run.internal", A, V4),
        ("hello.us-east1.run.internal", A, V4),
        ("hello.us-east1.123456789012.run.internal", A, V4),
        ("bill_ing.run.internal", A, V4),
        ("billing.example.com.run.internal", A, V4),
        ("run.internal", A, empty(run)),
        ("metadata.run.internal", A, none(run)),
        ("localhost.run.internal", A, none(run)),
        ("example.com.run.internal", A, none(run)),
        ("example.com.run.internal", MX, none(run)),
        ("us-east1.123.run.internal", A, none(run)),
        ("_grpc._tcp.hello.run.internal", 33, none(run)),
        (r"x\046run.internal", A, FORWARD),
        ("notrun.internal", A, FORWARD),
        ("internal", MX, asked("internal")),
        ("metadata.google.internal", A, SERVER),
        ("metadata.google.internal", ANY, SERVER),
        ("metadata.google.internal", AAAA, empty(google)),
        ("metadata.google.internal", TXT, empty(google)),
        ("hello.google.internal", A, none(google)),
        ("example.com.google.internal", TXT, none(google)),
        ("google.internal", A, empty(google)),
        ("metadata", A, SERVER),
        ("metadata", AAAA, empty("metadata")),
        ("metadata", TXT, asked("metadata")),
        ("metadata", ANY, SERVER),
        ("metadata", CNAME, empty("metadata")),
        ("hello", A, V4),
        ("hello", AAAA, V6),
        ("hello", HTTPS, empty("hello")),
        ("hello", MX, asked("hello")),
        ("hello", TXT, asked("hello")),
        ("hello", SRV, asked("hello")),
        ("hello", ANY, BOTH),
        ("hello", CNAME, empty("hello")),
        ("hello.us-east1", SRV, asked("hello.us-east1")),
        ("canary---hello", TXT, asked("canary---hello")),
        ("hello.us-east1", A, V4),
        ("hello.us-east1.123456789012", A, V4),
        ("billing.example.com", A, V4),
        ("billing.example.com", TXT, asked("billing.example.com")),
        ("mail.billing.example.com", MX, FORWARD),
        ("bill_ing", A, V4),
        ("localhost", A, FORWARD),
        ("", 2, FORWARD),
        ("", A, FORWARD),
        ("example.com", A, FORWARD),
        ("example.com", 65_280, FORWARD),
        ("vm.c.proj.internal", A, SEARCHED),
        ("hello.us-east1.c.proj.internal", TXT, SEARCHED),
        ("c.proj.internal", A, FORWARD),
        ("xc.proj.internal", A, FORWARD),
        ("1.0.0.127.in-addr.arpa", 12, FORWARD),
    ] {
        assert_eq!(decide(&names, true, name, kind, IN), want, "{name} {kind}");
    }
}

#[test]
fn without_ipv6_there_is_no_aaaa() {
    let names = names(None);
    for (name, kind, want) in [
        ("hello.run.internal", A, V4),
        ("hello.run.internal", AAAA, empty("run.internal")),
        ("hello.run.internal", ANY, V4),
        ("hello", AAAA, empty("hello")),
    ] {
        assert_eq!(decide(&names, false, name, kind, IN), want, "{name} {kind}");
    }
}

#[test]
fn other_classes() {
    let names = names(None);
    for (name, want) in [
        ("hello.run.internal", Reply::Refused),
        ("metadata.google.internal", Reply::Refused),
        ("version.bind", FORWARD),
        ("hello", FORWARD),
    ] {
        assert_eq!(decide(&names, true, name, TXT, CHAOS), want, "{name}");
        assert_eq!(decide(&names, true, name, A, CHAOS), want, "{name}");
    }
}

#[test]
fn only_the_names_listed() {
    for (only, name, want) in [
        ("hello", "hello", true),
        ("hello", "hello.us-east1", true),
        ("hello", "canary---hello.us-east1.123", true),
        ("hello", "other", false),
        ("hello.us-east1", "hello", false),
        ("hello.us-east1", "hello.us-east1.123", false),
        ("hello.us-east1", "canary---hello.us-east1", false),
        ("hello.us-east1", "hello.us-east2", false),
        ("canary---hello", "canary---hello", true),
        ("canary---hello", "hello", false),
        ("hello", "bill_ing", false),
        ("bill_ing", "bill_ing", true),
        ("billing.example.com", "billing.example.com", true),
        ("example.com", "example.com", false),
    ] {
        let names = names(Some(&[only]));
        let full = format!("{name}.run.internal");
        let verdict = if want { V4 } else { none("run.internal") };
        assert_eq!(decide(&names, true, &full, A, IN), verdict, "{full}, of {only}");
        let verdict = if want { V4 } else { FORWARD };
        assert_eq!(decide(&names, true, name, A, IN), verdict, "{name}., of {only}");
    }
}
