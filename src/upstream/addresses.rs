//! In which order the addresses of a host are tried: as RFC 8305 has it, but
//! IPv4 first, which every network of Cloud Run has, and those last that did
//! not answer of late.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The addresses that did not answer of late, of all hosts.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<SocketAddr, Instant>>);

impl Failures {
    /// Remembers that there was no connection to `address`.
    pub fn add(&self, address: SocketAddr, now: Instant) {
        let mut failures = self.lock();
        if failures.len() >= MAX_FAILURES {
            failures.retain(|_, at| is_recent(*at, now));
        }
        if failures.len() >= MAX_FAILURES {
            failures.clear();
        }
        failures.insert(address, now);
    }

    /// There is a connection to `address`.
    pub fn remove(&self, address: SocketAddr) {
        self.lock().remove(&address);
    }

    /// Whether `address` did not answer of late.
    pub fn contains(&self, address: SocketAddr, now: Instant) -> bool {
        let failures = self.lock();
        failures.get(&address).is_some_and(|at| is_recent(*at, now))
    }

    /// Puts these in the order to try them.
    pub fn sort(&self, addresses: &mut Vec<SocketAddr>, first_ipv6: bool, now: Instant) {
        let (mut v6, mut v4) = (Vec::new(), Vec::new());
        for address in addresses.drain(..) {
            match address.is_ipv6() {
                true => v6.push(address),
                false => v4.push(address),
            }
        }
        let (first, second) = match first_ipv6 {
            true => (v6, v4),
            false => (v4, v6),
        };
        let (mut first, mut second) = (first.into_iter(), second.into_iter());
        // RFC 8305, section 4: the families take turns.
        loop {
            let pair = (first.next(), second.next());
            if pair == (None, None) {
                break;
            }
            addresses.extend(pair.0.into_iter().chain(pair.1));
        }
        // Stable: all else stays in its order.
        addresses.sort_by_cached_key(|address| self.contains(*address, now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        lock(&self.0)
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < REMEMBERED
}

/// For how long an address is tried last. To find out that it does not answer
/// yet costs one request 250 ms then, because the next one is tried beside it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many addresses are remembered; a container has little memory.
const MAX_FAILURES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        format!("{text}:443").parse().unwrap()
    }

    #[test]
    fn the_order_of_addresses() {
        let failures = Failures::default();
        let now = Instant::now();
        failures.add(at("10.0.0.9"), now);
        failures.add(at("[::9]"), now);
        for (addresses, first_ipv6, want) in [
            (&["10.0.0.1", "10.0.0.2"][..], false, "10.0.0.1 10.0.0.2"),
            (&["10.0.0.1", "10.0.0.2", "[::1]", "[::2]", "[::3]"], false, "10.0.0.1 [::1] 10.0.0.2 [::2] [::3]"),
            (&["10.0.0.1", "10.0.0.2", "[::1]"], true, "[::1] 10.0.0.1 10.0.0.2"),
            (&["10.0.0.9", "10.0.0.1", "[::9]", "[::1]"], false, "10.0.0.1 [::1] 10.0.0.9 [::9]"),
            (&["10.0.0.9", "[::1]"], false, "[::1] 10.0.0.9"),
        ] {
            let mut got = addresses.iter().map(|text| at(text)).collect();
            failures.sort(&mut got, first_ipv6, now);
            let want: Vec<_> = want.split(' ').map(at).collect();
            assert_eq!(got, want, "{addresses:?}");
        }
    }

    #[test]
    fn failures_are_forgotten_after_a_minute_and_at_a_thousand() {
        let failures = Failures::default();
        let now = Instant::now();
        failures.add(at("10.0.0.1"), now);
        assert!(failures.contains(at("10.0.0.1"), now + REMEMBERED / 2));
        assert!(!failures.contains(at("10.0.0.1"), now + REMEMBERED));
        failures.remove(at("10.0.0.1"));
        assert!(!failures.contains(at("10.0.0.1"), now));
        for port in 1..=10_000 {
            failures.add(([10, 0, 0, 1], port).into(), now);
            assert!(failures.lock().len() <= MAX_FAILURES);
            assert!(failures.contains(([10, 0, 0, 1], port).into(), now));
        }
    }
}
