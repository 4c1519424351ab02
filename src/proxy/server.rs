//! The proxy's listeners on loopback: one thread accepts, and each connection
//! has a thread of its own, for HTTP/1 or HTTP/2 by its first bytes.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, error, warn};

use super::http2::PREFACE;
use super::{Proxy, http1, http2};
use crate::net::conn_limit::{NEW_GRACE, Permit};
use crate::proxy::http2::handler::Handler;
use crate::sys;
use crate::sys::net::{PollFd, poll};

/// The listeners, bound but not yet served.
#[derive(Debug)]
pub struct Sockets(Vec<TcpListener>);

/// Binds 127.0.0.1 and, where it exists, ::1; nothing else happens here.
pub fn bind(port: u16) -> io::Result<Sockets> {
    let listen = |ip: IpAddr, port| sys::net::bind_tcp((ip, port).into());
    let mut listeners = vec![listen(Ipv4Addr::LOCALHOST.into(), port)?];
    let port = match port {
        0 => listeners[0].local_addr()?.port(),
        port => port,
    };
    match listen(Ipv6Addr::LOCALHOST.into(), port) {
        Ok(listener) => listeners.push(listener),
        // No IPv6 here, which is common.
        Err(err) if sys::net::is_address_unavailable(&err) => {}
        Err(err) => warn!("proxy: not on ::1: {err}"),
    }
    Ok(Sockets(listeners))
}

impl Sockets {
    /// The port all of them share.
    pub fn port(&self) -> u16 {
        self.addresses().next().map_or(0, |address| address.port())
    }

    /// Whether ::1 is among them.
    pub fn ipv6(&self) -> bool {
        self.addresses().any(|address| matches!(address.ip(), IpAddr::V6(_)))
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// For the first connection of all.
    pub fn waits(&self) -> impl Iterator<Item = PollFd> {
        self.0.iter().map(PollFd::readable)
    }

    /// Serves them from the calling thread, which never comes back.
    pub fn serve(self, proxy: Arc<Proxy>) {
        // Inherited by the threads of the connections: with many of them, woken
        // threads queue instead of pushing the running one aside.
        sys::tuning::set_sched_batch();
        let mut server = Server { listeners: self.0, proxy, warned: None };
        loop {
            let mut waits: Vec<PollFd> = server.listeners.iter().map(PollFd::readable).collect();
            if let Err(err) = poll(&mut waits, None) {
                warn!("proxy: cannot wait: {err}");
                thread::sleep(RETRY);
            }
            for (at, wait) in waits.iter().enumerate() {
                if wait.is_ready() {
                    server.accept(at);
                }
            }
        }
    }
}

/// The accept thread and what it needs.
struct Server {
    listeners: Vec<TcpListener>,
    proxy: Arc<Proxy>,
    /// When it was said last that something ran out.
    warned: Option<Instant>,
}

impl Server {
    fn accept(&mut self, at: usize) {
        let limiter = &self.proxy.limiter;
        match self.listeners[at].accept() {
            Ok((tcp, _)) => {
                let permit = limiter.acquire(tcp, |active, reason| {
                    warn!(
                        "proxy: {active} connections, which is all that there is {reason} for; \
                         idle ones are closed for more of them, or they wait"
                    );
                });
                self.start(&Arc::new(permit));
            }
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                ) => {}
            Err(err) => {
                // Mostly: no descriptors left. They come back as connections
                // end; until then, trying at once would only burn the CPU.
                self.warn(&format!("cannot accept: {err}; trying again"));
                self.proxy.limiter.evict_idle(RETRY);
            }
        }
    }

    /// Has a connection served by a thread of its own. Where none can be
    /// started in a while, this one serves it.
    fn start(&mut self, permit: &Arc<Permit>) {
        for _ in 0..TRIES {
            let (permit, proxy) = (Arc::clone(permit), Arc::clone(&self.proxy));
            let work = move || serve(&permit, &proxy, None);
            let Err(err) = builder("http").spawn(work) else {
                return;
            };
            self.warn(&format!(
                "no thread for a connection: {err}; it waits; raise the limit of processes or of memory"
            ));
            if self.proxy.limiter.active() == 1 {
                // No other one will end, and leave its thread.
                break;
            }
            self.proxy.limiter.evict_idle(RETRY);
        }
        self.serve_here(permit);
    }

    /// Serves a connection for one request, if that comes in time or no other
    /// client waits.
    fn serve_here(&self, permit: &Permit) {
        let mut waits = vec![PollFd::readable(permit.tcp())];
        let _ = poll(&mut waits, Some(NEW_GRACE));
        if !waits[0].is_ready() {
            waits.extend(self.listeners.iter().map(PollFd::readable));
            let _ = poll(&mut waits, None);
        }
        if !waits[0].is_ready() {
            return;
        }
        // From here on responses say that the connection is closed.
        let _guard = self.proxy.limiter.disable_keep_alive();
        let serve = || serve(permit, &self.proxy, Some(http1::READ_TIMEOUT));
        if panic::catch_unwind(AssertUnwindSafe(serve)).is_err() {
            error!("proxy: a bug: a connection ended");
        }
    }

    /// Says what ran out, once in a while.
    fn warn(&mut self, what: &str) {
        let is_new = self.warned.is_none_or(|last| last.elapsed() > WARN_AGAIN);
        if is_new {
            warn!("proxy: {what}");
            self.warned = Some(Instant::now());
        }
    }
}

/// A thread for a connection.
fn builder(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// Serves a connection to its end; `silence` is how long HTTP/2 may pause.
fn serve(permit: &Permit, proxy: &Proxy, silence: Option<Duration>) {
    let tcp = permit.tcp();
    let _ = tcp.set_nodelay(true);
    let (mut first, mut tunnelled) = (Vec::new(), None);
    // Inside of a CONNECT the connection begins anew: gRPC through a proxy.
    while let Some(bytes) = read_first(permit, first) {
        if bytes.starts_with(PREFACE) {
            let _ = tcp.set_read_timeout(silence);
            return serve_http2(permit, bytes, proxy);
        }
        // Where it is not known, an idle client only keeps what it could lend.
        let _ = tcp.set_read_timeout(Some(http1::READ_TIMEOUT));
        let Some(tunnel) = http1::serve(proxy, permit, bytes, tunnelled) else {
            return;
        };
        let _ = tcp.set_read_timeout(None);
        first = tunnel.received;
        tunnelled = Some(tunnel.authority);
    }
}

/// Reads on until the protocol shows; `None` when the client is gone.
fn read_first(permit: &Permit, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let mut tcp = permit.tcp();
    let mut n = bytes.len();
    if n == 0 {
        // Also inside of a CONNECT: a tunnel that says nothing yet may be closed
        // for another client.
        permit.set_new();
    }
    match n {
        // In one piece: `resize` sets octet by octet.
        0 => bytes = vec![0; FIRST],
        _ => bytes.resize(n.max(FIRST), 0),
    }
    // "PRI" is no method of HTTP/1, so few bytes tell (RFC 9113 section 3.4).
    while n < PREFACE.len() && PREFACE.starts_with(&bytes[..n]) {
        match tcp.read(&mut bytes[n..]) {
            Ok(0) | Err(_) => return None,
            Ok(more) => n += more,
        }
        if !permit.set_busy() {
            return None;
        }
    }
    bytes.truncate(n);
    Some(bytes)
}

/// Never a part of the above: what it needs of the stack would be taken from
/// each connection of HTTP/1.
#[inline(never)]
fn serve_http2(permit: &Permit, first: Vec<u8>, proxy: &Proxy) {
    if let Err(err) = http2::serve(permit.tcp(), first, &Handler::new(proxy, permit.tcp())) {
        debug!("proxy: an HTTP/2 connection ended: {err}");
    }
}

/// Stack of a connection's thread, in bytes. TLS handshakes are what needs it;
/// only pages that are touched become memory.
pub const STACK: usize = 256 * 1024;

/// How long to leave alone what failed.
const RETRY: Duration = Duration::from_millis(50);

/// How often a thread is asked for before the accept thread serves by itself.
const TRIES: usize = 20;

/// How long a warning of something that ran out stands for the next ones.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Room for the first read of a connection, in bytes.
const FIRST: usize = 4 * 1024;
