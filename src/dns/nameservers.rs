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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{debug, warn};

/// What is known of the nameservers, by everyone who asks them.
#[derive(Debug)]
pub struct Nameservers {
    addresses: Vec<SocketAddr>,
    silent: Vec<AtomicBool>,
}

impl Nameservers {
    /// All of `addresses` but our own: to ask those would be a ring.
    pub fn new(addresses: &[SocketAddr], own: &[SocketAddr]) -> Nameservers {
        let mut others = Vec::new();
        for address in addresses {
            let is_own = own.iter().any(|own| {
                own.port() == address.port()
                    && (own.ip() == address.ip() || address.ip().is_unspecified())
            });
            if is_own {
                warn!("dns: nameserver {address} is runsd itself; it is not asked");
            } else if !others.contains(address) {
                others.push(*address);
            }
        }
        Nameservers {
            silent: others.iter().map(|_| AtomicBool::new(false)).collect(),
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
        let before = self.silent[server].swap(silent, Ordering::Relaxed);
        if before != silent {
            let address = self.addresses[server];
            if silent {
                warn!("dns: nameserver {address} does not answer");
            } else {
                debug!("dns: nameserver {address} answers again");
            }
        }
        before != silent
    }

    /// Whether it did not answer of late.
    pub fn is_silent(&self, server: usize) -> bool {
        self.silent[server].load(Ordering::Relaxed)
    }
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
        Patience {
            first: most.first.min(all * 4 / 9),
            all,
            ..most
        }
    }

    /// For the `turn`th of `count` turns: after the first the rest is shared.
    pub fn for_turn(&self, turn: usize, count: usize) -> Duration {
        if turn == 0 {
            return self.first;
        }
        let others = u32::try_from(count).unwrap_or(u32::MAX).max(2) - 1;
        (self.all.saturating_sub(self.first) / others).min(self.first)
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            first: Duration::from_secs(2),
            all: Duration::from_millis(4500),
            silent: Duration::from_secs(30),
        }
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
        for (timeout, first, all) in [
            (1, 400, 900),
            (2, 800, 1800),
            (4, 1600, 3600),
            (5, 2000, 4500),
            (30, 2000, 4500),
        ] {
            let patience = Patience::within(Duration::from_secs(timeout));
            let got = (patience.first.as_millis(), patience.all.as_millis());
            assert_eq!(got, (first, all), "timeout:{timeout}");
            for count in 2..=10 {
                let turns = (0..count).map(|turn| patience.for_turn(turn, count));
                let sum: Duration = turns.sum();
                assert!(
                    sum < Duration::from_secs(timeout),
                    "{count} of timeout:{timeout}"
                );
            }
        }
    }
}
