//! What is answered to a question: the only place of the DNS server that
//! decides anything about a name.
//!
//! Nothing here knows bytes or sockets.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dns::message::{A, AAAA, ANY, CNAME, HTTPS, IN, Otherwise, Reply};
use crate::names::policy::{NamePolicy, Target};

/// A question, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Lower case, without the trailing dot.
    pub name: &'a str,
    pub kind: u16,
    pub class: u16,
}

/// Whose names are whose.
#[derive(Debug)]
pub struct Zones<'a> {
    pub names: &'a NamePolicy,
    /// The original search domains, lower case, without outer dots.
    pub search: &'a [String],
    /// Whether the proxy listens on ::1 too.
    pub ipv6: bool,
}

impl Zones<'_> {
    /// Decides.
    pub fn decide(&self, question: Question<'_>) -> Reply {
        let name = question.name;
        if let Some(relative) = under(name, &self.names.zone) {
            let apex = self.names.zone.len();
            return match relative {
                _ if question.class != IN => Reply::Refused,
                "" => Reply::Empty { apex },
                // A resolver goes on to metadata.google.internal where `metadata` does not exist here.
                _ => match self.names.target(name) {
                    Some(Target::Service(_) | Target::Route(_)) => self.loopback(question.kind, apex),
                    Some(Target::Metadata) | None => Reply::NxDomain { apex },
                },
            };
        }
        if let Some(relative) = under(name, GOOGLE_INTERNAL) {
            let apex = GOOGLE_INTERNAL.len();
            return match relative {
                _ if question.class != IN => Reply::Refused,
                "" => Reply::Empty { apex },
                METADATA => metadata(question.kind, apex),
                _ => Reply::NxDomain { apex },
            };
        }
        // Names asked for as they are, with a dot at their end or by a
        // resolver without a search list. Only what an HTTP client asks is
        // ours there: a mail exchanger `mail.` would not be. Nor is there an
        // alias beside addresses (RFC 1034, section 3.6.2).
        let is_ours = matches!(question.kind, A | AAAA | HTTPS | CNAME | ANY);
        let apex = name.len();
        Reply::Forward(match self.names.target(name) {
            _ if question.class != IN => self.searched(name),
            None => self.searched(name),
            Some(_) if !is_ours => Otherwise::Empty { apex },
            Some(Target::Metadata) => return metadata(question.kind, apex),
            Some(Target::Service(_) | Target::Route(_)) => return self.loopback(question.kind, apex),
        })
    }

    /// What a name elsewhere is, where no nameserver knows it.
    fn searched(&self, name: &str) -> Otherwise {
        let is_below = |domain: &String| under(name, domain).is_some_and(|rest| !rest.is_empty());
        match self.search.iter().any(is_below) {
            true => Otherwise::NxDomain,
            false => Otherwise::Failure,
        }
    }

    fn loopback(&self, kind: u16, apex: usize) -> Reply {
        let v4 = matches!(kind, A | ANY).then_some(Ipv4Addr::LOCALHOST);
        let v6 = (self.ipv6 && matches!(kind, AAAA | ANY)).then_some(Ipv6Addr::LOCALHOST);
        if v4.is_none() && v6.is_none() {
            return Reply::Empty { apex };
        }
        Reply::Answer { v4, v6 }
    }
}

fn metadata(kind: u16, apex: usize) -> Reply {
    match kind {
        A | ANY => Reply::Answer { v4: Some(METADATA_SERVER), v6: None },
        _ => Reply::Empty { apex },
    }
}

/// The part of `name` before `domain`: empty for the domain itself, `None` for
/// a name elsewhere.
fn under<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(domain)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_suffix('.')
}

/// The zone that the platform has in its search list, and the one name there.
const GOOGLE_INTERNAL: &str = "google.internal";
const METADATA: &str = "metadata";
const METADATA_SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[cfg(test)]
mod tests;
