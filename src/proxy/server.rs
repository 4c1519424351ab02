//! The proxy's listeners on loopback: one thread accepts, and each connection has a thread of its own, which serves
//! HTTP/1 or HTTP/2 by the connection's first bytes.

use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, error, warn};

use super::http2::PREFACE;
use super::{Proxy, http1, http2};
use crate::net::conn_limit::{NEW_GRACE, Permit};
use crate::proxy::http2::handler::Http2Handler;
use crate::sys;
use crate::sys::net::{PollFd, poll};

/// The listeners, bound and not yet served: the kernel queues their connections.
#[derive(Debug)]
pub struct Sockets(Vec<TcpListener>);

/// Binds 127.0.0.1 and, where the machine has it, ::1; port 0 is a free one.
///
/// # Errors
/// Where 127.0.0.1 cannot be bound.
pub fn bind(port: u16) -> io::Result<Sockets> {
    let mut listeners = vec![sys::net::bind_tcp((Ipv4Addr::LOCALHOST, port).into())?];
    let port = listeners[0].local_addr()?.port();
    match sys::net::bind_tcp((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(listener) => listeners.push(listener),
        // Many containers have no IPv6.
        Err(err) if sys::net::is_address_unavailable(&err) => {}
        Err(err) => warn!("proxy: not on ::1: {err}"),
    }
    Ok(Sockets(listeners))
}

impl Sockets {
    /// The port of all listeners.
    pub fn port(&self) -> u16 {
        self.addresses().next().map_or(0, |address| address.port())
    }

    /// Whether ::1 is bound.
    pub fn ipv6(&self) -> bool {
        self.addresses().any(|address| matches!(address.ip(), IpAddr::V6(_)))
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// Returns what to wait for until the first connection comes.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd> {
        self.0.iter().map(PollFd::readable)
    }

    /// Accepts connections, and starts a thread for each.
    ///
    /// Blocks: for as long as the process runs.
    pub fn serve(self, proxy: Arc<Proxy>) {
        // The threads of connections inherit it: those that wake up do not preempt the one that runs.
        sys::tuning::set_sched_batch();
        let mut acceptor = Acceptor { listeners: self.0, proxy, last_warning: None };
        loop {
            let mut fds: Vec<PollFd> = acceptor.listeners.iter().map(PollFd::readable).collect();
            if let Err(err) = poll(&mut fds, None) {
                warn!("proxy: cannot wait: {err}");
                thread::sleep(RETRY_PAUSE);
            }
            for (index, fd) in fds.iter().enumerate() {
                if fd.is_ready() {
                    acceptor.accept(index);
                }
            }
        }
    }
}

/// The state of the thread that accepts.
struct Acceptor {
    listeners: Vec<TcpListener>,
    proxy: Arc<Proxy>,
    /// The time of the last [`Acceptor::warn`].
    last_warning: Option<Instant>,
}

impl Acceptor {
    /// Blocks: until there is a permit for the connection.
    fn accept(&mut self, index: usize) {
        match self.listeners[index].accept() {
            Ok((tcp, _)) => {
                let permit = self.proxy.limiter.acquire(tcp, |active, reason| {
                    warn!(
                        "proxy: {active} connections, which is all that there is {reason} for; \
                         idle ones are closed for more of them, or they wait"
                    );
                });
                self.spawn_connection(&Arc::new(permit));
            }
            Err(err) => match err.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                // Mostly there is no descriptor left. The end of a connection frees two; until then another attempt
                // would only use CPU.
                _ => {
                    self.warn(&format!("cannot accept: {err}; trying again"));
                    self.proxy.limiter.evict_idle(RETRY_PAUSE);
                }
            },
        }
    }

    /// Starts a thread that serves a connection. Where none can be started for a while, this thread serves it.
    fn spawn_connection(&mut self, permit: &Arc<Permit>) {
        for _ in 0..MAX_SPAWN_ATTEMPTS {
            let (permit, proxy) = (Arc::clone(permit), Arc::clone(&self.proxy));
            let thread = thread::Builder::new().name("http".to_owned()).stack_size(STACK_SIZE);
            let Err(err) = thread.spawn(move || serve(&permit, &proxy, None)) else {
                return;
            };
            self.warn(&format!(
                "no thread for a connection: {err}; it waits; raise the limit of processes or of memory"
            ));
            if self.proxy.limiter.active() == 1 {
                // There is no other connection whose end would free a thread.
                break;
            }
            self.proxy.limiter.evict_idle(RETRY_PAUSE);
        }
        self.serve_here(permit);
    }

    /// Serves a connection for one request. Gives it up where no request comes in [`NEW_GRACE`] and another client
    /// connects.
    fn serve_here(&self, permit: &Permit) {
        let mut fds = vec![PollFd::readable(permit.tcp())];
        let _ = poll(&mut fds, Some(NEW_GRACE));
        if !fds[0].is_ready() {
            fds.extend(self.listeners.iter().map(PollFd::readable));
            let _ = poll(&mut fds, None);
        }
        if !fds[0].is_ready() {
            return;
        }
        // Responses have `Connection: close`, so that the connection ends with the first one.
        let _guard = self.proxy.limiter.disable_keep_alive();
        let serve = || serve(permit, &self.proxy, Some(http1::READ_TIMEOUT));
        if panic::catch_unwind(AssertUnwindSafe(serve)).is_err() {
            error!("proxy: a bug: a connection ended");
        }
    }

    /// Logs that a resource ran out, once in [`WARN_INTERVAL`].
    fn warn(&mut self, what: &str) {
        if self.last_warning.is_none_or(|last| last.elapsed() > WARN_INTERVAL) {
            warn!("proxy: {what}");
            self.last_warning = Some(Instant::now());
        }
    }
}

/// Serves a connection until either side closes it. `http2_timeout` is how long an HTTP/2 client may be silent.
fn serve(permit: &Permit, proxy: &Proxy, http2_timeout: Option<Duration>) {
    let tcp = permit.tcp();
    let _ = tcp.set_nodelay(true);
    let (mut received, mut connect_authority) = (Vec::new(), None);
    // A connection starts anew inside of a CONNECT, for HTTP/2 through a forward proxy.
    while let Some(first) = read_first(permit, received) {
        if first.starts_with(PREFACE) {
            let _ = tcp.set_read_timeout(http2_timeout);
            return serve_http2(permit, first, proxy);
        }
        // After that time an idle client's upstream connection goes to the pool, for other clients.
        let _ = tcp.set_read_timeout(Some(http1::READ_TIMEOUT));
        let Some(tunnel) = http1::serve(proxy, permit, first, connect_authority) else {
            return;
        };
        let _ = tcp.set_read_timeout(None);
        received = tunnel.received;
        connect_authority = Some(tunnel.authority);
    }
}

/// Reads until the bytes differ from the HTTP/2 preface, or contain it; `None` where the client is gone. HTTP/1 has no
/// method `PRI`, so mostly one byte is enough (RFC 9113 section 3.4).
///
/// Blocks: until enough bytes came.
fn read_first(permit: &Permit, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let mut tcp = permit.tcp();
    let mut len = bytes.len();
    if len == 0 {
        // Also inside of a CONNECT: without a byte the connection may be closed for another client.
        permit.set_new();
        // Zeroed by the allocator; `resize` writes octet by octet.
        bytes = vec![0; FIRST_READ_LEN];
    } else {
        bytes.resize(len.max(FIRST_READ_LEN), 0);
    }
    while len < PREFACE.len() && PREFACE.starts_with(&bytes[..len]) {
        match tcp.read(&mut bytes[len..]) {
            Ok(0) | Err(_) => return None,
            Ok(n) => len += n,
        }
        if !permit.set_busy() {
            return None;
        }
    }
    bytes.truncate(len);
    Some(bytes)
}

/// Not inlined: its locals would be in the stack frame of each HTTP/1 connection.
#[inline(never)]
fn serve_http2(permit: &Permit, first: Vec<u8>, proxy: &Proxy) {
    if let Err(err) = http2::serve(permit.tcp(), first, &Http2Handler::new(proxy, permit.tcp())) {
        debug!("proxy: an HTTP/2 connection ended: {err}");
    }
}

/// Stack of a connection's thread, in bytes: enough for a TLS handshake. Only pages that are touched become memory.
pub const STACK_SIZE: usize = 256 * 1024;

/// Pause after a failed `accept`, `poll` or start of a thread.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Attempts to start a thread, with [`RETRY_PAUSE`] between them: one second, before the accept thread serves.
const MAX_SPAWN_ATTEMPTS: usize = 20;

/// Time in which warnings of a resource that ran out are logged once.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Capacity of the first read of a connection, in octets: most heads fit.
const FIRST_READ_LEN: usize = 4 * 1024;

#[cfg(test)]
mod tests;
