//! The address of an upstream host, for the proxy, through the nameservers of
//! the original resolv.conf: the system's own resolver would ask us.

mod exchange;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::debug;

use crate::dns::log_format;
use crate::dns::log_format::RecordType;
use crate::dns::message;
use crate::dns::message::{A, AAAA, NXDOMAIN, SERVFAIL};
use crate::dns::nameservers::{Nameservers, Patience};
use crate::dns::resolver::exchange::{NoAnswer, exchange};
use crate::net::context::{Background, Cancelled, Context};
use crate::sync::lock;

/// Addresses by name, kept for as long as their nameserver said.
#[derive(Debug)]
pub struct Resolver {
    nameservers: Arc<Nameservers>,
    patience: Patience,
    known: Mutex<HashMap<(String, Families), Arc<Slot>>>,
}

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Families {
    /// IPv4, or where there is none IPv6.
    Usual,
    V6,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// Not a name at all.
    NotAName(String),
    /// The nameservers say that there is none of this name, or no address for it.
    NxDomain(String),
    /// The nameservers answered a query for this name and type with this code.
    Refused(String, u16, u8),
    /// No nameserver answered a query for this name and type.
    TimedOut(String, u16),
    /// There is no nameserver to ask.
    NoNameserver(String),
    /// Its context was cancelled.
    Cancelled,
}

impl From<Cancelled> for ResolveError {
    fn from(_: Cancelled) -> ResolveError {
        ResolveError::Cancelled
    }
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    /// Notified at the end of each lookup.
    ended: Condvar,
}

/// Never locked while anything is asked of a nameserver.
#[derive(Debug, Default)]
struct State {
    /// One of the threads that want this name looks it up: a hundred
    /// connections to a new host make one lookup, and none of them waits for
    /// another host.
    is_busy: bool,
    /// The threads that wait for it.
    waiting: usize,
    /// Lookups that came to an end.
    lookups: u64,
    last: Option<Last>,
}

/// How the last lookup of a name ended, and until when that holds.
#[derive(Debug, Clone)]
struct Last {
    outcome: Result<Vec<IpAddr>, ResolveError>,
    /// By the wall clock: others stand still while the container has no CPU.
    asked: SystemTime,
    fresh_for: Duration,
}

impl Resolver {
    /// One that asks these, in this order.
    pub fn new(nameservers: Arc<Nameservers>) -> Resolver {
        Resolver::patient(nameservers, Patience::default())
    }

    fn patient(nameservers: Arc<Nameservers>, patience: Patience) -> Resolver {
        Resolver { nameservers, patience, known: Mutex::default() }
    }

    /// The addresses to try for `host`, in this order; blocks while asking.
    pub fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        self.resolve_in(host, port, &mut Background)
    }

    /// The same, until `context` is cancelled.
    pub fn resolve_in(
        &self,
        host: &str,
        port: u16,
        context: &mut dyn Context,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = match literal(host) {
            Some(addresses) => addresses,
            None => self.addresses(host, Families::Usual, SystemTime::now(), context)?,
        };
        Ok(addresses.into_iter().map(|ip| (ip, port).into()).collect())
    }

    /// IPv6 addresses of a `host` that does not answer by IPv4; empty if there
    /// are none, or `context` was cancelled.
    pub fn resolve_v6(&self, host: &str, port: u16, context: &mut dyn Context) -> Vec<SocketAddr> {
        let addresses = match literal(host) {
            Some(_) => Vec::new(),
            None => self.addresses(host, Families::V6, SystemTime::now(), context).unwrap_or_default(),
        };
        addresses.into_iter().map(|ip| (ip, port).into()).collect()
    }

    /// None of the addresses of `host` answered: they are asked for again, but
    /// no sooner than [`DOUBTED`] after the last time. Whether that is now.
    pub fn doubt(&self, host: &str) -> bool {
        self.doubt_at(host, SystemTime::now())
    }

    fn doubt_at(&self, host: &str, now: SystemTime) -> bool {
        let name = canonical(host);
        let slots = [Families::Usual, Families::V6].map(|kinds| {
            let known = lock(&self.known);
            known.get(&(name.clone(), kinds)).cloned()
        });
        let mut is_stale = false;
        for slot in slots.into_iter().flatten() {
            if let Some(last) = &mut lock(&slot.state).last {
                last.fresh_for = last.fresh_for.min(DOUBTED);
                is_stale |= !last.is_fresh(now);
            }
        }
        is_stale
    }

    fn addresses(
        &self,
        host: &str,
        kinds: Families,
        now: SystemTime,
        context: &mut dyn Context,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let name = canonical(host);
        if !message::can_be_asked(&name) {
            return Err(ResolveError::NotAName(host.to_owned()));
        }
        let slot = self.slot(&name, kinds);
        if let Some(outcome) = slot.wait(now, context)? {
            return outcome;
        }
        // From here on this thread looks the name up for all that wait.
        let mut end = EndOfLookup { slot: &slot, last: None };
        let mut lookup = Lookup { resolver: self, name: &name, begun: Instant::now(), context };
        let looked_up = match kinds {
            Families::Usual => lookup.usual(),
            Families::V6 => lookup.follow(AAAA),
        };
        let (outcome, ttl) = match looked_up {
            Ok((addresses, ttl)) => (Ok(addresses), ttl),
            // This says nothing about the name: the next thread looks it up.
            Err(ResolveError::Cancelled) => return Err(ResolveError::Cancelled),
            Err(err) => (Err(err), 0),
        };
        match &outcome {
            Ok(found) => debug!("dns: upstream {name}: {}", log_format::addresses(found)),
            Err(err) => debug!("dns: upstream {name}: {err}"),
        }
        end.last = Some(Last {
            outcome: outcome.clone(),
            asked: now,
            fresh_for: Duration::from_secs(ttl.min(LONGEST_TTL).into()),
        });
        outcome
    }

    fn slot(&self, name: &str, kinds: Families) -> Arc<Slot> {
        let mut known = lock(&self.known);
        let key = (name.to_owned(), kinds);
        if known.len() >= MOST_NAMES && !known.contains_key(&key) {
            // Threads that hold one now have it to the end; the rest is asked
            // again.
            known.clear();
        }
        Arc::clone(known.entry(key).or_default())
    }
}

impl Slot {
    /// What is known; or `None`, and then the caller has to look it up.
    ///
    /// Blocks: while another thread looks it up.
    fn wait(
        &self,
        now: SystemTime,
        context: &mut dyn Context,
    ) -> Result<Option<Result<Vec<IpAddr>, ResolveError>>, Cancelled> {
        let mut state = lock(&self.state);
        let before = state.lookups;
        loop {
            // A lookup that ended while we waited for it is as good as ours,
            // also if it failed: else each waiter would fail in turn.
            let is_new = state.lookups != before;
            if let Some(last) = &state.last
                && (is_new || last.is_fresh(now))
            {
                return Ok(Some(last.outcome.clone()));
            }
            if !state.is_busy {
                state.is_busy = true;
                return Ok(None);
            }
            state.waiting += 1;
            let waited = self.ended.wait_timeout(state, LOOK_AROUND);
            let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = held;
            state.waiting -= 1;
            if timeout.timed_out() {
                drop(state);
                context.wait(&mut Vec::new(), Duration::ZERO)?;
                state = lock(&self.state);
            }
        }
    }
}

impl Last {
    fn is_fresh(&self, now: SystemTime) -> bool {
        // A clock set back makes an error here: ask again then.
        let age = now.duration_since(self.asked);
        age.is_ok_and(|age| age < self.fresh_for)
    }
}

/// Lets others look up the name, however this lookup ends.
struct EndOfLookup<'a> {
    slot: &'a Slot,
    /// What it came to; without it another thread has to try.
    last: Option<Last>,
}

impl Drop for EndOfLookup<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        state.is_busy = false;
        if let Some(last) = self.last.take() {
            state.last = Some(last);
            state.lookups += 1;
        }
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.slot.ended.notify_all();
        }
    }
}

/// One lookup under way.
struct Lookup<'a> {
    resolver: &'a Resolver,
    name: &'a str,
    begun: Instant,
    context: &'a mut dyn Context,
}

impl Lookup<'_> {
    /// IPv6 only where there is no IPv4: the containers' networks have the
    /// latter for sure.
    fn usual(&mut self) -> Result<(Vec<IpAddr>, u32), ResolveError> {
        let first = self.follow(A);
        match &first {
            Ok((addresses, _)) if !addresses.is_empty() => return first,
            // No such name, of whatever type; or silence, which is no answer.
            Err(ResolveError::Refused(..)) | Ok(_) => {}
            Err(_) => return first,
        }
        match (self.follow(AAAA), first) {
            (Ok((addresses, ttl)), _) if !addresses.is_empty() => Ok((addresses, ttl)),
            (Err(ResolveError::Cancelled), _) => Err(ResolveError::Cancelled),
            // What A met says more.
            (_, Err(err)) => Err(err),
            // There is no A; whether there is AAAA is not known.
            (Err(err), Ok(_)) => Err(err),
            (Ok(_), Ok(_)) => Err(ResolveError::NxDomain(self.name.to_owned())),
        }
    }

    /// The addresses of one kind, along CNAMEs that lead out of an answer.
    fn follow(&mut self, kind: u16) -> Result<(Vec<IpAddr>, u32), ResolveError> {
        let name = || self.name.to_owned();
        let mut current = name();
        let mut ttl = u32::MAX;
        for _ in 0..MOST_ALIASES {
            let answer = self.ask(&current, kind)?;
            let name = || self.name.to_owned();
            match message::code(&answer) {
                0 => {}
                NXDOMAIN => return Err(ResolveError::NxDomain(name())),
                code => return Err(ResolveError::Refused(name(), kind, code)),
            }
            let found = message::addresses(&answer, &current, kind)
                .ok_or_else(|| ResolveError::Refused(name(), kind, SERVFAIL))?;
            ttl = ttl.min(found.ttl);
            match found.alias {
                Some(alias) if found.addresses.is_empty() && message::can_be_asked(&alias) => {
                    current = alias;
                }
                _ => return Ok((found.addresses, ttl)),
            }
        }
        Ok((Vec::new(), 0))
    }

    /// One question, to the nameservers in turn.
    fn ask(&mut self, current: &str, kind: u16) -> Result<Vec<u8>, ResolveError> {
        let Resolver { nameservers, patience, .. } = self.resolver;
        let mut order = nameservers.order();
        match order[..] {
            [] => return Err(ResolveError::NoNameserver(self.name.to_owned())),
            // A datagram may be lost.
            [only] => order.push(only),
            _ => {}
        }
        let mut refusal = None;
        for (turn, &(server, address)) in order.iter().enumerate() {
            let left = patience.all.saturating_sub(self.begun.elapsed());
            let limit = patience.for_turn(turn, order.len()).min(left);
            // The only nameserver has refused: it need not be asked again.
            let is_done = refusal.is_some() && turn > 0 && order[turn - 1].0 == server;
            if limit.is_zero() || is_done {
                break;
            }
            match exchange((current, kind), address, limit, self.context) {
                Ok(answer) => {
                    nameservers.note(server, false);
                    match message::code(&answer) {
                        0 | NXDOMAIN => return Ok(answer),
                        _ if refusal.is_none() => refusal = Some(answer),
                        _ => {}
                    }
                }
                Err(NoAnswer::Cancelled) => return Err(ResolveError::Cancelled),
                Err(NoAnswer::Cut(err)) => {
                    debug!("dns: upstream {current}: {address} by TCP: {err}");
                    nameservers.note(server, false);
                }
                Err(NoAnswer::Silent(err)) => {
                    debug!("dns: upstream {current}: {address}: {err}");
                    nameservers.note_silence(server, current, kind, false);
                }
            }
        }
        refusal.ok_or_else(|| ResolveError::TimedOut(self.name.to_owned(), kind))
    }
}

/// What needs no nameserver: addresses themselves, and this machine.
fn literal(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse() {
        return Some(vec![ip]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    // RFC 6761, section 6.3.
    name.eq_ignore_ascii_case("localhost").then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::NotAName(host) => write!(f, "{host:?} is not a host name"),
            ResolveError::NxDomain(host) => {
                write!(f, "the nameservers know no address of {host:?}")
            }
            ResolveError::Refused(host, kind, code) => {
                let code: &dyn fmt::Display = match code {
                    1 => &"FORMERR",
                    2 => &"SERVFAIL",
                    4 => &"NOTIMP",
                    5 => &"REFUSED",
                    code => code,
                };
                let kind = RecordType(*kind);
                write!(f, "the nameservers answered {code} for {kind} of {host:?}")
            }
            ResolveError::TimedOut(host, kind) => {
                let kind = RecordType(*kind);
                write!(f, "no nameserver answered for {kind} of {host:?}")
            }
            ResolveError::NoNameserver(host) => {
                write!(f, "no nameserver is there to ask for {host:?}")
            }
            ResolveError::Cancelled => f.write_str("the lookup was cancelled"),
        }
    }
}

impl std::error::Error for ResolveError {}

/// As names are compared: lower case, without the final dot.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// So many names are remembered.
const MOST_NAMES: usize = 1000;

/// How many answers to follow from name to name.
const MOST_ALIASES: usize = 8;

/// No address is believed for longer, in seconds.
const LONGEST_TTL: u32 = 3600;

/// How long an answer is kept at least, though none of its addresses answers:
/// else each failing request would ask the nameservers.
const DOUBTED: Duration = Duration::from_secs(1);

/// How often a thread that waits for the lookup of another looks whether its
/// own context is cancelled.
const LOOK_AROUND: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
