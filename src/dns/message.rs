//! DNS messages (RFC 1035): bytes → query, query and verdict → the bytes of a
//! reply, and what the resolver reads from answers.
//!
//! Read by hand: what is not ours is passed on whatever it is, so that all
//! that is wanted of a query is its name and two numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a message that came to us is.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// One question.
    Query(Query<'a>),
    /// Something to answer with this code and nothing else.
    Bad(u8),
    /// A response, or no DNS at all: not to be answered.
    Ignored,
}

/// A message with one question.
#[derive(Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The whole message.
    pub wire: &'a [u8],
    /// Lower case, without the trailing dot; see [`read_name`].
    pub name: String,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// Where the question ends in `wire`.
    pub end: usize,
}

/// Reads what a client sent.
pub fn read(wire: &[u8]) -> Read<'_> {
    let (Some(id_and_flags), Some(questions)) = (wire.get(..HEADER), number(wire, 4)) else {
        return Read::Ignored;
    };
    if id_and_flags[2] & QR != 0 {
        return Read::Ignored;
    }
    if id_and_flags[2] & OPCODE != 0 {
        return Read::Bad(NOTIMP);
    }
    if questions != 1 {
        return Read::Bad(FORMERR);
    }
    let Some((name, end)) = read_name(wire, HEADER, false) else {
        return Read::Bad(FORMERR);
    };
    let (Some(kind), Some(class)) = (number(wire, end), number(wire, end + 2)) else {
        return Read::Bad(FORMERR);
    };
    Read::Query(Query {
        wire,
        name,
        kind,
        class,
        end: end + 4,
    })
}

/// Appends the reply to something that has no readable question.
pub fn refuse(wire: &[u8], code: u8, out: &mut Vec<u8>) {
    let Some(header) = wire.get(..HEADER) else {
        return;
    };
    out.extend_from_slice(&header[..2]);
    out.push(QR | header[2] & (OPCODE | RD));
    out.push(code);
    out.extend_from_slice(&[0; 8]);
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// These addresses, one of them at least.
    Answer {
        v4: Option<Ipv4Addr>,
        v6: Option<Ipv6Addr>,
    },
    /// There is no such name in the zone that is the last `apex` characters of it.
    NoSuchName { apex: usize },
    /// There is such a name, but nothing of this type; `apex` as above.
    Empty { apex: usize },
    /// Ours, but nothing we talk about.
    Refused,
    /// Not ours: the original nameservers know.
    Forward {
        /// Whether their silence, or SERVFAIL, means that there is no such
        /// name: so that a resolver walks on along its search list.
        under_search: bool,
    },
}

/// Appends the reply that gives `verdict`; nothing for [`Verdict::Forward`].
pub fn reply(query: &Query<'_>, verdict: &Verdict, out: &mut Vec<u8>) {
    let mut answers = 0;
    let mut authorities = 0;
    let (flags, code) = match verdict {
        Verdict::Answer { .. } | Verdict::Empty { .. } => (AA, 0),
        Verdict::NoSuchName { .. } => (AA, NXDOMAIN),
        Verdict::Refused => (0, REFUSED),
        Verdict::Forward { .. } => return,
    };
    let start = begin(query, flags, code, out);
    match verdict {
        Verdict::Answer { v4, v6 } => {
            if let Some(ip) = v4 {
                answers += 1;
                record(NAME_OF_QUESTION, A, out);
                out.extend_from_slice(&[0, 4]);
                out.extend_from_slice(&ip.octets());
            }
            if let Some(ip) = v6 {
                answers += 1;
                record(NAME_OF_QUESTION, AAAA, out);
                out.extend_from_slice(&[0, 16]);
                out.extend_from_slice(&ip.octets());
            }
        }
        Verdict::NoSuchName { apex } | Verdict::Empty { apex } => {
            authorities += 1;
            soa(query, *apex, out);
        }
        Verdict::Refused | Verdict::Forward { .. } => {}
    }
    end(query, start, [answers, authorities], out);
}

/// Appends a reply with no more than the question and `code`.
///
/// Not cached by anyone, for want of an SOA: it speaks of now.
pub fn failure(wire: &[u8], code: u8, out: &mut Vec<u8>) {
    if let Read::Query(query) = read(wire) {
        let start = begin(&query, 0, code, out);
        end(&query, start, [0, 0], out);
    }
}

/// Whether `reply` has this id and answers the question of `query`, which ends
/// at `end` there: same name in any case, same type and class.
pub fn answers(reply: &[u8], id: u16, query: &[u8], end: usize) -> bool {
    let (Some(header), Some(asked)) = (reply.get(..HEADER), query.get(..end)) else {
        return false;
    };
    if header[..2] != id.to_be_bytes() || header[2] & QR == 0 {
        return false;
    }
    match number(reply, 4) {
        Some(1) => {
            let Some(question) = reply.get(HEADER..end) else {
                return false;
            };
            let (name, numbers) = question.split_at(question.len() - 4);
            let (asked_name, asked_numbers) = asked[HEADER..].split_at(question.len() - 4);
            name.eq_ignore_ascii_case(asked_name) && numbers == asked_numbers
        }
        // Some servers refuse with a bare header.
        Some(0) => !matches!(code(reply), 0 | NXDOMAIN),
        _ => false,
    }
}

/// The code of a reply (the four bits of its header).
pub fn code(reply: &[u8]) -> u8 {
    reply.get(3).map_or(SERVFAIL, |byte| byte & 0x0f)
}

/// Whether a reply was cut to fit its datagram.
pub fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|byte| byte & TC != 0)
}

/// A query for `name`, which must have passed [`can_be_asked`].
pub fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut wire = Vec::with_capacity(HEADER + name.len() + 6);
    wire.extend_from_slice(&id.to_be_bytes());
    wire.extend_from_slice(&[RD, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap_or(0));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire.extend_from_slice(&kind.to_be_bytes());
    wire.extend_from_slice(&[0, 1]);
    wire
}

/// Whether a text is a name that fits a question.
pub fn can_be_asked(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic())
        })
}

/// What an answer says about a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, of the kind asked for, in the order given.
    pub addresses: Vec<IpAddr>,
    /// The name at the end of the CNAMEs, where that is another.
    pub alias: Option<String>,
    /// For how many seconds this is true.
    pub ttl: u32,
}

/// Reads the addresses of `name` (lower case) from an answer, along its
/// CNAMEs; `None` when it cannot be read.
pub fn addresses(reply: &[u8], name: &str, kind: u16) -> Option<Found> {
    let mut at = HEADER;
    for _ in 0..number(reply, 4)? {
        at = read_name(reply, at, true)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..number(reply, 6)? {
        // What is cut off or broken further on does not spoil what came before.
        let Some((record, next)) = read_record(reply, at) else {
            break;
        };
        // Others (CH, HS) have types of the same numbers, with other data.
        if record.class == IN {
            records.push(record);
        }
        at = next;
    }
    let mut found = Found {
        addresses: Vec::new(),
        alias: None,
        ttl: u32::MAX,
    };
    // Each step uses up a record at least: CNAMEs in a ring end here.
    for _ in 0..=records.len() {
        let current = found.alias.as_deref().unwrap_or(name);
        for record in records.iter().filter(|r| r.owner == current) {
            let ip = match (record.kind, record.data) {
                (A, data) if kind == A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
                (AAAA, data) if kind == AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
                _ => None,
            };
            if let Some(ip) = ip {
                found.ttl = found.ttl.min(record.ttl);
                found.addresses.push(ip);
            }
        }
        if !found.addresses.is_empty() {
            break;
        }
        let cname = records
            .iter()
            .find(|r| r.owner == current && r.kind == CNAME);
        let Some(cname) = cname else { break };
        found.ttl = found.ttl.min(cname.ttl);
        // It ends where its record does: what follows is not of it.
        let end = cname.data_at + cname.data.len();
        let (alias, name_end) = read_name(&reply[..end], cname.data_at, true)?;
        if name_end != end {
            return None;
        }
        found.alias = Some(alias);
    }
    Some(found)
}

struct Record<'a> {
    owner: String,
    kind: u16,
    class: u16,
    ttl: u32,
    data_at: usize,
    data: &'a [u8],
}

fn read_record(wire: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let (owner, at) = read_name(wire, at, true)?;
    let kind = number(wire, at)?;
    let class = number(wire, at + 2)?;
    let ttl = wire.get(at + 4..at + 8)?;
    let len = usize::from(number(wire, at + 8)?);
    let data = wire.get(at + 10..at + 10 + len)?;
    // RFC 2181, section 8: a TTL with its highest bit set is 0.
    let ttl = u32::try_from(i32::from_be_bytes(ttl.try_into().ok()?)).unwrap_or(0);
    let record = Record {
        owner,
        kind,
        class,
        ttl,
        data_at: at + 10,
        data,
    };
    Some((record, at + 10 + len))
}

/// Reads the name at `at`: its text in lower case without the trailing dot,
/// and where it ends.
///
/// A byte that would be mistaken in text (a dot within a label, a backslash,
/// anything not visible) is written as three decimal digits after a backslash:
/// such a name is like no other, and never a service. Queries have no
/// compression; where it is allowed, pointers only lead backwards.
pub fn read_name(wire: &[u8], at: usize, compressed: bool) -> Option<(String, usize)> {
    let mut text = String::with_capacity(64);
    let mut octets = 1;
    let mut at = at;
    let mut end = None;
    let mut lowest = at;
    loop {
        let len = usize::from(*wire.get(at)?);
        match len {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                octets += len + 1;
                if octets > 255 {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                for &byte in wire.get(at + 1..at + 1 + len)? {
                    push_byte(byte, &mut text);
                }
                at += len + 1;
            }
            0xc0.. if compressed => {
                let target = usize::from(number(wire, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                if target >= lowest {
                    return None;
                }
                lowest = target;
                at = target;
            }
            _ => return None,
        }
    }
}

fn push_byte(byte: u8, text: &mut String) {
    if byte.is_ascii_graphic() && byte != b'.' && byte != b'\\' {
        text.push(char::from(byte.to_ascii_lowercase()));
    } else {
        text.push('\\');
        for digit in [byte / 100, byte / 10 % 10, byte % 10] {
            text.push(char::from(b'0' + digit));
        }
    }
}

/// Header and question of a reply; counts come with [`end`].
fn begin(query: &Query<'_>, flags: u8, code: u8, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let wire = query.wire;
    out.extend_from_slice(&wire[..2]);
    out.push(QR | flags | wire[2] & RD);
    out.push(RA | wire[3] & CD | code);
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&wire[HEADER..query.end]);
    start
}

/// The counts of a reply that began at `start`, and its OPT where the query had one.
fn end(query: &Query<'_>, start: usize, counts: [u8; 2], out: &mut Vec<u8>) {
    out[start + 7] = counts[0];
    out[start + 9] = counts[1];
    let Some(version) = edns_version(query) else {
        return;
    };
    out[start + 11] = 1;
    // RFC 6891, section 6.1.3: a later version is answered BADVERS.
    let extended = u8::from(version != 0);
    if extended != 0 {
        out[start + 3] &= 0xf0;
    }
    out.push(0);
    out.extend_from_slice(&OPT.to_be_bytes());
    out.extend_from_slice(&EDNS_SIZE.to_be_bytes());
    out.extend_from_slice(&[extended, 0, 0, 0, 0, 0]);
}

/// The EDNS version of a query; `None` without EDNS, or where the records
/// after the question cannot be read.
fn edns_version(query: &Query<'_>) -> Option<u8> {
    let wire = query.wire;
    let count = [6, 8, 10]
        .into_iter()
        .filter_map(|at| number(wire, at))
        .map(u32::from)
        .sum::<u32>();
    let mut at = query.end;
    for _ in 0..count {
        let (_, numbers) = read_name(wire, at, true)?;
        if number(wire, numbers)? == OPT {
            return wire.get(numbers + 5).copied();
        }
        at = numbers + 10 + usize::from(number(wire, numbers + 8)?);
    }
    None
}

/// Everything of a record before its data's length; its name is a pointer.
fn record(pointer: [u8; 2], kind: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&pointer);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&TTL.to_be_bytes());
}

/// The SOA that lets a resolver keep a negative answer for [`TTL`] seconds
/// (RFC 2308); its owner is the last `apex` characters of the question's name.
fn soa(query: &Query<'_>, apex: usize, out: &mut Vec<u8>) {
    // On the wire a name is two octets longer than its text; only names
    // without escapes are ours.
    let owner = query.end.saturating_sub(4 + apex + 2).max(HEADER);
    let pointer = u16::try_from(owner).unwrap_or(12) | 0xc000;
    record(pointer.to_be_bytes(), SOA, out);
    out.extend_from_slice(&[0, 23]);
    out.extend_from_slice(&pointer.to_be_bytes()); // the name's own server
    out.push(0); // nobody to write to
    for number in [1, 3600, 600, 86_400, TTL] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn number(wire: &[u8], at: usize) -> Option<u16> {
    let bytes = wire.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// How long a header is.
pub const HEADER: usize = 12;

/// For how many seconds our own answers, yes and no, may be kept.
const TTL: u32 = 10;

/// The largest datagram we say to take; what nearly every path carries whole.
const EDNS_SIZE: u16 = 1232;

/// A pointer to the name of the first question.
const NAME_OF_QUESTION: [u8; 2] = [0xc0, 12];

/// The types and codes this program has an opinion about.
pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const AAAA: u16 = 28;
pub const OPT: u16 = 41;
pub const HTTPS: u16 = 65;
pub const IXFR: u16 = 251;
pub const AXFR: u16 = 252;
pub const ANY: u16 = 255;
pub const IN: u16 = 1;
pub const FORMERR: u8 = 1;
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;
pub const NOTIMP: u8 = 4;
pub const REFUSED: u8 = 5;

// The third octet of the header, and the fourth.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AA: u8 = 0x04;
const TC: u8 = 0x02;
const RD: u8 = 0x01;
const RA: u8 = 0x80;
const CD: u8 = 0x10;

#[cfg(test)]
pub mod tests;
