//! The original nameservers, as everyone sees them who asks them: their order,
//! how long to wait for them, and what nobody must be able to guess.
//!
//! Ids come out of SipHash under a key the kernel made: a keyed pseudo-random
//! function, of which only the nameservers themselves see outputs. Ports are
//! the kernel's choice: each batch of queries (one query, unless they come
//! faster than they are read) leaves by one of a few sockets picked at random,
//! each replaced after two seconds or 256 queries. Several open ports do not
//! help who guesses blindly: an answer is taken only on the port its query
//! left by.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use log::{debug, warn};

use crate::dns::log_format::RecordType;

/// What is known of the nameservers, by everyone who asks them.
#[derive(Debug)]
pub struct Nameservers {
    addresses: Vec<SocketAddr>,
    seen: Vec<Seen>,
    /// For the hashes of questions.
    questions: RandomState,
}

/// What everyone who asks a nameserver has seen of it. Written and read by all
/// of their threads; no more depends on it than the order of asking.
#[derive(Debug, Default)]
struct Seen {
    silent: AtomicBool,
    /// Whether it has answered since it was silent, or at all.
    heard: AtomicBool,
    /// The hash of the question it left without an answer since, or 0.
    missed: AtomicU64,
}

impl Nameservers {
    /// All of `addresses` but our own: to ask those would be a ring.
    pub fn new(addresses: &[SocketAddr], own: &[SocketAddr]) -> Nameservers {
        let mut others = Vec::new();
        for address in addresses {
            if is_own(*address, own) {
                warn!("dns: nameserver {address} is runsd itself; it is not asked");
            } else if !others.contains(address) {
                others.push(*address);
            }
        }
        Nameservers {
            seen: others.iter().map(|_| Seen::default()).collect(),
            questions: RandomState::default(),
            addresses: others,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Where one of them is.
    pub fn address(&self, server: usize) -> SocketAddr {
        self.addresses[server]
    }

    /// In the order to ask them: as they are listed, the silent ones last.
    pub fn order(&self) -> Vec<(usize, SocketAddr)> {
        let mut order: Vec<_> = self.addresses.iter().copied().enumerate().collect();
        // Cached: others note silence meanwhile, and none may be lost by that.
        order.sort_by_cached_key(|&(server, _)| self.is_silent(server));
        order
    }

    /// Notes that a nameserver answered, or did not; true when that is news.
    pub fn note(&self, server: usize, silent: bool) -> bool {
        if !silent {
            self.seen[server].missed.store(0, Ordering::Relaxed);
        }
        self.set(server, silent, "")
    }

    /// Notes that a nameserver cannot be asked, for this reason.
    pub fn note_failure(&self, server: usize, err: &io::Error) {
        self.set(server, true, &format!(": {err}"));
    }

    /// Notes that a nameserver did not answer a question in time; true when it
    /// counts as silent by that.
    ///
    /// One that `answers_others` drops this question, or a datagram was lost:
    /// nameservers and firewalls are known that drop AAAA, or one zone's names.
    /// So is one taken for that has answered before, until another question
    /// has no answer either.
    pub fn note_silence(&self, server: usize, name: &str, kind: u16, answers_others: bool) -> bool {
        let seen = &self.seen[server];
        // Zero is for none.
        let question = self.questions.hash_one((name, kind)) | 1;
        let missed = seen.missed.swap(question, Ordering::Relaxed);
        let is_alone = seen.heard.load(Ordering::Relaxed) && [0, question].contains(&missed);
        if !answers_others && !is_alone {
            let last = format!(", last asked for {} of {name}", RecordType(kind));
            self.set(server, true, &last);
            return true;
        }
        // The log says it once.
        let kind = RecordType(kind);
        warn!("dns: nameserver {} did not answer {kind} of {name}", self.addresses[server]);
        false
    }

    fn set(&self, server: usize, silent: bool, more: &str) -> bool {
        let seen = &self.seen[server];
        seen.heard.store(!silent, Ordering::Relaxed);
        let before = seen.silent.swap(silent, Ordering::Relaxed);
        if before != silent {
            let address = self.addresses[server];
            if silent {
                warn!("dns: nameserver {address} does not answer{more}");
            } else {
                debug!("dns: nameserver {address} answers again");
            }
        }
        before != silent
    }

    /// Whether it did not answer of late.
    pub fn is_silent(&self, server: usize) -> bool {
        self.seen[server].silent.load(Ordering::Relaxed)
    }
}

/// Whether one of our `own` sockets is at this address.
pub fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    own.iter().any(|own| own.port() == address.port() && (own.ip() == address.ip() || address.ip().is_unspecified()))
}

/// How long to wait for the nameservers.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the first of them, before the next one is asked.
    pub first: Duration,
    /// For all of them. A resolver gives us 5 s by default.
    pub all: Duration,
    /// How long a silent one is left alone, before it is asked again beside
    /// another.
    pub silent: Duration,
}

impl Patience {
    /// What a resolver that waits so long for us leaves: two seconds for the
    /// first nameserver, and never more than it has itself.
    pub fn within(timeout: Duration) -> Patience {
        let most = Patience::default();
        let all = most.all.min(timeout * 9 / 10);
        Patience { first: most.first.min(all * 4 / 9), all, ..most }
    }

    /// For the `turn`th of `count` turns: after the first the rest is shared,
    /// and a single one has it all.
    pub fn for_turn(&self, turn: usize, count: usize) -> Duration {
        match (turn, count) {
            (_, ..=1) => return self.all,
            (0, _) => return self.first,
            _ => {}
        }
        let others = u32::try_from(count).unwrap_or(u32::MAX).max(2) - 1;
        (self.all.saturating_sub(self.first) / others).min(self.first)
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { first: Duration::from_secs(2), all: Duration::from_millis(4500), silent: Duration::from_secs(30) }
    }
}

/// Numbers that nobody can guess.
#[derive(Default)]
pub struct Random {
    key: RandomState,
    count: u64,
}

impl Random {
    /// Any 16 bits.
    pub fn id(&mut self) -> u16 {
        let [.., high, low] = self.next().to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.id()) % limit
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.key.hash_one(self.count)
    }
}

/// A socket on a port of the kernel's choice that hears `server` only.
pub fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_while_the_resolver_still_waits() {
        for (timeout, first, all) in [(1, 400, 900), (2, 800, 1800), (4, 1600, 3600), (5, 2000, 4500), (30, 2000, 4500)]
        {
            let patience = Patience::within(Duration::from_secs(timeout));
            let got = (patience.first.as_millis(), patience.all.as_millis());
            assert_eq!(got, (first, all), "timeout:{timeout}");
            assert_eq!(patience.for_turn(0, 1), patience.all);
            for count in 2..=10 {
                let turns = (0..count).map(|turn| patience.for_turn(turn, count));
                let sum: Duration = turns.sum();
                assert!(sum < Duration::from_secs(timeout), "{count} of timeout:{timeout}");
            }
        }
    }

    #[test]
    fn one_question_without_an_answer_is_not_silence() {
        let here = [(Ipv4Addr::LOCALHOST, 53).into()];
        for (steps, want) in [
            // Never heard of: silent at once.
            ("a", "s"),
            // It dropped one, often.
            ("+a", "."),
            ("+aaa", "..."),
            // And another one.
            ("+ab", ".s"),
            ("+aab", "..s"),
            // But it was heard in between.
            ("+a+b+a+b", "...."),
            // After silence it is as a new one.
            ("+ab+a", ".s."),
            ("+abb", ".ss"),
            // It answered others meanwhile.
            ("ABAB", "...."),
            ("+aB", ".."),
        ] {
            let nameservers = Nameservers::new(&here, &[]);
            let mut got = String::new();
            for step in steps.chars() {
                if step == '+' {
                    nameservers.note(0, false);
                    continue;
                }
                let name = step.to_ascii_lowercase().to_string();
                let silent = nameservers.note_silence(0, &name, 28, step.is_ascii_uppercase());
                got.push(if silent { 's' } else { '.' });
            }
            assert_eq!(got, want, "{steps}");
            assert_eq!(nameservers.is_silent(0), want.ends_with('s'), "{steps}");
        }
    }
}
