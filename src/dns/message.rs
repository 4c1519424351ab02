//! DNS messages (RFC 1035, section 4): bytes → [`Query`], [`Reply`] → bytes. [`response`] reads what nameservers
//! send, [`reply`] writes what clients receive. No socket, no clock.
//!
//! By hand, because a forwarded message keeps its bytes, whatever they are: runsd reads no more of a query than its
//! name, type and class.

mod codes;
mod name;
mod reply;
mod response;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use codes::{CLASS_IN, Rcode, RecordType};
pub use name::read_name;
pub use reply::{question, write_error, write_forwarded, write_rcode, write_reply};
pub use response::{is_response_to, is_truncated, rcode, read_addresses, settles};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A query with one question.
    Query(Query<'a>),
    /// A query to answer with this code and nothing else.
    Malformed(Rcode),
    /// A response, or not DNS: to be ignored.
    NotAQuery,
}

/// A query with one question.
#[derive(Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The bytes it was read from.
    pub raw: RawQuery<'a>,
    /// Lower case, without the trailing dot; see [`read_name`].
    pub name: String,
    /// QTYPE.
    pub record_type: RecordType,
    /// QCLASS.
    pub class: u16,
}

/// The bytes of a query that [`parse`] accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawQuery<'a> {
    /// The whole message.
    pub wire: &'a [u8],
    /// Offset of the first byte behind the question.
    pub question_end: usize,
}

/// Reads what a client sent.
pub fn parse(wire: &[u8]) -> Parsed<'_> {
    let Some(header) = wire.first_chunk::<HEADER_LEN>() else {
        return Parsed::NotAQuery;
    };
    if header[FLAGS] & QR != 0 {
        return Parsed::NotAQuery;
    }
    if header[FLAGS] & OPCODE != 0 {
        return Parsed::Malformed(Rcode::NOTIMP);
    }
    parse_question(wire).map_or(Parsed::Malformed(Rcode::FORMERR), Parsed::Query)
}

fn parse_question(wire: &[u8]) -> Option<Query<'_>> {
    if read_u16(wire, QDCOUNT)? != 1 {
        return None;
    }
    let (name, end) = read_name(wire, HEADER_LEN, false)?;
    let (record_type, class) = (RecordType(read_u16(wire, end)?), read_u16(wire, end + 2)?);
    let raw = RawQuery { wire, question_end: end + 4 };
    // RFC 6891, section 6.1.1: more than one OPT record is a format error.
    let has_two_opts = response::opt_records(wire, raw.question_end).nth(1).is_some();
    (!has_two_opts).then_some(Query { raw, name, record_type, class })
}

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The name has these addresses, at least one of them.
    Answer {
        /// The A record.
        v4: Option<Ipv4Addr>,
        /// The AAAA record.
        v6: Option<Ipv6Addr>,
    },
    /// The name does not exist.
    NxDomain {
        /// Length of the zone's name in characters; the question's name ends with it.
        apex_len: usize,
    },
    /// The name exists, without a record of this type.
    NoData {
        /// As in [`Reply::NxDomain`].
        apex_len: usize,
    },
    /// runsd answers for the name, but not in this class.
    Refused,
    /// The nameservers are asked; see [`Fallback`] for when none of them knows.
    Forward(Fallback),
}

/// What the client of a forwarded query receives when no nameserver settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The first nameserver's error response, or SERVFAIL.
    Failure,
    /// NXDOMAIN, so that a resolver goes on along its search list.
    NxDomain,
    /// As [`Reply::NoData`], also where a nameserver says NXDOMAIN: runsd has addresses for the name, so that it
    /// exists for every type. A cache would keep NXDOMAIN for the whole name (RFC 2308, section 5).
    NoData {
        /// As in [`Reply::NxDomain`].
        apex_len: usize,
    },
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Answer { v4, v6 } => {
                let addresses: Vec<IpAddr> = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect();
                f.write_str(&display_addresses(&addresses))
            }
            Reply::NxDomain { .. } => f.write_str("no such name"),
            Reply::NoData { .. } => f.write_str("no record of this type"),
            Reply::Refused => f.write_str("refused"),
            Reply::Forward(_) => f.write_str("forwarded to the nameservers"),
        }
    }
}

/// Writes addresses for the log, as in `127.0.0.1 ::1`.
pub fn display_addresses(addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    addresses.join(" ")
}

/// Whether a text is a name that fits into a question: RFC 1035, section 2.3.4, and only visible ASCII.
pub fn is_valid_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic()))
}

/// Reads the id of a message.
pub fn id(wire: &[u8]) -> Option<u16> {
    read_u16(wire, 0)
}

fn read_u16(wire: &[u8], offset: usize) -> Option<u16> {
    let bytes = wire.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

/// Length of a header in bytes (RFC 1035, section 4.1.1).
pub const HEADER_LEN: usize = 12;

// Offsets in the header.
const FLAGS: usize = 2;
const FLAGS_AND_RCODE: usize = 3;
const QDCOUNT: usize = 4;
const ANCOUNT: usize = 6;
const NSCOUNT: usize = 8;
const ARCOUNT: usize = 10;

// Bits at FLAGS.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AA: u8 = 0x04;
const TC: u8 = 0x02;
const RD: u8 = 0x01;

// Bits at FLAGS_AND_RCODE.
const RA: u8 = 0x80;
const CD: u8 = 0x10;
const RCODE: u8 = 0x0f;

#[cfg(any(test, fuzzing))]
pub mod tests;
