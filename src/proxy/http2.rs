//! One HTTP/2 connection of a client, and the one connection to an upstream
//! that belongs to it.
//!
//! Frames pass as they came, so streams, flow control, priorities, resets and
//! trailers stay end to end; only the header blocks of requests are decoded
//! and written anew. The thread that serves the connection reads the client, a
//! second one reads the upstream; each blocks on its own two sockets only, so
//! both directions may be full at once. What the first has to tell the client
//! goes through an [`SharedWriter`], which never makes it wait for the second.
//!
//! Passing frames has its price: a request whose token was not accepted is not
//! sent again, as HTTP/1's are. Its stream is spent at both ends, and the
//! answer's header block belongs to the client's table. The next request has a
//! new token.
//!
//! For the same reason a `Location` stays as it is: most upstreams enter it
//! into the table, and an entry of another length would put their table and
//! the client's out of step. Nor can a 403 of the front end carry the sentence
//! about `roles/run.invoker` to a gRPC call: whether it is the front end's shows
//! in its body, and by then its header block has passed.

mod client_to_upstream;
mod close_streams;
mod early_frames;
pub mod frame;
mod frame_splicer;
pub mod handler;
pub mod header_block;
pub mod hpack;
mod local_response;
mod rate_limit;
mod replay;
pub mod request;
mod shared_writer;
mod stream_map;
mod stream_table;
#[cfg(test)]
mod tests;
mod upstream_to_client;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Condvar, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use log::debug;

use crate::proxy::http2::client_to_upstream::{Next, Requests};
use crate::proxy::http2::close_streams::{End, farewell};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::replay::Request;
use crate::proxy::http2::request::{RequestMeta, ResponseHead};
use crate::proxy::http2::shared_writer::SharedWriter;
use crate::proxy::http2::stream_table::StreamTable;
use crate::proxy::http2::upstream_to_client::{Event, Responses};
pub use frame::PREFACE;
use frame::{ConnectionError, ErrorCode};
pub use hpack::Field;

use crate::net::buffer::Buffer;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::secret::Secret;
use crate::sync::lock;
use crate::sys;

/// Who decides about requests: the one place of the proxy that does so, seen
/// from HTTP/2. One of them serves one connection.
pub trait Handler: Sync {
    /// Opens the upstream the connection's first request is for; it speaks h2
    /// by ALPN. Asked again for the next request if this one is refused.
    fn connect(&self, request: &[Field]) -> Result<UpstreamHalves, ProxyError>;

    /// Makes a request one for that upstream: authority, scheme, token and so
    /// on. One for another authority is refused with 421.
    fn rewrite(&self, request: &mut Vec<Field>) -> Result<RequestMeta, ProxyError>;

    /// Whether a request would be rewritten as one before it with the same
    /// fields was, with this token or none; then what to remember of it.
    fn can_replay(&self, bearer: Option<&Secret>) -> Option<RequestMeta>;

    /// The upstream's answer to a request began.
    fn on_response(&self, note: &RequestMeta, answer: &ResponseHead);

    /// The upstream said no, 401, 403 or 404, with a body that begins so.
    fn on_denial(&self, note: &RequestMeta, answer: &ResponseHead, body: &[u8]);

    /// The upstream is gone, and requests have lost their answers.
    fn on_upstream_lost(&self, refusal: &ProxyError);
}

/// A connection to an upstream, its two directions apart.
pub struct UpstreamHalves {
    pub reader: Box<dyn Read + Send>,
    pub writer: Box<dyn Write + Send>,
    /// Ends both from any thread, and wakes whoever reads or writes.
    pub close: Box<dyn Fn() + Send + Sync>,
}

/// Serves a client until one side is gone. `buffered` is what was read of it
/// already, the preface or a part of it first.
pub fn serve(client: &TcpStream, buffered: Vec<u8>, policy: &dyn Handler) -> io::Result<()> {
    let streams = Mutex::new(StreamTable::new(Instant::now()));
    let connection =
        Connection { client, outlet: SharedWriter::new(client), streams: &streams, greeted: Condvar::new(), policy };
    thread::scope(|scope| connection.serve(scope, buffered))
}

struct Connection<'a> {
    client: &'a TcpStream,
    outlet: SharedWriter<&'a TcpStream>,
    streams: &'a Mutex<StreamTable>,
    /// Notified by the thread that reads the upstream, when its first SETTINGS
    /// came or it is over; the one that reads the client waits.
    greeted: Condvar,
    policy: &'a dyn Handler,
}

/// The way up, as the thread that reads the client knows it.
enum UpstreamState<'scope> {
    Untried,
    Open(UpstreamHandle<'scope>),
    /// Not for this authority: that is the answer to all requests that came
    /// while we tried, or each would wait as long.
    Closed(Option<Vec<u8>>, ProxyError),
}

/// The upstream, as that thread sees it.
struct UpstreamHandle<'scope> {
    writer: Box<dyn Write + Send>,
    close: std::sync::Arc<dyn Fn() + Send + Sync>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl Connection<'_> {
    fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, buffered: Vec<u8>) -> io::Result<()> {
        let mut input = Buffer::new(buffered);
        let mut way = UpstreamState::Untried;
        let ended = self.requests(scope, &mut input, &mut way);
        if let Ok(Some(fatal)) = &ended {
            debug!("http2: closed the connection: {fatal}");
            let mut streams = lock(self.streams);
            if !std::mem::replace(&mut streams.over, true) {
                let mut goaway = Vec::new();
                let last = streams.last;
                frame::write_goaway(&mut goaway, streams.goaway(last), *fatal);
                drop(streams);
                let _ = self.outlet.post(&goaway);
            }
        }
        lock(self.streams).over = true;
        match &way {
            // The other thread ends what it is writing, and then the client's
            // direction.
            UpstreamState::Open(up) => (up.close)(),
            _ => {
                let _ = self.client.shutdown(Shutdown::Write);
            }
        }
        if let Ok(Some(_)) = ended {
            self.linger();
        }
        // Wakes the other thread if the client does not read.
        let _ = self.client.shutdown(Shutdown::Both);
        if let UpstreamState::Open(up) = way {
            // A panic there was reported, and is over.
            let _ = up.thread.join();
        }
        ended.map(|_| ())
    }

    /// Reads the client to its end, or to what ends the connection.
    fn requests<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        input: &mut Buffer,
        way: &mut UpstreamState<'scope>,
    ) -> io::Result<Option<ConnectionError>> {
        let mut requests = Requests::new(self.streams, Instant::now());
        self.outlet.post(&requests.take_down())?;
        while input.bytes().len() < PREFACE.len() {
            if !PREFACE.starts_with(input.bytes()) || !self.read_client(input)? {
                break;
            }
        }
        if !input.bytes().starts_with(PREFACE) {
            return Ok(Some(ConnectionError::new(ErrorCode::PROTOCOL_ERROR, "the preface is not HTTP/2's")));
        }
        input.consume(PREFACE.len());
        loop {
            let mut batch = FrameSplicer::new(input.bytes());
            requests.release(&mut batch);
            let next = loop {
                match requests.next(&mut batch, Instant::now()) {
                    Ok(Next::Request(request)) => {
                        self.request(scope, &mut requests, request, way, &mut batch);
                    }
                    other => break other,
                }
            };
            // Before the answers go out: who has read one may try again.
            if matches!(way, UpstreamState::Closed(..)) && sys::tcp::is_idle(self.client.as_fd()) {
                *way = UpstreamState::Untried;
            }
            self.outlet.post(&requests.take_down())?;
            let is_over = self.drain()?;
            if let UpstreamState::Open(up) = way
                && !is_over
            {
                // An error here is the upstream's end, and the thread that
                // reads it tells the client, with all that came before it.
                let bytes = batch.finish();
                if !bytes.is_empty() && up.writer.write_all(bytes).and_then(|()| up.writer.flush()).is_err() {
                    (up.close)();
                }
            }
            let next = match next {
                Ok(next) => next,
                Err(fatal) => return Ok(Some(fatal)),
            };
            let done = batch.done();
            input.consume(done);
            if lock(self.streams).is_drained() {
                return Ok(None);
            }
            if matches!(next, Next::Settle) {
                self.settle();
                requests.settled();
            } else if !self.fill(input, requests.has_waiting())? {
                return Ok(None);
            }
        }
    }

    /// Reads the client; `false` at its end. While requests wait for room, not
    /// for long: an answer may have made some.
    fn fill(&self, input: &mut Buffer, has_waiting: bool) -> io::Result<bool> {
        if !has_waiting {
            return self.read_client(input);
        }
        self.client.set_read_timeout(Some(ROOM_INTERVAL))?;
        let filled = self.read_client(input);
        self.client.set_read_timeout(None)?;
        match filled {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(true),
            filled => filled,
        }
    }

    fn read_client(&self, input: &mut Buffer) -> io::Result<bool> {
        let mut client = self.client;
        Ok(input.fill_with(|room| client.read(room))? > 0)
    }

    /// Waits a moment for the upstream's first SETTINGS, which say how many
    /// streams it takes: what is over would be refused there. The first
    /// request is on its way, so nobody waits longer than for its answer.
    fn settle(&self) {
        let streams = lock(self.streams);
        let waits = |streams: &mut StreamTable| !streams.upstream_greeted && !streams.over;
        let _ = self.greeted.wait_timeout_while(streams, SETTINGS_TIMEOUT, waits);
    }

    /// Has a client whose requests are mostly taken back go elsewhere: GOAWAY,
    /// and what is open goes on to its end. Whether the connection is over.
    fn drain(&self) -> io::Result<bool> {
        let mut streams = lock(self.streams);
        if !streams.too_many_resets || streams.over || streams.draining {
            return Ok(streams.over);
        }
        streams.draining = true;
        let last = streams.last;
        let mut goaway = Vec::new();
        let why = ConnectionError::calm("too many requests were taken back");
        frame::write_goaway(&mut goaway, streams.goaway(last), why);
        drop(streams);
        self.outlet.post(&goaway)?;
        Ok(false)
    }

    /// Decides about one request, and passes it up or answers it.
    fn request<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        requests: &mut Requests<'_>,
        mut request: Request,
        way: &mut UpstreamState<'scope>,
        batch: &mut FrameSplicer<'_>,
    ) {
        if requests.pass_known(&mut request, |bearer| self.policy.can_replay(bearer), batch) {
            return;
        }
        if requests.waits() {
            let authority = request.authority();
            match way {
                UpstreamState::Closed(to, refusal) if *to == authority => {
                    return requests.refuse(&request, refusal);
                }
                _ => {}
            }
            // The client may wait for what we have for it while we dial.
            let _ = self.outlet.post(&requests.take_down());
            match self.open(scope, &request.fields) {
                Ok(opened) => {
                    *way = UpstreamState::Open(opened);
                    requests.open(batch);
                }
                Err(refusal) => {
                    requests.refuse(&request, &refusal);
                    *way = UpstreamState::Closed(authority, refusal);
                    return;
                }
            }
        }
        match self.policy.rewrite(&mut request.fields) {
            Ok(note) => requests.pass(request, note, batch),
            Err(refusal) => requests.refuse(&request, &refusal),
        }
    }

    fn open<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        fields: &[Field],
    ) -> Result<UpstreamHandle<'scope>, ProxyError> {
        let UpstreamHalves { reader, writer, close } = self.policy.connect(fields)?;
        let close: std::sync::Arc<dyn Fn() + Send + Sync> = close.into();
        let thread = thread::Builder::new().name("http2".into()).stack_size(STACK).spawn_scoped(scope, {
            let close = close.clone();
            move || self.responses(reader, &*close)
        });
        let thread = thread.map_err(|error| {
            ProxyError::new(ErrorType::ConnectionLimitReached, format!("no thread for HTTP/2: {error}"))
        })?;
        Ok(UpstreamHandle { writer, close, thread })
    }

    /// Reads the upstream to its end, and tells the client of it.
    fn responses(&self, mut reader: Box<dyn Read + Send>, close: &(dyn Fn() + Send + Sync)) {
        let _end = AtEnd(|| {
            close();
            // The client hears of the end, and its own end wakes the other
            // thread.
            let _ = self.client.shutdown(Shutdown::Write);
        });
        let mut input = Buffer::default();
        let mut responses = Responses::new(self.streams);
        let mut greeted = false;
        let end = loop {
            match input.fill_with(|room| reader.read(room)) {
                Ok(1..) => {}
                Ok(0) => break End::closed("the upstream closed the connection"),
                Err(error) => {
                    break End::closed(&format!("the connection to the upstream broke: {error}"));
                }
            }
            let mut batch = FrameSplicer::new(input.bytes());
            let passed = responses.pass(&mut batch, &mut |said| match said {
                Event::Response(note, answer) => self.policy.on_response(note, answer),
                Event::ProxyError(note, answer, body) => self.policy.on_denial(note, answer, body),
            });
            if self.outlet.send(batch.finish()).is_err() {
                // The client is gone, which the other thread may not see while
                // it writes to the upstream.
                let _ = self.client.shutdown(Shutdown::Both);
                return;
            }
            if let Err(fatal) = passed {
                break End::broke_protocol(fatal);
            }
            let done = batch.done();
            input.consume(done);
            let streams = lock(self.streams);
            if !greeted && streams.upstream_greeted {
                greeted = true;
                self.greeted.notify_all();
            }
            if streams.is_drained() {
                // Wakes the other thread, as if the client had gone.
                let _ = self.client.shutdown(Shutdown::Read);
            }
        };
        let farewell = farewell(&mut lock(self.streams), end);
        self.greeted.notify_all();
        if let Some(farewell) = farewell {
            if let Some(refusal) = &farewell.lost {
                self.policy.on_upstream_lost(refusal);
            }
            let _ = self.outlet.send(&farewell.frames);
        }
    }

    /// Lets the client read why before the connection is closed: closing it
    /// with octets unread would take that back.
    fn linger(&self) {
        let until = Instant::now() + LINGER;
        let _ = self.client.set_read_timeout(Some(LINGER));
        let mut client = self.client;
        let mut buffer = [0; 4096];
        while Instant::now() < until && matches!(client.read(&mut buffer), Ok(1..)) {}
    }
}

/// Runs when it is dropped, in a panic too.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Enough for one that only moves octets.
const STACK: usize = 256 * 1024;

/// How long the second request of a connection waits for the upstream's
/// SETTINGS, which come within one round trip: enough for any on earth.
const SETTINGS_TIMEOUT: Duration = Duration::from_millis(500);

/// How often requests that wait for room at the upstream are looked at: less
/// than anyone notices, more than costs anything.
const ROOM_INTERVAL: Duration = Duration::from_millis(4);

/// How long a client may take to read the last it hears.
const LINGER: Duration = Duration::from_secs(1);
