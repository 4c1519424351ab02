//! DNS messages (RFC 1035): bytes → query, query and verdict → the bytes of a
//! reply; what nameservers say is read in [`response`].
//!
//! Read by hand: what is not ours is passed on whatever it is, so that all
//! that is wanted of a query is its name and two numbers.

mod name;
mod response;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use name::read_name;
pub use response::{addresses, answers, code, conclude, is_truncated, settles};

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
    let end = end + 4;
    // RFC 6891, section 6.1.1.
    if response::opts(wire, end).nth(1).is_some() {
        return Read::Bad(FORMERR);
    }
    Read::Query(Query { wire, name, kind, class, end })
}

/// Appends the reply to something that is no query we take, with its question
/// where that can be read.
pub fn refuse(wire: &[u8], code: u8, out: &mut Vec<u8>) {
    let Some(header) = wire.get(..HEADER) else {
        return;
    };
    let end = read_name(wire, HEADER, false).map_or(0, |(_, end)| end + 4);
    let is_one = number(wire, 4) == Some(1);
    let question = wire.get(HEADER..end).filter(|_| is_one).unwrap_or_default();
    out.extend_from_slice(&header[..2]);
    out.push(QR | header[2] & (OPCODE | RD));
    out.push(code);
    out.extend_from_slice(&[0, u8::from(!question.is_empty()), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question);
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// These addresses, one of them at least.
    Answer { v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr> },
    /// There is no such name in the zone that is the last `apex` characters of it.
    NxDomain { apex: usize },
    /// There is such a name, but nothing of this type; `apex` as above.
    Empty { apex: usize },
    /// Ours, but nothing we talk about.
    Refused,
    /// Not ours: the original nameservers know.
    Forward(Otherwise),
}

/// What a client is told where no nameserver knows its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// How they failed: SERVFAIL for silence, or the first refusal.
    Failure,
    /// NXDOMAIN, so that a resolver walks on along its search list.
    NxDomain,
    /// As [`Reply::Empty`]: the name is ours, and a name that has addresses
    /// is there for every type. A cache would keep the nameservers' NXDOMAIN
    /// for the whole name (RFC 2308, section 5).
    Empty { apex: usize },
}

/// Appends the reply that gives `verdict`; nothing for [`Reply::Forward`].
pub fn reply(query: &Query<'_>, verdict: &Reply, out: &mut Vec<u8>) {
    let mut answers = 0;
    let mut authorities = 0;
    let (flags, code) = match verdict {
        Reply::Answer { .. } | Reply::Empty { .. } => (AA, 0),
        Reply::NxDomain { .. } => (AA, NXDOMAIN),
        Reply::Refused => (0, REFUSED),
        Reply::Forward(_) => return,
    };
    let start = begin(query, flags, code, out);
    match verdict {
        Reply::Answer { v4, v6 } => {
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
        Reply::NxDomain { apex } | Reply::Empty { apex } => {
            authorities += 1;
            soa(query, *apex, out);
        }
        Reply::Refused | Reply::Forward(_) => {}
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
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic()))
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
    let Some([_, version]) = response::opt(query.wire, query.end) else {
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
