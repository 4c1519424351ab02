//! One HTTP/2 connection of a client, and the one connection to an upstream
//! that belongs to it.
//!
//! Frames pass as they came, so streams, flow control, priorities, resets and
//! trailers stay end to end; only the header blocks of requests are decoded
//! and written anew. The thread that serves the connection reads the client, a
//! second one reads the upstream; each blocks on its own two sockets only, so
//! both directions may be full at once. What the first has to tell the client
//! goes through an [`Outlet`], which never makes it wait for the second.
//!
//! Passing frames has its price: a request whose token was not accepted is not
//! sent again, as HTTP/1's are. Its stream is spent at both ends, and the
//! answer's header block belongs to the client's table. The next request has a
//! new token.

mod answer;
mod batch;
mod flood;
pub mod frame;
pub mod headers;
mod held;
pub mod hpack;
mod huffman;
pub mod note;
mod outlet;
mod request;
mod requests;
mod responses;
mod spare;
mod streams;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use log::debug;

use batch::Batch;
pub use frame::PREFACE;
use frame::{ErrorCode, Fatal};
pub use hpack::Field;
use note::{Answer, Note};
use outlet::Outlet;
use request::Request;
use requests::Requests;
use responses::{Responses, Said};
use streams::Streams;

use super::refusal::{Kind, Refusal};
use super::room::lengthen;
use crate::secret::Secret;
use crate::sys;

/// Who decides about requests: the one place of the proxy that does so, seen
/// from HTTP/2. One of them serves one connection.
pub trait Policy: Sync {
    /// Opens the upstream the connection's first request is for; it speaks h2
    /// by ALPN. Asked again for the next request if this one is refused.
    fn open(&self, request: &[Field]) -> Result<Upstream, Refusal>;

    /// Makes a request one for that upstream: authority, scheme, token and so
    /// on. One for another authority is refused with 421.
    fn rewrite(&self, request: &mut Vec<Field>) -> Result<Note, Refusal>;

    /// Whether a request would be rewritten as one before it with the same
    /// fields was, with this token or none; then what to remember of it.
    fn again(&self, bearer: Option<&Secret>) -> Option<Note>;

    /// The upstream's answer to a request began.
    fn answered(&self, note: &Note, answer: &Answer);

    /// The upstream said no, 401, 403 or 404, with a body that begins so.
    fn refused(&self, note: &Note, answer: &Answer, body: &[u8]);
}

/// A connection to an upstream, its two directions apart.
pub struct Upstream {
    pub reader: Box<dyn Read + Send>,
    pub writer: Box<dyn Write + Send>,
    /// Ends both from any thread, and wakes whoever reads or writes.
    pub close: Box<dyn Fn() + Send + Sync>,
}

/// Serves a client until one side is gone. `buffered` is what was read of it
/// already, the preface or a part of it first.
pub fn serve(client: &TcpStream, buffered: Vec<u8>, policy: &dyn Policy) -> io::Result<()> {
    let streams = Mutex::new(Streams::new());
    let connection = Connection {
        client,
        outlet: Outlet::new(client),
        streams: &streams,
        policy,
    };
    thread::scope(|scope| connection.serve(scope, buffered))
}

struct Connection<'a> {
    client: &'a TcpStream,
    outlet: Outlet<&'a TcpStream>,
    streams: &'a Mutex<Streams>,
    policy: &'a dyn Policy,
}

/// The way up, as the thread that reads the client knows it.
enum Way<'scope> {
    Untried,
    Open(Up<'scope>),
    /// Not for this authority: that is the answer to all requests that came
    /// while we tried, or each would wait as long.
    Closed(Option<Vec<u8>>, Refusal),
}

/// The upstream, as that thread sees it.
struct Up<'scope> {
    writer: Box<dyn Write + Send>,
    close: std::sync::Arc<dyn Fn() + Send + Sync>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl Connection<'_> {
    fn serve<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        buffered: Vec<u8>,
    ) -> io::Result<()> {
        let mut input = Input::new(self.client, buffered);
        let mut way = Way::Untried;
        let ended = self.requests(scope, &mut input, &mut way);
        if let Ok(Some(fatal)) = &ended {
            debug!("http2: closed the connection: {fatal}");
            let mut streams = lock(self.streams);
            if !std::mem::replace(&mut streams.over, true) {
                let mut goaway = Vec::new();
                frame::write_goaway(&mut goaway, streams.last, *fatal);
                drop(streams);
                let _ = self.outlet.post(&goaway);
            }
        }
        lock(self.streams).over = true;
        match &way {
            // The other thread ends what it is writing, and then the client's
            // direction.
            Way::Open(up) => (up.close)(),
            _ => {
                let _ = self.client.shutdown(Shutdown::Write);
            }
        }
        if let Ok(Some(_)) = ended {
            self.linger();
        }
        // Wakes the other thread if the client does not read.
        let _ = self.client.shutdown(Shutdown::Both);
        if let Way::Open(up) = way {
            // A panic there was reported, and is over.
            let _ = up.thread.join();
        }
        ended.map(|_| ())
    }

    /// Reads the client to its end, or to what ends the connection.
    fn requests<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        input: &mut Input<&TcpStream>,
        way: &mut Way<'scope>,
    ) -> io::Result<Option<Fatal>> {
        let mut requests = Requests::new(self.streams, Instant::now());
        self.outlet.post(&requests.take_down())?;
        while input.bytes().len() < PREFACE.len() {
            if !PREFACE.starts_with(input.bytes()) || !input.fill()? {
                break;
            }
        }
        if !input.bytes().starts_with(PREFACE) {
            return Ok(Some(Fatal::new(
                ErrorCode::Protocol,
                "the preface is not HTTP/2's",
            )));
        }
        input.consume(PREFACE.len());
        loop {
            let mut batch = Batch::new(input.bytes());
            let mut fatal = None;
            loop {
                match requests.next(&mut batch, Instant::now()) {
                    Ok(Some(request)) => {
                        self.request(scope, &mut requests, request, way, &mut batch);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        fatal = Some(error);
                        break;
                    }
                }
            }
            // Before the answers go out: who has read one may try again.
            if matches!(way, Way::Closed(..)) && sys::is_quiet(self.client.as_fd()) {
                *way = Way::Untried;
            }
            self.outlet.post(&requests.take_down())?;
            if let Way::Open(up) = way
                && !lock(self.streams).over
            {
                // An error here is the upstream's end, and the thread that
                // reads it tells the client, with all that came before it.
                let bytes = batch.finish();
                if !bytes.is_empty()
                    && up
                        .writer
                        .write_all(bytes)
                        .and_then(|()| up.writer.flush())
                        .is_err()
                {
                    (up.close)();
                }
            }
            if fatal.is_some() {
                return Ok(fatal);
            }
            let done = batch.done();
            input.consume(done);
            if !input.fill()? {
                return Ok(None);
            }
        }
    }

    /// Decides about one request, and passes it up or answers it.
    fn request<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        requests: &mut Requests<'_>,
        mut request: Request,
        way: &mut Way<'scope>,
        batch: &mut Batch<'_>,
    ) {
        if requests.pass_known(&mut request, |bearer| self.policy.again(bearer), batch) {
            return;
        }
        if requests.waits() {
            let authority = request.authority();
            match way {
                Way::Closed(to, refusal) if *to == authority => {
                    return requests.refuse(&request, refusal);
                }
                _ => {}
            }
            // The client may wait for what we have for it while we dial.
            let _ = self.outlet.post(&requests.take_down());
            match self.open(scope, &request.fields) {
                Ok(opened) => {
                    *way = Way::Open(opened);
                    requests.open(batch);
                }
                Err(refusal) => {
                    requests.refuse(&request, &refusal);
                    *way = Way::Closed(authority, refusal);
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
    ) -> Result<Up<'scope>, Refusal> {
        let Upstream {
            reader,
            writer,
            close,
        } = self.policy.open(fields)?;
        let close: std::sync::Arc<dyn Fn() + Send + Sync> = close.into();
        let thread = thread::Builder::new()
            .name("http2".into())
            .stack_size(STACK)
            .spawn_scoped(scope, {
                let close = close.clone();
                sys::held(move || self.responses(reader, &*close))
            });
        let thread = thread.map_err(|error| {
            Refusal::new(
                Kind::ConnectionLimitReached,
                format!("no thread for HTTP/2: {error}"),
            )
        })?;
        Ok(Up {
            writer,
            close,
            thread,
        })
    }

    /// Reads the upstream to its end, and tells the client of it.
    fn responses(&self, reader: Box<dyn Read + Send>, close: &(dyn Fn() + Send + Sync)) {
        let _end = AtEnd(|| {
            close();
            // The client hears of the end, and its own end wakes the other
            // thread.
            let _ = self.client.shutdown(Shutdown::Write);
        });
        let mut input = Input::new(reader, Vec::new());
        let mut responses = Responses::new(self.streams);
        let reason = loop {
            match input.fill() {
                Ok(true) => {}
                Ok(false) => break "the upstream closed the connection".to_owned(),
                Err(error) => break format!("the connection to the upstream broke: {error}"),
            }
            let mut batch = Batch::new(input.bytes());
            let passed = responses.pass(&mut batch, &mut |said| match said {
                Said::Answer(note, answer) => self.policy.answered(note, answer),
                Said::Refusal(note, answer, body) => self.policy.refused(note, answer, body),
            });
            if self.outlet.send(batch.finish()).is_err() {
                // The client is gone, which the other thread may not see while
                // it writes to the upstream.
                let _ = self.client.shutdown(Shutdown::Both);
                return;
            }
            if let Err(fatal) = passed {
                break format!("the upstream broke the protocol: {}", fatal.reason);
            }
            let done = batch.done();
            input.consume(done);
        };
        let farewell = farewell(&mut lock(self.streams), &reason);
        if let Some(farewell) = farewell {
            debug!("http2: {reason}");
            let _ = self.outlet.send(&farewell);
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

/// What the client is told when the upstream is gone: an answer on every
/// stream that waits for one, a reset or gRPC's trailers where it had begun,
/// and GOAWAY. `None` if the connection was over anyway.
fn farewell(streams: &mut Streams, reason: &str) -> Option<Vec<u8>> {
    if streams.over {
        return None;
    }
    let mut out = Vec::new();
    let refusal = Refusal::new(
        Kind::ConnectionTerminated,
        format!("{reason} before the answer was over"),
    );
    let open = streams.end_all();
    let code = match open.iter().all(|(_, state)| state.upstream_done) {
        true => ErrorCode::NoError,
        false => ErrorCode::Internal,
    };
    for (stream, state) in open {
        if state.upstream_done {
            // Answered; it needs no more of the request.
            frame::write_reset(&mut out, stream, ErrorCode::NoError);
        } else if state.answered && state.asked.grpc {
            answer::write_trailers(&mut out, streams, stream, &refusal);
        } else if state.answered {
            frame::write_reset(&mut out, stream, ErrorCode::Internal);
        } else {
            answer::write(&mut out, streams, stream, state.asked, &refusal);
        }
    }
    let why = Fatal::new(code, "the connection to the upstream ended");
    frame::write_goaway(&mut out, streams.last, why);
    Some(out)
}

/// What was read of a peer and not dealt with yet.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Input<R> {
    fn new(reader: R, buffered: Vec<u8>) -> Input<R> {
        let end = buffered.len();
        Input {
            reader,
            buffer: buffered,
            start: 0,
            end,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, len: usize) {
        self.start += len;
    }

    /// Reads once; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end < BUFFER / 2 {
            // A frame or a header block that is longer than usual.
            let larger = self.buffer.len().max(BUFFER / 2) * 2;
            lengthen(&mut self.buffer, larger);
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs when it is dropped, in a panic too.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Locks, whatever happened to who locked before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Octets of one read.
const BUFFER: usize = 65_536;

/// Enough for one that only moves octets.
const STACK: usize = 256 * 1024;

/// How long a client may take to read the last it hears.
const LINGER: Duration = Duration::from_secs(1);
