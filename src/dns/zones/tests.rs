use super::*;
use crate::dns::message::tests::{A, AAAA, ANY, CNAME, HTTPS, MX, PRIVATE_USE, SRV, TXT};
use crate::names::destination::Destination;
use crate::names::policy::Route;

const CHAOS: u16 = 3;

const V4: Reply = Reply::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
const V6: Reply = Reply::Answer { v4: None, v6: Some(Ipv6Addr::LOCALHOST) };
const BOTH: Reply = Reply::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST) };
const METADATA_SERVER: Reply = Reply::Answer { v4: Some(METADATA_ADDRESS), v6: None };
const FORWARD: Reply = Reply::Forward(Fallback::Failure);
const VIA_SEARCH_LIST: Reply = Reply::Forward(Fallback::NxDomain);

fn nx_domain(apex: &str) -> Reply {
    Reply::NxDomain { apex_len: apex.len() }
}

fn no_data(apex: &str) -> Reply {
    Reply::NoData { apex_len: apex.len() }
}

/// Forwarded; where no nameserver knows it, the reply is that there is no such record.
fn forwarded(apex: &str) -> Reply {
    Reply::Forward(Fallback::NoData { apex_len: apex.len() })
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

fn classify(names: &NamePolicy, ipv6: bool, name: &str, record_type: RecordType, class: u16) -> Reply {
    let search = ["google.internal", "c.proj.internal"].map(str::to_owned);
    let zones = Zones { names: names.clone(), search: search.to_vec(), ipv6 };
    zones.classify(name, record_type, class)
}

#[test]
fn names_in_the_zones_are_answered() {
    let names = names(None);
    let run = "run.internal";
    let google = "google.internal";
    for (name, record_type, want) in [
        ("hello.run.internal", A, V4),
        ("hello.run.internal", AAAA, V6),
        ("hello.run.internal", ANY, BOTH),
        ("hello.run.internal", HTTPS, no_data(run)),
        ("hello.run.internal", TXT, no_data(run)),
        ("hello.run.internal", CNAME, no_data(run)),
        ("hello.run.internal", PRIVATE_USE, no_data(run)),
        ("canary---hello.run.internal", A, V4),
        ("hello.us-east1.run.internal", A, V4),
        ("hello.us-east1.123456789012.run.internal", A, V4),
        ("bill_ing.run.internal", A, V4),
        ("billing.example.com.run.internal", A, V4),
        ("run.internal", A, no_data(run)),
        ("metadata.run.internal", A, nx_domain(run)),
        ("localhost.run.internal", A, nx_domain(run)),
        ("example.com.run.internal", A, nx_domain(run)),
        ("example.com.run.internal", MX, nx_domain(run)),
        ("us-east1.123.run.internal", A, nx_domain(run)),
        ("_grpc._tcp.hello.run.internal", SRV, nx_domain(run)),
        (r"x\046run.internal", A, FORWARD),
        ("notrun.internal", A, FORWARD),
        ("internal", MX, forwarded("internal")),
        ("metadata.google.internal", A, METADATA_SERVER),
        ("metadata.google.internal", ANY, METADATA_SERVER),
        ("metadata.google.internal", AAAA, no_data(google)),
        ("metadata.google.internal", TXT, no_data(google)),
        ("hello.google.internal", A, nx_domain(google)),
        ("example.com.google.internal", TXT, nx_domain(google)),
        ("google.internal", A, no_data(google)),
    ] {
        assert_eq!(classify(&names, true, name, record_type, CLASS_IN), want, "{name} {record_type}");
    }
}

#[test]
fn bare_names_of_services_are_answered_and_all_others_forwarded() {
    let names = names(None);
    for (name, record_type, want) in [
        ("metadata", A, METADATA_SERVER),
        ("metadata", AAAA, no_data("metadata")),
        ("metadata", TXT, forwarded("metadata")),
        ("metadata", ANY, METADATA_SERVER),
        ("metadata", CNAME, no_data("metadata")),
        ("hello", A, V4),
        ("hello", AAAA, V6),
        ("hello", HTTPS, no_data("hello")),
        ("hello", MX, forwarded("hello")),
        ("hello", TXT, forwarded("hello")),
        ("hello", SRV, forwarded("hello")),
        ("hello", ANY, BOTH),
        ("hello", CNAME, no_data("hello")),
        ("hello.us-east1", SRV, forwarded("hello.us-east1")),
        ("canary---hello", TXT, forwarded("canary---hello")),
        ("hello.us-east1", A, V4),
        ("hello.us-east1.123456789012", A, V4),
        ("billing.example.com", A, V4),
        ("billing.example.com", TXT, forwarded("billing.example.com")),
        ("mail.billing.example.com", MX, FORWARD),
        ("bill_ing", A, V4),
        ("localhost", A, FORWARD),
        ("", RecordType::NS, FORWARD),
        ("", A, FORWARD),
        ("example.com", A, FORWARD),
        ("example.com", PRIVATE_USE, FORWARD),
        ("vm.c.proj.internal", A, VIA_SEARCH_LIST),
        ("hello.us-east1.c.proj.internal", TXT, VIA_SEARCH_LIST),
        ("c.proj.internal", A, FORWARD),
        ("xc.proj.internal", A, FORWARD),
        ("1.0.0.127.in-addr.arpa", RecordType::PTR, FORWARD),
    ] {
        assert_eq!(classify(&names, true, name, record_type, CLASS_IN), want, "{name} {record_type}");
    }
}

#[test]
fn without_ipv6_there_is_no_aaaa() {
    let names = names(None);
    for (name, record_type, want) in [
        ("hello.run.internal", A, V4),
        ("hello.run.internal", AAAA, no_data("run.internal")),
        ("hello.run.internal", ANY, V4),
        ("hello", AAAA, no_data("hello")),
    ] {
        assert_eq!(classify(&names, false, name, record_type, CLASS_IN), want, "{name} {record_type}");
    }
}

#[test]
fn runsd_answers_for_the_internet_class_alone() {
    let names = names(None);
    for (name, want) in [
        ("hello.run.internal", Reply::Refused),
        ("metadata.google.internal", Reply::Refused),
        ("version.bind", FORWARD),
        ("hello", FORWARD),
    ] {
        assert_eq!(classify(&names, true, name, TXT, CHAOS), want, "{name}");
        assert_eq!(classify(&names, true, name, A, CHAOS), want, "{name}");
    }
}

#[test]
fn names_outside_the_allowlist_are_forwarded() {
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
        let reply = if want { V4 } else { nx_domain("run.internal") };
        assert_eq!(classify(&names, true, &full, A, CLASS_IN), reply, "{full}, of {only}");
        let reply = if want { V4 } else { FORWARD };
        assert_eq!(classify(&names, true, name, A, CLASS_IN), reply, "{name}., of {only}");
    }
}
