//! The address of an upstream host, for the proxy, through the nameservers of
//! the original resolv.conf: the system's own resolver would ask us.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::debug;

use super::message::{self, A, AAAA, NXDOMAIN, Read, SERVFAIL};
use super::nameservers::{self, Nameservers, Patience, Random};
use super::{stream, words};

/// Addresses by name, kept for as long as their nameserver said.
#[derive(Debug)]
pub struct Resolver {
    nameservers: Arc<Nameservers>,
    patience: Patience,
    known: Mutex<HashMap<(String, Kinds), Arc<Slot>>>,
}

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kinds {
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
    NoSuchName(String),
    /// A nameserver answered with this code.
    Refused(String, u8),
    /// No nameserver answered.
    TimedOut(String),
    /// There is no nameserver to ask.
    NoNameserver(String),
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Slot {
    /// Lookups that came to an end.
    lookups: AtomicU64,
    /// Held during a lookup: a hundred connections to a new host make one,
    /// and none of them waits for another host.
    last: Mutex<Option<Last>>,
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
        Resolver {
            nameservers,
            patience,
            known: Mutex::default(),
        }
    }

    /// The addresses to try for `host`, in this order; blocks while asking.
    pub fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = match literal(host) {
            Some(addresses) => addresses,
            None => self.addresses(host, Kinds::Usual, SystemTime::now())?,
        };
        Ok(addresses.into_iter().map(|ip| (ip, port).into()).collect())
    }

    /// IPv6 addresses of a `host` that refuses connections by IPv4; empty if
    /// there are none.
    pub fn resolve_v6(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        let addresses = match literal(host) {
            Some(_) => Vec::new(),
            None => self
                .addresses(host, Kinds::V6, SystemTime::now())
                .unwrap_or_default(),
        };
        addresses.into_iter().map(|ip| (ip, port).into()).collect()
    }

    fn addresses(
        &self,
        host: &str,
        kinds: Kinds,
        now: SystemTime,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if !message::can_be_asked(&name) {
            return Err(ResolveError::NotAName(host.to_owned()));
        }
        let (slot, before) = self.slot(&name, kinds);
        let mut last = lock(&slot.last);
        if let Some(last) = &*last {
            // A lookup that ended while we waited for it is as good as ours,
            // also if it failed: else each waiter would fail in turn.
            let is_new = slot.lookups.load(Ordering::Acquire) != before;
            // A clock set back makes an error here: ask again then.
            let age = now.duration_since(last.asked);
            if is_new || age.is_ok_and(|age| age < last.fresh_for) {
                return last.outcome.clone();
            }
        }
        let looked_up = match kinds {
            Kinds::Usual => self.look_up(&name),
            Kinds::V6 => self.follow(&name, AAAA, Instant::now()),
        };
        let (outcome, ttl) = match looked_up {
            Ok((addresses, ttl)) => (Ok(addresses), ttl),
            Err(err) => (Err(err), 0),
        };
        match &outcome {
            Ok(found) => debug!("dns: upstream {name}: {}", words::addresses(found)),
            Err(err) => debug!("dns: upstream {name}: {err}"),
        }
        *last = Some(Last {
            outcome: outcome.clone(),
            asked: now,
            fresh_for: Duration::from_secs(ttl.min(LONGEST_TTL).into()),
        });
        slot.lookups.fetch_add(1, Ordering::Release);
        outcome
    }

    /// The slot of a name, and how many lookups it has seen.
    fn slot(&self, name: &str, kinds: Kinds) -> (Arc<Slot>, u64) {
        let mut known = lock(&self.known);
        let key = (name.to_owned(), kinds);
        if known.len() >= MOST_NAMES && !known.contains_key(&key) {
            // Who holds one now has it to the end; the rest is asked again.
            known.clear();
        }
        let slot = Arc::clone(known.entry(key).or_default());
        let lookups = slot.lookups.load(Ordering::Acquire);
        (slot, lookups)
    }

    /// IPv6 only where there is no IPv4: the containers' networks have the
    /// latter for sure.
    fn look_up(&self, name: &str) -> Result<(Vec<IpAddr>, u32), ResolveError> {
        let begun = Instant::now();
        let first = self.follow(name, A, begun);
        match &first {
            Ok((addresses, _)) if !addresses.is_empty() => return first,
            // No such name, of whatever type; or silence, which is no answer.
            Err(ResolveError::Refused(..)) | Ok(_) => {}
            Err(_) => return first,
        }
        match self.follow(name, AAAA, begun) {
            Ok((addresses, ttl)) if !addresses.is_empty() => Ok((addresses, ttl)),
            // What A met says more.
            _ => match first {
                Err(err) => Err(err),
                Ok(_) => Err(ResolveError::NoSuchName(name.to_owned())),
            },
        }
    }

    /// The addresses of one kind, along CNAMEs that lead out of an answer.
    fn follow(
        &self,
        name: &str,
        kind: u16,
        begun: Instant,
    ) -> Result<(Vec<IpAddr>, u32), ResolveError> {
        let mut current = name.to_owned();
        let mut ttl = u32::MAX;
        for _ in 0..MOST_ALIASES {
            let answer = self.ask(name, &current, kind, begun)?;
            match message::code(&answer) {
                0 => {}
                NXDOMAIN => return Err(ResolveError::NoSuchName(name.to_owned())),
                code => return Err(ResolveError::Refused(name.to_owned(), code)),
            }
            let found = message::addresses(&answer, &current, kind)
                .ok_or_else(|| ResolveError::Refused(name.to_owned(), SERVFAIL))?;
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

    /// One question, to the nameservers in turn; `name` is for errors.
    fn ask(
        &self,
        name: &str,
        current: &str,
        kind: u16,
        begun: Instant,
    ) -> Result<Vec<u8>, ResolveError> {
        let mut order = self.nameservers.order();
        match order[..] {
            [] => return Err(ResolveError::NoNameserver(name.to_owned())),
            // A datagram may be lost.
            [only] => order.push(only),
            _ => {}
        }
        let mut refusal = None;
        for (turn, &(server, address)) in order.iter().enumerate() {
            let left = self.patience.all.saturating_sub(begun.elapsed());
            let wait = self.patience.for_turn(turn, order.len()).min(left);
            // The only nameserver has refused: it need not be asked again.
            let is_done = refusal.is_some() && turn > 0 && order[turn - 1].0 == server;
            if wait.is_zero() || is_done {
                break;
            }
            match exchange(current, kind, address, wait) {
                Ok(answer) => {
                    self.nameservers.note(server, false);
                    match message::code(&answer) {
                        0 | NXDOMAIN => return Ok(answer),
                        _ if refusal.is_none() => refusal = Some(answer),
                        _ => {}
                    }
                }
                Err(err) => {
                    debug!("dns: upstream {current}: {address}: {err}");
                    self.nameservers.note(server, true);
                }
            }
        }
        refusal.ok_or_else(|| ResolveError::TimedOut(name.to_owned()))
    }
}

/// One question to one nameserver: by UDP, or by TCP if the answer is cut.
fn exchange(name: &str, kind: u16, address: SocketAddr, wait: Duration) -> io::Result<Vec<u8>> {
    let id = Random::default().id();
    let wire = message::question(id, name, kind);
    let Read::Query(query) = message::read(&wire) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let deadline = Instant::now() + wait;
    let socket = nameservers::connect(address)?;
    socket.send(&wire)?;
    // The question has no EDNS: a nameserver says no more than 512 octets.
    // More is taken nevertheless.
    let mut room = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let len = match socket.recv(&mut room) {
            Ok(len) => len,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        let answer = &room[..len];
        if !message::answers(answer, id, &wire, query.end) {
            continue;
        }
        if !message::is_truncated(answer) {
            return Ok(answer.to_vec());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // What was cut is better than nothing, where TCP is not to be had.
        return Ok(stream::exchange(&query, address, left).unwrap_or_else(|_| answer.to_vec()));
    }
}

/// What needs no nameserver: addresses themselves, and this machine.
fn literal(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse() {
        return Some(vec![ip]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    // RFC 6761, section 6.3.
    name.eq_ignore_ascii_case("localhost")
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::NotAName(host) => write!(f, "{host:?} is not a host name"),
            ResolveError::NoSuchName(host) => {
                write!(f, "the nameservers know no address of {host:?}")
            }
            ResolveError::Refused(host, code) => {
                let code: &dyn fmt::Display = match code {
                    1 => &"FORMERR",
                    2 => &"SERVFAIL",
                    4 => &"NOTIMP",
                    5 => &"REFUSED",
                    code => code,
                };
                write!(f, "the nameservers answered {code} for {host:?}")
            }
            ResolveError::TimedOut(host) => write!(f, "no nameserver answered for {host:?}"),
            ResolveError::NoNameserver(host) => {
                write!(f, "no nameserver is there to ask for {host:?}")
            }
        }
    }
}

impl std::error::Error for ResolveError {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many names are remembered.
const MOST_NAMES: usize = 1000;

/// How many answers to follow from name to name.
const MOST_ALIASES: usize = 8;

/// No address is believed for longer, in seconds.
const LONGEST_TTL: u32 = 3600;

#[cfg(test)]
mod tests;
