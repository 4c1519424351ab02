//! What is written, octet for octet, and what a forwarded query's client receives.

use super::*;

/// The response of a nameserver to `asked`: a header with these flags, rcode and counts, the question, and `records`.
fn response(asked: &[u8], flags: [u8; 2], counts: [u8; 3], records: &[u8]) -> Vec<u8> {
    let mut wire = asked.to_vec();
    wire[FLAGS] = QR | flags[0];
    wire[FLAGS_AND_RCODE] = flags[1];
    for (at, count) in [ANCOUNT, NSCOUNT, ARCOUNT].into_iter().zip(counts) {
        wire[at + 1] = count;
    }
    wire.extend_from_slice(records);
    wire
}

/// An OPT record with these upper bits of a code.
fn opt_record(upper_rcode: u8) -> Vec<u8> {
    vec![0, 0, 41, 0x04, 0xd0, upper_rcode, 0, 0, 0, 0, 0]
}

#[test]
fn each_reply_has_its_counts_and_records() {
    let wire = question(0x0102, "hello.run.internal", AAAA);
    let query = query(&wire).raw;
    let written = |reply: Reply| {
        let mut out = Vec::new();
        write_reply(query, &reply, &mut out);
        out
    };
    let (v4, v6) = (Some(Ipv4Addr::new(127, 0, 0, 1)), Some(Ipv6Addr::LOCALHOST));
    let a = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 127, 0, 0, 1][..]].concat();
    let aaaa = [&[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 10, 0, 16][..], &[0; 15], &[1]].concat();
    // The zone is where the question's last labels are: behind 12 octets of header and 6 of `hello`.
    let soa_data =
        [&[0xc0, 18, 0, 0, 0, 0, 1, 0, 0, 0x0e, 0x10, 0, 0, 0x02, 0x58][..], &[0, 1, 0x51, 0x80, 0, 0, 0, 10]];
    let soa = [&[0xc0, 18, 0, 6, 0, 1, 0, 0, 0, 10, 0, 23][..], &soa_data.concat()].concat();
    for (reply, flags, counts, records) in [
        (Reply::Answer { v4, v6: None }, [0x85, 0x80], [1, 0, 0], a.clone()),
        (Reply::Answer { v4: None, v6 }, [0x85, 0x80], [1, 0, 0], aaaa.clone()),
        (Reply::Answer { v4, v6 }, [0x85, 0x80], [2, 0, 0], [a, aaaa].concat()),
        (Reply::NoData { apex_len: 12 }, [0x85, 0x80], [0, 1, 0], soa.clone()),
        (Reply::NxDomain { apex_len: 12 }, [0x85, 0x83], [0, 1, 0], soa),
        (Reply::Refused, [0x81, 0x85], [0, 0, 0], vec![]),
    ] {
        assert_eq!(written(reply), response(&wire, flags, counts, &records), "{reply:?}");
    }
    assert!(written(Reply::Forward(Fallback::Failure)).is_empty());
}

#[test]
fn the_bits_of_a_query_come_back_where_they_should() {
    for (sent, with_authority, without) in [
        ([0x00, 0x00], [0x84, 0x80], [0x80, 0x82]),
        ([0x01, 0x00], [0x85, 0x80], [0x81, 0x82]),
        ([0x01, 0x10], [0x85, 0x90], [0x81, 0x92]), // CD
        ([0x07, 0x6f], [0x85, 0x80], [0x81, 0x82]), // AA, TC, Z, AD and a code are not the client's to say
    ] {
        let mut wire = question(7, "hello", A);
        wire[FLAGS..FLAGS + 2].copy_from_slice(&sent);
        let query = query(&wire).raw;
        let mut out = Vec::new();
        write_reply(query, &Reply::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: None }, &mut out);
        assert_eq!(out[FLAGS..FLAGS + 2], with_authority, "{sent:?}");
        out.clear();
        write_rcode(query, Rcode::SERVFAIL, &mut out);
        assert_eq!(out[FLAGS..FLAGS + 2], without, "{sent:?}");
    }
}

#[test]
fn a_response_settles_its_query_if_it_says_whether_the_name_exists() {
    let asked = question(7, "hello", A);
    let opt = opt_record;
    for (rcode, counts, records, want) in [
        (Rcode::NOERROR, [0, 0, 0], vec![], true),
        (Rcode::NXDOMAIN, [0, 0, 0], vec![], true),
        (Rcode::SERVFAIL, [0, 0, 0], vec![], false),
        (Rcode::REFUSED, [1, 0, 0], vec![], false),
        (Rcode::NOERROR, [0, 0, 1], opt(0), true),
        // BADVERS is 16, of which the upper bits are in OPT.
        (Rcode::NOERROR, [0, 0, 1], opt(1), false),
        (Rcode::NXDOMAIN, [0, 0, 1], opt(1), false),
        (Rcode::NOERROR, [1, 0, 1], opt(1), true),
        // The record before it has a name of three octets, and two of data.
        (Rcode::NOERROR, [0, 1, 1], [&[1, b'a', 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 9, 9][..], &opt(1)].concat(), false),
        (Rcode::NOERROR, [0, 1, 1], [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 9, 9][..], &opt(1)].concat(), false),
    ] {
        let wire = response(&asked, [RD, rcode.0], counts, &records);
        assert_eq!(settles(&wire), want, "{wire:?}");
    }
    // A response without a question has its records right behind the header.
    let mut wire = vec![0, 7, QR, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    wire.extend_from_slice(&opt(1));
    assert!(!settles(&wire));
    assert!(!settles(&wire[..3]), "a message without a code");
}

#[test]
fn the_client_of_a_forwarded_query_receives_what_is_known() {
    let asked = question(7, "hello", A);
    let raw = query(&asked).raw;
    let no_data = {
        let mut out = Vec::new();
        write_reply(raw, &Reply::NoData { apex_len: 5 }, &mut out);
        out
    };
    let rcode_alone = |rcode: Rcode| {
        let mut out = Vec::new();
        write_rcode(raw, rcode, &mut out);
        out
    };
    let ok = response(&asked, [RD, RA], [1, 0, 0], &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
    let empty = response(&asked, [RD, RA], [0, 0, 0], &[]);
    let truncated = response(&asked, [RD | TC, RA], [0, 0, 0], &[]);
    let nxdomain = response(&asked, [RD, RA | Rcode::NXDOMAIN.0], [0, 0, 0], &[]);
    let refused = response(&asked, [RD, RA | Rcode::REFUSED.0], [0, 0, 0], &[]);
    let broken = response(&asked, [RD, RA | Rcode::SERVFAIL.0], [1, 0, 0], &[]);
    let apex = Fallback::NoData { apex_len: 5 };
    for (fallback, response, want) in [
        (Fallback::Failure, Some(&ok), ok.clone()),
        (Fallback::Failure, Some(&refused), refused.clone()),
        (Fallback::Failure, None, rcode_alone(Rcode::SERVFAIL)),
        (Fallback::NxDomain, Some(&ok), ok.clone()),
        (Fallback::NxDomain, Some(&empty), empty.clone()),
        (Fallback::NxDomain, Some(&nxdomain), nxdomain.clone()),
        (Fallback::NxDomain, Some(&refused), rcode_alone(Rcode::NXDOMAIN)),
        (Fallback::NxDomain, None, rcode_alone(Rcode::NXDOMAIN)),
        (apex, Some(&ok), ok.clone()),
        (apex, Some(&truncated), truncated.clone()),
        (apex, Some(&empty), no_data.clone()),
        (apex, Some(&nxdomain), no_data.clone()),
        (apex, Some(&broken), no_data.clone()),
        (apex, None, no_data.clone()),
    ] {
        let mut out = Vec::new();
        write_forwarded(raw, fallback, response.map(Vec::as_slice), &mut out);
        assert_eq!(out, want, "{fallback:?} {response:?}");
    }
    // A header alone gets the client's id and question, and its own code.
    let header = [0xee, 0xee, QR | RD, RA | Rcode::REFUSED.0, 0, 1, 0, 0, 0, 0, 0, 1];
    let mut out = Vec::new();
    write_forwarded(raw, Fallback::Failure, Some(&header), &mut out);
    assert_eq!(out, refused);
    let mut other_id = ok.clone();
    other_id[0] = 0xee;
    out.clear();
    write_forwarded(raw, Fallback::Failure, Some(&other_id), &mut out);
    assert_eq!(out, ok);
}

#[test]
fn a_later_version_of_edns_gets_badvers() {
    let mut wire = DIG.to_vec();
    wire[36 + 6] = 1;
    let query = query(&wire).raw;
    let [mut nxdomain, mut servfail] = [Vec::new(), Vec::new()];
    write_reply(query, &Reply::NxDomain { apex_len: 12 }, &mut nxdomain);
    write_rcode(query, Rcode::SERVFAIL, &mut servfail);
    for out in [&nxdomain, &servfail] {
        // BADVERS is 16: 0 here, and 1 in the OPT record.
        assert_eq!(rcode(out), Rcode::NOERROR);
        assert!(out.ends_with(&opt_record(1)), "{out:?}");
        assert_eq!(out[ARCOUNT..HEADER_LEN], [0, 1]);
    }
    assert_eq!((servfail[FLAGS_AND_RCODE], servfail.len()), (RA, 36 + 11));
}

#[test]
fn names_of_a_question_are_checked() {
    let label = |len: usize| "a".repeat(len);
    let longest = [label(63), label(63), label(63), label(61)].join(".");
    for (name, want) in [
        ("a", true),
        ("a.b.", true),
        ("_x-1.a*b", true),
        ("", false),
        (".", false),
        (".a", false),
        ("a..b", false),
        ("a..", false),
        ("a b", false),
        ("a\u{7f}", false),
        ("\u{e9}", false),
        (&label(63), true),
        (&label(64), false),
        (&longest, true),
        (&format!("{longest}."), true),
        (&format!("{longest}a"), false),
    ] {
        assert_eq!(is_valid_name(name), want, "{name}");
        if want {
            let wire = question(0x0102, name, AAAA);
            let read = query(&wire);
            assert_eq!(
                (read.name.as_str(), read.record_type),
                (name.trim_end_matches('.').to_lowercase().as_str(), AAAA)
            );
            assert_eq!((id(&wire), read.raw.question_end), (Some(0x0102), wire.len()));
        }
    }
    assert_eq!(question(0x0102, "ab.c", A), b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x02ab\x01c\0\0\x01\0\x01");
}

#[test]
fn a_reply_is_logged_in_a_few_words() {
    let (v4, v6) = (Some(Ipv4Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST));
    for (reply, want) in [
        (Reply::Answer { v4, v6 }, "127.0.0.1 ::1"),
        (Reply::Answer { v4: None, v6 }, "::1"),
        (Reply::NxDomain { apex_len: 1 }, "no such name"),
        (Reply::NoData { apex_len: 1 }, "no record of this type"),
        (Reply::Refused, "refused"),
        (Reply::Forward(Fallback::Failure), "forwarded to the nameservers"),
    ] {
        assert_eq!(reply.to_string(), want);
    }
}

#[test]
fn a_name_is_skipped_without_reading_what_it_points_to() {
    let wire = [1, b'a', 0xc0, 0xff, 2, b'b', b'c', 0, 63];
    for (at, want) in [(0, Some(4)), (2, Some(4)), (4, Some(8)), (7, Some(8)), (8, None), (9, None)] {
        assert_eq!(name::skip_name(&wire, at), want, "at {at}");
    }
    assert_eq!(name::skip_name(&[0x40, 0], 0), None);
    assert_eq!(name::skip_name(&[0x80, 0], 0), None);
}

#[test]
fn a_record_is_read_to_its_end() {
    let asked = question(9, "a", A);
    let wire = answer(&asked, &[("a", A, 0x0102_0304, &[10, 0, 0, 1]), ("b", TXT, 5, b"")]);
    let first = Record::read(&wire, asked.len()).unwrap();
    assert_eq!((first.owner.as_str(), first.record_type, first.class, first.ttl), ("a", A, CLASS_IN, 0x0102_0304));
    assert_eq!((first.data(), first.end), (&[10, 0, 0, 1][..], asked.len() + 3 + 10 + 4));
    let second = Record::read(&wire, first.end).unwrap();
    assert_eq!((second.data(), second.end), (&b""[..], wire.len()));
    assert_eq!((first.target(), second.target()), (None, None));
    for cut in asked.len()..first.end {
        assert!(Record::read(&wire[..cut], asked.len()).is_none(), "cut at {cut}");
    }
}
