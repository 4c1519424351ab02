//! DNS over TCP (RFC 7766): the clients' connections, and ours to the nameservers.
//!
//! Few come this way: answers too large for a datagram. So a connection has a
//! thread, and so has each query on it that is passed on: a slow answer never
//! holds up another one, and answers go back in the order they come.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::dns::ServerContext;
use crate::dns::message;
use crate::dns::message::{AXFR, IXFR, Otherwise, Query, Read, Reply, SERVFAIL};
use crate::dns::nameservers::{Nameservers, Patience, Random};
use crate::dns::tcp_framing::{receive, send};
use crate::sync::lock;

/// The connections being served.
#[derive(Default)]
pub struct TcpServer {
    open: Arc<Mutex<Vec<Arc<Connection>>>>,
    /// Queries being passed on, counted apart: however slow the nameservers,
    /// there is a connection for our own names.
    queries: Arc<AtomicUsize>,
}

impl TcpServer {
    /// Serves a connection from a thread of its own, unless there are too many.
    pub fn serve(&self, client: TcpStream, house: &Arc<ServerContext>) {
        let connection = Arc::new(Connection::new(client));
        let Some(admitted) = Admitted::new(&connection, &self.open) else {
            debug!("dns: too many connections; closed one");
            return;
        };
        let work = {
            let (house, queries) = (Arc::clone(house), Arc::clone(&self.queries));
            move || {
                if let Err(err) = converse(&admitted.connection, &house, &queries) {
                    debug!("dns: a connection ended: {err}");
                }
            }
        };
        if let Err(err) = spawn(work) {
            warn!("dns: no thread for a connection: {err}; it has one answer at once");
            if let Err(err) = answer_at_once(&connection.tcp, house) {
                debug!("dns: a connection ended: {err}");
            }
        }
    }
}

/// A client's connection, as the thread of the server, its own and those of its
/// queries have it.
struct Connection {
    tcp: TcpStream,
    /// Locked while a message is written, so that none gets into another.
    writing: Mutex<()>,
    /// Its queries that are passed on and not answered yet.
    pending: AtomicUsize,
    /// When its last query came, or else the connection.
    last: Mutex<Instant>,
}

impl Connection {
    fn new(tcp: TcpStream) -> Connection {
        Connection { tcp, writing: Mutex::default(), pending: AtomicUsize::new(0), last: Mutex::new(Instant::now()) }
    }

    /// Sends the client a message; where that fails half of it may be out, and
    /// nothing can follow.
    fn give(&self, wire: &[u8]) -> io::Result<()> {
        let _alone = lock(&self.writing);
        send(&self.tcp, wire, Instant::now() + IDLE).inspect_err(|_| self.close())
    }

    fn close(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

/// One of the connections that are served, until it is dropped.
struct Admitted {
    connection: Arc<Connection>,
    open: Arc<Mutex<Vec<Arc<Connection>>>>,
}

impl Admitted {
    /// One more of them. At the limit it takes the place of the one that has
    /// been idle for longest (RFC 7766, section 6.2.3, lets a server close it);
    /// `None` where all wait for answers.
    fn new(connection: &Arc<Connection>, open: &Arc<Mutex<Vec<Arc<Connection>>>>) -> Option<Admitted> {
        let mut others = lock(open);
        if others.len() >= MOST {
            let idle = |&at: &usize| others[at].pending.load(Ordering::Relaxed) == 0;
            let longest = (0..others.len()).filter(idle);
            let longest = longest.min_by_key(|&at| *lock(&others[at].last))?;
            debug!("dns: too many connections; closed the one that was idle for longest");
            others.swap_remove(longest).close();
        }
        others.push(Arc::clone(connection));
        Some(Admitted { connection: Arc::clone(connection), open: Arc::clone(open) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.open).retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

/// Answers the first query of a connection on the thread of the server, which
/// may not wait for a nameserver: what would be passed on fails.
fn answer_at_once(client: &TcpStream, house: &ServerContext) -> io::Result<()> {
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
            Reply::Forward { .. } => message::failure(&wire, SERVFAIL, &mut out),
            verdict => message::reply(&query, &verdict, &mut out),
        },
    }
    send(client, &out, deadline)
}

/// Answers queries until the client is done with them.
fn converse(connection: &Arc<Connection>, house: &Arc<ServerContext>, queries: &Arc<AtomicUsize>) -> io::Result<()> {
    let client = &connection.tcp;
    // Accepted sockets do not inherit it on Linux, but to say so costs nothing.
    client.set_nonblocking(false)?;
    // Only speed depends on it.
    let _ = client.set_nodelay(true);
    while let Some(wire) = receive(client, Instant::now() + IDLE)? {
        *lock(&connection.last) = Instant::now();
        let mut out = Vec::new();
        match message::read(&wire) {
            // Nothing good comes after this.
            Read::Ignored => return Ok(()),
            Read::Bad(code) => message::refuse(&wire, code, &mut out),
            Read::Query(query) => match house.decide(&query) {
                Reply::Forward(otherwise) => {
                    if !start_to_pass_on(&wire, otherwise, connection, house, queries) {
                        message::failure(&wire, SERVFAIL, &mut out);
                    }
                }
                verdict => message::reply(&query, &verdict, &mut out),
            },
        }
        if !out.is_empty() {
            connection.give(&out)?;
        }
    }
    Ok(())
}

/// Passes a query on, from a thread of its own; whether there is one for it.
fn start_to_pass_on(
    wire: &[u8],
    otherwise: Otherwise,
    connection: &Arc<Connection>,
    house: &Arc<ServerContext>,
    queries: &Arc<AtomicUsize>,
) -> bool {
    let Some(counted) = Counted::one_more(queries) else {
        return false;
    };
    let pending = Pending::new(connection);
    let (wire, house) = (wire.to_vec(), Arc::clone(house));
    let work = move || {
        pass_on(&wire, otherwise, &house, &pending.0);
        drop((pending, counted));
    };
    spawn(work).inspect_err(|err| warn!("dns: no thread for a query: {err}; sent SERVFAIL")).is_ok()
}

/// Asks the nameservers, and gives the client what they say, or what that
/// comes to.
fn pass_on(wire: &[u8], otherwise: Otherwise, house: &ServerContext, client: &Connection) {
    let Read::Query(query) = message::read(wire) else {
        return;
    };
    let conclude = |said: Option<&[u8]>| {
        let mut out = Vec::new();
        message::conclude(wire, query.end, otherwise, said, &mut out);
        client.give(&out)
    };
    // Where the client takes no more, nothing more is read for it.
    let _ = match ask_all(&query, &house.nameservers, house.patience) {
        Said::Settled(first, rest) => conclude(Some(&first)).and_then(|()| {
            let mut rest = rest.into_iter().flatten();
            rest.try_for_each(|more| client.give(&more))
        }),
        Said::Refused(refusal) => conclude(Some(&refusal)),
        Said::Nothing => conclude(None),
    };
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

/// One more query of a connection that is passed on, until it is dropped.
struct Pending(Arc<Connection>);

impl Pending {
    fn new(connection: &Arc<Connection>) -> Pending {
        connection.pending.fetch_add(1, Ordering::Relaxed);
        Pending(Arc::clone(connection))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
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
pub const MOST: usize = 100;

/// What such a thread needs, and then some.
const STACK: usize = 256 * 1024;

/// How long a client, or the server of a zone, may take for a message from the
/// end of the one before; clients keep a silent connection for less.
const IDLE: Duration = Duration::from_secs(10);

/// How long a client without a thread may take to send its query, and to read
/// the answer: all other queries wait for it.
const AT_ONCE: Duration = Duration::from_millis(100);
