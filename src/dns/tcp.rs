//! DNS over TCP (RFC 7766): clients' connections, and their queries to the nameservers.
//!
//! Few queries come this way: those with responses too large for a datagram. So each connection has a thread, and so
//! has each query of it that is forwarded: a slow response never delays another one, and responses are sent in the
//! order in which they come (RFC 7766, section 6.2.1.1).

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::dns::message::{self, Fallback, Parsed, Query, Rcode, RecordType};
use crate::dns::nameservers::{ExchangeError, Transport};
use crate::dns::server::ServerContext;
use crate::dns::source_ports::Random;
use crate::dns::tcp_framing::{DeadlineStream, exchange, receive, send};
use crate::net::context::Background;
use crate::sync::lock;

/// Serves the connections. The `dns` thread accepts them.
#[derive(Default)]
pub struct TcpServer {
    /// Written by the `dns` thread (a new connection) and the connections' threads (their end).
    open: Arc<Mutex<Vec<Arc<Connection>>>>,
    /// Queries being forwarded, of all connections. Limited apart from the connections, so that slow nameservers
    /// leave connections free for runsd's own names.
    forwarded: Arc<AtomicUsize>,
}

impl TcpServer {
    /// Serves a connection from a thread of its own; closes it if there are too many.
    ///
    /// Blocks: only where there is no thread, for up to [`INLINE_TIMEOUT`].
    pub fn serve(&self, tcp: TcpStream, context: &Arc<ServerContext>) {
        let connection = Arc::new(Connection::new(tcp));
        let Some(open) = OpenConnection::new(&connection, &self.open) else {
            debug!("dns: too many connections; closed one");
            return;
        };
        let work = {
            let (context, forwarded) = (Arc::clone(context), Arc::clone(&self.forwarded));
            move || log_end(serve_queries(&open.connection, &context, &forwarded))
        };
        if let Err(err) = spawn(work) {
            warn!("dns: no thread for a connection: {err}; it has one answer at once");
            log_end(serve_one_inline(&connection.tcp, context));
        }
    }
}

fn log_end(served: io::Result<()>) {
    if let Err(err) = served {
        debug!("dns: a connection ended: {err}");
    }
}

/// A client's connection, shared by its thread, those of its forwarded queries, and the `dns` thread.
struct Connection {
    tcp: TcpStream,
    /// Locked while a message is written, so that each is in one piece.
    write_lock: Mutex<()>,
    /// Its forwarded queries without a response so far.
    pending: Arc<AtomicUsize>,
    /// When its last query came, or else the connection. Written by its thread, read by the `dns` thread.
    last_active: Mutex<Instant>,
}

impl Connection {
    fn new(tcp: TcpStream) -> Connection {
        Connection {
            tcp,
            write_lock: Mutex::default(),
            pending: Arc::default(),
            last_active: Mutex::new(Instant::now()),
        }
    }

    /// Sends the client a message. Where that fails, half of it may be sent and nothing can follow.
    fn send(&self, wire: &[u8]) -> io::Result<()> {
        let _guard = lock(&self.write_lock);
        let deadline = Instant::now() + IDLE_TIMEOUT;
        send(&mut DeadlineStream::new(&self.tcp, deadline, &mut Background), wire).inspect_err(|_| self.close())
    }

    fn close(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

/// An entry of the open connections, until it is dropped.
struct OpenConnection {
    connection: Arc<Connection>,
    all: Arc<Mutex<Vec<Arc<Connection>>>>,
}

impl OpenConnection {
    /// Adds a connection. At the limit it replaces the one that was idle for longest, which RFC 7766, section 6.2.3,
    /// allows; `None` where all wait for responses.
    fn new(connection: &Arc<Connection>, all: &Arc<Mutex<Vec<Arc<Connection>>>>) -> Option<OpenConnection> {
        let mut open = lock(all);
        if open.len() >= MAX_CONNECTIONS {
            let idle = (0..open.len()).filter(|&at| open[at].pending.load(Ordering::Relaxed) == 0);
            let idle_longest = idle.min_by_key(|&at| *lock(&open[at].last_active))?;
            debug!("dns: too many connections; closed the one that was idle for longest");
            open.swap_remove(idle_longest).close();
        }
        open.push(Arc::clone(connection));
        Some(OpenConnection { connection: Arc::clone(connection), all: Arc::clone(all) })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        lock(&self.all).retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

/// Answers the first query of a connection on the `dns` thread, which may not wait for a nameserver: a query that
/// would be forwarded fails.
fn serve_one_inline(tcp: &TcpStream, context: &ServerContext) -> io::Result<()> {
    tcp.set_nonblocking(true)?;
    let mut background = Background;
    let mut stream = DeadlineStream::new(tcp, Instant::now() + INLINE_TIMEOUT, &mut background);
    let Some(wire) = receive(&mut stream)? else {
        return Ok(());
    };
    let mut out = Vec::new();
    if let Some((query, _)) = context.answer(&wire, &mut out) {
        message::write_rcode(query.raw, Rcode::SERVFAIL, &mut out);
    }
    if out.is_empty() { Ok(()) } else { send(&mut stream, &out) }
}

/// Answers queries until the client closes, or is idle for [`IDLE_TIMEOUT`].
fn serve_queries(
    connection: &Arc<Connection>,
    context: &Arc<ServerContext>,
    forwarded: &Arc<AtomicUsize>,
) -> io::Result<()> {
    let tcp = &connection.tcp;
    tcp.set_nonblocking(true)?;
    // Only speed depends on it.
    let _ = tcp.set_nodelay(true);
    while let Some(wire) = receive(&mut DeadlineStream::new(tcp, Instant::now() + IDLE_TIMEOUT, &mut Background))? {
        *lock(&connection.last_active) = Instant::now();
        let mut out = Vec::new();
        match context.answer(&wire, &mut out) {
            Some((_, fallback)) if spawn_forward(&wire, fallback, connection, context, forwarded) => continue,
            Some((query, _)) => message::write_rcode(query.raw, Rcode::SERVFAIL, &mut out),
            None => {}
        }
        // A message that is not a query ends the connection.
        if out.is_empty() {
            break;
        }
        connection.send(&out)?;
    }
    Ok(())
}

/// Forwards a query from a thread of its own. Returns false if there are too many.
fn spawn_forward(
    wire: &[u8],
    fallback: Fallback,
    connection: &Arc<Connection>,
    context: &Arc<ServerContext>,
    forwarded: &Arc<AtomicUsize>,
) -> bool {
    let Some(forwarded) = Counted::new(forwarded, MAX_FORWARDED) else {
        return false;
    };
    let pending = Counted::new(&connection.pending, MAX_FORWARDED);
    let (wire, context, connection) = (wire.to_vec(), Arc::clone(context), Arc::clone(connection));
    let work = move || {
        if let Parsed::Query(query) = message::parse(&wire) {
            // An error is the client's, to which nothing more is sent then.
            let _ = forward(&query, fallback, &context, &connection);
        }
        drop((forwarded, pending));
    };
    spawn(work).inspect_err(|err| warn!("dns: no thread for a query: {err}; sent SERVFAIL")).is_ok()
}

/// Asks the nameservers, and sends the client what follows from their responses.
fn forward(query: &Query<'_>, fallback: Fallback, context: &ServerContext, connection: &Connection) -> io::Result<()> {
    let ServerContext { nameservers, timeouts, .. } = context;
    let id = Random::default().id();
    let mut nameserver = None;
    let candidates = nameservers.candidates(*timeouts, Transport::Tcp);
    let deadline = Instant::now() + timeouts.total;
    let question = (query.name.as_str(), query.record_type);
    let response = nameservers.ask_in_turn(question, candidates, deadline, |address, timeout| {
        let exchanged = exchange(query.raw, id, address, Instant::now() + timeout, &mut Background)?;
        let (response, tcp) = exchanged.map_err(ExchangeError::NoTcp)?;
        nameserver = Some(tcp);
        Ok(response)
    });
    let response = response.unwrap_or(None); // Background is never cancelled
    let mut out = Vec::new();
    message::write_forwarded(query.raw, fallback, response.as_deref(), &mut out);
    connection.send(&out)?;
    match (response, nameserver) {
        (Some(response), Some(tcp)) if is_zone_transfer(query.record_type) && message::settles(&response) => {
            relay_zone(&tcp, id, query.raw.wire, connection)
        }
        _ => Ok(()),
    }
}

/// Relays the further messages of a zone (RFC 5936, section 2.2) until the nameserver is silent for [`IDLE_TIMEOUT`]:
/// only a reader of all records would know the last one.
fn relay_zone(nameserver: &TcpStream, id: u16, query: &[u8], connection: &Connection) -> io::Result<()> {
    loop {
        let deadline = Instant::now() + IDLE_TIMEOUT;
        let received = receive(&mut DeadlineStream::new(nameserver, deadline, &mut Background));
        let Ok(Some(mut more)) = received else {
            return Ok(());
        };
        if more.len() < message::HEADER_LEN || message::id(&more) != Some(id) {
            return Ok(());
        }
        more[..2].copy_from_slice(&query[..2]);
        connection.send(&more)?;
    }
}

fn is_zone_transfer(record_type: RecordType) -> bool {
    matches!(record_type, RecordType::AXFR | RecordType::IXFR)
}

/// Adds one to a counter until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// `None` where the counter is at `max`.
    fn new(counter: &Arc<AtomicUsize>, max: usize) -> Option<Counted> {
        let counted = Counted(Arc::clone(counter));
        (counter.fetch_add(1, Ordering::Relaxed) < max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name("dns-tcp".to_owned());
    builder.stack_size(STACK_LEN).spawn(work).map(drop)
}

/// Connections at a time. Each has a thread; few programs of a container have more than one.
pub const MAX_CONNECTIONS: usize = 100;

/// Forwarded queries at a time, of all connections. Each has a thread.
const MAX_FORWARDED: usize = 100;

/// Bytes of such a thread's stack. Messages are on the heap; measured use is far below.
const STACK_LEN: usize = 256 * 1024;

/// How long a client, or the server of a zone, may take for a message, from the end of the one before. RFC 7766,
/// section 6.2.3, recommends a few seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client without a thread may take to send its query and to read the reply: all other queries wait.
const INLINE_TIMEOUT: Duration = Duration::from_millis(100);
