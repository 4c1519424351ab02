//! The UDP sockets of the forwarder, and what an off-path attacker cannot guess: ids and source ports (RFC 5452,
//! section 9.2).
//!
//! Ids are outputs of SipHash under a key of the kernel's, a keyed pseudo-random function of which only the
//! nameservers see outputs. Ports are the kernel's choice: each batch of queries (one query, unless they come faster
//! than they are read) leaves by a socket picked at random from [`POOL_LEN`], each replaced after [`SOCKET_MAX_AGE`]
//! or [`SOCKET_MAX_QUERIES`]. Several open ports do not help an attacker: a response is accepted only on the port
//! that its query left by, and the kernel drops datagrams of others than the nameserver.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::sys::net::{PollFd, SendBatch};

/// Numbers that cannot be guessed.
#[derive(Default)]
pub struct Random {
    key: RandomState,
    count: u64,
}

impl Random {
    /// Returns a message id: any 16 bits.
    pub fn id(&mut self) -> u16 {
        self.count += 1;
        let [.., high, low] = self.key.hash_one(self.count).to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.id()) % limit
    }
}

/// Opens a socket on a port of the kernel's choice that receives from `server` only.
///
/// # Errors
/// Those of socket(2), bind(2) and connect(2), as that there is no route.
pub fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket)
}

/// Identifies a socket; never used again.
pub type SocketId = u64;

/// The sockets to all nameservers. Used by the `dns` thread alone.
pub struct UpstreamSockets {
    sockets: BTreeMap<SocketId, UpstreamSocket>,
    next_id: SocketId,
    /// By index of the nameserver.
    pools: Vec<Pool>,
    random: Random,
}

/// A socket to a nameserver.
pub struct UpstreamSocket {
    /// Connected.
    pub socket: UdpSocket,
    /// Index of the nameserver.
    pub server: usize,
    /// Queries of the current batch.
    pub batch: SendBatch,
    opened_at: Instant,
    queries: u32,
    /// Queries that may receive a response here; the socket stays open for them.
    pending: usize,
}

/// The sockets that queries to one nameserver leave by.
#[derive(Default)]
struct Pool {
    slots: [Option<SocketId>; POOL_LEN],
    /// The one of the current batch.
    current: Option<SocketId>,
}

impl UpstreamSockets {
    /// Opens no socket yet, for this many nameservers.
    pub fn new(servers: usize) -> UpstreamSockets {
        UpstreamSockets {
            sockets: BTreeMap::new(),
            next_id: 0,
            pools: (0..servers).map(|_| Pool::default()).collect(),
            random: Random::default(),
        }
    }

    /// Returns a socket that is still open.
    pub fn get(&mut self, id: SocketId) -> Option<&mut UpstreamSocket> {
        self.sockets.get_mut(&id)
    }

    /// Adds all sockets to `poll_fds`, and their ids in the same order to `ids`.
    pub fn add_poll_fds(&self, poll_fds: &mut Vec<PollFd>, ids: &mut Vec<SocketId>) {
        poll_fds.extend(self.sockets.values().map(|upstream| PollFd::readable(&upstream.socket)));
        ids.extend(self.sockets.keys());
    }

    /// Ends the current batch of one nameserver and returns its socket; `None` when no batch is left to send.
    pub fn take_batch(&mut self) -> Option<SocketId> {
        self.pools.iter_mut().find_map(|pool| pool.current.take())
    }

    /// Returns the socket of the current batch to a nameserver, which is opened where need be.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub fn socket_for(&mut self, server: usize, address: SocketAddr, now: Instant) -> io::Result<SocketId> {
        if let Some(id) = self.pools[server].current {
            return Ok(id);
        }
        let slot = self.random.below(POOL_LEN);
        let pooled = self.pools[server].slots[slot];
        let id = match pooled.filter(|id| self.sockets.get(id).is_some_and(|upstream| upstream.is_usable(now))) {
            Some(id) => id,
            None => {
                if let Some(id) = pooled {
                    self.retire(id);
                }
                self.open(server, address, now)?
            }
        };
        self.pools[server].slots[slot] = Some(id);
        self.pools[server].current = Some(id);
        Ok(id)
    }

    fn open(&mut self, server: usize, address: SocketAddr, now: Instant) -> io::Result<SocketId> {
        let socket = connect(address)?;
        let batch = SendBatch::default();
        let upstream = UpstreamSocket { socket, server, batch, opened_at: now, queries: 0, pending: 0 };
        self.next_id += 1;
        self.sockets.insert(self.next_id, upstream);
        Ok(self.next_id)
    }

    /// Adds a query to the batch of a socket. `is_first` says that it does not wait for a response there yet.
    pub fn send(&mut self, id: SocketId, query_id: u16, query: &[u8], is_first: bool) {
        if let Some(upstream) = self.sockets.get_mut(&id) {
            upstream.queries += 1;
            upstream.pending += usize::from(is_first);
            upstream.batch.push(None, |out| {
                out.extend_from_slice(&query_id.to_be_bytes());
                out.extend_from_slice(&query[2..]);
            });
        }
    }

    /// A query no longer waits for a response at this socket.
    pub fn release(&mut self, id: SocketId) {
        if let Some(upstream) = self.sockets.get_mut(&id) {
            upstream.pending -= 1;
            self.close_if_unused(id);
        }
    }

    /// Takes a socket out of its pool, so that no new query leaves by it.
    pub fn retire(&mut self, id: SocketId) {
        if let Some(upstream) = self.sockets.get(&id) {
            let pool = &mut self.pools[upstream.server];
            for pooled in pool.slots.iter_mut().chain([&mut pool.current]) {
                pooled.take_if(|pooled| *pooled == id);
            }
            self.close_if_unused(id);
        }
    }

    fn close_if_unused(&mut self, id: SocketId) {
        let is_unused =
            |upstream: &UpstreamSocket| upstream.pending == 0 && !self.pools[upstream.server].slots.contains(&Some(id));
        if self.sockets.get(&id).is_some_and(is_unused) {
            self.sockets.remove(&id);
        }
    }

    /// Retires the sockets over [`SOCKET_MAX_AGE`]. Returns when the next one will be.
    pub fn retire_old(&mut self, now: Instant) -> Option<Instant> {
        let expires_at = |upstream: &UpstreamSocket| upstream.opened_at + SOCKET_MAX_AGE;
        let old: Vec<_> = self.sockets.iter().filter(|(_, s)| expires_at(s) <= now).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.retire(id));
        self.sockets.values().map(expires_at).filter(|at| *at > now).min()
    }
}

impl UpstreamSocket {
    fn is_usable(&self, now: Instant) -> bool {
        self.queries < SOCKET_MAX_QUERIES && now < self.opened_at + SOCKET_MAX_AGE
    }
}

/// Sockets to choose from for each nameserver: enough that consecutive batches rarely share a port, and few descriptors.
const POOL_LEN: usize = 8;

/// How long a port is used: a burst of queries shares it, and an attacker who finds it has little time.
pub const SOCKET_MAX_AGE: Duration = Duration::from_secs(2);

/// Queries by one port. Opening a socket for each would cost a forwarded query four system calls.
const SOCKET_MAX_QUERIES: u32 = 256;
