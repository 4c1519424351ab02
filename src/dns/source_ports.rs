//! The UDP sockets by which queries leave for the nameservers.
//!
//! Each nameserver has a few, on ports of the kernel's choice and connected to
//! it, so that nobody else is heard; see [`crate::dns::nameservers`] for why.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::dns::nameservers::{Random, connect};
use crate::sys::net::{PollFd, SendBatch};

/// All sockets, by number; a number is not given again while a flight has it.
pub struct UpstreamSockets {
    sockets: Vec<Option<UpstreamSocket>>,
    /// What new queries leave by, for each nameserver.
    pools: Vec<Pool>,
    random: Random,
}

/// A socket to a nameserver.
pub struct UpstreamSocket {
    pub socket: UdpSocket,
    pub server: usize,
    pub outbox: SendBatch,
    opened: Instant,
    queries: u32,
    /// Flights that may be answered here; it stays open for them.
    flights: usize,
}

#[derive(Default)]
struct Pool {
    places: [Option<usize>; POOL],
    /// The one that this batch leaves by.
    current: Option<usize>,
}

impl UpstreamSockets {
    /// None yet, for so many nameservers.
    pub fn new(servers: usize) -> UpstreamSockets {
        UpstreamSockets {
            sockets: Vec::new(),
            pools: (0..servers).map(|_| Pool::default()).collect(),
            random: Random::default(),
        }
    }

    /// A socket, if there is one of this number.
    pub fn get(&mut self, number: usize) -> Option<&mut UpstreamSocket> {
        self.sockets.get_mut(number)?.as_mut()
    }

    /// Above every number.
    pub fn end(&self) -> usize {
        self.sockets.len()
    }

    /// Adds all of them to `waits`, and their numbers to `numbers`.
    pub fn add_waits(&self, waits: &mut Vec<PollFd>, numbers: &mut Vec<usize>) {
        for (number, upstream) in self.sockets.iter().enumerate() {
            if let Some(upstream) = upstream {
                waits.push(PollFd::readable(&upstream.socket));
                numbers.push(number);
            }
        }
    }

    /// What comes leaves by other sockets.
    pub fn end_batch(&mut self) {
        for pool in &mut self.pools {
            pool.current = None;
        }
    }

    /// The socket of this batch to a nameserver, opened where need be.
    pub fn pick(&mut self, server: usize, at: SocketAddr, now: Instant) -> io::Result<usize> {
        if let Some(number) = self.pools[server].current {
            return Ok(number);
        }
        let place = self.random.below(POOL);
        if let Some(number) = self.pools[server].places[place] {
            let is_usable =
                |upstream: &mut UpstreamSocket| upstream.queries < SOCKET_QUERIES && now < upstream.opened + SOCKET_AGE;
            if self.get(number).is_some_and(is_usable) {
                self.pools[server].current = Some(number);
                return Ok(number);
            }
            self.retire(number);
        }
        let upstream = UpstreamSocket {
            socket: connect(at)?,
            server,
            outbox: SendBatch::default(),
            opened: now,
            queries: 0,
            flights: 0,
        };
        let number = match self.sockets.iter().position(Option::is_none) {
            Some(number) => number,
            None => {
                self.sockets.push(None);
                self.sockets.len() - 1
            }
        };
        self.sockets[number] = Some(upstream);
        self.pools[server].places[place] = Some(number);
        self.pools[server].current = Some(number);
        Ok(number)
    }

    /// Prepares a query to leave by a socket; `is_new` when its flight does
    /// not wait there yet.
    pub fn send(&mut self, number: usize, id: u16, query: &[u8], is_new: bool) {
        if let Some(upstream) = self.get(number) {
            upstream.queries += 1;
            upstream.flights += usize::from(is_new);
            upstream.outbox.push(None, |out| {
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&query[2..]);
            });
        }
    }

    /// A flight no longer waits at a socket.
    pub fn leave(&mut self, number: usize) {
        let Some(upstream) = self.get(number) else {
            return;
        };
        upstream.flights -= 1;
        let (server, is_idle) = (upstream.server, upstream.flights == 0);
        if is_idle && !self.pools[server].places.contains(&Some(number)) {
            self.sockets[number] = None;
        }
    }

    /// No new query leaves by this socket; without flights it is closed.
    pub fn retire(&mut self, number: usize) {
        let Some(upstream) = self.get(number) else {
            return;
        };
        let (server, is_idle) = (upstream.server, upstream.flights == 0);
        let pool = &mut self.pools[server];
        for place in pool.places.iter_mut().chain([&mut pool.current]) {
            place.take_if(|pooled| *pooled == number);
        }
        if is_idle {
            self.sockets[number] = None;
        }
    }

    /// Retires what is old; when the next one will be.
    pub fn retire_old(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for number in 0..self.sockets.len() {
            let Some(upstream) = &self.sockets[number] else {
                continue;
            };
            let old = upstream.opened + SOCKET_AGE;
            if old <= now {
                // Those that flights have stay until the last has gone.
                self.retire(number);
            } else {
                next = Some(next.map_or(old, |next| next.min(old)));
            }
        }
        next
    }
}

/// Sockets to choose from for each nameserver.
const POOL: usize = 8;

/// How long, and for how many queries, a port is used.
pub const SOCKET_AGE: Duration = Duration::from_secs(2);
const SOCKET_QUERIES: u32 = 256;
