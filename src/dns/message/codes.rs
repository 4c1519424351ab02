//! Numbers of DNS that have names: record types, response codes, classes.

use std::fmt;

/// A record type (RFC 1035, section 3.2.2; later ones by IANA's registry), known or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

#[allow(missing_docs)] // their names are their documentation
impl RecordType {
    pub const A: RecordType = RecordType(1);
    pub const NS: RecordType = RecordType(2);
    pub const CNAME: RecordType = RecordType(5);
    pub const SOA: RecordType = RecordType(6);
    pub const PTR: RecordType = RecordType(12);
    pub const MX: RecordType = RecordType(15);
    pub const TXT: RecordType = RecordType(16);
    pub const AAAA: RecordType = RecordType(28);
    pub const SRV: RecordType = RecordType(33);
    pub const OPT: RecordType = RecordType(41);
    pub const SVCB: RecordType = RecordType(64);
    pub const HTTPS: RecordType = RecordType(65);
    pub const IXFR: RecordType = RecordType(251);
    pub const AXFR: RecordType = RecordType(252);
    pub const ANY: RecordType = RecordType(255);
}

/// A response code (RFC 1035, section 4.1.1): the four bits of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rcode(pub u8);

#[allow(missing_docs)] // their names are their documentation
impl Rcode {
    pub const NOERROR: Rcode = Rcode(0);
    pub const FORMERR: Rcode = Rcode(1);
    pub const SERVFAIL: Rcode = Rcode(2);
    pub const NXDOMAIN: Rcode = Rcode(3);
    pub const NOTIMP: Rcode = Rcode(4);
    pub const REFUSED: Rcode = Rcode(5);
}

/// The class of the Internet (RFC 1035, section 3.2.4), the only one that runsd answers for.
pub const CLASS_IN: u16 = 1;

/// Writes the name of a common type, else its number as RFC 3597, section 5, does.
impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TYPE_NAMES.iter().find(|(record_type, _)| record_type == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// Writes the name of a common code, else its number.
impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RCODE_NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

const TYPE_NAMES: [(RecordType, &str); 12] = [
    (RecordType::A, "A"),
    (RecordType::NS, "NS"),
    (RecordType::CNAME, "CNAME"),
    (RecordType::SOA, "SOA"),
    (RecordType::PTR, "PTR"),
    (RecordType::MX, "MX"),
    (RecordType::TXT, "TXT"),
    (RecordType::AAAA, "AAAA"),
    (RecordType::SRV, "SRV"),
    (RecordType::SVCB, "SVCB"),
    (RecordType::HTTPS, "HTTPS"),
    (RecordType::ANY, "ANY"),
];

/// By code.
const RCODE_NAMES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_logged_by_name_where_they_have_one() {
        for (number, want) in [(1, "A"), (28, "AAAA"), (65, "HTTPS"), (123, "TYPE123")] {
            assert_eq!(RecordType(number).to_string(), want);
        }
        for (number, want) in [(0, "NOERROR"), (2, "SERVFAIL"), (5, "REFUSED"), (9, "9")] {
            assert_eq!(Rcode(number).to_string(), want);
        }
    }
}
