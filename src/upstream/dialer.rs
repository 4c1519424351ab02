//! A TCP connection to a host: its addresses are tried beside each other, and
//! the first that answers wins (Happy Eyeballs, RFC 8305, section 5).
//!
//! All in the thread that wants the connection, by connects that do not block
//! and one poll. IPv6 addresses are asked for only where IPv4 did not answer
//! at once, so a good IPv4 address costs no second lookup.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::debug;

use crate::dns::resolver::Resolver;
use crate::net::conn_limit::ConnLimiter;
use crate::net::context::{Cancelled, Context};
use crate::sys::net::PollFd;
use crate::sys::tcp;
use crate::upstream::addresses::Failures;
use crate::upstream::dial_error::{DialError, DialErrorKind};

/// Connects, and remembers which addresses did not answer.
pub struct Dialer {
    resolver: Arc<Resolver>,
    limiter: Arc<ConnLimiter>,
    /// The port of loopback where runsd itself serves.
    own_port: u16,
    /// Attempts under way beside another one of the same race.
    spares: AtomicUsize,
    failures: Failures,
    /// Some connection through the egress was established.
    is_warm: AtomicBool,
}

impl Dialer {
    /// One that has not connected to anything yet.
    pub fn new(resolver: Arc<Resolver>, limiter: Arc<ConnLimiter>, own_port: u16) -> Dialer {
        Dialer {
            resolver,
            limiter,
            own_port,
            spares: AtomicUsize::new(0),
            failures: Failures::default(),
            is_warm: AtomicBool::new(false),
        }
    }

    /// Connects to `host`.
    ///
    /// Blocks: until an address answers, none is left, or `context` is
    /// cancelled; not longer than [`COLD_TIMEOUT`] beside the lookups.
    pub fn connect(&self, host: &str, port: u16, context: &mut dyn Context) -> Result<TcpStream, DialError> {
        let addresses = self.resolver.resolve_in(host, port, context)?;
        match self.race(host, port, addresses.clone(), context) {
            // After silence there is no time left for more; the next request
            // asks for the addresses anew.
            Err(err)
                if err.kind != DialErrorKind::Cancelled
                    && self.resolver.doubt(host)
                    && err.kind != DialErrorKind::ConnectionTimeout =>
            {
                let again = self.resolver.resolve_in(host, port, context)?;
                if again.iter().all(|address| addresses.contains(address)) {
                    return Err(err);
                }
                debug!("upstream: {host}: none of its addresses answered; it has {again:?} now");
                self.race(host, port, again, context)
            }
            done => done,
        }
    }

    /// The addresses that [`Dialer::connect`] would try first, in order.
    pub fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let mut addresses = self.resolver.resolve(host, port)?;
        match self.remove_own(&mut addresses) {
            Some(own) if addresses.is_empty() => Err(DialError::own_listener(host, own)),
            _ => Ok(addresses),
        }
    }

    /// The same where the address is known.
    pub fn connect_to(
        &self,
        host: &str,
        address: SocketAddr,
        context: &mut dyn Context,
    ) -> Result<TcpStream, DialError> {
        let mut race = Race::new(self, host, context);
        race.add(vec![address]);
        race.run(None)?;
        race.finish()
    }

    fn race(
        &self,
        host: &str,
        port: u16,
        addresses: Vec<SocketAddr>,
        context: &mut dyn Context,
    ) -> Result<TcpStream, DialError> {
        let now = Instant::now();
        let lacks_ipv6 = addresses.iter().all(SocketAddr::is_ipv4);
        let is_hopeless = |address: &SocketAddr| self.failures.contains(*address, now);
        let is_hopeless = addresses.iter().all(is_hopeless);
        let mut race = Race::new(self, host, context);
        race.add(addresses);
        if lacks_ipv6 && is_hopeless {
            // Meanwhile IPv6 is asked for, and goes first if it is there soon.
            race.next_at = now + ATTEMPT_DELAY;
        } else if lacks_ipv6 {
            race.run(Some(now + ATTEMPT_DELAY))?;
        }
        if lacks_ipv6 && race.winner.is_none() {
            let more = self.resolver.resolve_v6(host, port, &mut race);
            if is_hopeless {
                race.next_at = Instant::now();
            }
            race.add(more);
        }
        race.run(None)?;
        race.finish()
    }

    /// A descriptor for an attempt beside another one. A connection that may still come
    /// has two, of which an idle connection may hold one.
    fn spare(&self) -> Option<Spare<'_>> {
        let spare = Spare(&self.spares);
        let before = self.spares.fetch_add(1, Ordering::Relaxed);
        (before < self.limiter.available()).then_some(spare)
    }

    /// Removes the addresses of runsd itself; one of them, if there were any.
    fn remove_own(&self, addresses: &mut Vec<SocketAddr>) -> Option<SocketAddr> {
        let is_own = |address: &SocketAddr| is_own(*address, self.own_port);
        let own = addresses.iter().copied().find(is_own);
        addresses.retain(|address| !is_own(address));
        own
    }

    fn timeout(&self) -> Duration {
        match self.is_warm.load(Ordering::Relaxed) {
            true => TIMEOUT,
            false => COLD_TIMEOUT,
        }
    }
}

/// One of the [`Dialer::spares`], until it is dropped.
struct Spare<'a>(&'a AtomicUsize);

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Attempts to connect to one host, several at a time.
struct Race<'a> {
    dialer: &'a Dialer,
    host: &'a str,
    context: &'a mut dyn Context,
    untried: VecDeque<SocketAddr>,
    /// Under way, the oldest first.
    attempts: Vec<Attempt<'a>>,
    /// When another one may begin beside them.
    next_at: Instant,
    deadline: Instant,
    winner: Option<TcpStream>,
    cancelled: Option<Cancelled>,
    /// What the first failure was, of IPv4 if there is one: that is what
    /// people know of.
    failure: Option<(SocketAddr, DialError)>,
}

struct Attempt<'a> {
    address: SocketAddr,
    tcp: TcpStream,
    begun: Instant,
    /// Its descriptor, unless that is the one each dial has.
    spare: Option<Spare<'a>>,
}

impl<'a> Race<'a> {
    fn new(dialer: &'a Dialer, host: &'a str, context: &'a mut dyn Context) -> Race<'a> {
        let now = Instant::now();
        Race {
            dialer,
            host,
            context,
            untried: VecDeque::new(),
            attempts: Vec::new(),
            next_at: now,
            deadline: now + dialer.timeout(),
            winner: None,
            cancelled: None,
            failure: None,
        }
    }

    /// More addresses to try. All that are ever dialled come through here, less
    /// those of runsd itself: a request sent there would come back again and
    /// again, whatever name led to it.
    fn add(&mut self, mut more: Vec<SocketAddr>) {
        let began_with_ipv4 = !self.attempts.is_empty() || self.failure.is_some();
        let own_port = self.dialer.own_port;
        if let Some(&own) = more.iter().find(|address| is_own(**address, own_port)) {
            more.retain(|address| !is_own(*address, own_port));
            self.failure.get_or_insert((own, DialError::own_listener(self.host, own)));
        }
        let mut all: Vec<_> = self.untried.drain(..).chain(more).collect();
        all.truncate(MAX_ADDRESSES);
        self.dialer.failures.sort(&mut all, began_with_ipv4, Instant::now());
        self.untried = all.into();
    }

    /// Runs until there is a winner, or nothing left to try; or, with `until`,
    /// until then or the first failure.
    fn run(&mut self, until: Option<Instant>) -> Result<(), Cancelled> {
        let mut waits = Vec::new();
        loop {
            let is_over = self.winner.is_some()
                || self.attempts.is_empty() && self.untried.is_empty()
                || until.is_some() && self.failure.is_some();
            if is_over {
                return Ok(());
            }
            self.step(&mut waits, until.unwrap_or(self.deadline))?;
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(());
            }
        }
    }

    /// Begins what is due, waits once, `until` then at most, and looks what
    /// came of the attempts. What of the caller's `waits` is ready, is so then.
    fn step(&mut self, waits: &mut Vec<PollFd>, until: Instant) -> Result<(), Cancelled> {
        let due = self.begin_due();
        let mut until = due.map_or(until, |due| due.min(until));
        if !self.attempts.is_empty() {
            until = until.min(self.deadline);
        } else if due.is_none() && waits.is_empty() {
            // There was no way to any of them, and so nothing to wait for.
            return Ok(());
        }
        let count = waits.len();
        waits.extend(self.attempts.iter().map(|attempt| PollFd::writable(&attempt.tcp)));
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.context.wait(waits, left);
        let found: Vec<PollFd> = waits.drain(count..).collect();
        waited.inspect_err(|cancelled| self.cancelled = Some(*cancelled))?;
        let mut pending = Vec::with_capacity(self.attempts.len());
        for (attempt, wait) in std::mem::take(&mut self.attempts).into_iter().zip(found) {
            if !wait.is_ready() {
                pending.push(attempt);
                continue;
            }
            match tcp::finish_connect(&attempt.tcp, &wait) {
                Ok(()) if self.winner.is_none() => self.win(attempt, &pending),
                Ok(()) => {}
                Err(err) => self.fail(attempt.address, &err, attempt.begun),
            }
        }
        self.attempts = pending;
        if Instant::now() >= self.deadline {
            self.give_up();
        }
        Ok(())
    }

    /// Begins the next attempt if it is time for it; when it will be, if not.
    fn begin_due(&mut self) -> Option<Instant> {
        loop {
            if self.untried.is_empty() {
                return None;
            }
            let now = Instant::now();
            if now < self.next_at {
                return Some(self.next_at);
            }
            let dialer = self.dialer;
            let mut spare = None;
            if let Some(oldest) = self.attempts.first() {
                let is_full = self.attempts.len() >= MAX_ATTEMPTS;
                spare = (!is_full).then(|| dialer.spare()).flatten();
                if spare.is_none() && now < oldest.begun + MIN_ATTEMPT {
                    // It waits for the oldest one's end, or a descriptor.
                    self.next_at = (oldest.begun + MIN_ATTEMPT).min(now + ATTEMPT_DELAY);
                    return Some(self.next_at);
                }
                if spare.is_none() {
                    let silent = self.attempts.remove(0);
                    self.fail(silent.address, &timed_out(), silent.begun);
                    spare = silent.spare;
                }
            }
            let address = self.untried.pop_front()?;
            match tcp::start_connect(address) {
                Ok(tcp) => {
                    self.attempts.push(Attempt { address, tcp, begun: now, spare });
                    self.next_at = now + ATTEMPT_DELAY;
                }
                Err(err) => self.fail(address, &err, now),
            }
        }
    }

    fn win(&mut self, attempt: Attempt<'_>, pending: &[Attempt<'_>]) {
        let now = Instant::now();
        self.dialer.failures.remove(attempt.address);
        // These had more time and did not answer: they are not tried first
        // again, or each connection would wait for them.
        for slower in pending.iter().filter(|slower| slower.begun < attempt.begun) {
            self.dialer.failures.add(slower.address, now);
        }
        if is_beyond_egress(attempt.address.ip()) {
            self.dialer.is_warm.store(true, Ordering::Relaxed);
        }
        // To block is what its user expects of it.
        match attempt.tcp.set_nonblocking(false) {
            Ok(()) => self.winner = Some(attempt.tcp),
            Err(err) => self.fail(attempt.address, &err, attempt.begun),
        }
    }

    fn fail(&mut self, address: SocketAddr, err: &io::Error, begun: Instant) {
        let now = Instant::now();
        self.dialer.failures.add(address, now);
        // The next one need not wait for its turn.
        self.next_at = now;
        let is_better = match &self.failure {
            None => true,
            Some((before, _)) => before.is_ipv6() && address.is_ipv4(),
        };
        if is_better {
            self.failure = Some((address, DialError::from_connect(self.host, address, err, now - begun)));
        }
    }

    /// Time is up for all.
    fn give_up(&mut self) {
        self.untried.clear();
        for attempt in std::mem::take(&mut self.attempts) {
            self.fail(attempt.address, &timed_out(), attempt.begun);
        }
    }

    fn finish(self) -> Result<TcpStream, DialError> {
        match (self.cancelled, self.winner, self.failure) {
            (Some(cancelled), ..) => Err(cancelled.into()),
            (_, Some(tcp), _) => Ok(tcp),
            (.., Some((_, err))) => Err(err),
            _ => Err(DialError::new(DialErrorKind::DnsName, format!("{} has no address", self.host))),
        }
    }
}

/// While IPv6 addresses are looked up the attempts go on. The lookup is
/// cancelled by the first that succeeds.
impl Context for Race<'_> {
    fn wait(&mut self, waits: &mut Vec<PollFd>, limit: Duration) -> Result<(), Cancelled> {
        let until = Instant::now() + limit;
        loop {
            self.step(waits, until)?;
            if self.winner.is_some() {
                return Err(Cancelled);
            }
            if waits.iter().any(PollFd::is_ready) || Instant::now() >= until {
                return Ok(());
            }
        }
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// Whether runsd's listeners on loopback have this address, in any of its
/// spellings. All of 127.0.0.0/8 is taken for them, and what is bound to no
/// address in particular leads to loopback.
fn is_own(address: SocketAddr, own_port: u16) -> bool {
    let ip = address.ip().to_canonical();
    address.port() == own_port && (ip.is_loopback() || ip.is_unspecified())
}

/// Whether a connection shows that the way out of the container works.
fn is_beyond_egress(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// How long a host may take to accept a connection, once the egress is known
/// to work: SYN goes out at 0, 1, 3 and 7 s, and when four of them are lost
/// that is no accident.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same before: with Direct VPC egress a connect can take a minute right
/// after the start of an instance.
const COLD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long an attempt is alone before the next one begins beside it, as RFC
/// 8305, section 5, recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many attempts of one race are under way at a time: each takes a
/// descriptor, and black holes keep them for long.
const MAX_ATTEMPTS: usize = 4;
/// How long an attempt lasts at least that has to make room for another: SYN
/// goes out at 0 and 1 s.
const MIN_ATTEMPT: Duration = Duration::from_secs(3);
/// How many addresses of a host are tried at most; Google's hosts have 16.
const MAX_ADDRESSES: usize = 32;

#[cfg(test)]
mod tests;
