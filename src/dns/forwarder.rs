//! Forwards queries by UDP to the original nameservers, byte for byte but for the id, and their responses back.
//!
//! Starts no thread and never blocks: the event loop of [`crate::dns::server`] says when a socket is readable and
//! when a timer is due. All of it belongs to the `dns` thread.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;

use crate::dns::message::{self, Fallback, Parsed, Query, RawQuery};
use crate::dns::nameservers::{Candidates, Nameservers, Timeouts, Transport};
use crate::dns::source_ports::{Random, SOCKET_MAX_AGE, SocketId, UpstreamSockets};
use crate::sys::net::{PollFd, RecvBatch, SendBatch, is_datagram_error};

/// Where a query came from and its reply goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Index of runsd's socket, and of its [`SendBatch`].
    pub socket: usize,
    /// The client's address.
    pub address: SocketAddr,
}

/// The queries that wait for a nameserver.
pub struct Forwarder {
    /// Replies to clients, for each of runsd's sockets. The event loop sends them.
    pub replies: Vec<SendBatch>,
    nameservers: Arc<Nameservers>,
    timeouts: Timeouts,
    random: Random,
    sockets: UpstreamSockets,
    /// By the id they were sent with.
    pending: HashMap<u16, PendingQuery>,
    /// How many queries were submitted.
    submitted: u64,
    /// No attempt and no socket is due before this.
    next_timer: Option<Instant>,
}

/// A query that waits for a response.
struct PendingQuery {
    client: Client,
    /// The query as it came, with the client's id.
    query: Vec<u8>,
    question_end: usize,
    fallback: Fallback,
    /// Its number in the order of submission; those of one batch have the same time.
    sequence: u64,
    started_at: Instant,
    candidates: Candidates,
    /// When the current attempt times out.
    deadline: Instant,
    /// The sockets by which a response may come, the current attempt's last.
    sockets: Vec<SocketId>,
    /// The first one, in case no nameserver settles the query.
    error_response: Option<Vec<u8>>,
}

impl PendingQuery {
    fn raw(&self) -> RawQuery<'_> {
        RawQuery { wire: &self.query, question_end: self.question_end }
    }
}

impl Forwarder {
    /// Opens no socket yet. `client_sockets` is the number of runsd's own sockets.
    pub fn new(nameservers: Arc<Nameservers>, timeouts: Timeouts, client_sockets: usize) -> Forwarder {
        Forwarder {
            replies: (0..client_sockets).map(|_| SendBatch::default()).collect(),
            sockets: UpstreamSockets::new(nameservers.len()),
            nameservers,
            timeouts,
            random: Random::default(),
            pending: HashMap::new(),
            submitted: 0,
            next_timer: None,
        }
    }

    /// Takes a query, which [`Forwarder::flush`] sends. A reply to the client follows in any case.
    pub fn submit(&mut self, client: Client, query: &Query<'_>, fallback: Fallback, now: Instant) {
        if self.pending.len() >= MAX_PENDING
            && let Some((&oldest, _)) = self.pending.iter().min_by_key(|(_, pending)| pending.sequence)
        {
            self.finish(oldest, None);
        }
        self.submitted += 1;
        let id = loop {
            let id = self.random.id();
            if !self.pending.contains_key(&id) {
                break id;
            }
        };
        let candidates = self.nameservers.candidates(self.timeouts, Transport::Udp);
        let probes = self.nameservers.take_due_probes(&candidates, now);
        let pending = PendingQuery {
            client,
            query: query.raw.wire.to_vec(),
            question_end: query.raw.question_end,
            fallback,
            sequence: self.submitted,
            started_at: now,
            candidates,
            deadline: now,
            sockets: Vec::new(),
            error_response: None,
        };
        self.pending.insert(id, pending);
        for server in probes {
            self.send_to(id, server, now);
        }
        self.try_next(id, now);
    }

    /// Sends the batches of queries.
    pub fn flush(&mut self, now: Instant) {
        // A failure begins a batch to the next nameserver. This ends, because a query has a last candidate.
        while let Some(id) = self.sockets.take_batch() {
            let Some(upstream) = self.sockets.get(id) else { continue };
            match upstream.batch.send(&upstream.socket) {
                Ok(()) => {}
                // As if lost on the network: its timeout tries the next nameserver.
                Err(err) if is_datagram_error(&err) => debug!("dns: a query was not sent: {err}"),
                Err(err) => self.on_socket_error(id, &err, now),
            }
        }
    }

    /// Adds the sockets by which responses come, and the ids that [`Forwarder::receive`] takes.
    pub fn add_poll_fds(&self, poll_fds: &mut Vec<PollFd>, ids: &mut Vec<SocketId>) {
        self.sockets.add_poll_fds(poll_fds, ids);
    }

    /// Receives the responses at a socket, and puts them into [`Forwarder::replies`].
    pub fn receive(&mut self, id: SocketId, batch: &mut RecvBatch, now: Instant) {
        let Some(upstream) = self.sockets.get(id) else { return };
        match batch.receive(&upstream.socket) {
            // The socket is connected, so that the kernel passes only what its nameserver sent.
            Ok(_) => batch.iter().for_each(|(response, _)| self.on_response(id, response, now)),
            Err(err) => self.on_socket_error(id, &err, now),
        }
    }

    /// Returns when [`Forwarder::on_timer`] has something to do.
    pub fn next_timer(&self) -> Option<Instant> {
        self.next_timer
    }

    /// Tries the next nameserver for each query whose attempt timed out, and retires old sockets.
    pub fn on_timer(&mut self, now: Instant) {
        if self.next_timer.is_none_or(|next| next > now) {
            return;
        }
        let late: Vec<u16> = self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(&id, _)| id).collect();
        for id in late {
            self.record_timeout(id, now);
            self.try_next(id, now);
        }
        let deadlines = self.pending.values().map(|pending| pending.deadline);
        self.next_timer = deadlines.chain(self.sockets.retire_old(now)).min();
    }

    fn record_timeout(&self, id: u16, now: Instant) {
        let Some(pending) = self.pending.get(&id) else { return };
        if let (Some(server), Parsed::Query(query)) = (pending.candidates.current(), message::parse(&pending.query)) {
            let question = (query.name.as_str(), query.record_type);
            self.nameservers.record_timeout(server, question, pending.started_at, now);
        }
    }

    fn on_response(&mut self, socket: SocketId, response: &[u8], now: Instant) {
        let (Some(id), Some(upstream)) = (message::id(response), self.sockets.get(socket)) else { return };
        let server = upstream.server;
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if !pending.sockets.contains(&socket) || !message::is_response_to(response, id, pending.raw()) {
            return;
        }
        self.nameservers.record_response(server, now);
        if message::settles(response) {
            return self.finish(id, Some(response));
        }
        pending.error_response.get_or_insert_with(|| response.to_vec());
        pending.candidates.skip(server);
        self.stop_waiting_at(id, socket, now);
    }

    /// The kernel says that nothing listens at the nameserver, or that it is unreachable.
    fn on_socket_error(&mut self, socket: SocketId, err: &io::Error, now: Instant) {
        let Some(upstream) = self.sockets.get(socket) else { return };
        let server = upstream.server;
        debug!("dns: nameserver {}: {err}", self.nameservers.address(server));
        self.nameservers.record_failure(server, err, now);
        self.sockets.retire(socket);
        let waiting = self.pending.iter().filter(|(_, pending)| pending.sockets.contains(&socket));
        let waiting: Vec<u16> = waiting.map(|(&id, _)| id).collect();
        for id in waiting {
            self.stop_waiting_at(id, socket, now);
        }
    }

    /// A query expects nothing more at a socket. If that was its current attempt, the next one follows.
    fn stop_waiting_at(&mut self, id: u16, socket: SocketId, now: Instant) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let is_current = pending.sockets.last() == Some(&socket);
        pending.sockets.retain(|&waiting| waiting != socket);
        self.sockets.release(socket);
        if is_current {
            self.try_next(id, now);
        }
    }

    /// Sends a query to its next nameserver, or finishes it.
    fn try_next(&mut self, id: u16, now: Instant) {
        while let Some(pending) = self.pending.get_mut(&id) {
            let Some(attempt) = pending.candidates.next(Duration::MAX) else {
                return self.finish(id, None);
            };
            pending.deadline = now + attempt.timeout;
            if self.send_to(id, attempt.server, now) {
                let due = now + attempt.timeout.min(SOCKET_MAX_AGE);
                self.next_timer = Some(self.next_timer.map_or(due, |next| next.min(due)));
                return;
            }
        }
    }

    /// Adds a query to the batch of a nameserver. Returns false if that is unreachable.
    fn send_to(&mut self, id: u16, server: usize, now: Instant) -> bool {
        let address = self.nameservers.address(server);
        let socket = match self.sockets.socket_for(server, address, now) {
            Ok(socket) => socket,
            Err(err) => {
                debug!("dns: cannot ask nameserver {address}: {err}");
                self.nameservers.record_failure(server, &err, now);
                return false;
            }
        };
        let Some(pending) = self.pending.get_mut(&id) else { return false };
        let before = pending.sockets.len();
        pending.sockets.retain(|&waiting| waiting != socket);
        let is_first = pending.sockets.len() == before;
        pending.sockets.push(socket);
        self.sockets.send(socket, id, &pending.query, is_first);
        true
    }

    /// Replies to the client with `settled`, else with what [`Fallback`] says.
    fn finish(&mut self, id: u16, settled: Option<&[u8]>) {
        let Some(pending) = self.pending.remove(&id) else { return };
        let response = settled.or(pending.error_response.as_deref());
        self.replies[pending.client.socket].push(Some(pending.client.address), |out| {
            message::write_forwarded(pending.raw(), pending.fallback, response, out);
        });
        for socket in pending.sockets {
            self.sockets.release(socket);
        }
    }
}

/// Queries pending at a time; the oldest gives way to a new one. Each needs less than a kilobyte, and 65,536 ids keep
/// free ones easy to find.
const MAX_PENDING: usize = 1000;
