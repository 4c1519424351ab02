//! DNS over TCP (RFC 7766): the clients' connections, and ours to the nameservers.
//!
//! Few come this way: answers too large for a datagram. So a connection has a
//! thread, and so has each query on it that is passed on: a slow answer never
//! holds up another one, and answers go back in the order they come.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::House;
use super::framed::{receive, send};
use super::message::{self, AXFR, IXFR, Otherwise, Query, Read, SERVFAIL, Verdict};
use super::nameservers::{Nameservers, Patience, Random};

/// The connections being served.
#[derive(Default)]
pub struct Streams {
    connections: Arc<AtomicUsize>,
    /// Those being passed on, counted apart: however slow the nameservers,
    /// there is a connection for our own names.
    queries: Arc<AtomicUsize>,
}

impl Streams {
    /// Serves a connection from a thread of its own, unless there are too many.
    pub fn serve(&self, client: TcpStream, house: &Arc<House>) {
        let Some(counted) = Counted::one_more(&self.connections) else {
            debug!("dns: too many connections; closed one");
            return;
        };
        let client = Arc::new(client);
        let work = {
            let (client, queries) = (Arc::clone(&client), Arc::clone(&self.queries));
            let house = Arc::clone(house);
            move || {
                if let Err(err) = converse(&client, &house, &queries) {
                    debug!("dns: a connection ended: {err}");
                }
                drop(counted);
            }
        };
        if let Err(err) = spawn(work) {
            warn!("dns: no thread for a connection: {err}; it has one answer at once");
            if let Err(err) = answer_at_once(&client, house) {
                debug!("dns: a connection ended: {err}");
            }
        }
    }
}

/// Answers the first query of a connection on the thread of the server, which
/// may not wait for a nameserver: what would be passed on fails.
fn answer_at_once(client: &TcpStream, house: &House) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let deadline = Instant::now() + AT_ONCE;
    let Some(wire) = receive(client, deadline)? else {
        return Ok(());
    };
    let mut out = Vec::new();
    match message::read(&wire) {
        Read::Ignored => return Ok(()),
        Read::Bad(code) => message::refuse(&wire, code, &mut out),
        Read::Query(query) => match house.decide(&query) {
            Verdict::Forward { .. } => message::failure(&wire, SERVFAIL, &mut out),
            verdict => message::reply(&query, &verdict, &mut out),
        },
    }
    send(client, &out, deadline)
}

/// Answers queries until the client is done with them.
fn converse(
    client: &Arc<TcpStream>,
    house: &Arc<House>,
    queries: &Arc<AtomicUsize>,
) -> io::Result<()> {
    // Accepted sockets do not inherit it on Linux, but to say so costs nothing.
    client.set_nonblocking(false)?;
    // Only speed depends on it.
    let _ = client.set_nodelay(true);
    let writing = Arc::new(Mutex::new(Arc::clone(client)));
    while let Some(wire) = receive(client, Instant::now() + IDLE)? {
        let mut out = Vec::new();
        match message::read(&wire) {
            // Nothing good comes after this.
            Read::Ignored => return Ok(()),
            Read::Bad(code) => message::refuse(&wire, code, &mut out),
            Read::Query(query) => match house.decide(&query) {
                Verdict::Forward(otherwise) => {
                    let counted = Counted::one_more(queries);
                    let (house, writing) = (Arc::clone(house), Arc::clone(&writing));
                    let asked = wire.clone();
                    let started = counted.is_some_and(|counted| {
                        let work = move || {
                            pass_on(&asked, otherwise, &house, &writing);
                            drop(counted);
                        };
                        spawn(work)
                            .inspect_err(|err| {
                                warn!("dns: no thread for a query: {err}; sent SERVFAIL")
                            })
                            .is_ok()
                    });
                    if !started {
                        message::failure(&wire, SERVFAIL, &mut out);
                    }
                }
                verdict => message::reply(&query, &verdict, &mut out),
            },
        }
        if !out.is_empty() {
            give(&writing, &out)?;
        }
    }
    Ok(())
}

/// Asks the nameservers, and gives the client what they say, or what that
/// comes to.
fn pass_on(wire: &[u8], otherwise: Otherwise, house: &House, writing: &Mutex<Arc<TcpStream>>) {
    let Read::Query(query) = message::read(wire) else {
        return;
    };
    let conclude = |said: Option<&[u8]>| {
        let mut out = Vec::new();
        message::conclude(wire, query.end, otherwise, said, &mut out);
        give(writing, &out)
    };
    // Where the client takes no more, nothing more is read for it.
    let _ = match ask_all(&query, &house.nameservers, house.patience) {
        Said::Settled(first, rest) => conclude(Some(&first)).and_then(|()| {
            let mut rest = rest.into_iter().flatten();
            rest.try_for_each(|more| give(writing, &more))
        }),
        Said::Refused(refusal) => conclude(Some(&refusal)),
        Said::Nothing => conclude(None),
    };
}

/// Sends the client a message; where that fails half of it may be out, and
/// nothing can follow.
fn give(writing: &Mutex<Arc<TcpStream>>, wire: &[u8]) -> io::Result<()> {
    let client = lock(writing);
    send(&client, wire, Instant::now() + IDLE).inspect_err(|_| {
        let _ = client.shutdown(Shutdown::Both);
    })
}

/// What the nameservers had to say.
enum Said {
    /// This, and from a zone more to come.
    Settled(Vec<u8>, Option<Rest>),
    /// No more than this; of the first of them.
    Refused(Vec<u8>),
    Nothing,
}

/// Asks the nameservers in turn, until one settles the query.
fn ask_all(query: &Query<'_>, nameservers: &Nameservers, patience: Patience) -> Said {
    let mut said = Said::Nothing;
    let order = nameservers.order();
    let begun = Instant::now();
    for (turn, &(server, address)) in order.iter().enumerate() {
        let left = patience.all.saturating_sub(begun.elapsed());
        let wait = patience.for_turn(turn, order.len()).min(left);
        if wait.is_zero() {
            break;
        }
        match ask(query, address, wait) {
            Ok((answer, rest)) if message::settles(&answer) => {
                nameservers.note(server, false);
                let is_zone = matches!(query.kind, AXFR | IXFR);
                return Said::Settled(answer, is_zone.then_some(rest));
            }
            Ok((answer, _)) => {
                if matches!(said, Said::Nothing) {
                    said = Said::Refused(answer);
                }
            }
            // Not noted as silence: there are nameservers without TCP.
            Err(err) => debug!("dns: {}: {address} by TCP: {err}", query.name),
        }
    }
    said
}

/// Asks one nameserver: its answer, and what may follow that.
fn ask(query: &Query<'_>, address: SocketAddr, wait: Duration) -> io::Result<(Vec<u8>, Rest)> {
    let deadline = Instant::now() + wait;
    let stream = TcpStream::connect_timeout(&address, wait)?;
    let _ = stream.set_nodelay(true);
    let id = Random::default().id();
    let mut asked = query.wire.to_vec();
    asked[..2].copy_from_slice(&id.to_be_bytes());
    send(&stream, &asked, deadline)?;
    loop {
        let mut answer = receive(&stream, deadline)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if message::answers(&answer, id, query.wire, query.end) {
            let client = [query.wire[0], query.wire[1]];
            answer[..2].copy_from_slice(&client);
            return Ok((answer, Rest { stream, id, client }));
        }
    }
}

/// What follows the first message of a zone: as many as its server likes.
///
/// Only who reads the records knows the last one. Until silence, then.
struct Rest {
    stream: TcpStream,
    id: u16,
    client: [u8; 2],
}

impl Iterator for Rest {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut more = receive(&self.stream, Instant::now() + IDLE).ok()??;
        if more.len() < message::HEADER || more[..2] != self.id.to_be_bytes() {
            return None;
        }
        more[..2].copy_from_slice(&self.client);
        Some(more)
    }
}

fn lock(writing: &Mutex<Arc<TcpStream>>) -> MutexGuard<'_, Arc<TcpStream>> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of those that are counted, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// One more of them; `None` at the limit.
    fn one_more(all: &Arc<AtomicUsize>) -> Option<Counted> {
        let more = Counted(Arc::clone(all));
        (all.fetch_add(1, Ordering::Relaxed) < MOST).then_some(more)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name("dns-tcp".to_owned());
    builder.stack_size(STACK).spawn(work).map(drop)
}

/// Connections at a time, and queries of theirs at a time: each has a thread.
const MOST: usize = 100;

/// What such a thread needs, and then some.
const STACK: usize = 256 * 1024;

/// How long a client, or the server of a zone, may take for a message from the
/// end of the one before; clients keep a silent connection for less.
const IDLE: Duration = Duration::from_secs(10);

/// How long a client without a thread may take to send its query, and to read
/// the answer: all other queries wait for it.
const AT_ONCE: Duration = Duration::from_millis(100);
