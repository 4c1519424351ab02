//! Queries that are not ours, passed on by UDP byte for byte to the original
//! nameservers, and their answers back.
//!
//! No thread and nothing blocking in here: [`crate::dns::Loop`] says when there is
//! something to read, and when time is up.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use log::debug;

use crate::dns::message;
use crate::dns::message::{Otherwise, Query};
use crate::dns::nameservers::{Nameservers, Patience, Random};
use crate::dns::source_ports::{SOCKET_AGE, UpstreamSockets};
use crate::sys::net::{PollFd, RecvBatch, SendBatch, is_datagram_error};

/// Whom a reply goes to: an address, by way of one of our own sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Which of our sockets the query came by; the index of its [`SendBatch`].
    pub via: usize,
    /// Where it came from.
    pub at: SocketAddr,
}

/// Queries under way.
pub struct Forwarder {
    /// Replies on their way to clients: an outbox for each of our sockets.
    pub replies: Vec<SendBatch>,
    nameservers: Arc<Nameservers>,
    patience: Patience,
    random: Random,
    servers: Vec<Server>,
    upstreams: UpstreamSockets,
    flights: Vec<PendingQuery>,
    free: Vec<usize>,
    /// The index in `flights` of each one under way, by the id it was sent with.
    by_id: HashMap<u16, usize>,
    /// Nothing is late before this.
    next_check: Option<Instant>,
}

/// A nameserver as this side sees it.
#[derive(Default)]
struct Server {
    last_heard: Option<Instant>,
    /// When a silent one is to be asked again, beside another.
    probe_at: Option<Instant>,
}

/// A query that waits for its answer.
struct PendingQuery {
    client: Client,
    /// The query as it came.
    query: Vec<u8>,
    /// Where its question ends.
    end: usize,
    /// Its id on our way to the nameservers.
    id: u16,
    otherwise: Otherwise,
    begun: Instant,
    deadline: Instant,
    /// The nameservers to ask, of which `turn` were asked.
    order: Vec<usize>,
    turn: usize,
    /// The sockets an answer may come by, in the order of asking.
    asked: Vec<usize>,
    /// An answer that says nothing, in case no better one comes.
    kept: Vec<u8>,
    live: bool,
}

impl Forwarder {
    /// One without queries and without sockets, for clients of `ways` sockets.
    pub fn new(nameservers: Arc<Nameservers>, patience: Patience, ways: usize) -> Forwarder {
        let count = nameservers.len();
        Forwarder {
            replies: (0..ways).map(|_| SendBatch::default()).collect(),
            nameservers,
            patience,
            random: Random::default(),
            servers: (0..count).map(|_| Server::default()).collect(),
            upstreams: UpstreamSockets::new(count),
            flights: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            next_check: None,
        }
    }

    /// Takes on a query. It leaves with the next [`Forwarder::flush`]; a
    /// reply comes in any case.
    pub fn ask(&mut self, client: Client, query: &Query<'_>, otherwise: Otherwise, now: Instant) {
        if self.flights.len() - self.free.len() >= MOST_FLIGHTS {
            self.end_oldest();
        }
        let id = loop {
            let id = self.random.id();
            if !self.by_id.contains_key(&id) {
                break id;
            }
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.flights.push(PendingQuery::none(client, now));
            self.flights.len() - 1
        });
        self.by_id.insert(id, index);
        let flight = &mut self.flights[index];
        flight.client = client;
        flight.query.clear();
        flight.query.extend_from_slice(query.wire);
        flight.end = query.end;
        flight.id = id;
        flight.otherwise = otherwise;
        flight.begun = now;
        flight.turn = 0;
        flight.live = true;
        flight.order.clear();
        let order = self.nameservers.order();
        flight.order.extend(order.iter().map(|(server, _)| server));
        if let [only] = flight.order[..] {
            // A datagram may be lost: asked twice, as a resolver would.
            flight.order.push(only);
        }
        self.probe(index, now);
        self.ask_next(index, now);
    }

    /// Sends what [`Forwarder::ask`] prepared.
    pub fn flush(&mut self, now: Instant) {
        // A failure asks the next nameserver, and so fills another outbox. It
        // ends: a flight has no more turns than nameservers.
        loop {
            let mut idle = true;
            for number in 0..self.upstreams.end() {
                let Some(upstream) = self.upstreams.get(number) else {
                    continue;
                };
                if upstream.outbox.is_empty() {
                    continue;
                }
                idle = false;
                match upstream.outbox.send(&upstream.socket) {
                    Ok(()) => {}
                    // As good as lost on its way: its flight asks again.
                    Err(err) if is_datagram_error(&err) => {
                        debug!("dns: a query did not leave: {err}");
                    }
                    Err(err) => self.socket_failed(number, &err, now),
                }
            }
            if idle {
                break;
            }
        }
        self.upstreams.end_batch();
    }

    /// Adds every socket an answer may come by; the numbers are for
    /// [`Forwarder::receive`].
    pub fn add_waits(&self, waits: &mut Vec<PollFd>, numbers: &mut Vec<usize>) {
        self.upstreams.add_waits(waits, numbers);
    }

    /// Takes the answers that are there on a socket, for [`Forwarder::replies`].
    pub fn receive(&mut self, number: usize, inbox: &mut RecvBatch, now: Instant) {
        let Some(upstream) = self.upstreams.get(number) else {
            return;
        };
        match inbox.receive(&upstream.socket) {
            // The socket is connected: the kernel lets only its nameserver in.
            Ok(_) => inbox.iter().for_each(|(answer, _)| self.take(number, answer, now)),
            Err(err) => self.socket_failed(number, &err, now),
        }
    }

    /// When [`Forwarder::check`] has something to do.
    pub fn next_check(&self) -> Option<Instant> {
        self.next_check
    }

    /// Asks the next nameserver where one was silent for too long, gives up
    /// where all were, and closes what is idle.
    pub fn check(&mut self, now: Instant) {
        if self.next_check.is_none_or(|next| next > now) {
            return;
        }
        self.next_check = None;
        for index in 0..self.flights.len() {
            let flight = &self.flights[index];
            if !flight.live {
                continue;
            }
            if flight.deadline <= now {
                self.note_silence(index, now);
                self.ask_next(index, now);
            } else {
                self.check_by(flight.deadline);
            }
        }
        if let Some(old) = self.upstreams.retire_old(now) {
            self.check_by(old);
        }
    }

    /// An answer that came by a socket.
    fn take(&mut self, number: usize, answer: &[u8], now: Instant) {
        let (Some(&[high, low]), Some(upstream)) = (answer.first_chunk(), self.upstreams.get(number)) else {
            return;
        };
        let server = upstream.server;
        let id = u16::from_be_bytes([high, low]);
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        let flight = &mut self.flights[index];
        let Some(place) = flight.asked.iter().position(|&asked| asked == number) else {
            return;
        };
        if !message::answers(answer, id, &flight.query, flight.end) {
            return;
        }
        self.servers[server].last_heard = Some(now);
        if self.nameservers.note(server, false) {
            self.servers[server].probe_at = None;
        }
        if message::settles(answer) {
            self.conclude(index, Some(answer));
            return;
        }
        // The next one may know more: a resolver would ask it, too.
        if flight.kept.is_empty() {
            flight.kept.extend_from_slice(answer);
        }
        flight.asked.remove(place);
        let was_last = place == flight.asked.len();
        // One that is there need not be asked a second time.
        while flight.order.get(flight.turn) == Some(&server) {
            flight.turn += 1;
        }
        self.upstreams.leave(number);
        if was_last {
            self.ask_next(index, now);
        }
    }

    /// Prepares the query for the next nameserver that can be asked at all,
    /// or gives up.
    fn ask_next(&mut self, index: usize, now: Instant) {
        loop {
            let flight = &mut self.flights[index];
            let Some(&server) = flight.order.get(flight.turn) else {
                return self.give_up(index);
            };
            let wait = self.patience.for_turn(flight.turn, flight.order.len());
            flight.turn += 1;
            flight.deadline = now + wait;
            if self.ask_server(index, server, now) {
                self.check_by(now + wait.min(SOCKET_AGE));
                return;
            }
        }
    }

    /// Prepares the query for one nameserver; false when there is no way to it.
    fn ask_server(&mut self, index: usize, server: usize, now: Instant) -> bool {
        let at = self.nameservers.address(server);
        let number = match self.upstreams.pick(server, at, now) {
            Ok(number) => number,
            Err(err) => {
                debug!("dns: cannot ask nameserver {}: {err}", self.nameservers.address(server));
                self.nameservers.note_failure(server, &err);
                self.probe_later(server, now);
                return false;
            }
        };
        let flight = &mut self.flights[index];
        // Put last, also if it was there: the last is the one waited for.
        let place = flight.asked.iter().position(|&asked| asked == number);
        place.map(|place| flight.asked.remove(place));
        self.upstreams.send(number, flight.id, &flight.query, place.is_none());
        flight.asked.push(number);
        true
    }

    /// Asks nameservers that were silent whether they are still, with this
    /// query, beside the one whose turn it is.
    fn probe(&mut self, index: usize, now: Instant) {
        for server in 0..self.servers.len() {
            if !self.nameservers.is_silent(server) {
                self.servers[server].probe_at = None;
                continue;
            }
            if self.flights[index].order.first() == Some(&server) {
                continue;
            }
            let due = *self.servers[server].probe_at.get_or_insert(now + self.patience.silent);
            if due <= now {
                self.servers[server].probe_at = Some(now + self.patience.silent);
                self.ask_server(index, server, now);
            }
        }
    }

    /// The nameserver whose turn it was did not answer this query in time.
    fn note_silence(&mut self, index: usize, now: Instant) {
        let flight = &self.flights[index];
        let Some(&server) = flight.turn.checked_sub(1).and_then(|t| flight.order.get(t)) else {
            return;
        };
        let heard = self.servers[server].last_heard;
        let answers_others = heard.is_some_and(|heard| heard >= flight.begun);
        let name = message::read_name(&flight.query, message::HEADER, false);
        let name = name.map_or_else(String::new, |(name, _)| name);
        let silent = &self.nameservers;
        if silent.note_silence(server, &name, flight.kind(), answers_others) {
            self.probe_later(server, now);
        }
    }

    fn probe_later(&mut self, server: usize, now: Instant) {
        self.servers[server].probe_at.get_or_insert(now + self.patience.silent);
    }

    /// The kernel says that nobody is there, or that there is no way.
    fn socket_failed(&mut self, number: usize, err: &io::Error, now: Instant) {
        let Some(upstream) = self.upstreams.get(number) else {
            return;
        };
        let server = upstream.server;
        debug!("dns: nameserver {}: {err}", self.nameservers.address(server));
        self.nameservers.note_failure(server, err);
        self.probe_later(server, now);
        self.upstreams.retire(number);
        for index in 0..self.flights.len() {
            let flight = &mut self.flights[index];
            let Some(place) = flight.asked.iter().position(|&asked| asked == number) else {
                continue;
            };
            flight.asked.remove(place);
            let was_last = place == flight.asked.len();
            self.upstreams.leave(number);
            if was_last {
                self.ask_next(index, now);
            }
        }
    }

    fn give_up(&mut self, index: usize) {
        let kept = std::mem::take(&mut self.flights[index].kept);
        self.conclude(index, (!kept.is_empty()).then_some(&kept));
    }

    fn end_oldest(&mut self) {
        let live = self.flights.iter().enumerate().filter(|(_, f)| f.live);
        if let Some((oldest, _)) = live.min_by_key(|(_, flight)| flight.begun) {
            self.give_up(oldest);
        }
    }

    /// Gives the client what nameservers said, or what that comes to.
    fn conclude(&mut self, index: usize, said: Option<&[u8]>) {
        let flight = &self.flights[index];
        let (query, end) = (&flight.query, flight.end);
        self.replies[flight.client.via].push(Some(flight.client.at), |out| {
            message::conclude(query, end, flight.otherwise, said, out);
        });
        self.end(index);
    }

    fn end(&mut self, index: usize) {
        let flight = &mut self.flights[index];
        flight.live = false;
        self.by_id.remove(&flight.id);
        // A flight is used again; what it needed once for a huge query is not.
        flight.query.clear();
        flight.query.shrink_to(ORDINARY_QUERY);
        flight.kept = Vec::new();
        self.free.push(index);
        while let Some(number) = self.flights[index].asked.pop() {
            self.upstreams.leave(number);
        }
    }

    fn check_by(&mut self, deadline: Instant) {
        self.next_check = Some(self.next_check.map_or(deadline, |next| next.min(deadline)));
    }
}

impl PendingQuery {
    fn none(client: Client, now: Instant) -> PendingQuery {
        PendingQuery {
            client,
            query: Vec::new(),
            end: 0,
            id: 0,
            otherwise: Otherwise::Failure,
            begun: now,
            deadline: now,
            order: Vec::new(),
            turn: 0,
            asked: Vec::new(),
            kept: Vec::new(),
            live: false,
        }
    }

    /// The type asked for.
    fn kind(&self) -> u16 {
        let at = self.end.saturating_sub(4);
        let kind = self.query.get(at..).and_then(<[u8]>::first_chunk);
        kind.map_or(0, |kind| u16::from_be_bytes(*kind))
    }
}

/// So many queries are under way at most.
const MOST_FLIGHTS: usize = 1000;

/// Room a flight keeps for its next query.
const ORDINARY_QUERY: usize = 512;
