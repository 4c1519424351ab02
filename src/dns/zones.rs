//! Decides what becomes of a query: the only place of the DNS server that knows whose name is whose.
//!
//! Reads no bytes and no sockets.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dns::message::{CLASS_IN, Fallback, RecordType, Reply};
use crate::names::policy::{NamePolicy, Target};

/// Names that runsd answers for; all others are forwarded.
#[derive(Debug)]
pub struct Zones {
    /// The names of services and routes, and the zone they are in.
    pub names: NamePolicy,
    /// The search domains of resolv.conf before it was rewritten: lower case, without outer dots.
    pub search: Vec<String>,
    /// Whether the proxy listens on ::1 too.
    pub ipv6: bool,
}

impl Zones {
    /// Decides about a question. `name` is in lower case, without the trailing dot.
    pub fn classify(&self, name: &str, record_type: RecordType, class: u16) -> Reply {
        if let Some(relative) = strip_domain(name, &self.names.zone) {
            let apex_len = self.names.zone.len();
            return match relative {
                _ if class != CLASS_IN => Reply::Refused,
                "" => Reply::NoData { apex_len },
                // A resolver goes on to metadata.google.internal where `metadata` does not exist here.
                _ => match self.names.target(name) {
                    Some(Target::Service(_) | Target::Route(_)) => self.loopback(record_type, apex_len),
                    Some(Target::Metadata) | None => Reply::NxDomain { apex_len },
                },
            };
        }
        if let Some(relative) = strip_domain(name, GOOGLE_INTERNAL) {
            let apex_len = GOOGLE_INTERNAL.len();
            return match relative {
                _ if class != CLASS_IN => Reply::Refused,
                "" => Reply::NoData { apex_len },
                METADATA => metadata(record_type, apex_len),
                _ => Reply::NxDomain { apex_len },
            };
        }
        self.classify_bare(name, record_type, class)
    }

    /// Decides about a name outside runsd's zones: typed with a trailing dot, or sent by a resolver without a search
    /// list.
    fn classify_bare(&self, name: &str, record_type: RecordType, class: u16) -> Reply {
        // Only what an HTTP client looks up is runsd's: the MX record of `mail.` is not. A name with addresses has no
        // alias (RFC 1034, section 3.6.2).
        let is_for_http = matches!(
            record_type,
            RecordType::A | RecordType::AAAA | RecordType::HTTPS | RecordType::CNAME | RecordType::ANY
        );
        let apex_len = name.len();
        match self.names.target(name).filter(|_| class == CLASS_IN) {
            None => Reply::Forward(self.fallback(name)),
            Some(_) if !is_for_http => Reply::Forward(Fallback::NoData { apex_len }),
            Some(Target::Metadata) => metadata(record_type, apex_len),
            Some(Target::Service(_) | Target::Route(_)) => self.loopback(record_type, apex_len),
        }
    }

    /// Decides what the client of a forwarded query receives when no nameserver knows the name.
    fn fallback(&self, name: &str) -> Fallback {
        let is_below = |domain: &String| strip_domain(name, domain).is_some_and(|relative| !relative.is_empty());
        match self.search.iter().any(is_below) {
            true => Fallback::NxDomain,
            false => Fallback::Failure,
        }
    }

    fn loopback(&self, record_type: RecordType, apex_len: usize) -> Reply {
        let v4 = matches!(record_type, RecordType::A | RecordType::ANY).then_some(Ipv4Addr::LOCALHOST);
        let has_v6 = self.ipv6 && matches!(record_type, RecordType::AAAA | RecordType::ANY);
        match (v4, has_v6.then_some(Ipv6Addr::LOCALHOST)) {
            (None, None) => Reply::NoData { apex_len },
            (v4, v6) => Reply::Answer { v4, v6 },
        }
    }
}

fn metadata(record_type: RecordType, apex_len: usize) -> Reply {
    match record_type {
        RecordType::A | RecordType::ANY => Reply::Answer { v4: Some(METADATA_ADDRESS), v6: None },
        _ => Reply::NoData { apex_len },
    }
}

/// Returns the part of `name` before `domain`: empty for the domain itself, `None` for a name outside it.
fn strip_domain<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let relative = name.strip_suffix(domain)?;
    if relative.is_empty() {
        return Some(relative);
    }
    relative.strip_suffix('.')
}

/// The zone that the platform has in its search list, and the one name in it.
const GOOGLE_INTERNAL: &str = "google.internal";
const METADATA: &str = "metadata";
const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[cfg(test)]
mod tests;
