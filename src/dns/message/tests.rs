pub mod oracles;
#[cfg(test)]
mod replies;

use std::net::IpAddr;

use super::response::Record;
use super::*;

pub(in crate::dns) const A: RecordType = RecordType::A;
pub(in crate::dns) const AAAA: RecordType = RecordType::AAAA;
pub(in crate::dns) const ANY: RecordType = RecordType::ANY;
pub(in crate::dns) const CNAME: RecordType = RecordType::CNAME;
pub(in crate::dns) const HTTPS: RecordType = RecordType::HTTPS;
pub(in crate::dns) const MX: RecordType = RecordType::MX;
pub(in crate::dns) const SOA: RecordType = RecordType::SOA;
pub(in crate::dns) const SRV: RecordType = RecordType::SRV;
pub(in crate::dns) const TXT: RecordType = RecordType::TXT;
/// A type without a meaning (RFC 6895, section 3.1).
pub(in crate::dns) const PRIVATE_USE: RecordType = RecordType(65_280);

/// A query for `hello.run.internal` as dig sends it, with a cookie.
const DIG: &[u8] = &[
    0x12, 0x34, // id
    0x01, 0x20, // RD, AD
    0, 1, 0, 0, 0, 0, 0, 1, // one question, one additional record
    5, b'H', b'e', b'l', b'l', b'o', // the case is the client's
    3, b'r', b'u', b'n', //
    8, b'i', b'n', b't', b'e', b'r', b'n', b'a', b'l', 0, //
    0, 1, 0, 1, // A, IN
    0, 0, 41, 0x04, 0xd0, // OPT, 1232 octets
    0, 0, 0x80, 0, // version 0, DO
    0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, // a cookie
];

fn query(wire: &[u8]) -> Query<'_> {
    match parse(wire) {
        Parsed::Query(query) => query,
        other => panic!("got {other:?}; expected a query"),
    }
}

fn raw(wire: &[u8], question_end: usize) -> RawQuery<'_> {
    RawQuery { wire, question_end }
}

#[test]
fn a_query_is_read() {
    let query = query(DIG);
    assert_eq!(query.name, "hello.run.internal");
    assert_eq!((query.record_type, query.class, query.raw.question_end), (A, CLASS_IN, 36));
    assert_eq!(response::opt(query.raw.wire, query.raw.question_end), Some([0, 0]));
}

#[test]
fn a_query_with_two_opt_records_is_malformed() {
    let mut twice = DIG.to_vec();
    twice[11] += 1;
    twice.extend_from_slice(&DIG[36..]);
    assert_eq!(parse(&twice), Parsed::Malformed(Rcode::FORMERR));
    // Another record beside it is nothing to complain of.
    twice[DIG.len() + 2] = 250; // TSIG
    assert_eq!(query(&twice).name, "hello.run.internal");
}

#[test]
fn every_truncated_query_is_answered_or_ignored() {
    for cut in 0..DIG.len() {
        let mut out = Vec::new();
        match parse(&DIG[..cut]) {
            Parsed::NotAQuery => assert!(cut < HEADER_LEN, "cut at {cut}"),
            Parsed::Malformed(rcode) => {
                assert!((HEADER_LEN..36).contains(&cut), "cut at {cut}");
                write_error(&DIG[..cut], rcode, &mut out);
                assert_eq!(out, [0x12, 0x34, 0x81, Rcode::FORMERR.0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
            Parsed::Query(query) => {
                assert!(cut >= 36, "cut at {cut}");
                write_reply(query.raw, &Reply::NoData { apex_len: 12 }, &mut out);
                assert_eq!(rcode(&out), Rcode::NOERROR, "cut at {cut}");
                write_rcode(query.raw, Rcode::SERVFAIL, &mut out);
            }
        }
        assert!(!is_response_to(&DIG[..cut], 0x1234, raw(DIG, 36)), "cut at {cut}");
        read_addresses(&DIG[..cut], "hello", A);
    }
}

#[test]
fn malformed_queries_get_their_rcode() {
    let with = |at: usize, byte: u8| {
        let mut wire = DIG.to_vec();
        wire[at] = byte;
        wire
    };
    for (wire, want, why) in [
        (with(2, 0x81), Parsed::NotAQuery, "a response"),
        (with(2, 0x10), Parsed::Malformed(Rcode::NOTIMP), "a status request"),
        (with(2, 0x28), Parsed::Malformed(Rcode::NOTIMP), "an update"),
        (with(5, 0), Parsed::Malformed(Rcode::FORMERR), "no question"),
        (with(5, 2), Parsed::Malformed(Rcode::FORMERR), "two questions"),
        (with(4, 1), Parsed::Malformed(Rcode::FORMERR), "257 questions"),
        (with(12, 64), Parsed::Malformed(Rcode::FORMERR), "a label of 64"),
        (with(12, 0xc0), Parsed::Malformed(Rcode::FORMERR), "a pointer"),
        (with(12, 0x80), Parsed::Malformed(Rcode::FORMERR), "a label of an unknown kind"),
        (vec![0xff; 600], Parsed::NotAQuery, "garbage"),
        (vec![0; 600], Parsed::Malformed(Rcode::FORMERR), "zeroes"),
    ] {
        assert_eq!(parse(&wire), want, "{why}");
    }
}

#[test]
fn an_error_repeats_a_whole_question() {
    let mut wire = DIG.to_vec();
    wire[2] = 0x21; // NOTIFY, RD
    for (end, with_question) in [(DIG.len(), true), (36, true), (35, false), (HEADER_LEN, false)] {
        let mut out = Vec::new();
        write_error(&wire[..end], Rcode::NOTIMP, &mut out);
        let header = [0x12, 0x34, 0xa1, Rcode::NOTIMP.0, 0, u8::from(with_question), 0, 0, 0, 0, 0, 0];
        let question = if with_question { &DIG[HEADER_LEN..36] } else { &[] };
        assert_eq!(out, [&header, question].concat(), "{end}");
    }
}

#[test]
fn a_reply_has_the_address_and_the_opt_record() {
    let mut out = vec![0xee]; // replies are appended
    let (v4, v6) = (Some(Ipv4Addr::LOCALHOST), None);
    write_reply(query(DIG).raw, &Reply::Answer { v4, v6 }, &mut out);
    let mut want = vec![
        0xee, 0x12, 0x34, // id
        0x85, 0x80, // QR, AA, RD; RA, NOERROR
        0, 1, 0, 1, 0, 0, 0, 1, // a question, an answer, an OPT
    ];
    want.extend_from_slice(&DIG[HEADER_LEN..36]); // in the case it came
    want.extend_from_slice(&[
        0xc0, 12, 0, 1, 0, 1, // the same name, A, IN
        0, 0, 0, 10, 0, 4, 127, 0, 0, 1, // for 10 s
        0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0, // OPT
    ]);
    assert_eq!(out, want);
}

#[test]
fn nxdomain_has_the_soa_of_the_zone() {
    let mut out = Vec::new();
    let wire = question(7, "nothing.there.run.internal", A);
    write_reply(query(&wire).raw, &Reply::NxDomain { apex_len: 12 }, &mut out);
    assert_eq!(out[2..12], [0x85, 0x80 | Rcode::NXDOMAIN.0, 0, 1, 0, 0, 0, 1, 0, 0]);
    let soa = Record::read(&out, wire.len()).unwrap();
    let end = soa.end;
    assert_eq!((soa.owner.as_str(), soa.record_type, soa.ttl), ("run.internal", SOA, 10));
    let (server, at) = read_name(&out, end - soa.data().len(), true).unwrap();
    let (mail, at) = read_name(&out, at, true).unwrap();
    assert_eq!((server.as_str(), mail.as_str()), ("run.internal", ""));
    assert_eq!((end, out[end - 4..].to_vec()), (out.len(), vec![0, 0, 0, 10]));
    assert_eq!(at + 20, end);
}

#[test]
fn bytes_that_text_cannot_hold_are_escaped() {
    let dot_within = [9, b'x', b'.', b'r', b'u', b'n', b'.', b'i', b'n', b't', 0];
    for (wire, want) in [
        (&[0][..], Some(("", 1))),
        (&[1, b'A', 0], Some(("a", 3))),
        (&dot_within, Some((r"x\046run\046int", 11))),
        (&[2, b'\\', 0xff, 0], Some((r"\092\255", 4))),
        (&[1, b' ', 1, 0, 0], Some((r"\032.\000", 5))),
        (&[1], None),
        (&[1, b'a'], None),
        (&[], None),
    ] {
        let got = read_name(wire, 0, false);
        let got = got.as_ref().map(|(name, end)| (name.as_str(), *end));
        assert_eq!(got, want, "{wire:?}");
    }
    // 255 octets are a name, 256 are none.
    let mut long = [&[63; 64][..]; 3].concat();
    long.extend([61; 62]);
    assert!(read_name(&[&long[..], &[0]].concat(), 0, false).is_some());
    long.extend([1, b'a', 0]);
    assert!(read_name(&long, 0, false).is_none());
}

#[test]
fn pointers_lead_only_backwards() {
    let wire = [
        1, b'a', 0, // 0: a
        1, b'b', 0xc0, 0, // 3: b.a
        0xc0, 7, // 7: itself
        0xc0, 11, // 9: forwards
        1, b'c', 0xc0, 11, // 11: c.c.c…
        0xc0, 3,    // 15: b.a
        0xc0, // 17: cut
    ];
    for (at, want) in
        [(3, Some(("b.a", 7))), (7, None), (9, None), (11, None), (15, Some(("b.a", 17))), (17, None), (99, None)]
    {
        let got = read_name(&wire, at, true);
        let got = got.as_ref().map(|(name, end)| (name.as_str(), *end));
        assert_eq!(got, want, "at {at}");
    }
    // A question has none.
    assert_eq!(read_name(&wire, 3, false), None);
}

/// An answer to `question` with these records, each owner given in full.
pub(in crate::dns) fn answer(question: &[u8], records: &[(&str, RecordType, u32, &[u8])]) -> Vec<u8> {
    let mut wire = question.to_vec();
    wire[2] |= QR;
    wire[7] = u8::try_from(records.len()).unwrap();
    for (owner, record_type, ttl, data) in records {
        let owner = super::question(0, owner, *record_type);
        wire.extend_from_slice(&owner[HEADER_LEN..]);
        wire.extend_from_slice(&ttl.to_be_bytes());
        wire.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        wire.extend_from_slice(data);
    }
    wire
}

/// A name as the data of a CNAME.
pub(in crate::dns) fn name(text: &str) -> Vec<u8> {
    let wire = question(0, text, A);
    wire[HEADER_LEN..wire.len() - 4].to_vec()
}

#[test]
fn addresses_along_cnames() {
    let asked = question(9, "a", A);
    let (b, c, a) = (name("b"), name("C"), name("a"));
    let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
    for (records, want) in [
        (&[][..], (vec![], None, u32::MAX)),
        (&[("A", A, 60, &[10, 0, 0, 1][..]), ("a", A, 30, &[10, 0, 0, 2])], (vec![ip(1), ip(2)], None, 30)),
        (
            // in any order, of any case; the least TTL counts
            &[("c", A, 60, &[10, 0, 0, 3]), ("B", CNAME, 20, &c), ("a", CNAME, 300, &b)],
            (vec![ip(3)], Some("c"), 20),
        ),
        (&[("a", CNAME, 5, &b)], (vec![], Some("b"), 5)),
        // somebody else's, another type's, of a wrong size
        (&[("x", A, 5, &[1, 1, 1, 1]), ("a", AAAA, 5, &[0; 16]), ("a", A, 5, &[1, 1])], (vec![], None, u32::MAX)),
        // a TTL with its highest bit set
        (&[("a", A, 1 << 31, &[10, 0, 0, 1])], (vec![ip(1)], None, 0)),
    ] {
        let got = read_addresses(&answer(&asked, records), "a", A).unwrap();
        assert_eq!((got.addresses, got.alias.as_deref(), got.ttl), want, "{records:?}");
    }
    let v6 = Ipv6Addr::LOCALHOST;
    let both = answer(&question(9, "a", AAAA), &[("a", AAAA, 60, &v6.octets()), ("a", A, 60, &[10, 0, 0, 1])]);
    assert_eq!(read_addresses(&both, "a", AAAA).unwrap().addresses, [IpAddr::from(v6)]);
    // A ring ends, somewhere.
    let ring = answer(&asked, &[("a", CNAME, 1, &b), ("b", CNAME, 1, &a)]);
    assert!(read_addresses(&ring, "a", A).unwrap().addresses.is_empty());
    for cut in 0..ring.len() {
        if let Some(found) = read_addresses(&ring[..cut], "a", A) {
            assert!(found.addresses.is_empty(), "cut at {cut}");
        }
    }
}

#[test]
fn a_response_must_repeat_the_question() {
    let asked = question(9, "example.com", A);
    let with = |at: usize, byte: u8| {
        let mut wire = answer(&asked, &[]);
        wire[at] = byte;
        wire
    };
    let mut header = answer(&asked, &[])[..HEADER_LEN].to_vec();
    header[5] = 0;
    let mut error = header.clone();
    error[3] = Rcode::REFUSED.0;
    for (wire, want, why) in [
        (answer(&asked, &[]), true, "as asked"),
        (with(13, b'E'), true, "in another case"),
        (asked.clone(), false, "a query"),
        (with(1, 8), false, "another id"),
        (with(13, b'x'), false, "another name"),
        (with(26, 28), false, "another type"),
        (with(28, 3), false, "another class"),
        (with(5, 2), false, "two questions"),
        (header, false, "nothing at all"),
        (error, true, "an error without a question"),
    ] {
        assert_eq!(is_response_to(&wire, 9, raw(&asked, asked.len())), want, "{why}");
    }
}

#[test]
fn a_random_query_never_panics() {
    let names = [&b"\x05hello\x03run\x08internal\x00"[..], b"\xc0\x0c", b"\x3f", b"\x00"];
    // The same garbage each time: a failure can be had again.
    let mut state = 1_u32;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % limit
    };
    for _ in 0..20_000 {
        let mut wire = DIG[..HEADER_LEN + below(DIG.len() - HEADER_LEN)].to_vec();
        for _ in 0..below(6) {
            let at = below(wire.len());
            match below(3) {
                0 => wire[at] = DIG[below(DIG.len())],
                1 => wire[at] ^= 1 << below(8),
                _ => {
                    let name = names[below(names.len())];
                    wire.splice(at..at, name.iter().copied());
                }
            }
        }
        let mut out = Vec::new();
        if let Parsed::Query(query) = parse(&wire) {
            for reply in [Reply::NoData { apex_len: 12 }, Reply::NxDomain { apex_len: 500 }, Reply::Refused] {
                write_reply(query.raw, &reply, &mut out);
            }
            write_rcode(query.raw, Rcode::SERVFAIL, &mut out);
        }
        write_error(&wire, Rcode::FORMERR, &mut out);
        read_addresses(&wire, "hello.run.internal", A);
        is_response_to(&wire, 0x1234, raw(DIG, 36));
    }
}

#[test]
fn only_records_of_the_internet_are_addresses() {
    let asked = question(9, "a", A);
    let b = name("b");
    for (record_type, data, of_it) in [(A, &[10, 0, 0, 1][..], 1), (CNAME, &b, 0)] {
        for class in [CLASS_IN, 0, 2, 3, 4, 254, 255, 0x101] {
            let mut wire = answer(&asked, &[("a", record_type, 60, data)]);
            let at = asked.len() + 3 + 2;
            wire[at..at + 2].copy_from_slice(&class.to_be_bytes());
            let found = read_addresses(&wire, "a", A).unwrap();
            let got = (found.addresses.len(), found.alias.is_some());
            let want = if class == CLASS_IN { (of_it, of_it == 0) } else { (0, false) };
            assert_eq!(got, want, "type {record_type}, class {class}");
        }
    }
}

#[test]
fn a_name_ends_where_its_record_does() {
    let asked = question(9, "a", A);
    let b = name("b");
    for (data, want) in [
        (&b[..], Some("b")),
        // A pointer to the question.
        (&[0xc0, 12], Some("a")),
        // Cut: the next record's first octet is 1, and would be taken for a label.
        (&[1, b'b'], None),
        (&[1], None),
        (&[], None),
        (&[0xc0], None),
        // And something behind it.
        (&[1, b'b', 0, 0], None),
        (&[0xc0, 12, 0], None),
    ] {
        let after = ("a", A, 60, &[10, 0, 0, 1][..]);
        for records in [&[("a", CNAME, 60, data)][..], &[("a", CNAME, 60, data), ("x", A, 60, after.3)]] {
            let mut wire = answer(&asked, records);
            wire.extend_from_slice(&[1, b'c', 0]);
            let alias = read_addresses(&wire, "a", A).and_then(|found| found.alias);
            assert_eq!(alias.as_deref(), want, "{data:?}");
        }
    }
}

#[test]
fn a_random_response_never_panics() {
    let asked = question(0x1234, "hello", A);
    let (alias, ip) = (name("b.hello"), [10, 0, 0, 1]);
    let mut whole = answer(&asked, &[("hello", CNAME, 60, &alias), ("b.hello", A, 60, &ip)]);
    whole.extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\0\0\0\0");
    whole[11] = 1;
    let pieces = [&b"\xc0\x0c"[..], b"\x3f", b"\0", b"\xc0\x1f\0\x05\0\x01", &whole[..12]];
    let mut state = 7_u32;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % limit
    };
    for _ in 0..20_000 {
        let mut wire = whole[..1 + below(whole.len())].to_vec();
        for _ in 0..below(6) {
            let at = below(wire.len());
            match below(3) {
                0 => wire[at] = whole[below(whole.len())],
                1 => wire[at] ^= 1 << below(8),
                _ => {
                    let piece = pieces[below(pieces.len())];
                    wire.splice(at..at, piece.iter().copied());
                }
            }
        }
        settles(&wire);
        is_truncated(&wire);
        if let Some(found) = read_addresses(&wire, "hello", A) {
            assert!(found.addresses.len() < wire.len());
        }
        let query = raw(&asked, asked.len());
        if !is_response_to(&wire, 0x1234, query) {
            continue;
        }
        for fallback in [Fallback::Failure, Fallback::NxDomain, Fallback::NoData { apex_len: 5 }] {
            let mut out = Vec::new();
            write_forwarded(query, fallback, Some(&wire), &mut out);
            assert!(is_response_to(&out, 0x1234, query), "{wire:?}");
            assert_eq!(out[HEADER_LEN..asked.len()].to_ascii_lowercase(), asked[HEADER_LEN..]);
        }
    }
}
