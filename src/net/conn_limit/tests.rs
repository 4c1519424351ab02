mod threads;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::*;

/// Both ends of a connection. Raises the limit of descriptors first.
fn connection() -> (TcpStream, TcpStream) {
    crate::sys::raise_nofile_limit();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    (listener.accept().expect("accepted").0, client)
}

#[test]
fn descriptors_limit_connections() {
    for (nofile, want) in [(0, 1), (3, 1), (20, 5), (64, 16), (100, 34), (1_024, 496), (25_000, 12_484)] {
        assert_eq!(max_by_descriptors(nofile), want, "{nofile}");
    }
}

#[test]
fn address_space_limits_connections() {
    for (mib, want) in [(0, 1), (8, 1), (9, 1), (10, 2), (64, 56), (1_024, 1_016)] {
        assert_eq!(max_by_address_space(mib << 20), want, "{mib} MiB");
    }
    // 64 MiB hold fewer connections than 1,024 descriptors, and 1 GiB more.
    for (mib, want) in [(64, (56, "address space")), (1_024, (496, "descriptors"))] {
        let limiter = ConnLimiter::new(1_024, mib << 20);
        assert_eq!((limiter.max, limiter.reason), want, "{mib} MiB");
    }
}

#[test]
fn an_overload_is_logged_once() {
    let limiter = ConnLimiter::new(16, usize::MAX);
    let warnings = AtomicUsize::new(0);
    let acquire = || {
        limiter.acquire(connection().0, |active, reason| {
            assert_eq!((active, reason), (4, "descriptors"));
            warnings.fetch_add(1, Relaxed);
        })
    };
    let mut permits: Vec<Permit> = (0..4).map(|_| acquire()).collect();
    assert_eq!((warnings.load(Relaxed), limiter.available()), (0, 0));
    // One of them ends while a fifth waits; then all but one.
    for (ending, want) in [(1, 1), (1, 1), (3, 1), (1, 2)] {
        thread::scope(|scope| {
            let waiting = scope.spawn(acquire);
            permits.drain(..ending);
            permits.push(waiting.join().expect("a permit"));
        });
        while limiter.available() > 0 {
            permits.push(acquire());
        }
        // Whether the fifth came before one had ended is up to the scheduler.
        assert!(warnings.load(Relaxed) <= want, "{ending} ended");
    }
    drop(permits);
    assert_eq!((limiter.available(), limiter.busy.load(Relaxed)), (4, 0));
}

#[test]
fn a_client_that_waits_is_served_when_the_descriptor_before_it_is_closed() {
    let limiter = ConnLimiter::new(0, usize::MAX);
    for _ in 0..100 {
        let first = limiter.acquire(connection().0, |_, _| ());
        let descriptor = Arc::downgrade(&first.tcp);
        let (next, _client) = connection();
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let permit = limiter.acquire(next, |_, _| ());
                assert!(descriptor.upgrade().is_none());
                permit
            });
            drop(first);
            drop(second.join().expect("it is served"));
        });
    }
}

#[test]
fn the_longest_idle_connection_is_closed_for_a_waiting_client() {
    let limiter = ConnLimiter::new(12, usize::MAX);
    let mut pairs: Vec<(Permit, TcpStream)> = (0..3)
        .map(|_| {
            let (tcp, client) = connection();
            (limiter.acquire(tcp, |_, _| ()), client)
        })
        .collect();
    // The first has a request in progress; the others are idle, the last for longest.
    for place in [2, 1] {
        pairs[place].0.set_idle();
    }
    assert!(!pairs[0].0.is_keep_alive_off());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| limiter.acquire(connection().0, |_, _| ()));
        let (permit, mut client) = pairs.pop().expect("three");
        assert_eq!(permit.tcp().read(&mut [0]).expect("an end"), 0);
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
        assert!(pairs[0].0.is_keep_alive_off());
        // A request that comes too late is not processed.
        assert!(!permit.set_busy());
        drop(permit);
        drop(waiting.join().expect("a permit"));
    });
    for (permit, client) in &mut pairs {
        assert!(permit.set_busy() && !permit.is_keep_alive_off());
        permit.tcp().write_all(b"x").expect("open");
        assert_eq!(client.read(&mut [0]).expect("open"), 1);
    }
    drop(pairs);
    assert_eq!(limiter.busy.load(Relaxed), 0);
}

#[test]
fn a_connection_that_becomes_idle_is_closed_for_a_client_that_waits() {
    let limiter = ConnLimiter::new(4, usize::MAX);
    let (tcp, _client) = connection();
    let permit = limiter.acquire(tcp, |_, _| ());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| limiter.acquire(connection().0, |_, _| ()));
        while !permit.is_keep_alive_off() {
            thread::yield_now();
        }
        permit.set_idle();
        assert_eq!(permit.tcp().read(&mut [0]).expect("an end"), 0);
        drop(permit);
        drop(waiting.join().expect("a permit"));
    });
}

/// A control group whose usage a test sets.
struct Group(std::path::PathBuf);

impl Group {
    fn new(name: &str) -> Group {
        let name = format!("runsd-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        Group(directory)
    }

    fn put(&self, file: &str, bytes: u64) {
        std::fs::write(self.0.join(file), bytes.to_string()).expect("a file");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn requests_wait_for_memory_until_others_end() {
    let limit = 64 << 20;
    let group = Group::new("requests");
    group.put("memory.max", limit);
    group.put("memory.current", limit / 2);
    let limiter = ConnLimiter::new(20_000, usize::MAX);
    limiter.limit_memory(CgroupMemory::of_directory(&group.0).expect("a limit"));
    let mut pairs: Vec<(Permit, TcpStream)> = (0..300)
        .map(|_| {
            let (tcp, client) = connection();
            let permit = limiter.acquire(tcp, |_, _| panic!("there is room"));
            permit.set_idle();
            (permit, client)
        })
        .collect();
    // Half of 64 MiB is free, which is 256 requests.
    let (last, others) = pairs.split_last_mut().expect("many");
    for (permit, _) in &others[..256] {
        assert!(permit.set_busy());
    }
    thread::scope(|scope| {
        let waiting = scope.spawn(|| last.0.set_busy());
        while limiter.waiting.load(Relaxed) == 0 {
            thread::yield_now();
        }
        // A request that ends frees memory; no connection has to end.
        assert!(!others[0].0.is_keep_alive_off());
        others[0].0.set_idle();
        assert!(waiting.join().expect("no panic"));
    });
    assert_eq!(limiter.busy.load(Relaxed), 256);
}

#[test]
fn memory_that_the_application_frees_is_seen_while_a_new_connection_is_idle() {
    let limit = 8 << 20;
    let group = Group::new("freed");
    group.put("memory.max", limit);
    group.put("memory.current", 0);
    let limiter = ConnLimiter::new(20_000, usize::MAX);
    limiter.limit_memory(CgroupMemory::of_directory(&group.0).expect("a limit"));
    let permits: Vec<Permit> =
        (0..MIN_SERVED + 2).map(|_| limiter.acquire(connection().0, |_, _| panic!("there is room"))).collect();
    // Two have not sent their first request; one of them does, and there is no memory.
    permits[0].set_new();
    permits[1].set_new();
    group.put("memory.current", limit);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| permits[0].set_busy());
        while limiter.waiting.load(Relaxed) == 0 {
            thread::yield_now();
        }
        // Once it has the lock, the other thread has read the usage, and waits.
        drop(limiter.lock());
        let freed = Instant::now();
        group.put("memory.current", 0);
        assert!(waiting.join().expect("no panic"));
        assert!(freed.elapsed() < NEW_GRACE / 2, "{:?}", freed.elapsed());
    });
}

#[test]
fn without_memory_idle_connections_are_closed_for_new_ones() {
    let limit = 8 << 20;
    let group = Group::new("connections");
    group.put("memory.max", limit);
    group.put("memory.current", limit);
    let limiter = ConnLimiter::new(20_000, usize::MAX);
    limiter.limit_memory(CgroupMemory::of_directory(&group.0).expect("a limit"));
    // A few are served nevertheless.
    let mut idle: Vec<(Permit, TcpStream)> = (0..MIN_SERVED)
        .map(|_| {
            let (tcp, client) = connection();
            let permit = limiter.acquire(tcp, |_, _| panic!("there is room"));
            permit.set_idle();
            (permit, client)
        })
        .collect();
    thread::scope(|scope| {
        let acquire = || {
            limiter.acquire(connection().0, |active, reason| {
                assert_eq!((active, reason), (MIN_SERVED, "memory"));
            })
        };
        let waiting = scope.spawn(acquire);
        let (permit, mut client) = idle.remove(0);
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
        drop(permit);
        drop(waiting.join().expect("a permit"));
    });
}
