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
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait_timeout};
use crate::sys::cgroup_memory::CgroupMemory;

/// Counts the connections of all listeners. Cloning the `Arc` shares the count.
pub struct ConnLimiter {
    max: usize,
    /// What `max` comes from, for the log.
    reason: &'static str,
    /// The control group's limit, set by the thread that warms up, where there is one.
    memory: OnceLock<MemoryLimit>,
    /// All connections, written under the lock of `state`.
    active: AtomicUsize,
    /// Connections with a request in progress, written by their threads.
    busy: AtomicUsize,
    /// Threads that wait for a permit, a thread or memory, written by them: how many are to be told of changes, and for
    /// how many of them connections end that could be kept. While the second is not 0, keep-alive is off.
    waiting: AtomicUsize,
    wanting: AtomicUsize,
    /// The zero of [`Connection::closable_at`].
    epoch: Instant,
    /// Locked by the accept thread (acquire) and by the connections' threads (drop of a [`Permit`]).
    state: Mutex<State>,
    /// Signalled when a connection ended or became idle while a thread waits; for the accept thread.
    changed: Condvar,
    /// The same for connections that have a request and wait for memory: for one of them, which signals the next one.
    next_request: Condvar,
}

struct MemoryLimit {
    memory: CgroupMemory,
    /// Connections that are allowed, with their requests, without a look at the usage.
    unchecked: usize,
}

struct State {
    connections: Vec<Arc<Connection>>,
    /// Those that were closed for others and whose threads have not ended. There is one at a time, so that no more are
    /// closed than it takes.
    closing: usize,
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
            active: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wanting: AtomicUsize::new(0),
            epoch: Instant::now(),
            state: Mutex::new(State { connections: Vec::new(), closing: 0, warned: None }),
            changed: Condvar::new(),
            next_request: Condvar::new(),
        })
    }

    /// From now on connections and requests are bounded by this memory, too.
    pub fn limit_memory(&self, memory: CgroupMemory) {
        let unchecked = memory.limit() / UNCHECKED_SHARE / BUSY_MEMORY;
        let unchecked = usize::try_from(unchecked).unwrap_or(usize::MAX);
        let _ = self.memory.set(MemoryLimit { memory, unchecked: unchecked.max(MIN_BUSY) });
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
            state = self.wait_for(&self.changed, state, |state| self.has_room(state));
        }
        self.busy.fetch_add(1, SeqCst);
        let connection = Arc::new(Connection {
            tcp,
            closable_at: AtomicU64::new(BUSY),
            index: AtomicUsize::new(state.connections.len()),
        });
        state.connections.push(Arc::clone(&connection));
        self.active.store(state.connections.len(), SeqCst);
        Permit { limiter: Arc::clone(self), connection }
    }

    /// Returns the number of connections that could be accepted now.
    pub fn available(&self) -> usize {
        self.max.saturating_sub(self.active())
    }

    /// Returns the number of connections that are served.
    pub fn active(&self) -> usize {
        self.active.load(SeqCst)
    }

    /// Closes the connection that has been idle for longest, if one is.
    ///
    /// Blocks: until a connection ends or becomes idle, for `timeout` at most.
    pub fn relieve(&self, timeout: Duration) {
        let _waiting = Counted::new(&self.waiting);
        let _wanting = self.switch_keep_alive_off();
        let mut state = self.lock();
        self.close_longest_idle(&mut state);
        drop(self.changed.wait_timeout(state, timeout));
    }

    /// Has each response close its connection, until the guard is dropped.
    pub fn switch_keep_alive_off(&self) -> impl Drop + '_ {
        Counted::new(&self.wanting)
    }

    /// Whether there is room for one more connection, beside which requests still have memory.
    fn has_room(&self, state: &State) -> bool {
        let for_requests = self.memory.get().map_or(0, |limit| limit.memory.limit() / UNCHECKED_SHARE);
        state.connections.len() < self.max && self.has_memory(for_requests)
    }

    /// Whether one more request may be in progress. Where no connection is left that could be closed for it, a few may.
    fn has_room_for_request(&self, state: &State) -> bool {
        let is_last_resort = || state.closing == 0 && state.longest_idle().is_none();
        self.has_memory(0) || self.busy.load(SeqCst) < MIN_BUSY && is_last_resort()
    }

    /// Whether one more request has memory, and so many bytes are left. Requests in progress count with what they may
    /// still take.
    fn has_memory(&self, left: u64) -> bool {
        let Some(MemoryLimit { memory, unchecked }) = self.memory.get() else {
            return true;
        };
        if self.active() < *unchecked {
            return true;
        }
        let busy = self.busy.load(SeqCst) as u64 + 1;
        memory.has(left.saturating_add(busy.saturating_mul(BUSY_MEMORY)))
    }

    /// Waits until `is_enough`. Where connections that end would help, rather than requests, it closes those that are
    /// idle.
    fn wait_for<'a>(
        &'a self,
        change: &Condvar,
        mut state: MutexGuard<'a, State>,
        is_enough: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let _waiting = Counted::new(&self.waiting);
        let mut wanting = None;
        let begun = Instant::now();
        while !is_enough(&state) {
            let mut timeout = RECHECK;
            // Memory comes back soon where many requests end; streams may never.
            let is_soon = self.busy.load(SeqCst) >= MIN_REQUESTS && begun.elapsed() < REQUESTS_END;
            if state.connections.len() >= self.max || !is_soon {
                wanting.get_or_insert_with(|| self.switch_keep_alive_off());
                timeout = self.close_longest_idle(&mut state).unwrap_or(RECHECK);
            }
            state = wait_timeout(change, state, timeout);
        }
        state
    }

    /// Closes the connection that has been idle for longest, once no other one is being closed. Returns how long it
    /// takes until one has been idle for long enough.
    fn close_longest_idle(&self, state: &mut State) -> Option<Duration> {
        if state.closing > 0 {
            return None;
        }
        // Where the longest idle has become busy in this moment, the next one is.
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
            // Whoever counted itself holds the lock until it waits.
            drop(self.lock());
            self.changed.notify_one();
            self.next_request.notify_one();
        }
    }

    fn now(&self) -> u64 {
        // 584 years are enough.
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(CLOSED - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Counts as one until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn new(count: &AtomicUsize) -> Counted<'_> {
        count.fetch_add(1, SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
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
        let closed = self.closable_at.compare_exchange(idle, CLOSED, SeqCst, SeqCst);
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
        if idle.compare_exchange(BUSY, at.max(1), SeqCst, SeqCst).is_ok() {
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
        if !limiter.has_memory(0) {
            let room = |state: &State| limiter.has_room_for_request(state);
            let state = limiter.wait_for(&limiter.next_request, limiter.lock(), room);
            // Under the lock: one after the other is let through.
            limiter.busy.fetch_add(1, SeqCst);
            drop(state);
            limiter.notify();
            return true;
        }
        limiter.busy.fetch_add(1, SeqCst);
        true
    }

    /// Whether another client waits, so that this one should not keep its connection.
    pub fn is_wanted(&self) -> bool {
        self.limiter.wanting.load(Relaxed) > 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Permit { limiter, connection } = self;
        let mut state = limiter.lock();
        let index = connection.index.load(Relaxed);
        state.connections.swap_remove(index);
        if let Some(moved) = state.connections.get(index) {
            moved.index.store(index, Relaxed);
        }
        let active = state.connections.len();
        limiter.active.store(active, SeqCst);
        state.warned.take_if(|warned| active <= *warned / 2);
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

/// Bytes of memory that a request in progress may still take beyond what its idle connection has. Measured: 25 kB for
/// a small request, 60 kB for a large upload with its second thread; HTTP/2 has buffers of 64 KiB in each direction.
const BUSY_MEMORY: u64 = 128 * 1024;

/// Connections, and requests, that are served whatever the memory: an application that fills its memory can still call.
const MIN_BUSY: usize = 8;

/// While so many requests are in progress, one that waits for memory waits for their end; with fewer of them idle
/// connections are closed for it at once.
const MIN_REQUESTS: usize = 32;

/// How long it waits so: more than most requests take.
const REQUESTS_END: Duration = Duration::from_secs(1);

/// One part in so many of the memory limit may be promised to connections before the usage is read at all, and is left
/// for requests when a connection is accepted.
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
