//! Two other readers of DNS messages, dns-parser and hickory-proto: what they
//! accept they understand as we do, and each of our replies as it was meant.

mod packets;

use std::panic;

use dns_parser::{Builder, Packet, QueryClass, QueryType, RData as OldData};
use hickory_proto::op::{Message, MessageType, Query as TheirQuery};
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use packets::{Random, seeds};

use super::super::reply::{EDNS_PAYLOAD_LEN, TTL};
use super::response::opt;
use super::*;

/// A question, or a record without its data: name, type, class, TTL.
type Line = (String, RecordType, u16, u32);

/// All of a message but its OPT record.
#[derive(Debug, PartialEq)]
struct Lines {
    header: [u16; 2],
    counts: [usize; 4],
    lines: Vec<Line>,
}

/// As runsd reads it; `None` where a part of it cannot be read.
fn ours(wire: &[u8]) -> Option<Lines> {
    let count = |at| read_u16(wire, at).map(usize::from);
    let mut counts = [count(4)?, count(6)?, count(8)?, count(10)?];
    let mut lines = Vec::new();
    let mut at = HEADER_LEN;
    for _ in 0..counts[0] {
        let (name, end) = read_name(wire, at, true)?;
        assert!(name::skip_name(wire, at).is_some_and(|skipped| skipped == end));
        lines.push((name, RecordType(read_u16(wire, end)?), read_u16(wire, end + 2)?, 0));
        at = end + 4;
    }
    for (section, count) in counts.iter_mut().enumerate().skip(1) {
        for _ in 0..*count {
            let record = Record::read(wire, at)?;
            // Elsewhere, or with a name, it is none (RFC 6891, section 6.1.1).
            if record.record_type == RecordType::OPT && section == 3 && wire[at] == 0 {
                *count -= 1;
            } else {
                lines.push((record.owner, record.record_type, record.class, record.ttl));
            }
            at = record.end;
        }
    }
    Some(Lines {
        // Bit 6 is reserved, and hickory-proto has no field for it.
        header: [read_u16(wire, 0)?, read_u16(wire, 2)? & !0x40],
        counts,
        lines,
    })
}

/// As hickory-proto reads it.
fn theirs(message: &Message) -> Lines {
    let records = message.all_sections();
    let questions = message.queries.iter().map(question_of);
    let records = records.map(|record| {
        let ttl = i32::try_from(record.ttl).map_or(0, i32::unsigned_abs);
        let class = record.dns_class.into();
        (text(&record.name), RecordType(record.record_type().into()), class, ttl)
    });
    let head = &message.metadata;
    let flag = |bit: u16, is_set: bool| if is_set { 1 << bit } else { 0 };
    let flags = flag(15, head.message_type == MessageType::Response)
        | u16::from(u8::from(head.op_code)) << 11
        | flag(10, head.authoritative)
        | flag(9, head.truncation)
        | flag(8, head.recursion_desired)
        | flag(7, head.recursion_available)
        | flag(5, head.authentic_data)
        | flag(4, head.checking_disabled)
        | u16::from(head.response_code) & 15;
    Lines {
        header: [head.id, flags],
        counts: [message.queries.len(), message.answers.len(), message.authorities.len(), message.additionals.len()],
        lines: questions.chain(records).collect(),
    }
}

fn question_of(query: &TheirQuery) -> Line {
    let (record_type, class) = (RecordType(query.query_type.into()), query.query_class.into());
    (text(&query.name), record_type, class, 0)
}

/// A name of theirs as [`read_name`] writes one.
fn text(name: &Name) -> String {
    let labels = name.iter().map(|label| {
        let bytes = label.iter().map(|byte| match byte {
            b'.' | b'\\' | ..=b' ' | 0x7f.. => format!("\\{byte:03}"),
            byte => char::from(byte.to_ascii_lowercase()).to_string(),
        });
        bytes.collect::<String>()
    });
    labels.collect::<Vec<_>>().join(".")
}

/// Types that dns-parser has a name for when it meets them in a record.
const OLD_TYPES: [RecordType; 9] = [A, RecordType::NS, CNAME, SOA, RecordType::PTR, MX, TXT, AAAA, SRV];

/// As dns-parser reads it, which has no number for other types' records: 0.
fn oldest(packet: &Packet<'_>) -> (u16, [usize; 4], Vec<Line>) {
    let name = |name: &dns_parser::Name<'_>| {
        // A dot is the last where a pointer to the root is.
        let text = name.to_string().to_ascii_lowercase();
        text.trim_end_matches('.').to_owned()
    };
    let high = |bit: bool| u16::from(bit) << 15;
    let questions = packet.questions.iter().map(|q| {
        let class = q.qclass as u16 | high(q.prefer_unicast);
        (name(&q.qname), RecordType(q.qtype as u16), class, 0)
    });
    let sections = [&packet.answers, &packet.nameservers, &packet.additional];
    let records = sections.into_iter().flatten().map(|record| {
        let record_type = match record.data {
            OldData::A(_) => A,
            OldData::NS(_) => RecordType::NS,
            OldData::CNAME(_) => CNAME,
            OldData::SOA(_) => SOA,
            OldData::PTR(_) => RecordType::PTR,
            OldData::MX(_) => MX,
            OldData::TXT(_) => TXT,
            OldData::AAAA(_) => AAAA,
            OldData::SRV(_) => SRV,
            OldData::Unknown(_) => RecordType(0),
        };
        let class = record.cls as u16 | high(record.multicast_unique);
        (name(&record.name), record_type, class, record.ttl)
    });
    let [answers, authorities, additional] = sections.map(Vec::len);
    (packet.header.id, [packet.questions.len(), answers, authorities, additional], questions.chain(records).collect())
}

/// How many messages were read by us and by each of them.
#[derive(Debug, Default)]
struct Agreed {
    questions: u32,
    hickory: u32,
    dns_parser: u32,
    replies: u32,
}

impl Agreed {
    fn compare(&mut self, wire: &[u8]) {
        self.questions += u32::from(question_is_alike(wire));
        let ours = ours(wire);
        if let Ok(message) = Message::from_vec(wire) {
            self.hickory += 1;
            assert_eq!(ours, Some(theirs(&message)), "{wire:?}");
            rcode_is_alike(wire, &message);
            addresses_are_alike(wire, &message);
        }
        let Some(Lines { header, counts, mut lines }) = ours else {
            return;
        };
        if let Ok(packet) = Packet::parse(wire)
            // Those it writes as they are, a dot in a label included.
            && lines.iter().all(|(name, ..)| !name.contains('\\'))
        {
            self.dns_parser += 1;
            for (_, record_type, ..) in &mut lines[counts[0]..] {
                *record_type = if OLD_TYPES.contains(record_type) { *record_type } else { RecordType(0) };
            }
            assert_eq!((header[0], counts, lines), oldest(&packet), "{wire:?}");
        }
    }
}

/// Whether there is a question: then it is the same one, and ends at the same
/// place; names with pointers are not taken in questions.
fn question_is_alike(wire: &[u8]) -> bool {
    let mut decoder = BinDecoder::new(wire);
    let theirs = decoder.read_slice(HEADER_LEN).ok().map(drop);
    let theirs = theirs.and_then(|()| TheirQuery::read(&mut decoder).ok());
    let theirs = theirs.map(|query| (octets(&query.name), question_of(&query), decoder.index()));
    match (parse(wire), theirs) {
        (Parsed::Query(query), theirs) => {
            let end = query.raw.question_end;
            let ours = (end - HEADER_LEN - 4, (query.name, query.record_type, query.class, 0), end);
            assert_eq!(Some(ours), theirs, "{wire:?}");
            true
        }
        (Parsed::Malformed(Rcode::FORMERR), Some((len, _, end))) if read_u16(wire, 4) == Some(1) => {
            let has_two_opts = response::opt_records(wire, end).nth(1).is_some();
            assert!(len != end - HEADER_LEN - 4 || has_two_opts, "{wire:?}");
            false
        }
        _ => false,
    }
}

fn octets(name: &Name) -> usize {
    1 + name.iter().map(|label| 1 + label.len()).sum::<usize>()
}

fn rcode_is_alike(wire: &[u8], message: &Message) {
    let end =
        (0..message.queries.len()).fold(HEADER_LEN, |at, _| name::skip_name(wire, at).expect("they read it, too") + 4);
    let ours = opt(wire, end);
    let edns = message.edns.as_ref();
    let theirs = edns.map(|edns| [edns.rcode_high(), edns.version()]);
    assert_eq!(ours, theirs, "{wire:?}");
    let upper = u16::from(ours.map_or(0, |[upper, _]| upper));
    let theirs = u16::from(message.metadata.response_code);
    assert_eq!(upper << 4 | u16::from(rcode(wire).0), theirs, "{wire:?}");
    assert_eq!(is_truncated(wire), message.metadata.truncation);
    if message.answers.is_empty() {
        assert_eq!(settles(wire), matches!(theirs, 0 | 3), "{wire:?}");
    }
}

/// The addresses of the name that is asked for, along its aliases.
fn addresses_are_alike(wire: &[u8], message: &Message) {
    let Some(name) = message.queries.first().map(|query| text(&query.name)) else {
        return;
    };
    let mut current = name.clone();
    let mut want = Vec::new();
    for _ in 0..=message.answers.len() {
        let named = message.answers.iter();
        let mut named = named.filter(|r| u16::from(r.dns_class) == CLASS_IN && text(&r.name) == current);
        let ips = named.clone().filter_map(|record| match record.data {
            RData::A(ip) => Some(IpAddr::from(ip.0)),
            _ => None,
        });
        want = ips.collect();
        let alias = named.find_map(|record| match &record.data {
            RData::CNAME(alias) => Some(text(alias)),
            _ => None,
        });
        match alias {
            Some(alias) if want.is_empty() => current = alias,
            _ => break,
        }
    }
    let got = read_addresses(wire, &name, A).map(|found| found.addresses);
    // A CNAME without a name, as in an update, is one for us alone.
    let has_empty = |record: &_| matches!(record, RData::Update0(_));
    if !message.answers.iter().any(|record| has_empty(&record.data)) {
        assert_eq!(got, Some(want), "{wire:?}");
    }
}

impl Agreed {
    /// Both of them understand what we reply to a query, and as it was meant.
    fn reply(&mut self, wire: &[u8], turn: usize) {
        let mut out = Vec::new();
        let query = match parse(wire) {
            Parsed::Query(query) => query,
            Parsed::Malformed(rcode) => return error_is_understood(wire, rcode),
            Parsed::NotAQuery => return,
        };
        let apex_len = match query.name.strip_suffix(".run.internal") {
            Some(_) => "run.internal".len(),
            None if query.name.contains('\\') => 0,
            None => query.name.len(),
        };
        let (v4, v6) = (Some(Ipv4Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST));
        let (reply, rcode, counts) = match (turn % 7, apex_len) {
            (0, _) => (Reply::Answer { v4, v6 }, Rcode::NOERROR, [2, 0]),
            (1, _) => (Reply::Answer { v4, v6: None }, Rcode::NOERROR, [1, 0]),
            (2, _) => (Reply::Answer { v4: None, v6 }, Rcode::NOERROR, [1, 0]),
            (3, 1..) => (Reply::NoData { apex_len }, Rcode::NOERROR, [0, 1]),
            (4, 1..) => (Reply::NxDomain { apex_len }, Rcode::NXDOMAIN, [0, 1]),
            (5, _) => (Reply::Forward(Fallback::Failure), Rcode::SERVFAIL, [0, 0]),
            _ => (Reply::Refused, Rcode::REFUSED, [0, 0]),
        };
        match reply {
            Reply::Forward(fallback) => write_forwarded(query.raw, fallback, None, &mut out),
            reply => write_reply(query.raw, &reply, &mut out),
        }
        let asked = (query.name.clone(), query.record_type, query.class, 0);
        let owned = |record_type| (query.name.clone(), record_type, CLASS_IN, TTL);
        let mut lines = vec![asked];
        lines.extend(Some(owned(A)).filter(|_| matches!(reply, Reply::Answer { v4: Some(_), .. })));
        lines.extend(Some(owned(AAAA)).filter(|_| matches!(reply, Reply::Answer { v6: Some(_), .. })));
        if counts[1] == 1 {
            let zone = query.name[query.name.len() - apex_len..].to_owned();
            lines.push((zone, SOA, CLASS_IN, TTL));
        }
        let edns = opt(wire, query.raw.question_end);
        let is_bad_version = edns.is_some_and(|[_, version]| version != 0);
        let low = if is_bad_version { 0 } else { rcode.0 };
        let is_ours = counts != [0, 0];
        let flags = u16::from_be_bytes([wire[2] & RD | QR, wire[3] & CD | RA | low]) | u16::from(is_ours) << 10;
        let want = Lines { header: [read_u16(wire, 0).unwrap(), flags], counts: [1, counts[0], counts[1], 0], lines };

        let message = Message::from_vec(&out).expect("a reply");
        assert_eq!(theirs(&message), want, "{wire:?}");
        records_are_understood(&message);
        let said = message.edns.as_ref();
        let said = said.map(|edns| (edns.rcode_high(), edns.version(), edns.max_payload()));
        let want_edns = edns.map(|_| (u8::from(is_bad_version), 0, EDNS_PAYLOAD_LEN));
        assert_eq!(said, want_edns, "{wire:?}");
        self.replies += 1;

        if let Ok(packet) = Packet::parse(&out)
            && !query.name.contains('\\')
        {
            assert_eq!(oldest(&packet), (want.header[0], want.counts, want.lines));
        }
    }

    /// Whatever a nameserver sends, the client receives a response to its question, as readable as it came.
    fn relay(&self, wire: &[u8], asked: &[u8]) {
        let query = raw(asked, asked.len());
        if !is_response_to(wire, 0x1234, query) {
            return;
        }
        let mut out = Vec::new();
        write_forwarded(query, Fallback::Failure, Some(wire), &mut out);
        assert!(is_response_to(&out, 0x1234, query), "{wire:?}");
        let (said, got) = (Message::from_vec(wire), Message::from_vec(&out));
        assert!(said.is_err() || got.is_ok(), "{wire:?}");
    }
}

/// Compares any bytes, as a message, as a query to reply to, and as a nameserver's response.
pub fn dns(data: &[u8]) {
    let Some((turn, wire)) = data.split_first() else { return };
    let mut agreed = Agreed::default();
    agreed.compare(wire);
    agreed.reply(wire, usize::from(*turn));
    agreed.relay(wire, &seeds()[0]);
}

fn error_is_understood(wire: &[u8], rcode: Rcode) {
    let mut out = Vec::new();
    write_error(wire, rcode, &mut out);
    let message = Message::from_vec(&out).expect("an error");
    assert_eq!(u16::from(message.metadata.response_code), u16::from(rcode.0));
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(message.metadata.id, read_u16(wire, 0).unwrap());
}

fn records_are_understood(message: &Message) {
    for record in &message.answers {
        match &record.data {
            RData::A(ip) => assert_eq!(ip.0, Ipv4Addr::LOCALHOST),
            RData::AAAA(ip) => assert_eq!(ip.0, Ipv6Addr::LOCALHOST),
            other => panic!("{other}"),
        }
    }
    for record in &message.authorities {
        let RData::SOA(soa) = &record.data else {
            panic!("{record}");
        };
        assert_eq!((soa.minimum, text(&soa.mname)), (TTL, text(&record.name)));
    }
}

#[test]
fn other_readers_of_dns_messages_agree() {
    let packets = std::env::var("RUNSD_PACKETS").map_or(PACKETS, |n| n.parse().unwrap());
    let seeds = seeds();
    let mut agreed = Agreed::default();
    for seed in &seeds {
        agreed.compare(seed);
        (0..7).for_each(|turn| agreed.reply(seed, turn));
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for turn in 0..packets {
        let wire = random.mutated(&seeds);
        agreed.compare(&wire);
        agreed.reply(&wire, turn);
        agreed.relay(&wire, &seeds[0]);
    }
    println!("{agreed:?}");
    // Most of them are broken, yet not so many that this says nothing.
    let enough = u32::try_from(packets / 20).unwrap();
    let Agreed { questions, hickory, dns_parser, replies } = agreed;
    assert!([questions, hickory, dns_parser, replies].iter().all(|&n| n > enough));
}

/// Why dns-parser is not what the product reads packets with.
#[test]
fn what_dns_parser_cannot_read() {
    for record_type in [HTTPS, RecordType::SVCB, RecordType(99), RecordType(257), PRIVATE_USE] {
        assert!(Packet::parse(&question(1, "hello", record_type)).is_err(), "{record_type}");
    }
    let asked = question(1, "a.b", A);
    let dname = answer(&asked, &[("b", DNAME, 60, &name("c"))]);
    assert!(Packet::parse(&dname).is_err() && ours(&dname).is_some());
    let long = "x".repeat(63);
    let written = panic::catch_unwind(|| {
        let mut builder = Builder::new_query(1, true);
        builder.add_question(&long, false, QueryType::A, QueryClass::IN);
    });
    assert!(written.is_err());
    // One label less, and it is the question that we write.
    let mut builder = Builder::new_query(1, true);
    builder.add_question(&long[1..], false, QueryType::A, QueryClass::IN);
    assert_eq!(builder.build().ok(), Some(question(1, &long[1..], A)));
}

/// RFC 6672, section 2.1.
const DNAME: RecordType = RecordType(39);

/// Of an ordinary run, a few seconds; `RUNSD_PACKETS` in the environment says
/// how many else. Two million take a minute and a half.
const PACKETS: usize = 100_000;
