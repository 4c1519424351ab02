//! The order in which the addresses of a host are tried: that of RFC 8305 section 4, but IPv4 first, which every
//! network of Cloud Run has, and addresses that failed recently last.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The addresses of all hosts to which connecting failed recently, with the time of the failure. Written and read by
/// the threads that dial.
#[derive(Default)]
pub struct RecentFailures(Mutex<HashMap<SocketAddr, Instant>>);

impl RecentFailures {
    /// Remembers that connecting to `address` failed.
    pub fn add(&self, address: SocketAddr, now: Instant) {
        let mut failures = lock(&self.0);
        if failures.len() >= MAX_FAILURES {
            failures.retain(|_, at| is_recent(*at, now));
        }
        if failures.len() >= MAX_FAILURES {
            failures.clear();
        }
        failures.insert(address, now);
    }

    /// Forgets the failure of `address`, which is connected.
    pub fn remove(&self, address: SocketAddr) {
        lock(&self.0).remove(&address);
    }

    /// Whether connecting to `address` failed within the last minute.
    pub fn contains(&self, address: SocketAddr, now: Instant) -> bool {
        lock(&self.0).get(&address).is_some_and(|at| is_recent(*at, now))
    }

    /// Sorts `addresses` into the order in which they are tried.
    pub fn sort(&self, addresses: &mut Vec<SocketAddr>, ipv6_first: bool, now: Instant) {
        let (first, second): (Vec<_>, Vec<_>) =
            addresses.drain(..).partition(|address| address.is_ipv6() == ipv6_first);
        let (mut first, mut second) = (first.into_iter(), second.into_iter());
        // RFC 8305 section 4: the families alternate.
        while first.len() + second.len() > 0 {
            addresses.extend(first.next().into_iter().chain(second.next()));
        }
        // Stable: within both groups the order stays.
        addresses.sort_by_cached_key(|address| self.contains(*address, now));
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < FAILURE_LIFETIME
}

/// For how long an address that failed is tried last. When it fails again after that, the request waits 250 ms until
/// the next address is tried beside it.
const FAILURE_LIFETIME: Duration = Duration::from_secs(60);

/// How many addresses are remembered. A client of `http_proxy` can name any number of hosts.
const MAX_FAILURES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        format!("{text}:443").parse().unwrap()
    }

    #[test]
    fn families_alternate_and_failed_addresses_come_last() {
        let failures = RecentFailures::default();
        let now = Instant::now();
        failures.add(at("10.0.0.9"), now);
        failures.add(at("[::9]"), now);
        for (addresses, ipv6_first, want) in [
            (&["10.0.0.1", "10.0.0.2"][..], false, "10.0.0.1 10.0.0.2"),
            (&["10.0.0.1", "10.0.0.2", "[::1]", "[::2]", "[::3]"], false, "10.0.0.1 [::1] 10.0.0.2 [::2] [::3]"),
            (&["10.0.0.1", "10.0.0.2", "[::1]"], true, "[::1] 10.0.0.1 10.0.0.2"),
            (&["10.0.0.9", "10.0.0.1", "[::9]", "[::1]"], false, "10.0.0.1 [::1] 10.0.0.9 [::9]"),
            (&["10.0.0.9", "[::1]"], false, "[::1] 10.0.0.9"),
        ] {
            let mut got = addresses.iter().map(|text| at(text)).collect();
            failures.sort(&mut got, ipv6_first, now);
            let want: Vec<_> = want.split(' ').map(at).collect();
            assert_eq!(got, want, "{addresses:?}");
        }
    }

    #[test]
    fn failures_are_forgotten_after_a_minute_and_at_a_thousand() {
        let failures = RecentFailures::default();
        let now = Instant::now();
        failures.add(at("10.0.0.1"), now);
        assert!(failures.contains(at("10.0.0.1"), now + FAILURE_LIFETIME / 2));
        assert!(!failures.contains(at("10.0.0.1"), now + FAILURE_LIFETIME));
        failures.remove(at("10.0.0.1"));
        assert!(!failures.contains(at("10.0.0.1"), now));
        for port in 1..=10_000 {
            failures.add(([10, 0, 0, 1], port).into(), now);
            assert!(lock(&failures.0).len() <= MAX_FAILURES);
            assert!(failures.contains(([10, 0, 0, 1], port).into(), now));
        }
    }
}
