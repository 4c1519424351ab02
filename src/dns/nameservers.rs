//! The original nameservers: which one a query goes to next, for how long, and which of them responded of late.
//!
//! The forwarder, DNS over TCP and the resolver share one [`Nameservers`]. Each of their queries takes its
//! [`Candidates`] from it and reports what came of each attempt:
//!
//! ```text
//!   candidates ──▶ next ──▶ attempt ──┬─ settled: the response is the client's
//!                   ▲                 ├─ error response: kept, in case no nameserver settles the query ──┐
//!                   │                 └─ no response in time, or unreachable ───────────────────────────┤
//!                   └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A nameserver that does not respond becomes unresponsive: it is tried last, and the forwarder probes it now and
//! then with a query that another one answers, too. Its first response makes it responsive again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::dns::message::{self, RecordType};
use crate::net::context::Cancelled;
use crate::sync::lock;

/// The nameservers that queries are forwarded to, in the order of resolv.conf.
#[derive(Debug)]
pub struct Nameservers {
    addresses: Vec<SocketAddr>,
    /// By index in `addresses`. Read and written by every thread that asks a nameserver; never locked across I/O.
    health: Mutex<Vec<Health>>,
    question_hasher: RandomState,
}

/// What is known of one nameserver.
#[derive(Debug, Clone, Default)]
struct Health {
    /// `None` before its first response, and again from when it became unresponsive.
    last_response: Option<Instant>,
    /// Hash of the question that it left without a response since its last one.
    missed_question: Option<u64>,
    /// When it became unresponsive, or was probed last.
    unresponsive_since: Option<Instant>,
}

/// Whether a lost query is sent again by the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram may be lost, so a single nameserver is asked twice.
    Udp,
    /// The kernel retransmits.
    Tcp,
}

/// The nameservers to try for one query.
#[derive(Debug)]
pub struct Candidates {
    servers: Vec<usize>,
    /// How many of `servers` were tried or skipped.
    attempts: usize,
    timeouts: Timeouts,
}

/// One attempt of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the nameserver.
    pub server: usize,
    /// How long to wait for it before the next attempt.
    pub timeout: Duration,
}

/// Why one nameserver gave no usable response.
#[derive(Debug)]
pub enum ExchangeError {
    /// The context of the caller was cancelled.
    Cancelled,
    /// It did not respond in time, or is unreachable.
    NoResponse(io::Error),
    /// It responded by UDP, truncated, and did not respond by TCP.
    Truncated(io::Error),
    /// It did not respond by TCP, which some nameservers never do.
    NoTcp(io::Error),
}

impl From<Cancelled> for ExchangeError {
    fn from(_: Cancelled) -> ExchangeError {
        ExchangeError::Cancelled
    }
}

impl Nameservers {
    /// Takes all of `addresses` but `own`, those of runsd itself: it would forward queries to itself for ever.
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
            health: Mutex::new(vec![Health::default(); others.len()]),
            question_hasher: RandomState::default(),
            addresses: others,
        }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Returns the address of a nameserver by its index.
    pub fn address(&self, server: usize) -> SocketAddr {
        self.addresses[server]
    }

    /// Returns the nameservers to try for one query: as they are listed, the unresponsive ones last.
    pub fn candidates(&self, timeouts: Timeouts, transport: Transport) -> Candidates {
        let health = lock(&self.health);
        let mut servers: Vec<usize> = (0..health.len()).collect();
        // Stable. Under the lock, so that none changes its place meanwhile.
        servers.sort_by_key(|&server| health[server].unresponsive_since.is_some());
        if let ([only], Transport::Udp) = (&servers[..], transport) {
            servers.push(*only);
        }
        Candidates { servers, attempts: 0, timeouts }
    }

    /// Returns the unresponsive nameservers to probe beside the first of `candidates`: those that were left alone
    /// for [`Timeouts::probe_interval`]. Counts them as probed.
    pub fn take_due_probes(&self, candidates: &Candidates, now: Instant) -> Vec<usize> {
        let mut probes = Vec::new();
        for (server, health) in lock(&self.health).iter_mut().enumerate() {
            if let Some(since) = &mut health.unresponsive_since
                && now.saturating_duration_since(*since) >= candidates.timeouts.probe_interval
                && candidates.servers.first() != Some(&server)
            {
                *since = now;
                probes.push(server);
            }
        }
        probes
    }

    /// Tries `candidates` one after the other until one settles the query for `name`. Returns its response, else the
    /// first error response, else `None`. `exchange` makes one attempt.
    ///
    /// Blocks: until `deadline` at most.
    ///
    /// # Errors
    /// [`Cancelled`] where `exchange` was.
    pub fn ask_in_turn(
        &self,
        (name, record_type): (&str, RecordType),
        mut candidates: Candidates,
        deadline: Instant,
        mut exchange: impl FnMut(SocketAddr, Duration) -> Result<Vec<u8>, ExchangeError>,
    ) -> Result<Option<Vec<u8>>, Cancelled> {
        let mut error_response = None;
        loop {
            let sent_at = Instant::now();
            let Some(Attempt { server, timeout }) = candidates.next(deadline.saturating_duration_since(sent_at)) else {
                return Ok(error_response);
            };
            let address = self.addresses[server];
            match exchange(address, timeout) {
                Ok(response) => {
                    self.record_response(server, Instant::now());
                    if message::settles(&response) {
                        return Ok(Some(response));
                    }
                    candidates.skip(server);
                    error_response.get_or_insert(response);
                }
                Err(ExchangeError::Cancelled) => return Err(Cancelled),
                Err(ExchangeError::NoResponse(err)) => {
                    debug!("dns: {name}: {address}: {err}");
                    self.record_timeout(server, (name, record_type), sent_at, Instant::now());
                }
                Err(ExchangeError::Truncated(err)) => {
                    debug!("dns: {name}: {address} by TCP: {err}");
                    self.record_response(server, Instant::now());
                }
                Err(ExchangeError::NoTcp(err)) => debug!("dns: {name}: {address} by TCP: {err}"),
            }
        }
    }

    /// Records that a nameserver responded, with whatever code.
    pub fn record_response(&self, server: usize, now: Instant) {
        let mut health = lock(&self.health);
        let was_unresponsive = health[server].unresponsive_since.is_some();
        health[server] = Health { last_response: Some(now), ..Health::default() };
        drop(health);
        if was_unresponsive {
            debug!("dns: nameserver {} answers again", self.addresses[server]);
        }
    }

    /// Records that a nameserver cannot be asked.
    pub fn record_failure(&self, server: usize, err: &io::Error, now: Instant) {
        self.set_unresponsive(server, &format!(": {err}"), now);
    }

    /// Records that a nameserver did not respond in time to a question sent at `sent_at`.
    ///
    /// It becomes unresponsive, unless it responded to others since, or this is the first question that it missed
    /// since its last response: nameservers and firewalls are known that drop AAAA, or the names of one zone, and
    /// datagrams are lost.
    pub fn record_timeout(&self, server: usize, question: (&str, RecordType), sent_at: Instant, now: Instant) {
        let (name, record_type) = question;
        let hash = self.question_hasher.hash_one((name, record_type));
        let mut health = lock(&self.health);
        let missed = health[server].missed_question.replace(hash);
        let is_responsive = health[server]
            .last_response
            .is_some_and(|last| last >= sent_at || missed.is_none_or(|missed| missed == hash));
        drop(health);
        if is_responsive {
            // The log says it once for each sentence.
            warn!("dns: nameserver {} did not answer {record_type} of {name}", self.addresses[server]);
        } else {
            self.set_unresponsive(server, &format!(", last asked for {record_type} of {name}"), now);
        }
    }

    fn set_unresponsive(&self, server: usize, reason: &str, now: Instant) {
        let mut health = lock(&self.health);
        let was_unresponsive = health[server].unresponsive_since.is_some();
        health[server].last_response = None;
        health[server].unresponsive_since.get_or_insert(now);
        drop(health);
        if !was_unresponsive {
            warn!("dns: nameserver {} does not answer{reason}", self.addresses[server]);
        }
    }
}

impl Candidates {
    /// Returns the next attempt; `None` when all were made or no time is left.
    pub fn next(&mut self, time_left: Duration) -> Option<Attempt> {
        let server = *self.servers.get(self.attempts)?;
        let timeout = self.timeouts.for_attempt(self.attempts, self.servers.len()).min(time_left);
        if timeout.is_zero() {
            return None;
        }
        self.attempts += 1;
        Some(Attempt { server, timeout })
    }

    /// Returns the nameserver of the last attempt.
    pub fn current(&self) -> Option<usize> {
        self.servers.get(self.attempts.checked_sub(1)?).copied()
    }

    /// Skips attempts at a nameserver that sent an error response: it would send the same again.
    pub fn skip(&mut self, server: usize) {
        while self.servers.get(self.attempts) == Some(&server) {
            self.attempts += 1;
        }
    }
}

/// Whether `address` is one of runsd's `own` sockets.
pub fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    own.iter().any(|own| own.port() == address.port() && (own.ip() == address.ip() || address.ip().is_unspecified()))
}

/// How long to wait for the nameservers.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the first of several, before the next one is tried.
    pub first: Duration,
    /// For all of them.
    pub total: Duration,
    /// How long an unresponsive one is left alone before the forwarder probes it.
    pub probe_interval: Duration,
}

impl Timeouts {
    /// Returns those of a server whose clients wait `client_timeout` for it: nine tenths for all nameservers, so
    /// that a client still receives a failure, and never more than the default.
    pub fn within(client_timeout: Duration) -> Timeouts {
        let max = Timeouts::default();
        let total = max.total.min(client_timeout * 9 / 10);
        Timeouts { first: max.first.min(total * 4 / 9), total, ..max }
    }

    /// Returns the timeout of one of `count` attempts: a single one has all the time, else the others share what the
    /// first one leaves.
    fn for_attempt(&self, attempt: usize, count: usize) -> Duration {
        match (attempt, u32::try_from(count).unwrap_or(u32::MAX)) {
            (_, ..=1) => self.total,
            (0, _) => self.first,
            (_, count) => (self.total.saturating_sub(self.first) / (count - 1)).min(self.first),
        }
    }
}

impl Default for Timeouts {
    /// 4.5 s for all nameservers, because glibc and musl wait 5 s for runsd; of these 2 s for the first one. An
    /// unresponsive one is probed twice a minute, which costs one datagram.
    fn default() -> Timeouts {
        Timeouts {
            first: Duration::from_secs(2),
            total: Duration::from_millis(4500),
            probe_interval: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    impl Nameservers {
        /// Whether a nameserver is tried last.
        pub fn is_unresponsive(&self, server: usize) -> bool {
            lock(&self.health)[server].unresponsive_since.is_some()
        }
    }

    #[test]
    fn timeouts_leave_the_client_time_for_the_reply() {
        for (timeout, first, total) in
            [(1, 400, 900), (2, 800, 1800), (4, 1600, 3600), (5, 2000, 4500), (30, 2000, 4500)]
        {
            let timeouts = Timeouts::within(Duration::from_secs(timeout));
            let got = (timeouts.first.as_millis(), timeouts.total.as_millis());
            assert_eq!(got, (first, total), "timeout:{timeout}");
            assert_eq!(timeouts.for_attempt(0, 1), timeouts.total);
            for count in 2..=10 {
                let attempts = (0..count).map(|attempt| timeouts.for_attempt(attempt, count));
                let sum: Duration = attempts.sum();
                assert!(sum < Duration::from_secs(timeout), "{count} of timeout:{timeout}");
            }
        }
    }

    #[test]
    fn one_question_without_a_response_does_not_make_a_nameserver_unresponsive() {
        let loopback = [(Ipv4Addr::LOCALHOST, 53).into()];
        let second = Duration::from_secs(1);
        // "+" is a response; a letter a question without one, upper case if it was sent before the last response.
        for (steps, want) in [
            // It never responded: unresponsive at once.
            ("a", "u"),
            // It dropped one question, often.
            ("+a", "."),
            ("+aaa", "..."),
            // And another one.
            ("+ab", ".u"),
            ("+aab", "..u"),
            // But it responded in between.
            ("+a+b+a+b", "...."),
            // Once unresponsive it is as a new one.
            ("+ab+a", ".u."),
            ("+abb", ".uu"),
            // It responded to others meanwhile.
            ("+ABAB", "...."),
            ("+aB", ".."),
        ] {
            let nameservers = Nameservers::new(&loopback, &[]);
            let mut now = Instant::now();
            let mut got = String::new();
            let mut last_response = now;
            for step in steps.chars() {
                now += second;
                if step == '+' {
                    nameservers.record_response(0, now);
                    last_response = now;
                    continue;
                }
                let sent_at = if step.is_ascii_uppercase() { last_response } else { now };
                let name = step.to_ascii_lowercase().to_string();
                nameservers.record_timeout(0, (&name, RecordType::AAAA), sent_at, now);
                got.push(if nameservers.is_unresponsive(0) { 'u' } else { '.' });
            }
            assert_eq!(got, want, "{steps}");
        }
    }

    #[test]
    fn unresponsive_nameservers_are_last_and_probed_after_the_interval() {
        let addresses = [1, 2, 3].map(|last| SocketAddr::from(([192, 0, 2, last], 53)));
        let nameservers = Nameservers::new(&addresses, &[]);
        let (start, timeouts) = (Instant::now(), Timeouts::default());
        nameservers.record_failure(0, &io::ErrorKind::ConnectionRefused.into(), start);
        let mut candidates = nameservers.candidates(timeouts, Transport::Udp);
        assert!(nameservers.take_due_probes(&candidates, start).is_empty());
        let due = start + timeouts.probe_interval;
        assert_eq!(nameservers.take_due_probes(&candidates, due), [0]);
        assert!(nameservers.take_due_probes(&candidates, due).is_empty(), "probed a moment ago");
        let mut order = Vec::new();
        while let Some(attempt) = candidates.next(Duration::MAX) {
            order.push(attempt.server);
        }
        assert_eq!(order, [1, 2, 0]);
        nameservers.record_response(0, due);
        assert_eq!(nameservers.candidates(timeouts, Transport::Udp).servers, [0, 1, 2]);
    }

    #[test]
    fn a_single_nameserver_is_asked_twice_by_udp_unless_it_sent_an_error() {
        let nameservers = Nameservers::new(&[(Ipv4Addr::LOCALHOST, 53).into()], &[]);
        for (transport, sent_error, want) in
            [(Transport::Udp, false, 2), (Transport::Udp, true, 1), (Transport::Tcp, false, 1)]
        {
            let mut candidates = nameservers.candidates(Timeouts::default(), transport);
            let mut attempts = 0;
            while let Some(attempt) = candidates.next(Duration::MAX) {
                attempts += 1;
                assert_eq!(candidates.current(), Some(attempt.server));
                if sent_error {
                    candidates.skip(attempt.server);
                }
            }
            assert_eq!(attempts, want, "{transport:?}, error sent: {sent_error}");
        }
    }
}
