//! Writes what clients receive, and the resolver's questions.
//!
//! Each function appends to `out`, so that many replies share one buffer.

use super::response::{has_no_question, is_truncated, opt, rcode, settles};
use super::{
    AA, ANCOUNT, ARCOUNT, CD, CLASS_IN, FLAGS, FLAGS_AND_RCODE, Fallback, HEADER_LEN, NSCOUNT, OPCODE, QDCOUNT, QR, RA,
    RCODE, RD, RawQuery, Rcode, RecordType, Reply, read_name, read_u16,
};

/// Writes the reply to a query that [`super::parse`] did not accept, with its question where that is whole.
pub fn write_error(wire: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    let Some(header) = wire.get(..HEADER_LEN) else {
        return;
    };
    let end = read_name(wire, HEADER_LEN, false).map_or(0, |(_, end)| end + 4);
    let has_one = read_u16(wire, QDCOUNT) == Some(1);
    let question = wire.get(HEADER_LEN..end).filter(|_| has_one).unwrap_or_default();
    out.extend_from_slice(&header[..2]);
    out.push(QR | header[FLAGS] & (OPCODE | RD));
    out.push(rcode.0);
    out.extend_from_slice(&[0, u8::from(!question.is_empty()), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question);
}

/// Writes an authoritative reply; nothing for [`Reply::Forward`].
pub fn write_reply(query: RawQuery<'_>, reply: &Reply, out: &mut Vec<u8>) {
    let (flags, rcode) = match reply {
        Reply::Answer { .. } | Reply::NoData { .. } => (AA, Rcode::NOERROR),
        Reply::NxDomain { .. } => (AA, Rcode::NXDOMAIN),
        Reply::Refused => (0, Rcode::REFUSED),
        Reply::Forward(_) => return,
    };
    let start = write_header(query, flags, rcode, out);
    match reply {
        Reply::Answer { v4, v6 } => {
            if let Some(ip) = v4 {
                write_record(NAME_OF_QUESTION, RecordType::A, &ip.octets(), out);
            }
            if let Some(ip) = v6 {
                write_record(NAME_OF_QUESTION, RecordType::AAAA, &ip.octets(), out);
            }
            out[start + ANCOUNT + 1] = u8::from(v4.is_some()) + u8::from(v6.is_some());
        }
        Reply::NxDomain { apex_len } | Reply::NoData { apex_len } => {
            write_soa(query, *apex_len, out);
            out[start + NSCOUNT + 1] = 1;
        }
        Reply::Refused | Reply::Forward(_) => {}
    }
    write_opt(query, start, out);
}

/// Writes a reply that has the question and `rcode` alone.
///
/// Without an SOA no cache keeps it (RFC 2308, section 5): it is true of this moment.
pub fn write_rcode(query: RawQuery<'_>, rcode: Rcode, out: &mut Vec<u8>) {
    let start = write_header(query, 0, rcode, out);
    write_opt(query, start, out);
}

/// Writes the reply to a forwarded query. `response` is the one that settled it, else the first error response.
pub fn write_forwarded(query: RawQuery<'_>, fallback: Fallback, response: Option<&[u8]>, out: &mut Vec<u8>) {
    match (fallback, response) {
        (Fallback::NoData { .. }, Some(response)) if has_records(response) => write_relayed(query, response, out),
        (Fallback::NoData { apex_len }, _) => write_reply(query, &Reply::NoData { apex_len }, out),
        (Fallback::NxDomain, Some(response)) if settles(response) => write_relayed(query, response, out),
        (Fallback::NxDomain, _) => write_rcode(query, Rcode::NXDOMAIN, out),
        (Fallback::Failure, Some(response)) => write_relayed(query, response, out),
        (Fallback::Failure, None) => write_rcode(query, Rcode::SERVFAIL, out),
    }
}

/// Whether a response has records, or would have them by TCP.
fn has_records(response: &[u8]) -> bool {
    rcode(response) == Rcode::NOERROR && (read_u16(response, ANCOUNT) != Some(0) || is_truncated(response))
}

/// Writes a nameserver's response with the id of the client's query, and with its question: a resolver ignores a
/// response without it (RFC 5452, section 9.1) and would wait on.
fn write_relayed(query: RawQuery<'_>, response: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&query.wire[..2]);
    if has_no_question(response) {
        out.extend_from_slice(&response[FLAGS..QDCOUNT]);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&query.wire[HEADER_LEN..query.question_end]);
    } else {
        out.extend_from_slice(&response[2..]);
    }
}

/// Returns a query for `name`, which must be valid by [`super::is_valid_name`].
pub fn question(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
    let mut wire = Vec::with_capacity(HEADER_LEN + name.len() + 6);
    wire.extend_from_slice(&id.to_be_bytes());
    wire.extend_from_slice(&[RD, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).unwrap_or(0));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire.extend_from_slice(&record_type.0.to_be_bytes());
    wire.extend_from_slice(&CLASS_IN.to_be_bytes());
    wire
}

/// Writes header and question, without records so far; returns the header's offset in `out`.
fn write_header(query: RawQuery<'_>, flags: u8, rcode: Rcode, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let wire = query.wire;
    out.extend_from_slice(&wire[..2]);
    out.push(QR | flags | wire[FLAGS] & RD);
    out.push(RA | wire[FLAGS_AND_RCODE] & CD | rcode.0);
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&wire[HEADER_LEN..query.question_end]);
    start
}

/// Writes the OPT record of the reply whose header is at `start`, if the query had one (RFC 6891, section 6.1.1).
fn write_opt(query: RawQuery<'_>, start: usize, out: &mut Vec<u8>) {
    let Some([_, version]) = opt(query.wire, query.question_end) else {
        return;
    };
    out[start + ARCOUNT + 1] = 1;
    // RFC 6891, section 6.1.3: the response to a later version is BADVERS, 16, whose upper bits are here.
    let upper_rcode = u8::from(version != 0);
    if upper_rcode != 0 {
        out[start + FLAGS_AND_RCODE] &= !RCODE;
    }
    out.push(0);
    out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
    out.extend_from_slice(&EDNS_PAYLOAD_LEN.to_be_bytes());
    out.extend_from_slice(&[upper_rcode, 0, 0, 0, 0, 0]);
}

/// Writes a record (RFC 1035, section 4.1.3) whose owner is a pointer.
fn write_record(owner: u16, record_type: RecordType, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&owner.to_be_bytes());
    out.extend_from_slice(&record_type.0.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&TTL.to_be_bytes());
    out.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(data);
}

/// Writes the SOA that lets a resolver cache a negative reply for [`TTL`] seconds (RFC 2308, section 3). Its owner
/// is the last `apex_len` characters of the question's name.
fn write_soa(query: RawQuery<'_>, apex_len: usize, out: &mut Vec<u8>) {
    // A name on the wire is two bytes longer than its text. Names with escapes are never runsd's.
    let apex = query.question_end.saturating_sub(4 + apex_len + 2).max(HEADER_LEN);
    let apex = POINTER | u16::try_from(apex).unwrap_or(12);
    let mut data = apex.to_be_bytes().to_vec(); // MNAME: the zone itself
    data.push(0); // RNAME: no mailbox
    for number in [1, 3600, 600, 86_400, TTL] {
        data.extend_from_slice(&number.to_be_bytes()); // SERIAL, REFRESH, RETRY, EXPIRE, MINIMUM
    }
    write_record(apex, RecordType::SOA, &data, out);
}

/// Seconds for which clients may cache runsd's own replies, positive and negative: a few, because a cache outlives
/// a change of the container's names by no more than this.
pub const TTL: u32 = 10;

/// The largest datagram that runsd says to accept, in bytes: what nearly every path carries unfragmented.
pub const EDNS_PAYLOAD_LEN: u16 = 1232;

/// The two bits that mark a compression pointer (RFC 1035, section 4.1.4).
const POINTER: u16 = 0xc000;

/// A pointer to the name of the question, right behind the header.
const NAME_OF_QUESTION: u16 = POINTER | 12;
