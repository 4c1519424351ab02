//! TCP connections to a host by its name: the host's addresses are looked up and raced.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use log::debug;

use crate::dns::resolver::Resolver;
use crate::net::conn_limit::ConnLimiter;
use crate::net::context::{Background, Context};
use crate::upstream::dial_error::{DialError, DialErrorKind};
use crate::upstream::race::{ATTEMPT_DELAY, Race, RaceState};

/// Connects, and remembers which addresses failed. All threads share it.
pub struct Dialer {
    resolver: Arc<Resolver>,
    /// Connects every host to this address, without a lookup (for tests).
    fixed_address: Option<SocketAddr>,
    shared: RaceState,
}

impl Dialer {
    /// Asks no nameserver; [`Dialer::connect`] does.
    pub fn new(
        resolver: Arc<Resolver>,
        limiter: Arc<ConnLimiter>,
        own_port: u16,
        fixed_address: Option<SocketAddr>,
    ) -> Dialer {
        Dialer { resolver, fixed_address, shared: RaceState::new(limiter, own_port) }
    }

    /// Connects to `host`.
    ///
    /// Blocks: until an address answers, all have failed, or `context` is cancelled; for 75 s at most beside
    /// the lookups.
    ///
    /// # Errors
    /// What failed: the lookup, or the first attempt, preferably one over IPv4.
    pub fn connect(&self, host: &str, port: u16, context: &mut dyn Context) -> Result<TcpStream, DialError> {
        if let Some(address) = self.fixed_address {
            let mut race = Race::new(&self.shared, host, context);
            race.add(vec![address]);
            return race.finish();
        }
        let addresses = self.resolver.resolve(host, port, context)?;
        let err = match self.connect_any(host, port, addresses.clone(), context) {
            // After a timeout no time is left for another race; the next request looks the host up anew.
            Err(err)
                if !matches!(err.kind, DialErrorKind::Cancelled | DialErrorKind::ConnectionTimeout)
                    && self.resolver.expire_early(host) =>
            {
                err
            }
            done => return done,
        };
        let renewed = self.resolver.resolve(host, port, context)?;
        if renewed.iter().all(|address| addresses.contains(address)) {
            return Err(err);
        }
        debug!("upstream: {host}: none of its addresses answered; it has {renewed:?} now");
        self.connect_any(host, port, renewed, context)
    }

    /// Races `addresses`. IPv6 addresses are looked up where `addresses` has none and IPv4 did not answer at once, so
    /// that a good IPv4 address costs no second lookup.
    fn connect_any(
        &self,
        host: &str,
        port: u16,
        addresses: Vec<SocketAddr>,
        context: &mut dyn Context,
    ) -> Result<TcpStream, DialError> {
        let now = Instant::now();
        let needs_ipv6_lookup = addresses.iter().all(SocketAddr::is_ipv4);
        let all_failed_recently = addresses.iter().all(|address| self.shared.failures.contains(*address, now));
        let mut race = Race::new(&self.shared, host, context);
        race.add(addresses);
        if needs_ipv6_lookup {
            match all_failed_recently {
                // The lookup comes first; its addresses are tried first, if they arrive soon.
                true => race.next_attempt_at = now + ATTEMPT_DELAY,
                false => race.run(Some(now + ATTEMPT_DELAY))?,
            }
            if race.winner.is_none() {
                let ipv6 = self.resolver.resolve_v6(host, port, &mut race);
                if all_failed_recently {
                    race.next_attempt_at = Instant::now();
                }
                race.add(ipv6);
            }
        }
        race.finish()
    }

    /// Returns the addresses that [`Dialer::connect`] would try first, in order.
    ///
    /// # Errors
    /// The lookup failed, or all addresses are those of runsd's own listeners.
    pub fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        if let Some(address) = self.fixed_address {
            return Ok(vec![address]);
        }
        let mut addresses = self.resolver.resolve(host, port, &mut Background)?;
        match self.shared.remove_own(&mut addresses) {
            Some(own) if addresses.is_empty() => Err(DialError::own_listener(host, own)),
            _ => Ok(addresses),
        }
    }
}

#[cfg(test)]
mod tests;
