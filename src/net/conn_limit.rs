//! Limits how many client connections are served at once.
//!
//! Each connection needs two descriptors, one to the client and one to the upstream, and address space and
//! memory for its thread and its buffers. A client beyond the limit is not refused: its connection waits for a
//! permit, and those behind it wait in the kernel's accept queue. While one waits, every response closes its
//! connection, and the connection that has been idle for longest is closed (RFC 9112 section 9.5). nginx does
//! the same when `worker_connections` run short.
//!
//! ```text
//!             set_new, set_idle           another client waits
//!          +--------------------> idle --------------------------> closed
//! acquire -> busy                  |
//!          ^--------- set_busy ----+      dropping the Permit ends each of the three
//! ```

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::sync::{Counted, lock, wait_timeout};
use crate::sys::cgroup_memory::CgroupMemory;

/// Counts the connections of all listeners. Cloning the `Arc` shares the count.
pub struct ConnLimiter {
    max: usize,
    /// What `max` comes from, for the log.
    reason: &'static str,
    /// The control group's limit, if it has one. Set once, by the thread that prefetches.
    memory: OnceLock<MemoryLimit>,
    /// The number of connections. Written under the lock of `state`, read without it.
    active: AtomicUsize,
    /// Connections with a request in progress. Written by their threads.
    busy: AtomicUsize,
    /// Threads that wait for a permit, a thread or memory, and have to be signalled. Written by these threads.
    waiting: AtomicUsize,
    /// Of these, the threads for which other connections have to end. Keep-alive is off while this is not 0.
    needing_connections: AtomicUsize,
    /// The zero of [`Connection::closable_at`].
    epoch: Instant,
    /// Locked by the accept thread (acquire) and by the connection threads (drop of a [`Permit`]).
    state: Mutex<State>,
    /// Signalled when a connection ended or became idle while a thread waits. The accept thread waits for it.
    changed: Condvar,
    /// Signalled with `changed`. Connections with a request that wait for memory wait for it; each wakes one of them,
    /// and that one signals the next.
    next_request: Condvar,
}

struct MemoryLimit {
    memory: CgroupMemory,
    /// The number of connections that are served without reading the memory's usage.
    unchecked: usize,
}

struct State {
    connections: Vec<Arc<Connection>>,
    /// Connections that were closed for waiting clients and whose threads have not ended: 0 or 1, so that no more are
    /// closed than necessary.
    closing: usize,
    /// The number of connections when the log warned that no more can be served. Cleared when half of them have ended,
    /// so that a steady overload logs one line, not one for each connection.
    warned_at: Option<usize>,
}

struct Connection {
    /// The [`Permit`] owns the descriptor, so that it closes it before the limiter counts the connection as ended.
    tcp: Weak<TcpStream>,
    /// [`BUSY`], [`CLOSED`], or the nanoseconds after `epoch` from which on the idle connection may be closed. Its own
    /// thread changes it between busy and idle, a waiting thread from idle to closed, each in one atomic step: a
    /// request whose first byte was read is never cut off.
    closable_at: AtomicU64,
    /// The index in [`State::connections`]. Written and read under that lock.
    index: AtomicUsize,
}

const BUSY: u64 = 0;
const CLOSED: u64 = u64::MAX;

/// The right to serve one connection, and that connection. On drop it closes the descriptor, and then releases the
/// right: a thread that was waiting for it may need the descriptor.
pub struct Permit {
    // Fields are dropped in this order.
    tcp: Arc<TcpStream>,
    slot: Slot,
}

/// One connection among those that the limiter counts. Released on drop.
struct Slot {
    limiter: Arc<ConnLimiter>,
    connection: Arc<Connection>,
}

/// Returns the number of connections that `nofile` descriptors allow.
///
/// `nofile` is the soft `RLIMIT_NOFILE`. With very few descriptors a quarter of them serve clients, so that at least one always does.
fn max_by_descriptors(nofile: usize) -> usize {
    let two_each = nofile.saturating_sub(RESERVED_DESCRIPTORS) / 2;
    two_each.max(nofile / 4).max(1)
}

/// Returns the number of connections that `bytes` of address space (soft `RLIMIT_AS`) allow.
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
            active: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            needing_connections: AtomicUsize::new(0),
            epoch: Instant::now(),
            state: Mutex::new(State { connections: Vec::new(), closing: 0, warned_at: None }),
            changed: Condvar::new(),
            next_request: Condvar::new(),
        })
    }

    /// Bounds connections and requests by the control group's memory, too, from now on.
    pub fn limit_memory(&self, memory: CgroupMemory) {
        let unchecked = memory.limit() / UNCHECKED_DIVISOR / REQUEST_MEMORY;
        let unchecked = usize::try_from(unchecked).unwrap_or(usize::MAX);
        let _ = self.memory.set(MemoryLimit { memory, unchecked: unchecked.max(MIN_SERVED) });
    }

    /// Takes a permit for an accepted connection.
    ///
    /// Blocks: until one is free. `on_full` is called before blocking, at most once per overload, with the number of
    /// connections and the name of the resource that is used up.
    pub fn acquire(self: &Arc<Self>, tcp: TcpStream, on_full: impl FnOnce(usize, &str)) -> Permit {
        let mut state = self.lock();
        if !self.can_accept(&state) {
            let active = state.connections.len();
            if state.warned_at.is_none() {
                state.warned_at = Some(active);
                let reason = match active < self.max {
                    true => "memory",
                    false => self.reason,
                };
                drop(state);
                on_full(active, reason);
                state = self.lock();
            }
            state = self.wait_for(&self.changed, state, |state| self.can_accept(state));
        }
        self.busy.fetch_add(1, SeqCst);
        let tcp = Arc::new(tcp);
        let connection = Arc::new(Connection {
            tcp: Arc::downgrade(&tcp),
            closable_at: AtomicU64::new(BUSY),
            index: AtomicUsize::new(state.connections.len()),
        });
        state.connections.push(Arc::clone(&connection));
        self.active.store(state.connections.len(), SeqCst);
        Permit { tcp, slot: Slot { limiter: Arc::clone(self), connection } }
    }

    /// Returns the number of connections that could be accepted now.
    pub fn available(&self) -> usize {
        self.max.saturating_sub(self.active())
    }

    /// Returns the number of connections that are served.
    pub fn active(&self) -> usize {
        self.active.load(SeqCst)
    }

    /// Closes the connection that has been idle for longest, if one is, and waits for its end.
    ///
    /// Blocks: until a connection ends or becomes idle, for `timeout` at most.
    pub fn evict_idle(&self, timeout: Duration) {
        let (_waiting, _) = Counted::new(&self.waiting);
        let _guard = self.disable_keep_alive();
        let mut state = self.lock();
        self.close_longest_idle(&mut state);
        drop(wait_timeout(&self.changed, state, timeout));
    }

    /// Has each response close its connection, until the guard is dropped.
    pub fn disable_keep_alive(&self) -> impl Drop + '_ {
        Counted::new(&self.needing_connections).0
    }

    /// Whether one more connection may be served, and leaves memory for requests.
    fn can_accept(&self, state: &State) -> bool {
        let for_requests = self.memory.get().map_or(0, |limit| limit.memory.limit() / UNCHECKED_DIVISOR);
        state.connections.len() < self.max && self.has_memory(self.busy.load(SeqCst) + 1, for_requests)
    }

    /// Counts one more request as in progress, where there is memory for it. [`MIN_SERVED`] may be where there
    /// `is_no_other_way`. It is counted before the look at the memory: two that look at once see each other.
    fn try_begin_request(&self, is_no_other_way: impl Fn() -> bool) -> bool {
        let busy = self.busy.fetch_add(1, SeqCst) + 1;
        let may_begin = self.has_memory(busy, 0) || (busy <= MIN_SERVED && is_no_other_way());
        if !may_begin {
            self.busy.fetch_sub(1, SeqCst);
        }
        may_begin
    }

    /// Whether there is memory for `busy` requests and `reserve` bytes. Each request in progress counts with
    /// [`REQUEST_MEMORY`], which it may still take.
    fn has_memory(&self, busy: usize, reserve: u64) -> bool {
        let Some(MemoryLimit { memory, unchecked }) = self.memory.get() else {
            return true;
        };
        if self.active() < *unchecked {
            return true;
        }
        memory.has(reserve.saturating_add((busy as u64).saturating_mul(REQUEST_MEMORY)))
    }

    /// Waits until `is_enough`. Meanwhile closes idle connections, unless requests that end will help sooner.
    ///
    /// Blocks: as said.
    fn wait_for<'a>(
        &'a self,
        change: &Condvar,
        mut state: MutexGuard<'a, State>,
        is_enough: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let (_waiting, _) = Counted::new(&self.waiting);
        let mut keep_alive_off = None;
        let started = Instant::now();
        while !is_enough(&state) {
            let mut timeout = RECHECK_INTERVAL;
            // Of many requests some end soon and free memory; those that stream may not.
            let requests_end_soon =
                self.busy.load(SeqCst) >= MANY_REQUESTS && started.elapsed() < MAX_WAIT_FOR_REQUESTS;
            if state.connections.len() >= self.max || !requests_end_soon {
                keep_alive_off.get_or_insert_with(|| self.disable_keep_alive());
                timeout = self.close_longest_idle(&mut state).map_or(timeout, |wait| wait.min(timeout));
            }
            state = wait_timeout(change, state, timeout);
        }
        state
    }

    /// Closes the connection that has been idle for longest, unless another one is being closed. Returns how long it
    /// takes until one may be closed, if one is idle for too short a time.
    fn close_longest_idle(&self, state: &mut State) -> Option<Duration> {
        if state.closing > 0 {
            return None;
        }
        // A connection that becomes busy at this moment is not closed; then the next one is.
        while let Some((at, connection)) = state.longest_idle() {
            let now = self.now();
            if at > now {
                return Some(Duration::from_nanos(at - now));
            }
            if connection.close(at) {
                state.closing += 1;
                return None;
            }
        }
        None
    }

    fn notify(&self) {
        if self.waiting.load(SeqCst) > 0 {
            // A thread that counted itself in `waiting` holds the lock until it waits, so the signal is not lost.
            drop(self.lock());
            self.changed.notify_one();
            self.next_request.notify_one();
        }
    }

    fn now(&self) -> u64 {
        // Nanoseconds in 64 bits last 584 years.
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(CLOSED - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Returns the connection that has been idle for longest, with its `closable_at`.
    fn longest_idle(&self) -> Option<(u64, &Connection)> {
        let connections = self.connections.iter();
        connections
            .map(|connection| (connection.closable_at.load(SeqCst), &**connection))
            .filter(|&(at, _)| at != BUSY && at != CLOSED)
            .min_by_key(|&(at, _)| at)
    }
}

impl Connection {
    /// Closes the connection, unless its state changed from `idle` meanwhile. The read of its thread returns 0.
    fn close(&self, idle: u64) -> bool {
        let closed = self.closable_at.compare_exchange(idle, CLOSED, SeqCst, SeqCst);
        if closed.is_ok() {
            // Its thread may be closing it at this moment.
            let _ = self.tcp.upgrade().map(|tcp| tcp.shutdown(Shutdown::Both));
        }
        closed.is_ok()
    }
}

impl Permit {
    /// The client's connection.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Marks the connection as idle: the client has connected, and has not sent its first request.
    pub fn set_new(&self) {
        self.set_closable(NEW_GRACE);
    }

    /// Marks the connection as idle: the client has its response, and has sent nothing since.
    pub fn set_idle(&self) {
        self.set_closable(IDLE_GRACE);
    }

    fn set_closable(&self, grace: Duration) {
        let limiter = &self.slot.limiter;
        let at = limiter.now() + u64::try_from(grace.as_nanos()).unwrap_or(0);
        let idle = &self.slot.connection.closable_at;
        // A connection that was closed stays closed.
        if idle.compare_exchange(BUSY, at.max(1), SeqCst, SeqCst).is_ok() {
            limiter.busy.fetch_sub(1, SeqCst);
            limiter.notify();
        }
    }

    /// Marks the connection as busy: the client has sent the first byte of a request. Returns false where the
    /// connection was closed for another client; then the request must not be processed.
    ///
    /// Blocks: until the control group has memory for one more request.
    pub fn set_busy(&self) -> bool {
        let limiter = &self.slot.limiter;
        let closable_at = &self.slot.connection.closable_at;
        match closable_at.load(SeqCst) {
            BUSY => return true,
            CLOSED => return false,
            // Only this thread makes it busy; if the exchange fails, another one closed it.
            idle => match closable_at.compare_exchange(idle, BUSY, SeqCst, SeqCst) {
                Ok(_) => {}
                Err(_) => return false,
            },
        }
        if !limiter.try_begin_request(|| false) {
            let begin =
                |state: &State| limiter.try_begin_request(|| state.closing == 0 && state.longest_idle().is_none());
            drop(limiter.wait_for(&limiter.next_request, limiter.lock(), begin));
            limiter.notify();
        }
        true
    }

    /// Whether the response has to close the connection, because another client waits for one.
    pub fn is_keep_alive_off(&self) -> bool {
        self.slot.limiter.needing_connections.load(Relaxed) > 0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Slot { limiter, connection } = self;
        let mut state = limiter.lock();
        let index = connection.index.load(Relaxed);
        state.connections.swap_remove(index);
        if let Some(moved) = state.connections.get(index) {
            moved.index.store(index, Relaxed);
        }
        let active = state.connections.len();
        limiter.active.store(active, SeqCst);
        state.warned_at.take_if(|warned_at| active <= *warned_at / 2);
        match connection.closable_at.load(SeqCst) {
            BUSY => drop(limiter.busy.fetch_sub(1, SeqCst)),
            CLOSED => state.closing -= 1,
            _ => {}
        }
        drop(state);
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

/// Bytes of memory that a request in progress may take beyond those of its idle connection. Measured: 25 kB for
/// a small request, 60 kB for a large upload with its second thread; HTTP/2 has buffers of 64 KiB in each direction.
const REQUEST_MEMORY: u64 = 128 * 1024;

/// Connections, and requests, that are served however little memory is left, so that an application that fills its
/// memory can still call services.
const MIN_SERVED: usize = 8;

/// With this many requests in progress, a thread that waits for memory waits for one of them to end; with fewer it
/// closes idle connections at once.
const MANY_REQUESTS: usize = 32;

/// How long it waits for that: longer than most requests take.
const MAX_WAIT_FOR_REQUESTS: Duration = Duration::from_secs(1);

/// An eighth of the memory limit is given to connections before the usage is read at all, and an eighth is left for
/// requests when a connection is accepted.
const UNCHECKED_DIVISOR: u64 = 8;

/// How long a connection is idle before it may be closed for another client. A client that sends its requests one after
/// the other has sent the next one by then.
const IDLE_GRACE: Duration = Duration::from_millis(10);

/// The same for a new connection: a client that connects is about to send a request.
pub const NEW_GRACE: Duration = Duration::from_secs(3);

/// How often a waiting thread reads the memory's usage again: memory that the application frees signals nothing.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
