//! Reads what nameservers send: whether it responds to a query, whether it settles it, and its addresses.

use std::net::IpAddr;

use super::name::{read_name, skip_name};
use super::{
    ANCOUNT, ARCOUNT, CLASS_IN, FLAGS, FLAGS_AND_RCODE, HEADER_LEN, NSCOUNT, QDCOUNT, QR, RCODE, RawQuery, Rcode,
    RecordType, TC, id, read_u16,
};

/// Whether `response` has this id and responds to the question of `query`: same name in any case, same type and
/// class (RFC 5452, section 9.1). `query` has another id, the client's.
pub fn is_response_to(response: &[u8], query_id: u16, query: RawQuery<'_>) -> bool {
    if response.len() < HEADER_LEN || id(response) != Some(query_id) || response[FLAGS] & QR == 0 {
        return false;
    }
    if has_no_question(response) {
        return !matches!(rcode(response), Rcode::NOERROR | Rcode::NXDOMAIN);
    }
    let question = HEADER_LEN..query.question_end;
    let (Some(question), Some(sent)) = (response.get(question.clone()), query.wire.get(question)) else {
        return false;
    };
    let (name, type_and_class) = question.split_at(question.len() - 4);
    let (sent_name, sent_type_and_class) = sent.split_at(question.len() - 4);
    read_u16(response, QDCOUNT) == Some(1)
        && (name == sent_name || name.eq_ignore_ascii_case(sent_name))
        && type_and_class == sent_type_and_class
}

/// Whether a response lacks its question. Some nameservers send an error as a header alone, whose counts may still
/// be those of the query.
pub fn has_no_question(response: &[u8]) -> bool {
    response.len() == HEADER_LEN || read_u16(response, QDCOUNT) == Some(0)
}

/// Returns the response code in the header: the lower four bits of the whole.
pub fn rcode(response: &[u8]) -> Rcode {
    response.get(FLAGS_AND_RCODE).map_or(Rcode::SERVFAIL, |byte| Rcode(byte & RCODE))
}

/// Whether a response was truncated to fit its datagram.
pub fn is_truncated(response: &[u8]) -> bool {
    response.get(FLAGS).is_some_and(|byte| byte & TC != 0)
}

/// Whether a response settles its query: the name exists (NOERROR) or does not (NXDOMAIN). Each of the other 4,094
/// codes tells about the nameserver, and the next one may know more.
pub fn settles(response: &[u8]) -> bool {
    // The upper eight bits of a code are in the OPT record, as in BADVERS (RFC 6891, section 6.1.3). A response with
    // such a code has no answers.
    matches!(rcode(response), Rcode::NOERROR | Rcode::NXDOMAIN)
        && (read_u16(response, ANCOUNT) != Some(0) || upper_rcode(response) == 0)
}

fn upper_rcode(response: &[u8]) -> u8 {
    let questions = read_u16(response, QDCOUNT).unwrap_or(0);
    let records = (0..questions).try_fold(HEADER_LEN, |offset, _| Some(skip_name(response, offset)? + 4));
    records.and_then(|offset| opt(response, offset)).map_or(0, |[upper, _]| upper)
}

/// Reads the OPT record of a message (RFC 6891, section 6.1.3): the upper bits of its code, and its version.
/// `question_end` is where its records begin.
pub fn opt(wire: &[u8], question_end: usize) -> Option<[u8; 2]> {
    opt_records(wire, question_end).next()
}

/// Reads each OPT record as [`opt`] does; a valid query has at most one.
pub fn opt_records(wire: &[u8], mut offset: usize) -> impl Iterator<Item = [u8; 2]> {
    let counts = [ANCOUNT, NSCOUNT, ARCOUNT].map(|count| read_u16(wire, count).map_or(0, u32::from));
    let records = (0..counts.iter().sum()).map_while(move |_| {
        let type_at = skip_name(wire, offset)?;
        let data_len = read_u16(wire, type_at + 8).map_or(0, usize::from);
        offset = type_at + 10 + data_len;
        Some((RecordType(read_u16(wire, type_at)?), wire.get(type_at + 4..)?))
    });
    records
        .filter(|&(record_type, _)| record_type == RecordType::OPT)
        .map_while(|(_, rest)| rest.first_chunk().copied())
}

/// What a response says about a name.
#[derive(Debug, PartialEq, Eq)]
pub struct AddressRecords {
    /// Its addresses of the type in question, in the order of the response.
    pub addresses: Vec<IpAddr>,
    /// The name at the end of its CNAMEs, if it has any.
    pub alias: Option<String>,
    /// Seconds for which this is valid: the least TTL on the way.
    pub ttl: u32,
}

/// Reads the addresses of `name` (lower case), following the CNAMEs of the response. `None` if it is malformed.
pub fn read_addresses(response: &[u8], name: &str, record_type: RecordType) -> Option<AddressRecords> {
    let mut offset = HEADER_LEN;
    for _ in 0..read_u16(response, QDCOUNT)? {
        offset = read_name(response, offset, true)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..read_u16(response, ANCOUNT)? {
        // A truncated or broken record does not spoil those before it.
        let Some(record) = Record::read(response, offset) else {
            break;
        };
        offset = record.end;
        if record.class == CLASS_IN {
            records.push(record);
        }
    }
    let mut found = AddressRecords { addresses: Vec::new(), alias: None, ttl: u32::MAX };
    // Each step uses up a record at least, so that a loop of CNAMEs ends.
    for _ in 0..=records.len() {
        let current = found.alias.as_deref().unwrap_or(name);
        for record in records.iter().filter(|r| r.owner == current && r.record_type == record_type) {
            if let Some(ip) = record.address() {
                found.ttl = found.ttl.min(record.ttl);
                found.addresses.push(ip);
            }
        }
        if !found.addresses.is_empty() {
            break;
        }
        let cname = records.iter().find(|r| r.owner == current && r.record_type == RecordType::CNAME);
        let Some(cname) = cname else { break };
        found.ttl = found.ttl.min(cname.ttl);
        found.alias = Some(cname.target()?);
    }
    Some(found)
}

/// A resource record (RFC 1035, section 4.1.3).
pub struct Record<'a> {
    /// Lower case, as [`read_name`] writes it.
    pub owner: String,
    /// TYPE.
    pub record_type: RecordType,
    /// CLASS.
    pub class: u16,
    /// Seconds.
    pub ttl: u32,
    /// The message up to the end of this record, so that no read goes on into the next one.
    wire: &'a [u8],
    data_offset: usize,
    /// Offset of the first byte behind it.
    pub end: usize,
}

impl<'a> Record<'a> {
    /// Reads the record at `offset`. `None` if it is truncated.
    pub fn read(wire: &'a [u8], offset: usize) -> Option<Record<'a>> {
        let (owner, offset) = read_name(wire, offset, true)?;
        let (record_type, class) = (RecordType(read_u16(wire, offset)?), read_u16(wire, offset + 2)?);
        let ttl = wire.get(offset + 4..offset + 8)?;
        let data_offset = offset + 10;
        let end = data_offset + usize::from(read_u16(wire, offset + 8)?);
        // RFC 2181, section 8: a TTL with its highest bit set is 0.
        let ttl = u32::try_from(i32::from_be_bytes(ttl.try_into().ok()?)).unwrap_or(0);
        Some(Record { owner, record_type, class, ttl, wire: wire.get(..end)?, data_offset, end })
    }

    /// Returns RDATA, in which names may be compressed.
    pub fn data(&self) -> &'a [u8] {
        &self.wire[self.data_offset..]
    }

    /// Returns the address of an A or AAAA record.
    fn address(&self) -> Option<IpAddr> {
        match self.record_type {
            RecordType::A => <[u8; 4]>::try_from(self.data()).ok().map(IpAddr::from),
            RecordType::AAAA => <[u8; 16]>::try_from(self.data()).ok().map(IpAddr::from),
            _ => None,
        }
    }

    /// Returns the name that is all of RDATA, as in a CNAME record. `None` if it is shorter or longer.
    pub fn target(&self) -> Option<String> {
        let (name, end) = read_name(self.wire, self.data_offset, true)?;
        (end == self.end).then_some(name)
    }
}
