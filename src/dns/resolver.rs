//! Resolves upstream hosts for the proxy, through the nameservers of the original resolv.conf: the system's resolver
//! would ask runsd.
//!
//! A lookup follows CNAMEs over several queries. What it finds is kept in [`cache`]; a query to one nameserver is made
//! by [`exchange`], or by whatever stands in for it.

mod cache;
mod exchange;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::debug;

use crate::dns::message::{self, Rcode, RecordType};
use crate::dns::nameservers::{ExchangeError, Nameservers, Timeouts, Transport};
use crate::dns::resolver::cache::{Addresses, Cache, Family};
use crate::net::context::{Cancelled, Context};

/// Resolves names, and caches their addresses for as long as their nameserver said.
pub struct Resolver {
    nameservers: Arc<Nameservers>,
    timeouts: Timeouts,
    exchange: Box<Exchange>,
    cache: Cache,
}

/// Sends a question to one nameserver and returns its response.
///
/// Blocks: until then or for the given time.
pub type Exchange =
    dyn Fn((&str, RecordType), SocketAddr, Duration, &mut dyn Context) -> Result<Vec<u8>, ExchangeError> + Send + Sync;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// It does not fit into a question.
    InvalidName(String),
    /// The nameservers say that this name does not exist or has no address.
    NoAddress(String),
    /// The first nameserver's error response to a query for this name and type.
    ErrorResponse(String, RecordType, Rcode),
    /// No nameserver responded to a query for this name and type.
    TimedOut(String, RecordType),
    /// There is no nameserver.
    NoNameserver(String),
    /// The context was cancelled.
    Cancelled,
}

impl From<Cancelled> for ResolveError {
    fn from(_: Cancelled) -> ResolveError {
        ResolveError::Cancelled
    }
}

impl Resolver {
    /// Asks these nameservers, in their order.
    pub fn new(nameservers: Arc<Nameservers>) -> Resolver {
        Resolver::with_exchange(nameservers, Timeouts::default(), Box::new(exchange::exchange))
    }

    /// As [`Resolver::new`], with timeouts and an exchange of the caller's.
    pub fn with_exchange(nameservers: Arc<Nameservers>, timeouts: Timeouts, exchange: Box<Exchange>) -> Resolver {
        Resolver { nameservers, timeouts, exchange, cache: Cache::default() }
    }

    /// Returns the addresses to try for `host`, in this order: those of IPv4, or where there is none of IPv6.
    ///
    /// Blocks: during a lookup, by this thread or another one.
    ///
    /// # Errors
    /// [`ResolveError`] says what the nameservers said last.
    pub fn resolve(&self, host: &str, port: u16, context: &mut dyn Context) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = match without_lookup(host) {
            Some(addresses) => addresses,
            None => self.addresses(host, Family::V4Preferred, SystemTime::now(), context)?,
        };
        Ok(addresses.into_iter().map(|ip| (ip, port).into()).collect())
    }

    /// Returns the IPv6 addresses of a `host` that does not respond by IPv4; empty if there are none, or `context` was
    /// cancelled.
    ///
    /// Blocks: as [`Resolver::resolve`].
    pub fn resolve_v6(&self, host: &str, port: u16, context: &mut dyn Context) -> Vec<SocketAddr> {
        let addresses = match without_lookup(host) {
            Some(_) => Vec::new(),
            None => self.addresses(host, Family::V6, SystemTime::now(), context).unwrap_or_default(),
        };
        addresses.into_iter().map(|ip| (ip, port).into()).collect()
    }

    /// Shortens how long the addresses of `host` are cached, because none of them responds. Returns whether the next
    /// [`Resolver::resolve`] looks them up again.
    pub fn expire_early(&self, host: &str) -> bool {
        self.expire_early_at(host, SystemTime::now())
    }

    fn expire_early_at(&self, host: &str, now: SystemTime) -> bool {
        let name = canonical(host);
        // Both, whatever the first one says.
        let [v4, v6] = [Family::V4Preferred, Family::V6].map(|family| self.cache.expire_early(&name, family, now));
        v4 || v6
    }

    fn addresses(
        &self,
        host: &str,
        family: Family,
        now: SystemTime,
        context: &mut dyn Context,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let name = canonical(host);
        if !message::is_valid_name(&name) {
            return Err(ResolveError::InvalidName(host.to_owned()));
        }
        self.cache.entry(&name, family).get_or_look_up(now, context, |context| {
            let deadline = Instant::now() + self.timeouts.total;
            let mut lookup = Lookup { resolver: self, name: &name, deadline, context };
            let found = match family {
                Family::V4Preferred => lookup.v4_else_v6(),
                Family::V6 => lookup.follow(RecordType::AAAA),
            };
            match &found {
                Ok(found) => debug!("dns: upstream {name}: {}", message::display_addresses(&found.ips)),
                Err(ResolveError::Cancelled) => {}
                Err(err) => debug!("dns: upstream {name}: {err}"),
            }
            found
        })
    }
}

/// One lookup of a name: a query, or several of them.
struct Lookup<'a> {
    resolver: &'a Resolver,
    name: &'a str,
    /// Of all queries together.
    deadline: Instant,
    context: &'a mut dyn Context,
}

impl Lookup<'_> {
    /// Looks up IPv6 only where there is no IPv4, which the network of each container has.
    fn v4_else_v6(&mut self) -> Result<Addresses, ResolveError> {
        let v4 = self.follow(RecordType::A);
        match &v4 {
            Ok(found) if !found.ips.is_empty() => return v4,
            // The nameservers may say more about AAAA.
            Err(ResolveError::ErrorResponse(..)) | Ok(_) => {}
            // The name does not exist, for any type; or nameservers are silent.
            Err(_) => return v4,
        }
        match (self.follow(RecordType::AAAA), v4) {
            (Ok(v6), _) if !v6.ips.is_empty() => Ok(v6),
            (Err(ResolveError::Cancelled), _) => Err(ResolveError::Cancelled),
            // The error of the A query says more than that of the AAAA query.
            (_, Err(err)) => Err(err),
            // There is no A; whether there is AAAA is unknown.
            (Err(err), Ok(_)) => Err(err),
            (Ok(_), Ok(_)) => Err(ResolveError::NoAddress(self.name.to_owned())),
        }
    }

    /// Returns the addresses of one type, following CNAMEs that lead out of a response.
    fn follow(&mut self, record_type: RecordType) -> Result<Addresses, ResolveError> {
        let name = || self.name.to_owned();
        let mut current = name();
        let mut ttl = u32::MAX;
        for _ in 0..MAX_ALIASES {
            let response = self.ask(&current, record_type)?;
            let name = || self.name.to_owned();
            match message::rcode(&response) {
                Rcode::NOERROR => {}
                Rcode::NXDOMAIN => return Err(ResolveError::NoAddress(name())),
                rcode => return Err(ResolveError::ErrorResponse(name(), record_type, rcode)),
            }
            let found = message::read_addresses(&response, &current, record_type)
                .ok_or_else(|| ResolveError::ErrorResponse(name(), record_type, Rcode::SERVFAIL))?;
            ttl = ttl.min(found.ttl);
            match found.alias {
                Some(alias) if found.addresses.is_empty() && message::is_valid_name(&alias) => current = alias,
                _ => return Ok(Addresses { ips: found.addresses, ttl }),
            }
        }
        Ok(Addresses { ips: Vec::new(), ttl: 0 })
    }

    /// Asks the nameservers in turn.
    fn ask(&mut self, current: &str, record_type: RecordType) -> Result<Vec<u8>, ResolveError> {
        let Resolver { nameservers, timeouts, exchange, .. } = self.resolver;
        if nameservers.len() == 0 {
            return Err(ResolveError::NoNameserver(self.name.to_owned()));
        }
        let question = (current, record_type);
        let candidates = nameservers.candidates(*timeouts, Transport::Udp);
        let response = nameservers.ask_in_turn(question, candidates, self.deadline, |address, timeout| {
            exchange(question, address, timeout, self.context)
        })?;
        response.ok_or_else(|| ResolveError::TimedOut(self.name.to_owned(), record_type))
    }
}

/// Returns the addresses of what needs no nameserver: an address itself, or this machine (RFC 6761, section 6.3).
fn without_lookup(host: &str) -> Option<Vec<IpAddr>> {
    let without_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = without_brackets.unwrap_or(host).parse() {
        return Some(vec![ip]);
    }
    let loopback = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    (canonical(host) == "localhost").then(loopback)
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::InvalidName(host) => write!(f, "{host:?} is not a host name"),
            ResolveError::NoAddress(host) => write!(f, "the nameservers know no address of {host:?}"),
            ResolveError::ErrorResponse(host, record_type, rcode) => {
                write!(f, "the nameservers answered {rcode} for {record_type} of {host:?}")
            }
            ResolveError::TimedOut(host, record_type) => {
                write!(f, "no nameserver answered for {record_type} of {host:?}")
            }
            ResolveError::NoNameserver(host) => write!(f, "no nameserver is there to ask for {host:?}"),
            ResolveError::Cancelled => f.write_str("the lookup was cancelled"),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Returns a name as names are compared: lower case, without the trailing dot.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Queries of one lookup that follow CNAMEs; longer chains are misconfigured, or loops.
const MAX_ALIASES: usize = 8;

#[cfg(test)]
mod tests;
