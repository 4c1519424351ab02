//! Idle connections by destination.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// One certificate may cover all services, so only the very same host, port
/// and use of TLS share a connection.
pub type PoolKey = (String, u16, bool);

/// The pool. `T` is a connection; dropping it closes it.
pub struct Pool<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// By destination, the one that has been idle the longest first; none of
    /// these is empty.
    idle: HashMap<PoolKey, Vec<Idle<T>>>,
    swept: Instant,
}

struct Idle<T> {
    connection: T,
    since: Instant,
}

impl<T> Pool<T> {
    /// An empty one.
    pub fn new() -> Pool<T> {
        Pool { state: Mutex::new(State { idle: HashMap::new(), swept: Instant::now() }) }
    }

    /// The connection to `key` that was put here last, unless that is too long
    /// ago.
    pub fn take(&self, key: &PoolKey, now: Instant) -> Option<T> {
        let mut state = self.lock();
        let connections = state.idle.get_mut(key)?;
        let last = connections.pop();
        if connections.is_empty() {
            state.idle.remove(key);
        }
        drop(state);
        last.filter(|idle| !idle.is_old(now)).map(|idle| idle.connection)
    }

    /// Keeps a connection.
    pub fn put(&self, key: PoolKey, connection: T, now: Instant) {
        let mut closed = Vec::new();
        let mut state = self.lock();
        state.sweep(now, &mut closed);
        if state.idle.len() >= MAX_HOSTS && !state.idle.contains_key(&key) {
            closed.extend(state.remove_oldest_host());
        }
        let connections = state.idle.entry(key).or_default();
        if connections.len() == MAX_IDLE_PER_HOST {
            closed.push(connections.remove(0));
        }
        connections.push(Idle { connection, since: now });
        // Closing takes system calls, for which nothing should be locked.
        drop(state);
    }

    /// Closes connections until no more than `limit` are left.
    pub fn shrink(&self, limit: usize) {
        let mut closed = Vec::new();
        let mut state = self.lock();
        let all: usize = state.idle.values().map(Vec::len).sum();
        let mut surplus = all.saturating_sub(limit);
        if surplus > 0 {
            state.idle.retain(|_, connections| {
                let some = surplus.min(connections.len());
                closed.extend(connections.drain(..some));
                surplus -= some;
                !connections.is_empty()
            });
        }
        drop(state);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

impl<T> State<T> {
    /// Takes out what has been idle for too long. No timer can do that, because
    /// between requests the CPU is taken away; so each arrival does, but not
    /// all hosts are looked at for each of them.
    fn sweep(&mut self, now: Instant, closed: &mut Vec<Idle<T>>) {
        if now.saturating_duration_since(self.swept) < SWEEP_INTERVAL {
            return;
        }
        self.swept = now;
        self.idle.retain(|_, connections| {
            let old = connections.partition_point(|idle| idle.is_old(now));
            closed.extend(connections.drain(..old));
            !connections.is_empty()
        });
    }

    /// Takes out the host whose connections have all been idle the longest.
    fn remove_oldest_host(&mut self) -> Vec<Idle<T>> {
        let youngest = |connections: &Vec<Idle<T>>| connections.last().map(|idle| idle.since);
        let oldest = self.idle.iter().min_by_key(|(_, connections)| youngest(connections)).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.idle.remove(&key)).unwrap_or_default()
    }
}

impl<T> Idle<T> {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > IDLE_TIMEOUT
    }
}

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How many idle connections one host may have.
const MAX_IDLE_PER_HOST: usize = 128;
/// How many hosts may have some: the names may be any, through `http_proxy`,
/// and each takes memory.
const MAX_HOSTS: usize = 1000;
/// How often all hosts are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn key(host: usize) -> PoolKey {
        (format!("host-{host}"), 443, true)
    }

    fn hosts<T>(pool: &Pool<T>) -> usize {
        pool.lock().idle.len()
    }

    #[test]
    fn ten_thousand_hosts_leave_no_more_than_a_thousand() {
        let pool = Pool::new();
        let start = Instant::now();
        let connection = Rc::new(());
        for host in 0..10_000_u32 {
            let now = start + Duration::from_millis(host.into());
            pool.put(key(host as usize), connection.clone(), now);
            assert!(hosts(&pool) <= MAX_HOSTS);
        }
        assert_eq!(Rc::strong_count(&connection), 1 + MAX_HOSTS);
        // The youngest of them.
        let now = start + Duration::from_secs(10);
        assert!(pool.take(&key(8_999), now).is_none());
        assert!(pool.take(&key(9_000), now).is_some());
        // One more, much later, finds all others old.
        pool.put(key(0), connection.clone(), now + 2 * IDLE_TIMEOUT);
        assert_eq!((hosts(&pool), Rc::strong_count(&connection)), (1, 2));
    }

    #[test]
    fn a_host_without_connections_is_forgotten() {
        let pool = Pool::new();
        let now = Instant::now();
        for number in 0..3 {
            pool.put(key(1), number, now);
        }
        for want in [Some(2), Some(1), Some(0), None] {
            assert_eq!(pool.take(&key(1), now), want);
        }
        assert_eq!(hosts(&pool), 0);
        pool.put(key(1), 0, now);
        pool.put(key(2), 1, now);
        assert_eq!(pool.take(&key(3), now), None);
        pool.shrink(1);
        assert_eq!(hosts(&pool), 1);
        pool.shrink(0);
        assert_eq!(hosts(&pool), 0);
    }

    #[test]
    fn too_many_of_one_host_and_too_old_ones() {
        let pool = Pool::new();
        let now = Instant::now();
        let connection = Rc::new(());
        for _ in 0..2 * MAX_IDLE_PER_HOST {
            pool.put(key(1), connection.clone(), now);
        }
        assert_eq!(Rc::strong_count(&connection), 1 + MAX_IDLE_PER_HOST);
        let later = now + IDLE_TIMEOUT + Duration::from_millis(1);
        assert!(pool.take(&key(1), later).is_none());
        pool.put(key(2), connection.clone(), later);
        assert_eq!(Rc::strong_count(&connection), 2);
    }
}
