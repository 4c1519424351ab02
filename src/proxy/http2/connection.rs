//! The sockets and threads of an HTTP/2 connection, around the two halves of its session.
//!
//! The thread that serves the client reads it, and writes to the upstream. A second thread reads the upstream, and
//! writes to the client. Each blocks on its own two sockets only, so both directions may be full at once. What the first
//! thread has for the client goes through a [`SharedWriter`], which never makes it wait for the second.
//!
//! The end: the thread that sees an end first marks the [`ConnState`] closed, and shuts sockets down so that the other
//! one wakes up.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use log::debug;

use crate::net::buffer::Buffer;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::http2::client_to_upstream::{ClientToUpstream, Next};
use crate::proxy::http2::conn_state::ConnState;
use crate::proxy::http2::frame::ConnectionError;
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::request::Request;
use crate::proxy::http2::shared_writer::SharedWriter;
use crate::proxy::http2::upstream_to_client::UpstreamToClient;
use crate::proxy::http2::{Handler, UpstreamHalves, close_streams};
use crate::sync::{lock, wait_timeout_while};
use crate::sys::tcp;

/// Serves a client. `buffered` is what was read of it already: the preface, or a part of it, comes first.
///
/// Blocks: until the client or its upstream has closed the connection.
///
/// # Errors
/// Those of the client's socket.
pub fn serve(client: &TcpStream, buffered: Vec<u8>, handler: &dyn Handler) -> io::Result<()> {
    let conn = Mutex::new(ConnState::new(Instant::now()));
    let writer = SharedWriter::new(client);
    let connection = Connection { client, writer, conn: &conn, settings_received: Condvar::new(), handler };
    thread::scope(|scope| connection.serve(scope, buffered))
}

/// What both threads use.
struct Connection<'a> {
    client: &'a TcpStream,
    writer: SharedWriter<&'a TcpStream>,
    conn: &'a Mutex<ConnState>,
    /// With `conn`. The thread that reads the upstream signals it when the first SETTINGS came, and at its end; the one
    /// that reads the client waits for it.
    settings_received: Condvar,
    handler: &'a dyn Handler,
}

/// The upstream, for the thread that reads the client.
struct UpstreamHandle<'scope> {
    writer: Box<dyn Write + Send>,
    close: Arc<dyn Fn() + Send + Sync>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl Connection<'_> {
    fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, buffered: Vec<u8>) -> io::Result<()> {
        let mut session = ClientToUpstream::new(self.conn, self.handler, Instant::now());
        let mut upstream = None;
        let result = self.read_client(scope, &mut session, Buffer::new(buffered), &mut upstream);
        if let Ok(Some(error)) = result {
            debug!("http2: closed the connection: {error}");
            let _ = self.writer.enqueue(&session.close(error));
        }
        lock(self.conn).is_closed = true;
        match &upstream {
            // The other thread finishes its write, and then shuts the client's direction down.
            Some(UpstreamHandle { close, .. }) => close(),
            None => drop(self.client.shutdown(Shutdown::Write)),
        }
        if let Ok(Some(_)) = result {
            self.linger();
        }
        // Wakes the other thread where the client does not read.
        let _ = self.client.shutdown(Shutdown::Both);
        if let Some(UpstreamHandle { thread, .. }) = upstream {
            // A panic of that thread was logged, and ends here.
            let _ = thread.join();
        }
        result.map(drop)
    }

    /// Reads the client to its end, or to an error that ends the connection.
    fn read_client<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        session: &mut ClientToUpstream<'_>,
        mut input: Buffer,
        upstream: &mut Option<UpstreamHandle<'scope>>,
    ) -> io::Result<Option<ConnectionError>> {
        self.writer.enqueue(&session.take_to_client())?;
        loop {
            let mut splicer = FrameSplicer::new(input.bytes());
            let next = loop {
                match session.receive(&mut splicer, Instant::now()) {
                    Ok(Next::Connect(request)) => *upstream = self.connect(scope, session, request, &mut splicer),
                    next => break next,
                }
            };
            // Before the error responses are sent: a client that has read one may try again at once.
            if session.has_failed() && tcp::is_idle(self.client.as_fd()) {
                session.retry_connect();
            }
            self.writer.enqueue(&session.take_to_client())?;
            let is_closed = lock(self.conn).is_closed;
            if let Some(upstream) = upstream.as_mut().filter(|_| !is_closed) {
                upstream.send(splicer.output());
            }
            let next = match next {
                Ok(next) => next,
                Err(error) => return Ok(Some(error)),
            };
            let consumed = splicer.consumed();
            input.consume(consumed);
            if lock(self.conn).is_drained() {
                return Ok(None);
            }
            if let Next::AwaitSettings = next {
                self.await_settings();
                session.stop_awaiting_settings();
            } else if !self.fill(&mut input, session.has_pending())? {
                return Ok(None);
            }
        }
    }

    /// Connects to the upstream of a request, and starts the thread that reads it.
    fn connect<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        session: &mut ClientToUpstream<'_>,
        request: Request,
        splicer: &mut FrameSplicer<'_>,
    ) -> Option<UpstreamHandle<'scope>> {
        // The client may wait for these while runsd dials.
        let _ = self.writer.enqueue(&session.take_to_client());
        let upstream = self.handler.connect(&request.fields).and_then(|halves| self.spawn_reader(scope, halves));
        match upstream {
            Ok(upstream) => {
                session.connected(request, splicer);
                Some(upstream)
            }
            Err(error) => {
                session.connect_failed(&request, error);
                None
            }
        }
    }

    fn spawn_reader<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        UpstreamHalves { reader, writer, close }: UpstreamHalves,
    ) -> Result<UpstreamHandle<'scope>, ProxyError> {
        let close: Arc<dyn Fn() + Send + Sync> = close.into();
        let thread = thread::Builder::new().name("http2".into()).stack_size(STACK_LEN).spawn_scoped(scope, {
            let close = close.clone();
            move || self.read_upstream(reader, &*close)
        });
        let thread = thread.map_err(|error| {
            ProxyError::new(ErrorType::ConnectionLimitReached, format!("no thread for HTTP/2: {error}"))
        })?;
        Ok(UpstreamHandle { writer, close, thread })
    }

    /// Reads more of the client; `false` at its end. While requests are pending, this returns after
    /// [`PENDING_INTERVAL`], since responses may have made room for them.
    fn fill(&self, input: &mut Buffer, has_pending: bool) -> io::Result<bool> {
        let mut client = self.client;
        if !has_pending {
            return Ok(input.fill_with(|room| client.read(room))? > 0);
        }
        client.set_read_timeout(Some(PENDING_INTERVAL))?;
        let filled = input.fill_with(|room| client.read(room));
        client.set_read_timeout(None)?;
        match filled {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(true),
            filled => Ok(filled? > 0),
        }
    }

    /// Waits for the upstream's first SETTINGS, which say how many streams it takes: it would refuse those above. The
    /// first request is sent, so this takes no longer than its response.
    fn await_settings(&self) {
        let is_waiting = |conn: &mut ConnState| !conn.settings.upstream_received && !conn.is_closed;
        drop(wait_timeout_while(&self.settings_received, lock(self.conn), SETTINGS_TIMEOUT, is_waiting));
    }

    /// Reads the upstream to its end, of which it tells the client.
    fn read_upstream(&self, mut reader: Box<dyn Read + Send>, close: &(dyn Fn() + Send + Sync)) {
        let _defer = Defer(|| {
            close();
            // The client sees the end; its own end wakes the other thread.
            let _ = self.client.shutdown(Shutdown::Write);
        });
        let mut session = UpstreamToClient::new(self.conn, self.handler);
        let mut input = Buffer::default();
        let mut settings_received = false;
        let error = loop {
            match input.fill_with(|room| reader.read(room)) {
                Ok(0) => break close_streams::closed("the upstream closed the connection"),
                Ok(_) => {}
                Err(error) => {
                    break close_streams::closed(&format!("the connection to the upstream broke: {error}"));
                }
            }
            let mut splicer = FrameSplicer::new(input.bytes());
            let received = session.receive(&mut splicer);
            if self.writer.write(splicer.output()).is_err() {
                // The client is gone, which the other thread may not see while it writes to the upstream.
                let _ = self.client.shutdown(Shutdown::Both);
                return;
            }
            if let Err(error) = received {
                break close_streams::broke_protocol(error);
            }
            let consumed = splicer.consumed();
            input.consume(consumed);
            let conn = lock(self.conn);
            if !settings_received && conn.settings.upstream_received {
                settings_received = true;
                self.settings_received.notify_all();
            }
            if conn.is_drained() {
                // Wakes the other thread, as if the client had closed.
                let _ = self.client.shutdown(Shutdown::Read);
            }
        };
        let frames = session.close(&error);
        self.settings_received.notify_all();
        let _ = self.writer.write(&frames);
    }

    /// Lets the client read GOAWAY before the connection is closed: closing it with octets unread would reset it, and
    /// the client might lose what it was sent (RFC 9113 section 5.4.1).
    fn linger(&self) {
        let deadline = Instant::now() + LINGER_TIMEOUT;
        let _ = self.client.set_read_timeout(Some(LINGER_TIMEOUT));
        let mut client = self.client;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline && matches!(client.read(&mut buffer), Ok(1..)) {}
    }
}

impl UpstreamHandle<'_> {
    /// Writes to the upstream. An error is the upstream's end: the thread that reads the upstream tells the client of
    /// it, after all that came before.
    fn send(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.writer.write_all(bytes).and_then(|()| self.writer.flush()).is_err() {
            (self.close)();
        }
    }
}

/// Calls a function when it is dropped, after a panic as well.
struct Defer<F: Fn()>(F);

impl<F: Fn()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Bytes of the stack of the thread that reads the upstream: its calls are few and flat, and the handler's log a line.
const STACK_LEN: usize = 256 * 1024;

/// How long the second request of a connection waits for the upstream's SETTINGS. They come within one round trip, which
/// takes less between any two places on earth.
const SETTINGS_TIMEOUT: Duration = Duration::from_millis(500);

/// How often pending requests are looked at: little beside the time of a request, and 250 wake-ups a second cost nothing
/// that can be measured.
const PENDING_INTERVAL: Duration = Duration::from_millis(4);

/// How long a client has to read GOAWAY.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
