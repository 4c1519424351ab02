//! Idle connections, by destination.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Host, port, and whether TLS is used. A certificate may cover all services, so requests to two hosts never share a
/// connection.
pub type PoolKey = (String, u16, bool);

/// Keeps idle connections for later requests. `T` is a connection; dropping it closes it.
pub struct ConnectionPool<T> {
    /// Locked by the threads of client connections, and not while connections are closed.
    state: Mutex<State<T>>,
    /// Locked while connections are closed. It is taken under the lock of `state`, so that no thread sees a connection
    /// removed and opens another in its place before its descriptor is free.
    closing: Mutex<()>,
}

struct State<T> {
    /// Each list starts with the connection that has been idle for longest, and is not empty.
    idle: HashMap<PoolKey, Vec<Idle<T>>>,
    last_sweep: Instant,
}

struct Idle<T> {
    connection: T,
    since: Instant,
}

impl<T> ConnectionPool<T> {
    /// Returns an empty pool.
    pub fn new() -> ConnectionPool<T> {
        let state = State { idle: HashMap::new(), last_sweep: Instant::now() };
        ConnectionPool { state: Mutex::new(state), closing: Mutex::new(()) }
    }

    /// Removes the connection to `key` that has been idle for the shortest time, unless that is too long.
    pub fn get_idle(&self, key: &PoolKey, now: Instant) -> Option<T> {
        let mut state = lock(&self.state);
        let connections = state.idle.get_mut(key)?;
        let last = connections.pop();
        if connections.is_empty() {
            state.idle.remove(key);
        }
        drop(state);
        last.filter(|idle| !idle.is_expired(now)).map(|idle| idle.connection)
    }

    /// Adds an idle connection. Closes those that have expired, and the oldest where there are too many.
    pub fn put_idle(&self, key: PoolKey, connection: T, now: Instant) {
        let mut evicted = Vec::new();
        let mut state = lock(&self.state);
        state.sweep(now, &mut evicted);
        if state.idle.len() >= MAX_HOSTS && !state.idle.contains_key(&key) {
            evicted.extend(state.remove_oldest_host());
        }
        let connections = state.idle.entry(key).or_default();
        if connections.len() == MAX_IDLE_PER_HOST {
            evicted.push(connections.remove(0));
        }
        connections.push(Idle { connection, since: now });
        if !evicted.is_empty() {
            self.close(state, evicted);
        }
    }

    /// Closes connections until `limit` are left.
    ///
    /// Blocks: until those that other threads removed are closed, too.
    pub fn evict_idle(&self, limit: usize) {
        let mut evicted = Vec::new();
        let mut state = lock(&self.state);
        let count: usize = state.idle.values().map(Vec::len).sum();
        let mut surplus = count.saturating_sub(limit);
        if surplus > 0 {
            state.idle.retain(|_, connections| {
                let n = surplus.min(connections.len());
                evicted.extend(connections.drain(..n));
                surplus -= n;
                !connections.is_empty()
            });
        }
        self.close(state, evicted);
    }

    /// Closes connections outside of the lock of `state`: that makes system calls.
    fn close(&self, state: MutexGuard<'_, State<T>>, evicted: Vec<Idle<T>>) {
        let _closing = lock(&self.closing);
        drop(state);
        drop(evicted);
    }
}

impl<T> State<T> {
    /// Removes the connections that have expired, once a second at most. A timer could not: between requests the
    /// instance has no CPU.
    fn sweep(&mut self, now: Instant, evicted: &mut Vec<Idle<T>>) {
        if now.saturating_duration_since(self.last_sweep) < SWEEP_INTERVAL {
            return;
        }
        self.last_sweep = now;
        self.idle.retain(|_, connections| {
            let expired = connections.partition_point(|idle| idle.is_expired(now));
            evicted.extend(connections.drain(..expired));
            !connections.is_empty()
        });
    }

    /// Removes the host that was used the longest time ago.
    fn remove_oldest_host(&mut self) -> Vec<Idle<T>> {
        let last_used = |connections: &Vec<Idle<T>>| connections.last().map(|idle| idle.since);
        let oldest = self.idle.iter().min_by_key(|(_, connections)| last_used(connections)).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.idle.remove(&key)).unwrap_or_default()
    }
}

impl<T> Idle<T> {
    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > IDLE_TIMEOUT
    }
}

/// How long a connection may be idle: that of Go's `net/http` transport.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How many idle connections one host may have.
const MAX_IDLE_PER_HOST: usize = 128;

/// How many hosts may have idle connections. A client of `http_proxy` can name any number of hosts, and each takes
/// memory.
const MAX_HOSTS: usize = 1000;

/// How often expired connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    fn key(host: usize) -> PoolKey {
        (format!("host-{host}"), 443, true)
    }

    fn hosts<T>(pool: &ConnectionPool<T>) -> usize {
        lock(&pool.state).idle.len()
    }

    #[test]
    fn of_ten_thousand_hosts_the_last_thousand_are_kept() {
        let pool = ConnectionPool::new();
        let start = Instant::now();
        let connection = Rc::new(());
        for host in 0..10_000_u32 {
            let now = start + Duration::from_millis(host.into());
            pool.put_idle(key(host as usize), connection.clone(), now);
            assert!(hosts(&pool) <= MAX_HOSTS);
        }
        assert_eq!(Rc::strong_count(&connection), 1 + MAX_HOSTS);
        let now = start + Duration::from_secs(10);
        assert!(pool.get_idle(&key(8_999), now).is_none());
        assert!(pool.get_idle(&key(9_000), now).is_some());
        // When the next connection is put, much later, all others have expired.
        pool.put_idle(key(0), connection.clone(), now + 2 * IDLE_TIMEOUT);
        assert_eq!((hosts(&pool), Rc::strong_count(&connection)), (1, 2));
    }

    #[test]
    fn a_host_without_connections_is_removed() {
        let pool = ConnectionPool::new();
        let now = Instant::now();
        for number in 0..3 {
            pool.put_idle(key(1), number, now);
        }
        for want in [Some(2), Some(1), Some(0), None] {
            assert_eq!(pool.get_idle(&key(1), now), want);
        }
        assert_eq!(hosts(&pool), 0);
        pool.put_idle(key(1), 0, now);
        pool.put_idle(key(2), 1, now);
        assert_eq!(pool.get_idle(&key(3), now), None);
        pool.evict_idle(1);
        assert_eq!(hosts(&pool), 1);
        pool.evict_idle(0);
        assert_eq!(hosts(&pool), 0);
    }

    /// Takes its time to be closed, and says so.
    struct Slow {
        begins: mpsc::Sender<()>,
        closed: Arc<AtomicBool>,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.begins.send(());
            for _ in 0..1000 {
                thread::yield_now();
            }
            self.closed.store(true, SeqCst);
        }
    }

    #[test]
    fn a_dial_waits_until_the_connection_that_it_replaces_is_closed() {
        let pool = ConnectionPool::new();
        let (begins, begun) = mpsc::channel();
        let closed = Arc::new(AtomicBool::new(false));
        pool.put_idle(key(1), Slow { begins, closed: Arc::clone(&closed) }, Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| pool.evict_idle(0));
            begun.recv().expect("it is closed");
            pool.evict_idle(0);
            assert!(closed.load(SeqCst));
        });
    }

    #[test]
    fn surplus_and_expired_connections_of_a_host_are_closed() {
        let pool = ConnectionPool::new();
        let now = Instant::now();
        let connection = Rc::new(());
        for _ in 0..2 * MAX_IDLE_PER_HOST {
            pool.put_idle(key(1), connection.clone(), now);
        }
        assert_eq!(Rc::strong_count(&connection), 1 + MAX_IDLE_PER_HOST);
        let later = now + IDLE_TIMEOUT + Duration::from_millis(1);
        assert!(pool.get_idle(&key(1), later).is_none());
        pool.put_idle(key(2), connection.clone(), later);
        assert_eq!(Rc::strong_count(&connection), 2);
    }
}
