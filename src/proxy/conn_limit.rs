//! Limits how many client connections are served at once.
//!
//! Each connection needs two descriptors, one to the client and one to the upstream, and address space and
//! memory for its thread and its buffers. A client beyond the limit is not refused: its connection waits for a
//! permit, and those behind it wait in the kernel's accept queue. While one waits, every response closes its
//! connection, and the connection that has been idle for longest is closed (RFC 9112 section 9.5). nginx does
//! the same when `worker_connections` run short.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::memory::Memory;

/// Counts the connections of all listeners. Cloning the `Arc` shares the count.
pub struct ConnLimiter {
    max: usize,
    /// What `max` comes from, for the log.
    reason: &'static str,
    /// The control group's limit, set by the thread that warms up, where there is one.
    memory: OnceLock<MemoryLimit>,
    /// Connections with a request in progress, written by their threads.
    busy: AtomicUsize,
    /// Threads that wait for a permit or for memory, written by them. While it is not 0, keep-alive is off.
    waiting: AtomicUsize,
    /// The zero of [`Connection::closable_at`].
    epoch: Instant,
    /// Locked by the accept thread (acquire) and by the connections' threads (drop of a [`Permit`]).
    state: Mutex<State>,
    /// Signalled when a connection ended or became idle while a thread waits.
    changed: Condvar,
}

struct MemoryLimit {
    memory: Memory,
    /// Requests in progress that are allowed without a look at the usage.
    unchecked: usize,
}

struct State {
    connections: Vec<Arc<Connection>>,
    /// How many there were when it was warned that no more can be served; cleared when half of them have ended, so
    /// that a steady overload logs one line, not one for each connection.
    warned: Option<usize>,
}

struct Connection {
    tcp: TcpStream,
    /// [`BUSY`], [`CLOSED`], or the nanoseconds after `epoch` from which it may be closed: it is idle. Its own
    /// thread changes it between busy and idle; a waiting thread from idle to closed. Each in one atomic step, so
    /// a request whose first byte was read is never cut off.
    closable_at: AtomicU64,
    /// Its place in [`State::connections`], written under that lock.
    index: AtomicUsize,
}

const BUSY: u64 = 0;
const CLOSED: u64 = u64::MAX;

/// The right to serve one connection, and the connection; released on drop.
pub struct Permit {
    limiter: Arc<ConnLimiter>,
    connection: Arc<Connection>,
}

/// Returns the number of connections that `nofile` descriptors allow.
///
/// With very few descriptors a quarter of them serve clients, so that at least one always does.
fn max_by_descriptors(nofile: usize) -> usize {
    let two_each = nofile.saturating_sub(RESERVED_DESCRIPTORS) / 2;
    two_each.max(nofile / 4).max(1)
}

/// Returns the number of connections that so many bytes of address space allow.
fn max_by_address_space(bytes: usize) -> usize {
    (bytes.saturating_sub(RESERVED_ADDRESS_SPACE) / CONNECTION_ADDRESS_SPACE).max(1)
}

impl ConnLimiter {
    /// Bounds the number of connections by `nofile` descriptors and by bytes of address space.
    pub fn new(nofile: usize, address_space: usize) -> Arc<ConnLimiter> {
        let by_descriptors = max_by_descriptors(nofile);
        let by_address_space = max_by_address_space(address_space);
        Arc::new(ConnLimiter {
            max: by_descriptors.min(by_address_space),
            reason: match by_address_space < by_descriptors {
                true => "address space",
                false => "descriptors",
            },
            memory: OnceLock::new(),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            epoch: Instant::now(),
            state: Mutex::new(State {
                connections: Vec::new(),
                warned: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// From now on connections and requests are bounded by this memory, too.
    pub fn limit_memory(&self, memory: Memory) {
        let unchecked = memory.limit() / UNCHECKED_SHARE / BUSY_MEMORY;
        let unchecked = usize::try_from(unchecked).unwrap_or(usize::MAX);
        let _ = self.memory.set(MemoryLimit {
            memory,
            unchecked: unchecked.max(MIN_BUSY),
        });
    }

    /// Takes a permit for an accepted connection.
    ///
    /// Blocks: until there is one. `on_full` is called before blocking, at most once per overload, with the number
    /// of connections and what there is no more of.
    pub fn acquire(self: &Arc<Self>, tcp: TcpStream, on_full: impl FnOnce(usize, &str)) -> Permit {
        let mut state = self.lock();
        if !self.has_room(&state) {
            let active = state.connections.len();
            if state.warned.is_none() {
                state.warned = Some(active);
                let reason = match active < self.max {
                    true => "memory",
                    false => self.reason,
                };
                drop(state);
                on_full(active, reason);
                state = self.lock();
            }
            state = self.wait_for(state, |state| self.has_room(state));
        }
        self.busy.fetch_add(1, SeqCst);
        let connection = Arc::new(Connection {
            tcp,
            closable_at: AtomicU64::new(BUSY),
            index: AtomicUsize::new(state.connections.len()),
        });
        state.connections.push(Arc::clone(&connection));
        Permit {
            limiter: Arc::clone(self),
            connection,
        }
    }

    /// Returns the number of connections that could be accepted now.
    pub fn available(&self) -> usize {
        self.max.saturating_sub(self.active())
    }

    /// Returns the number of connections that are served.
    pub fn active(&self) -> usize {
        self.lock().connections.len()
    }

    /// Closes the connection that has been idle for longest, if one is.
    ///
    /// Blocks: until a connection ends or becomes idle, for `timeout` at most.
    pub fn relieve(&self, timeout: Duration) {
        let _waiting = self.announce_wait();
        let state = self.lock();
        if let Some((at, connection)) = state.longest_idle()
            && at <= self.now()
        {
            connection.close(at);
        }
        drop(self.changed.wait_timeout(state, timeout));
    }

    /// Switches keep-alive off until the guard is dropped: other clients wait.
    pub fn announce_wait(&self) -> impl Drop + '_ {
        self.waiting.fetch_add(1, SeqCst);
        Waiting(self)
    }

    fn has_room(&self, state: &State) -> bool {
        let active = state.connections.len();
        active < self.max && self.has_memory(active)
    }

    /// Whether one more request may be in progress, beside `others`: each counts with what it may still take.
    fn has_memory(&self, others: usize) -> bool {
        let Some(MemoryLimit { memory, unchecked }) = self.memory.get() else {
            return true;
        };
        if others < *unchecked {
            return true;
        }
        let busy = self.busy.load(SeqCst) + 1;
        busy <= MIN_BUSY || memory.has(BUSY_MEMORY.saturating_mul(busy as u64))
    }

    /// Closes idle connections, the longest idle first and no more than it takes, until `is_enough`.
    fn wait_for<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        is_enough: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let _waiting = self.announce_wait();
        // One is closed at a time: another one only when that one has ended.
        let mut expected = state.connections.len();
        while !is_enough(&state) {
            let idle = match state.connections.len() <= expected {
                true => state.longest_idle(),
                false => None,
            };
            let timeout = match idle {
                Some((at, connection)) if at <= self.now() => {
                    if connection.close(at) {
                        expected = state.connections.len() - 1;
                    }
                    continue;
                }
                Some((at, _)) => Duration::from_nanos(at - self.now().min(at)),
                None => RECHECK,
            };
            let woken = self.changed.wait_timeout(state, timeout);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn notify(&self) {
        if self.waiting.load(SeqCst) > 0 {
            // Whoever counted itself holds the lock until it waits.
            drop(self.lock());
            self.changed.notify_all();
        }
    }

    fn now(&self) -> u64 {
        // 584 years are enough.
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(CLOSED - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that waits, until it is dropped.
struct Waiting<'a>(&'a ConnLimiter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl State {
    /// The connection that has been idle for longest, with what its `closable_at` says.
    fn longest_idle(&self) -> Option<(u64, &Connection)> {
        let connections = self.connections.iter();
        connections
            .map(|connection| (connection.closable_at.load(SeqCst), &**connection))
            .filter(|&(at, _)| at != BUSY && at != CLOSED)
            .min_by_key(|&(at, _)| at)
    }
}

impl Connection {
    /// Closes an idle connection, unless its request has come meanwhile. Its thread wakes with an end of input.
    fn close(&self, idle: u64) -> bool {
        let closed = self
            .closable_at
            .compare_exchange(idle, CLOSED, SeqCst, SeqCst);
        if closed.is_ok() {
            // The descriptor is this connection's own: whoever is in the list holds it open.
            let _ = self.tcp.shutdown(Shutdown::Both);
        }
        closed.is_ok()
    }
}

impl Permit {
    /// The client's connection.
    pub fn tcp(&self) -> &TcpStream {
        &self.connection.tcp
    }

    /// The client has connected and is expected to send its first request.
    pub fn set_silent(&self) {
        self.set_closable(SILENT_GRACE);
    }

    /// The client has its response and has sent nothing since.
    pub fn set_idle(&self) {
        self.set_closable(IDLE_GRACE);
    }

    fn set_closable(&self, grace: Duration) {
        let limiter = &self.limiter;
        let at = limiter.now() + u64::try_from(grace.as_nanos()).unwrap_or(0);
        let idle = &self.connection.closable_at;
        // A connection that was closed stays closed.
        if idle
            .compare_exchange(BUSY, at.max(1), SeqCst, SeqCst)
            .is_ok()
        {
            limiter.busy.fetch_sub(1, SeqCst);
            limiter.notify();
        }
    }

    /// The client has begun to send a request. False: the connection was closed for another client, and this
    /// request was not looked at.
    ///
    /// Blocks: while the control group has too little memory for one more request.
    pub fn set_busy(&self) -> bool {
        let limiter = &self.limiter;
        let closable_at = &self.connection.closable_at;
        match closable_at.load(SeqCst) {
            BUSY => return true,
            CLOSED => return false,
            // Only this thread makes it busy, so what fails here was closed meanwhile.
            idle => match closable_at.compare_exchange(idle, BUSY, SeqCst, SeqCst) {
                Ok(_) => {}
                Err(_) => return false,
            },
        }
        let others = limiter.busy.fetch_add(1, SeqCst);
        if limiter
            .memory
            .get()
            .is_some_and(|limit| others >= limit.unchecked)
        {
            // Not counted while it waits, and counted again under the lock: one after the other is let through.
            limiter.busy.fetch_sub(1, SeqCst);
            let has_memory = |_: &State| limiter.has_memory(limiter.busy.load(SeqCst));
            let state = limiter.lock();
            let state = match has_memory(&state) {
                true => state,
                false => limiter.wait_for(state, has_memory),
            };
            limiter.busy.fetch_add(1, SeqCst);
            drop(state);
        }
        true
    }

    /// Whether another client waits, so that this one should not keep its connection.
    pub fn is_wanted(&self) -> bool {
        self.limiter.waiting.load(Relaxed) > 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Permit {
            limiter,
            connection,
        } = self;
        let mut state = limiter.lock();
        let index = connection.index.load(Relaxed);
        state.connections.swap_remove(index);
        if let Some(moved) = state.connections.get(index) {
            moved.index.store(index, Relaxed);
        }
        let active = state.connections.len();
        state.warned.take_if(|warned| active <= *warned / 2);
        drop(state);
        if connection.closable_at.load(SeqCst) == BUSY {
            limiter.busy.fetch_sub(1, SeqCst);
        }
        limiter.notify();
    }
}

/// Descriptors kept for everything else: 4 listeners, up to 8 nameserver sockets, the metadata server,
/// standard streams, and slack for the files that a start reads.
const RESERVED_DESCRIPTORS: usize = 32;

/// Bytes of address space for everything else: the program, the DNS server's buffers, three threads at rest.
const RESERVED_ADDRESS_SPACE: usize = 8 * 1024 * 1024;

/// Bytes of address space for one connection: two stacks of 256 KiB, as for a large upload or HTTP/2, and 512 KiB
/// for the buffers of both directions and what an allocator adds. An allocation that fails ends the process, so this
/// is more than any connection was seen to take.
const CONNECTION_ADDRESS_SPACE: usize = 1024 * 1024;

/// Bytes of memory that a request in progress may still take beyond what its idle connection has. Measured: 25 kB for
/// a small request, 60 kB for a large upload with its second thread; HTTP/2 has buffers of 64 KiB in each direction.
const BUSY_MEMORY: u64 = 128 * 1024;

/// Requests that are served whatever the memory: an application that fills its memory can still call.
const MIN_BUSY: usize = 8;

/// One part in so many of the memory limit may be promised to requests before the usage is read at all.
const UNCHECKED_SHARE: u64 = 8;

/// How long a connection is idle before it may be closed for another client. A client that sends its next request
/// as soon as it has a response has sent it by then.
const IDLE_GRACE: Duration = Duration::from_millis(10);

/// The same for a connection on which nothing was ever sent: a client that connects is about to send.
pub const SILENT_GRACE: Duration = Duration::from_secs(3);

/// How often a waiting thread looks at the memory again: what the application frees signals nothing.
const RECHECK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
