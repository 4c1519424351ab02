//! The DNS server: the sockets, and the thread that serves them.
//!
//! One thread receives, decides and sends, and never waits for anything but
//! its sockets: our own names are answered as they are read, and what is
//! passed on comes back through the same loop. Connections, of which there are
//! few, have threads of their own ([`stream`]).

pub mod forwarder;
mod log_format;
pub mod message;
pub mod nameservers;
pub mod resolver;
pub mod source_ports;
pub mod tcp;
mod tcp_framing;
pub mod zones;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{error, trace, warn};

use crate::config::DnsConfig;
use crate::dns::forwarder::{Client, Forwarder};
use crate::dns::log_format::RecordType;
use crate::dns::tcp::TcpServer;
use crate::dns::zones::{Question, Zones};
use crate::names::policy::NamePolicy;
use crate::sys::net::{PollFd, RecvBatch, bind_tcp, bind_udp, is_address_unavailable, poll};
use message::{Read, Reply};
use nameservers::{Nameservers, Patience};

/// The sockets, bound but not yet served.
#[derive(Debug)]
pub struct Sockets {
    ips: Vec<IpAddr>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

/// Binds 127.0.0.1 and, where it exists, ::1; nothing else happens here. With
/// port 0 the kernel chooses, for each another one.
pub fn bind(port: u16) -> io::Result<Sockets> {
    let mut sockets = Sockets { ips: Vec::new(), udp: Vec::new(), tcp: Vec::new() };
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        match bind_both((ip, port).into()) {
            Ok((udp, tcp)) => {
                sockets.ips.push(ip);
                sockets.udp.push(udp);
                sockets.tcp.push(tcp);
            }
            Err(err) if ip.is_ipv4() => return Err(err),
            // No IPv6 here, which is common.
            Err(err) if is_address_unavailable(&err) => {}
            Err(err) => warn!("dns: not on ::1: {err}"),
        }
    }
    Ok(sockets)
}

fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    Ok((bind_udp(address)?, bind_tcp(address)?))
}

impl Sockets {
    /// The addresses a resolver can be sent to, for `nameserver` lines.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.ips
    }

    /// Where they are, with their ports.
    pub fn own(&self) -> Vec<SocketAddr> {
        let local = self.udp.iter().filter_map(|udp| udp.local_addr().ok());
        local.collect()
    }

    /// For the first query of all.
    pub fn waits(&self) -> impl Iterator<Item = PollFd> {
        let udp = self.udp.iter().map(PollFd::readable);
        udp.chain(self.tcp.iter().map(PollFd::readable))
    }

    /// Serves them from the calling thread, which never comes back.
    pub fn serve(self, house: ServerContext) {
        let house = Arc::new(house);
        // A panic costs the queries under way, not the service.
        while panic::catch_unwind(AssertUnwindSafe(|| EventLoop::new(&self, &house).run())).is_err() {
            error!("dns: a bug: the server starts again");
        }
    }
}

/// What everyone who answers queries needs.
#[derive(Debug)]
pub struct ServerContext {
    pub names: NamePolicy,
    pub config: Arc<DnsConfig>,
    /// Whether the proxy listens on ::1 too.
    pub ipv6: bool,
    /// Shared with the proxy, which asks them for addresses.
    pub nameservers: Arc<Nameservers>,
    pub patience: Patience,
}

impl ServerContext {
    /// What is answered to a query.
    fn decide(&self, query: &message::Query<'_>) -> Reply {
        let zones = Zones { names: &self.names, search: &self.config.search, ipv6: self.ipv6 };
        let verdict = zones.decide(Question { name: &query.name, kind: query.kind, class: query.class });
        trace!("dns: {} {}: {verdict}", query.name, RecordType(query.kind));
        verdict
    }
}

/// The one loop over all sockets.
struct EventLoop<'a> {
    sockets: &'a Sockets,
    house: &'a Arc<ServerContext>,
    forwarder: Forwarder,
    streams: TcpServer,
    inbox: RecvBatch,
    /// No connection is accepted before this: something ran out.
    rest_until: Option<Instant>,
}

impl<'a> EventLoop<'a> {
    fn new(sockets: &'a Sockets, house: &'a Arc<ServerContext>) -> EventLoop<'a> {
        let nameservers = Arc::clone(&house.nameservers);
        EventLoop {
            sockets,
            house,
            forwarder: Forwarder::new(nameservers, house.patience, sockets.udp.len()),
            streams: TcpServer::default(),
            inbox: RecvBatch::new(),
            rest_until: None,
        }
    }

    fn run(&mut self) {
        let (mut waits, mut numbers) = (Vec::new(), Vec::new());
        let udp_count = self.sockets.udp.len();
        loop {
            waits.clear();
            numbers.clear();
            waits.extend(self.sockets.udp.iter().map(PollFd::readable));
            self.forwarder.add_waits(&mut waits, &mut numbers);
            if self.rest_until.is_none() {
                waits.extend(self.sockets.tcp.iter().map(PollFd::readable));
            }
            let deadlines = self.forwarder.next_check().into_iter().chain(self.rest_until);
            let timeout = deadlines.min().map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(err) = poll(&mut waits, timeout) {
                warn!("dns: cannot wait: {err}");
                thread::sleep(REST);
            }
            let now = Instant::now();
            self.rest_until.take_if(|until| *until <= now);
            for (via, _) in (0..udp_count).zip(&waits).filter(|(_, wait)| wait.is_ready()) {
                self.receive(via, now);
            }
            let upstream = numbers.iter().zip(&waits[udp_count..]);
            for (&number, _) in upstream.filter(|(_, wait)| wait.is_ready()) {
                self.forwarder.receive(number, &mut self.inbox, now);
            }
            self.forwarder.check(now);
            self.forwarder.flush(now);
            for (socket, outbox) in self.sockets.udp.iter().zip(&mut self.forwarder.replies) {
                if let Err(err) = outbox.send(socket) {
                    trace!("dns: a client did not get its answer: {err}");
                }
            }
            if waits[udp_count + numbers.len()..].iter().any(PollFd::is_ready) {
                self.accept(now);
            }
        }
    }

    /// Answers the queries that are there on one of our sockets, or passes them on.
    fn receive(&mut self, via: usize, now: Instant) {
        if let Err(err) = self.inbox.receive(&self.sockets.udp[via]) {
            trace!("dns: cannot receive: {err}");
            return;
        }
        for (wire, from) in self.inbox.iter() {
            let Some(at) = from else { continue };
            let outbox = &mut self.forwarder.replies[via];
            match message::read(wire) {
                Read::Ignored => {}
                Read::Bad(code) => outbox.push(from, |out| message::refuse(wire, code, out)),
                Read::Query(query) => match self.house.decide(&query) {
                    Reply::Forward(otherwise) => {
                        self.forwarder.ask(Client { via, at }, &query, otherwise, now);
                    }
                    verdict => outbox.push(from, |out| message::reply(&query, &verdict, out)),
                },
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for listener in &self.sockets.tcp {
            match listener.accept() {
                Ok((client, _)) => self.streams.serve(client, self.house),
                Err(err)
                    if matches!(
                        err.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(err) => {
                    // Out of descriptors, most likely: without a rest this
                    // would be tried again and again at once.
                    warn!("dns: cannot accept a connection: {err}");
                    self.rest_until = Some(now + REST);
                }
            }
        }
    }
}

/// How long to leave alone what failed.
const REST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
