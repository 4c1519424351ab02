//! What nameservers say: whether it answers a query, whether it settles it,
//! what of it the client gets, and the addresses in it.

use std::net::IpAddr;

use super::name::{read_name, skip_name};
use super::{
    A, AAAA, CNAME, HEADER, IN, NXDOMAIN, OPT, Otherwise, QR, Read, Reply, SERVFAIL, TC, failure, number, read, reply,
};

/// Whether `response` has this id and answers the question of `query`, which
/// ends at `end` there: same name in any case, same type and class.
pub fn answers(response: &[u8], id: u16, query: &[u8], end: usize) -> bool {
    let (Some(header), Some(asked)) = (response.get(..HEADER), query.get(..end)) else {
        return false;
    };
    if header[..2] != id.to_be_bytes() || header[2] & QR == 0 {
        return false;
    }
    if has_no_question(response) {
        return !matches!(code(response), 0 | NXDOMAIN);
    }
    let Some(question) = response.get(HEADER..end) else {
        return false;
    };
    let (name, numbers) = question.split_at(question.len() - 4);
    let (asked_name, asked_numbers) = asked[HEADER..].split_at(question.len() - 4);
    number(response, 4) == Some(1)
        && (name == asked_name || name.eq_ignore_ascii_case(asked_name))
        && numbers == asked_numbers
}

/// Some nameservers refuse with a header alone; its counts may still be those
/// of the query.
fn has_no_question(response: &[u8]) -> bool {
    response.len() == HEADER || number(response, 4) == Some(0)
}

/// The code of a response, as far as it is in the header.
pub fn code(response: &[u8]) -> u8 {
    response.get(3).map_or(SERVFAIL, |byte| byte & 0x0f)
}

/// Whether a response was cut to fit its datagram.
pub fn is_truncated(response: &[u8]) -> bool {
    response.get(2).is_some_and(|byte| byte & TC != 0)
}

/// Whether a response settles its query: the name is there (NOERROR), or it is
/// not (NXDOMAIN). All other codes, of which there are 4,094, say something
/// about the nameserver, and the next one may know more.
pub fn settles(response: &[u8]) -> bool {
    let says_so = matches!(code(response), 0 | NXDOMAIN);
    // The upper eight bits of a code are in the OPT record, as in BADVERS (RFC
    // 6891, section 6.1.3); with such a code there are no answers.
    says_so && (number(response, 6) != Some(0) || upper_code(response) == 0)
}

fn upper_code(response: &[u8]) -> u8 {
    let questions = number(response, 4).unwrap_or(0);
    let records = (0..questions).try_fold(HEADER, |at, _| Some(skip_name(response, at)? + 4));
    records.and_then(|at| opt(response, at)).map_or(0, |[upper, _]| upper)
}

/// Where a message has an OPT record (RFC 6891, section 6.1.3): the upper bits
/// of its code, and its version. `at` is where its question ends.
pub fn opt(wire: &[u8], at: usize) -> Option<[u8; 2]> {
    opts(wire, at).next()
}

/// The same of each OPT record, of which a query may have one.
pub fn opts(wire: &[u8], mut at: usize) -> impl Iterator<Item = [u8; 2]> {
    let counts = [6, 8, 10].map(|at| number(wire, at).map_or(0, u32::from));
    let records = (0..counts.iter().sum()).map_while(move |_| {
        let numbers = skip_name(wire, at)?;
        let len = number(wire, numbers + 8).map_or(0, usize::from);
        at = numbers + 10 + len;
        Some((number(wire, numbers)?, wire.get(numbers + 4..)?))
    });
    records.filter(|&(kind, _)| kind == OPT).map_while(|(_, rest)| rest.first_chunk().copied())
}

/// Appends what the client gets for `query`, whose question ends at `end`, once
/// no nameserver is left to ask or one has settled it. `said` is what the best
/// of them said, if any said something.
pub fn conclude(query: &[u8], end: usize, otherwise: Otherwise, said: Option<&[u8]>, out: &mut Vec<u8>) {
    match (otherwise, said) {
        (Otherwise::Empty { .. }, Some(said)) if says_more(said) => pass_on(query, end, said, out),
        (Otherwise::Empty { apex }, _) => {
            if let Read::Query(query) = read(query) {
                reply(&query, &Reply::Empty { apex }, out);
            }
        }
        (Otherwise::NxDomain, Some(said)) if settles(said) => pass_on(query, end, said, out),
        (Otherwise::NxDomain, _) => failure(query, NXDOMAIN, out),
        (Otherwise::Failure, Some(said)) => pass_on(query, end, said, out),
        (Otherwise::Failure, None) => failure(query, SERVFAIL, out),
    }
}

/// Whether a response says more of a name than that it is there: has records,
/// or would have them by TCP.
fn says_more(response: &[u8]) -> bool {
    code(response) == 0 && (number(response, 6) != Some(0) || is_truncated(response))
}

/// Appends a response under the id of the client's query, and with its
/// question: a resolver takes none without it for an answer (RFC 5452, section
/// 9.1), and waits on.
fn pass_on(query: &[u8], end: usize, response: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&query[..2]);
    if has_no_question(response) {
        out.extend_from_slice(&response[2..4]);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&query[HEADER..end]);
    } else {
        out.extend_from_slice(&response[2..]);
    }
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
pub fn addresses(response: &[u8], name: &str, kind: u16) -> Option<Found> {
    let mut at = HEADER;
    for _ in 0..number(response, 4)? {
        at = read_name(response, at, true)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..number(response, 6)? {
        // What is cut off or broken further on does not spoil what came before.
        let Some(record) = Record::read(response, at) else {
            break;
        };
        at = record.until;
        if record.class == IN {
            records.push(record);
        }
    }
    let mut found = Found { addresses: Vec::new(), alias: None, ttl: u32::MAX };
    // Each step uses up a record at least: CNAMEs in a ring end here.
    for _ in 0..=records.len() {
        let current = found.alias.as_deref().unwrap_or(name);
        for record in records.iter().filter(|r| r.owner == current) {
            let ip = match (record.kind, record.data()) {
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
        let cname = records.iter().find(|r| r.owner == current && r.kind == CNAME);
        let Some(cname) = cname else { break };
        found.ttl = found.ttl.min(cname.ttl);
        found.alias = Some(cname.target()?);
    }
    Some(found)
}

/// A resource record (RFC 1035, section 4.1.3).
pub struct Record<'a> {
    pub owner: String,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    /// The message up to the end of this record: what is read of it cannot be
    /// the next one's.
    wire: &'a [u8],
    data_at: usize,
    /// Where the next one begins.
    pub until: usize,
}

impl<'a> Record<'a> {
    /// The record at `at`; `None` when it is not whole.
    pub fn read(wire: &'a [u8], at: usize) -> Option<Record<'a>> {
        let (owner, at) = read_name(wire, at, true)?;
        let (kind, class) = (number(wire, at)?, number(wire, at + 2)?);
        let ttl = wire.get(at + 4..at + 8)?;
        let data_at = at + 10;
        let until = data_at + usize::from(number(wire, at + 8)?);
        // RFC 2181, section 8: a TTL with its highest bit set is 0.
        let ttl = u32::try_from(i32::from_be_bytes(ttl.try_into().ok()?)).unwrap_or(0);
        Some(Record { owner, kind, class, ttl, wire: wire.get(..until)?, data_at, until })
    }

    /// Its data, which may hold names that lead out of it.
    pub fn data(&self) -> &'a [u8] {
        &self.wire[self.data_at..]
    }

    /// The name that is all of its data; `None` when it is less, or more.
    pub fn target(&self) -> Option<String> {
        let (name, end) = read_name(self.wire, self.data_at, true)?;
        (end == self.until).then_some(name)
    }
}
