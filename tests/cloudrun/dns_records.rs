//! What the nameserver of the miniature knows.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::direct;
use crate::dns_message::{NOERROR, NXDOMAIN, Record, SERVFAIL, write_name};
use crate::namespaces::{DIRECT, FRONT_END, OVER_IPV6};

/// The code and the records for one question. `front` is the front end's
/// address, if not the usual one.
pub fn answer(name: &str, kind: u16, front: Option<&str>) -> (u8, Vec<Record>) {
    if name.ends_with(".run.app") {
        let front = front.unwrap_or(FRONT_END);
        let records = [record(name, "A", front)];
        return (NOERROR, records.into_iter().filter(|record| record.kind == kind).collect());
    }
    if name.ends_with(direct::DOMAIN) {
        let records = [record(name, "A", DIRECT)];
        let records = records.into_iter().filter(|record| record.kind == kind);
        return (NOERROR, records.collect());
    }
    let mut records = Vec::new();
    let mut wanted = name.to_owned();
    let mut known = false;
    // A chain of aliases is followed, as a recursive nameserver does.
    for _ in 0..8 {
        let here: Vec<_> = ZONE.iter().filter(|(owner, ..)| *owner == wanted).collect();
        known |= !here.is_empty();
        for (_, its_kind, data) in &here {
            let found = record(&wanted, its_kind, data);
            if found.kind == kind {
                records.push(found);
            }
        }
        let alias = here.iter().find(|(_, its_kind, _)| *its_kind == "CNAME" && kind != CNAME);
        let Some((_, _, target)) = alias else { break };
        records.push(record(&wanted, "CNAME", target));
        wanted = (*target).to_owned();
    }
    let code = match known {
        true => NOERROR,
        _ if name == BROKEN => SERVFAIL,
        // As seen on the platform: it stops the walk through the search list.
        false if name.ends_with(".google.internal") => SERVFAIL,
        false => NXDOMAIN,
    };
    (code, records)
}

pub fn kind_name(kind: u16) -> String {
    match KINDS.iter().find(|(_, number)| *number == kind) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("TYPE{kind}"),
    }
}

fn record(name: &str, kind: &str, data: &str) -> Record {
    let number = KINDS.iter().find(|(known, _)| *known == kind).map_or(0, |(_, number)| *number);
    Record { name: name.to_owned(), kind: number, data: encoded(kind, data) }
}

/// The data of a record from the way it is written in ZONE, which is a zone
/// file's but for what stands beside HTTPS and CAA.
fn encoded(kind: &str, data: &str) -> Vec<u8> {
    let words: Vec<&str> = data.split(' ').collect();
    let numbers = |words: &[&str]| -> Vec<u8> {
        let numbers = words.iter().filter_map(|word| word.parse::<u16>().ok());
        numbers.flat_map(u16::to_be_bytes).collect()
    };
    match (kind, words.as_slice()) {
        ("A", [address]) => address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec(),
        ("AAAA", [address]) => address.parse().unwrap_or(Ipv6Addr::UNSPECIFIED).octets().to_vec(),
        ("CNAME" | "PTR" | "NS", [name]) => write_name(name),
        ("MX", [preference, name]) => [numbers(&[preference]), write_name(name)].concat(),
        ("SRV", [three @ .., name]) => [numbers(three), write_name(name)].concat(),
        ("SOA", [server, person, five @ ..]) => {
            let mut bytes = [write_name(server), write_name(person)].concat();
            let numbers = five.iter().filter_map(|word| word.parse::<u32>().ok());
            bytes.extend(numbers.flat_map(u32::to_be_bytes));
            bytes
        }
        // "LENGTH" is that many bytes, in strings of up to 255.
        ("TXT", ["LENGTH", length]) => {
            let text = "long ".repeat(length.parse::<usize>().unwrap_or(0) / 5);
            text.as_bytes().chunks(255).flat_map(string).collect()
        }
        ("TXT", _) => string(data.as_bytes()),
        // Priority, the owner's own name, alpn=h2.
        ("HTTPS", [priority]) => [numbers(&[priority]), vec![0, 0, 1, 0, 3, 2, b'h', b'2']].concat(),
        ("CAA", [value]) => [&[0, 5], b"issue".as_slice(), value.as_bytes()].concat(),
        _ => data.as_bytes().to_vec(),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    [&[length], bytes].concat()
}

const CNAME: u16 = 5;

/// A name whose own nameservers do not work.
const BROKEN: &str = "broken.example";

const KINDS: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", CNAME),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DS", 43),
    ("DNSKEY", 48),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];

const ZONE: &[(&str, &str, &str)] = &[
    ("metadata.google.internal", "A", "169.254.169.254"),
    ("vm.c.miniature.internal", "A", "192.0.2.3"),
    ("billing.example.com", "A", "192.0.2.2"),
    ("blackhole.example.com", "A", "192.0.2.99"),
    ("hole.example.com", "A", "192.0.2.99"), // a black hole
    ("hole.example.com", "AAAA", OVER_IPV6),
    ("holes.example.com", "A", "192.0.2.96"), // black holes
    ("holes.example.com", "A", "192.0.2.97"),
    ("holes.example.com", "A", "192.0.2.98"),
    ("holes.example.com", "A", "192.0.2.95"),
    ("holes.example.com", "A", "192.0.2.2"),
    ("refused.example.com", "A", "192.0.2.3"), // nothing listens at its port 443
    ("dual.example.com", "A", "192.0.2.3"),    // as above
    ("dual.example.com", "AAAA", OVER_IPV6),
    ("six.example.com", "AAAA", OVER_IPV6),
    ("several.example.com", "A", "192.0.2.3"), // as above
    ("several.example.com", "A", "192.0.2.2"),
    ("alias.example.com", "CNAME", "alias2.example.com"),
    ("alias2.example.com", "CNAME", "several.example.com"),
    ("unreachable.example.com", "A", "198.51.100.1"),
    ("loopback.example", "A", "127.0.0.1"),
    ("alias.loopback.example", "CNAME", "loopback.example"),
    ("external.example", "A", "192.0.2.3"),
    ("external.example", "AAAA", "2001:db8::3"),
    ("external.example", "SOA", "ns.external.example admin.external.example 1 7200 900 86400 60"),
    ("external.example", "NS", "ns.external.example"),
    ("external.example", "MX", "10 mail.external.example"),
    ("external.example", "TXT", "v=spf1 -all"),
    ("external.example", "HTTPS", "1"),
    ("external.example", "CAA", "ca.example"),
    ("external.example", "NAPTR", "passed on as bytes"),
    ("external.example", "DS", "passed on as bytes, too"),
    ("chain.external.example", "CNAME", "alias.external.example"),
    ("www.external.example", "CNAME", "external.example"),
    ("alias.external.example", "CNAME", "www.external.example"),
    ("mail.external.example", "A", "192.0.2.3"),
    ("long.external.example", "TXT", "LENGTH 5000"),
    ("_grpc._tcp.external.example", "SRV", "0 5 443 external.example"),
    ("under_score.external.example", "A", "192.0.2.3"),
    ("3.2.0.192.in-addr.arpa", "PTR", "external.example"),
];
