//! What the log says about questions and answers. Pure.

use std::fmt;
use std::net::IpAddr;

use crate::dns::message::Reply;

/// A type of record, by its name where it is a common one, else by its number
/// as RFC 3597 section 5 writes it.
pub struct RecordType(pub u16);

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "A",
            2 => "NS",
            5 => "CNAME",
            6 => "SOA",
            12 => "PTR",
            15 => "MX",
            16 => "TXT",
            28 => "AAAA",
            33 => "SRV",
            64 => "SVCB",
            65 => "HTTPS",
            255 => "ANY",
            other => return write!(f, "TYPE{other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Answer { v4, v6 } => {
                let found: Vec<IpAddr> = v4.iter().map(|&ip| ip.into()).chain(v6.map(IpAddr::from)).collect();
                f.write_str(&addresses(&found))
            }
            Reply::NxDomain { .. } => f.write_str("no such name"),
            Reply::Empty { .. } => f.write_str("no record of this type"),
            Reply::Refused => f.write_str("refused"),
            Reply::Forward(_) => f.write_str("passed on to the nameservers"),
        }
    }
}

/// `127.0.0.1 ::1`
pub fn addresses(found: &[IpAddr]) -> String {
    let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn for_people() {
        for (kind, want) in [(1, "A"), (28, "AAAA"), (65, "HTTPS"), (123, "TYPE123")] {
            assert_eq!(RecordType(kind).to_string(), want);
        }
        let both = Reply::Answer { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST) };
        assert_eq!(both.to_string(), "127.0.0.1 ::1");
        let none = Reply::NxDomain { apex: 12 };
        assert_eq!(none.to_string(), "no such name");
    }
}
