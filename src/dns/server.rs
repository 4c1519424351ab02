//! The DNS server: its sockets, and the event loop of the `dns` thread.
//!
//! The thread receives, decides and sends, and waits only for its sockets: runsd's own names are answered as they are
//! read, and responses to forwarded queries come through the same loop. TCP connections, which are few, have threads
//! of their own; see [`super::tcp`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{error, trace, warn};

use crate::dns::forwarder::{Client, Forwarder};
use crate::dns::message::{self, Fallback, Parsed, Query, Reply};
use crate::dns::nameservers::{Nameservers, Timeouts};
use crate::dns::tcp::TcpServer;
use crate::dns::zones::Zones;
use crate::sys::net::{PollFd, RecvBatch, bind_tcp, bind_udp, is_address_unavailable, poll};

/// The sockets, bound and not served yet; until then the kernel queues datagrams and connections.
#[derive(Debug)]
pub struct Sockets {
    ips: Vec<IpAddr>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

/// Binds 127.0.0.1 and, where it exists, ::1, by UDP and TCP. Port 0 is a free one, for each socket another.
///
/// # Errors
/// Those of bind(2) on 127.0.0.1.
pub fn bind(port: u16) -> io::Result<Sockets> {
    let mut sockets = Sockets { ips: Vec::new(), udp: Vec::new(), tcp: Vec::new() };
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::from((ip, port));
        match bind_udp(address).and_then(|udp| Ok((udp, bind_tcp(address)?))) {
            Ok((udp, tcp)) => {
                sockets.ips.push(ip);
                sockets.udp.push(udp);
                sockets.tcp.push(tcp);
            }
            Err(err) if ip.is_ipv4() => return Err(err),
            // No IPv6 on this machine, which is common.
            Err(err) if is_address_unavailable(&err) => {}
            Err(err) => warn!("dns: not on ::1: {err}"),
        }
    }
    Ok(sockets)
}

impl Sockets {
    /// Returns the addresses for `nameserver` lines.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.ips
    }

    /// Returns the addresses with their ports.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.udp.iter().filter_map(|udp| udp.local_addr().ok()).collect()
    }

    /// Returns what becomes readable with the first query.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd> {
        let udp = self.udp.iter().map(PollFd::readable);
        udp.chain(self.tcp.iter().map(PollFd::readable))
    }

    /// Serves the sockets from the calling thread.
    ///
    /// Blocks: for ever.
    pub fn serve(self, context: ServerContext) {
        let context = Arc::new(context);
        // A panic costs the pending queries, not the service.
        while panic::catch_unwind(AssertUnwindSafe(|| EventLoop::new(&self, &context).run())).is_err() {
            error!("dns: a bug: the server starts again");
        }
    }
}

/// What the event loop and the threads of TCP connections share; immutable but for the nameservers' health.
#[derive(Debug)]
pub struct ServerContext {
    /// Decides which names are answered here.
    pub zones: Zones,
    /// Shared with the proxy's resolver.
    pub nameservers: Arc<Nameservers>,
    /// For each forwarded query.
    pub timeouts: Timeouts,
}

impl ServerContext {
    /// Appends the reply to `wire` to `out`; nothing where it is not a query. Returns a query that is to be forwarded
    /// instead.
    pub fn answer<'a>(&self, wire: &'a [u8], out: &mut Vec<u8>) -> Option<(Query<'a>, Fallback)> {
        let query = match message::parse(wire) {
            Parsed::Query(query) => query,
            Parsed::Malformed(rcode) => {
                message::write_error(wire, rcode, out);
                return None;
            }
            Parsed::NotAQuery => return None,
        };
        let reply = self.zones.classify(&query.name, query.record_type, query.class);
        trace!("dns: {} {}: {reply}", query.name, query.record_type);
        match reply {
            Reply::Forward(fallback) => Some((query, fallback)),
            reply => {
                message::write_reply(query.raw, &reply, out);
                None
            }
        }
    }
}

/// The loop over all sockets.
struct EventLoop<'a> {
    sockets: &'a Sockets,
    context: &'a Arc<ServerContext>,
    forwarder: Forwarder,
    tcp_server: TcpServer,
    recv_batch: RecvBatch,
    /// Set after a failed accept(2): no connection is accepted before.
    accept_after: Option<Instant>,
}

impl<'a> EventLoop<'a> {
    fn new(sockets: &'a Sockets, context: &'a Arc<ServerContext>) -> EventLoop<'a> {
        let nameservers = Arc::clone(&context.nameservers);
        EventLoop {
            sockets,
            context,
            forwarder: Forwarder::new(nameservers, context.timeouts, sockets.udp.len()),
            tcp_server: TcpServer::default(),
            recv_batch: RecvBatch::new(),
            accept_after: None,
        }
    }

    fn run(&mut self) {
        // In this order: clients' datagrams, nameservers' datagrams, clients' connections.
        let (mut poll_fds, mut upstream_ids) = (Vec::new(), Vec::new());
        let udp_count = self.sockets.udp.len();
        loop {
            poll_fds.clear();
            upstream_ids.clear();
            poll_fds.extend(self.sockets.udp.iter().map(PollFd::readable));
            self.forwarder.add_poll_fds(&mut poll_fds, &mut upstream_ids);
            if self.accept_after.is_none() {
                poll_fds.extend(self.sockets.tcp.iter().map(PollFd::readable));
            }
            let deadline = self.forwarder.next_timer().into_iter().chain(self.accept_after).min();
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(err) = poll(&mut poll_fds, timeout) {
                warn!("dns: cannot wait: {err}");
                thread::sleep(ERROR_BACKOFF);
            }
            let now = Instant::now();
            self.accept_after.take_if(|after| *after <= now);
            let (clients, rest) = poll_fds.split_at(udp_count);
            let (upstreams, listeners) = rest.split_at(upstream_ids.len());
            for (socket, _) in clients.iter().enumerate().filter(|(_, poll_fd)| poll_fd.is_ready()) {
                self.receive_queries(socket, now);
            }
            for (&id, _) in upstream_ids.iter().zip(upstreams).filter(|(_, poll_fd)| poll_fd.is_ready()) {
                self.forwarder.receive(id, &mut self.recv_batch, now);
            }
            self.forwarder.on_timer(now);
            self.forwarder.flush(now);
            for (socket, replies) in self.sockets.udp.iter().zip(&mut self.forwarder.replies) {
                if let Err(err) = replies.send(socket) {
                    trace!("dns: a client did not get its answer: {err}");
                }
            }
            if listeners.iter().any(PollFd::is_ready) {
                self.accept(now);
            }
        }
    }

    /// Answers the queries at one of runsd's sockets, or forwards them.
    fn receive_queries(&mut self, socket: usize, now: Instant) {
        if let Err(err) = self.recv_batch.receive(&self.sockets.udp[socket]) {
            trace!("dns: cannot receive: {err}");
            return;
        }
        for (wire, from) in self.recv_batch.iter() {
            let Some(address) = from else { continue };
            let mut to_forward = None;
            self.forwarder.replies[socket].push(from, |out| to_forward = self.context.answer(wire, out));
            if let Some((query, fallback)) = to_forward {
                self.forwarder.submit(Client { socket, address }, &query, fallback, now);
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for listener in &self.sockets.tcp {
            match listener.accept() {
                Ok((client, _)) => self.tcp_server.serve(client, self.context),
                Err(err)
                    if matches!(
                        err.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(err) => {
                    warn!("dns: cannot accept a connection: {err}");
                    self.accept_after = Some(now + ERROR_BACKOFF);
                }
            }
        }
    }
}

/// How long to wait after a failed accept(2) or poll(2). Most likely descriptors or memory ran out, and the socket stays
/// readable: without a pause the loop would spin.
const ERROR_BACKOFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
