//! Connection attempts to several addresses of one host; the first that succeeds wins (Happy Eyeballs, RFC 8305
//! section 5).
//!
//! All of them are made by the thread that needs the connection, with non-blocking connects and one poll.
//!
//! ```text
//! untried --start_due--> attempts --connected--> winner
//!                           |  ^ the next one starts 250 ms after the last, or when one fails
//!                           +--error, timeout--> first_error, RaceState::failures
//! ```

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::net::conn_limit::ConnLimiter;
use crate::net::context::{Cancelled, Context};
use crate::sync::Counted;
use crate::sys::net::PollFd;
use crate::sys::tcp;
use crate::upstream::addresses::RecentFailures;
use crate::upstream::dial_error::{DialError, DialErrorKind};

/// The attempts to connect to one host.
pub struct Race<'a> {
    shared: &'a RaceState,
    host: &'a str,
    context: &'a mut dyn Context,
    untried: VecDeque<SocketAddr>,
    /// In progress, the oldest first.
    attempts: Vec<Attempt<'a>>,
    /// When the next attempt may start beside those in progress.
    pub next_attempt_at: Instant,
    deadline: Instant,
    /// The connection of the first attempt that succeeded.
    pub winner: Option<TcpStream>,
    cancelled: Option<Cancelled>,
    /// The error of the first attempt that failed, preferably over IPv4: people know these addresses.
    pub first_error: Option<(SocketAddr, DialError)>,
}

struct Attempt<'a> {
    address: SocketAddr,
    tcp: TcpStream,
    started: Instant,
    /// The right to its descriptor; `None` for the one attempt that each dial may make.
    descriptor: Option<Counted<'a>>,
}

impl<'a> Race<'a> {
    /// Starts no attempt; [`Race::run`] does.
    pub fn new(shared: &'a RaceState, host: &'a str, context: &'a mut dyn Context) -> Race<'a> {
        let now = Instant::now();
        Race {
            shared,
            host,
            context,
            untried: VecDeque::new(),
            attempts: Vec::new(),
            next_attempt_at: now,
            deadline: now + shared.timeout(),
            winner: None,
            cancelled: None,
            first_error: None,
        }
    }

    /// Adds addresses to try, except those of runsd's own listeners: a request that is sent there would come back
    /// without end, whatever name led to it. No address is dialled that did not pass here.
    pub fn add(&mut self, mut more: Vec<SocketAddr>) {
        let started_with_ipv4 = !self.attempts.is_empty() || self.first_error.is_some();
        if let Some(own) = self.shared.remove_own(&mut more) {
            self.first_error.get_or_insert((own, DialError::own_listener(self.host, own)));
        }
        let mut all: Vec<_> = self.untried.drain(..).chain(more).collect();
        all.truncate(MAX_ADDRESSES);
        self.shared.failures.sort(&mut all, started_with_ipv4, Instant::now());
        self.untried = all.into();
    }

    /// Makes attempts until one succeeds or none is left; with `until`, also until then or the first error.
    ///
    /// Blocks: as said.
    ///
    /// # Errors
    /// [`Cancelled`], when the context is.
    pub fn run(&mut self, until: Option<Instant>) -> Result<(), Cancelled> {
        let mut no_fds = Vec::new();
        loop {
            let is_over = self.winner.is_some()
                || self.attempts.is_empty() && self.untried.is_empty()
                || until.is_some_and(|until| self.first_error.is_some() || Instant::now() >= until);
            if is_over {
                return Ok(());
            }
            self.step(&mut no_fds, until.unwrap_or(self.deadline))?;
        }
    }

    /// Runs to the end, and returns the winner's connection.
    ///
    /// # Errors
    /// The first attempt's error, or that the host has no address.
    pub fn finish(mut self) -> Result<TcpStream, DialError> {
        self.run(None)?;
        match (self.cancelled, self.winner, self.first_error) {
            (Some(cancelled), ..) => Err(cancelled.into()),
            (_, Some(tcp), _) => Ok(tcp),
            (.., Some((_, err))) => Err(err),
            _ => Err(DialError::new(DialErrorKind::DnsName, format!("{} has no address", self.host))),
        }
    }

    /// Starts the attempts that are due, polls once, until `until` at most, and handles the attempts that are decided.
    /// Polls the caller's `fds` as well.
    fn step(&mut self, fds: &mut Vec<PollFd>, until: Instant) -> Result<(), Cancelled> {
        let due = self.start_due();
        let mut until = due.map_or(until, |due| due.min(until));
        if !self.attempts.is_empty() {
            until = until.min(self.deadline);
        } else if due.is_none() && fds.is_empty() {
            return Ok(()); // all attempts failed at once, for want of a route
        }
        let callers = fds.len();
        fds.extend(self.attempts.iter().map(|attempt| PollFd::writable(&attempt.tcp)));
        let waited = self.context.wait(fds, until.saturating_duration_since(Instant::now()));
        let polled: Vec<PollFd> = fds.drain(callers..).collect();
        waited.inspect_err(|cancelled| self.cancelled = Some(*cancelled))?;
        let mut pending = Vec::with_capacity(self.attempts.len());
        for (attempt, fd) in mem::take(&mut self.attempts).into_iter().zip(polled) {
            if !fd.is_ready() {
                pending.push(attempt);
                continue;
            }
            match tcp::finish_connect(&attempt.tcp, &fd) {
                Ok(()) if self.winner.is_none() => self.on_connected(attempt, &pending),
                Ok(()) => {}
                Err(err) => self.on_error(attempt.address, &err, attempt.started),
            }
        }
        self.attempts = pending;
        if Instant::now() >= self.deadline {
            self.untried.clear();
            for attempt in mem::take(&mut self.attempts) {
                self.on_error(attempt.address, &timed_out(), attempt.started);
            }
        }
        Ok(())
    }

    /// Starts the attempts that are due. Returns when the next one is.
    fn start_due(&mut self) -> Option<Instant> {
        loop {
            self.untried.front()?;
            let now = Instant::now();
            if now < self.next_attempt_at {
                return Some(self.next_attempt_at);
            }
            let mut descriptor = None;
            if let Some(oldest) = self.attempts.first() {
                if self.attempts.len() < MAX_ATTEMPTS {
                    descriptor = self.shared.extra_descriptor();
                }
                if descriptor.is_none() {
                    let replaceable_at = oldest.started + MIN_ATTEMPT;
                    if now < replaceable_at {
                        // Until the oldest attempt may be replaced, or a descriptor is free.
                        self.next_attempt_at = replaceable_at.min(now + ATTEMPT_DELAY);
                        return Some(self.next_attempt_at);
                    }
                    let oldest = self.attempts.remove(0);
                    self.on_error(oldest.address, &timed_out(), oldest.started);
                    descriptor = oldest.descriptor;
                }
            }
            let address = self.untried.pop_front()?;
            match tcp::start_connect(address) {
                Ok(tcp) => {
                    self.attempts.push(Attempt { address, tcp, started: now, descriptor });
                    self.next_attempt_at = now + ATTEMPT_DELAY;
                }
                Err(err) => self.on_error(address, &err, now),
            }
        }
    }

    fn on_connected(&mut self, attempt: Attempt<'_>, pending: &[Attempt<'_>]) {
        self.shared.failures.remove(attempt.address);
        // These had more time and did not answer. Tried first again, each would delay the next connection.
        for slower in pending.iter().filter(|slower| slower.started < attempt.started) {
            self.shared.failures.add(slower.address, Instant::now());
        }
        if is_beyond_instance(attempt.address.ip()) {
            self.shared.egress_works.store(true, Ordering::Relaxed);
        }
        match attempt.tcp.set_nonblocking(false) {
            Ok(()) => self.winner = Some(attempt.tcp),
            Err(err) => self.on_error(attempt.address, &err, attempt.started),
        }
    }

    fn on_error(&mut self, address: SocketAddr, err: &io::Error, started: Instant) {
        let now = Instant::now();
        self.shared.failures.add(address, now);
        self.next_attempt_at = now;
        let is_better = match &self.first_error {
            None => true,
            Some((before, _)) => before.is_ipv6() && address.is_ipv4(),
        };
        if is_better {
            self.first_error = Some((address, DialError::from_connect(self.host, address, err, now - started)));
        }
    }
}

/// What the races of all threads share.
pub struct RaceState {
    limiter: Arc<ConnLimiter>,
    /// The loopback port of runsd's own proxy listeners.
    own_port: u16,
    /// The addresses that failed recently.
    pub failures: RecentFailures,
    /// Attempts in progress beside the first one of the same race.
    extra_attempts: AtomicUsize,
    /// A connection that left the instance was established.
    egress_works: AtomicBool,
}

impl RaceState {
    /// `limiter` bounds the attempts that are made beside each other.
    pub fn new(limiter: Arc<ConnLimiter>, own_port: u16) -> RaceState {
        RaceState {
            limiter,
            own_port,
            failures: RecentFailures::default(),
            extra_attempts: AtomicUsize::new(0),
            egress_works: AtomicBool::new(false),
        }
    }

    /// Removes the addresses of runsd's own listeners, in any spelling, and returns one of them. Listeners are on
    /// loopback, and a connection to the unspecified address reaches loopback.
    pub fn remove_own(&self, addresses: &mut Vec<SocketAddr>) -> Option<SocketAddr> {
        let mut own = None;
        addresses.retain(|address| {
            let ip = address.ip().to_canonical();
            let is_own = address.port() == self.own_port && (ip.is_loopback() || ip.is_unspecified());
            if is_own {
                own.get_or_insert(*address);
            }
            !is_own
        });
        own
    }

    /// Takes a descriptor for an attempt beside another one, if the limit of connections leaves one: a connection that
    /// could still be accepted has two, of which an idle upstream connection may hold one.
    pub fn extra_descriptor(&self) -> Option<Counted<'_>> {
        let (descriptor, before) = Counted::new(&self.extra_attempts);
        (before < self.limiter.available()).then_some(descriptor)
    }

    /// How long a host has to accept a connection.
    pub fn timeout(&self) -> Duration {
        match self.egress_works.load(Ordering::Relaxed) {
            true => TIMEOUT,
            false => COLD_TIMEOUT,
        }
    }
}

/// The context of the lookup of IPv6 addresses: the attempts go on during it, and the first that succeeds cancels it.
impl Context for Race<'_> {
    fn wait(&mut self, fds: &mut Vec<PollFd>, timeout: Duration) -> Result<(), Cancelled> {
        let until = Instant::now() + timeout;
        loop {
            self.step(fds, until)?;
            if self.winner.is_some() {
                return Err(Cancelled);
            }
            if fds.iter().any(PollFd::is_ready) || Instant::now() >= until {
                return Ok(());
            }
        }
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// Whether a connection to `ip` left the instance, and so shows that its egress works.
fn is_beyond_instance(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// How long the last attempt is alone before the next one starts beside it (RFC 8305 section 5: Connection Attempt
/// Delay, recommended value).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How many attempts of one race are in progress at a time. Each takes a descriptor, and addresses that never answer
/// keep theirs for long.
const MAX_ATTEMPTS: usize = 4;

/// How long an attempt may last before another one replaces it: the kernel sends SYN at 0 and 1 s.
const MIN_ATTEMPT: Duration = Duration::from_secs(3);

/// How many addresses of a host are tried; Google's hosts have 16.
const MAX_ADDRESSES: usize = 32;

/// How long a host has to accept a connection, once the egress is known to work. The kernel sends SYN at 0, 1, 3 and
/// 7 s; when four of them are lost, that is not by chance.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The same before that: with Direct VPC egress a connect can take a minute right after the start of an instance.
const COLD_TIMEOUT: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests;
