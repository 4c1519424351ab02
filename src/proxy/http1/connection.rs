//! One client connection: its requests, one after the other.

use std::io;
use std::os::fd::AsFd as _;

use super::client::{Client, ClientGone, READ_TIMEOUT};
use super::forward::{AttemptError, Forwarded, Forwarder, closed, no_thread};
use super::head::{Head, HeadError, Progress};
use super::input::{Input, RequestBody};
use super::request::{Request, RequestContext, RequestTraits, interpret};
use super::route::Route;
use super::tunnel;
use crate::net::conn_limit::Permit;
use crate::proxy::Proxy;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::exchange::log_error;
use crate::sys;

/// The inside of a CONNECT request whose other end is runsd.
pub struct Tunnel {
    /// `host:port`, as the client sent it.
    pub authority: String,
    /// What the client has sent inside already.
    pub received: Vec<u8>,
}

/// Serves the requests of a connection until one side closes it, or a CONNECT request starts it anew.
///
/// `received` are bytes that were read to find out that this is HTTP/1; `connect_authority` is that of the CONNECT
/// request inside of which the connection is. The socket has a read timeout of [`READ_TIMEOUT`].
///
/// Blocks: until the connection is over.
pub fn serve(proxy: &Proxy, permit: &Permit, received: Vec<u8>, connect_authority: Option<String>) -> Option<Tunnel> {
    let mut connection = ClientConnection {
        client: Client::new(permit),
        route: Route::new(proxy, connect_authority),
        buffers: Buffers::default(),
    };
    let mut input = Input::new(received);
    let tunnel = loop {
        match connection.serve_request(input) {
            Ok(Next::Request(next)) => input = next,
            Ok(Next::Tunnel(tunnel)) => break Some(tunnel),
            Ok(Next::Close) | Err(ClientGone) => break None,
        }
    };
    connection.route.release();
    tunnel
}

struct ClientConnection<'a> {
    client: Client<'a>,
    route: Route<'a>,
    buffers: Buffers,
}

/// Memory that all requests of a connection use, one after the other.
#[derive(Default)]
pub struct Buffers {
    request_head: Head,
    /// The head of the last response.
    pub response_head: Head,
    /// The request's head, as it is sent to the upstream.
    pub to_upstream: Vec<u8>,
    /// The response's head, as it is sent to the client, and what goes with it in one write.
    pub to_client: Vec<u8>,
}

/// What the connection is for after a request.
enum Next {
    /// Another request, whose bytes start here.
    Request(Input),
    /// The inside of a CONNECT request.
    Tunnel(Tunnel),
    /// The end.
    Close,
}

impl ClientConnection<'_> {
    /// Reads one request, and forwards it or responds itself.
    fn serve_request(&mut self, mut input: Input) -> Result<Next, ClientGone> {
        let head_end = match self.read_head(&mut input)? {
            Ok(end) => end,
            Err(bad) => return self.send_error(&bad.into(), &RequestTraits::default(), None),
        };
        let Buffers { request_head, to_upstream, .. } = &mut self.buffers;
        match interpret(request_head, input.bytes(), &mut self.route, to_upstream) {
            Ok(Request::Forward(request)) => {
                let body = input.into_body(head_end, request.framing);
                self.forward(request, body)
            }
            Ok(Request::Connect(authority)) => {
                // A CONNECT request has no body: `interpret` rejects one that has.
                self.client.send(b"HTTP/1.1 200 OK\r\n\r\n")?;
                Ok(Next::Tunnel(Tunnel { authority, received: input.bytes()[head_end..].to_vec() }))
            }
            Err(error) => {
                let traits = RequestTraits::of_rejected(request_head, input.bytes());
                let next = match (error.kind, request_head.request_framing(input.bytes())) {
                    // What follows a malformed request may not mean what runsd reads.
                    (ErrorType::HttpRequestError(_), _) | (_, Err(_)) => None,
                    // A client may send what is for the inside of a tunnel before it has the response.
                    _ if request_head.method(input.bytes()) == b"CONNECT" => None,
                    (_, Ok(framing)) => input.into_body(head_end, framing).finish(),
                };
                self.send_error(&error, &traits, next)
            }
        }
    }

    /// Forwards a request and relays its response.
    fn forward(&mut self, mut request: RequestContext, mut body: RequestBody) -> Result<Next, ClientGone> {
        let ClientConnection { client, route, buffers } = self;
        let forwarded = Forwarder { client, route, buffers, request: &mut request }.run(&mut body);
        let (error, next) = match (forwarded, body.finish()) {
            (Err(AttemptError::ClientGone), _) => return Err(ClientGone),
            (Err(AttemptError::Proxy(error)), next) => (error, next),
            (Err(AttemptError::StaleConnection | AttemptError::TokenRejected(_)), next) => (closed(&request), next),
            (Ok(Forwarded::Relayed { keep_client: true }), Some(next)) => return Ok(Next::Request(next)),
            (Ok(Forwarded::Upgraded(mut upstream)), Some(next)) => {
                match tunnel::run(client.tcp, next.into_buffer(), &buffers.to_client, &mut upstream) {
                    Ok(()) => return Ok(Next::Close),
                    Err(err) => (no_thread("a tunnel", &err), None),
                }
            }
            (Ok(_), next) => {
                let is_unread = |next: Input| !next.bytes().is_empty() || !sys::tcp::is_idle(client.tcp.as_fd());
                if next.is_none_or(is_unread) {
                    client.lingering_close();
                }
                return Ok(Next::Close);
            }
        };
        self.send_error(&error, &request.traits, next)
    }

    /// Responds in the upstream's place. `next` is the next request's input, if the end of this one was found.
    fn send_error(
        &mut self,
        error: &ProxyError,
        request: &RequestTraits,
        next: Option<Input>,
    ) -> Result<Next, ClientGone> {
        log_error(&request.host, error);
        let next = next.filter(|_| request.keep_alive && !self.client.permit.is_keep_alive_off());
        let connection = match (&next, request.minor_version) {
            (None, _) => "Connection: close\r\n",
            (Some(_), 0) => "Connection: keep-alive\r\n",
            (Some(_), _) => "",
        };
        self.client.send(&error.to_http1(request.accept.as_deref(), request.is_head, connection))?;
        match next {
            Some(next) => Ok(Next::Request(next)),
            None => {
                self.client.lingering_close();
                Ok(Next::Close)
            }
        }
    }

    /// Reads until a whole head is at the start of `input`; returns where the head ends.
    ///
    /// Blocks: until then.
    ///
    /// # Errors
    /// [`ClientGone`] if the client sends nothing more, or was closed for another client.
    fn read_head(&mut self, input: &mut Input) -> Result<Result<usize, HeadError>, ClientGone> {
        let mut progress = Progress::default();
        loop {
            match self.buffers.request_head.read_request(input.bytes(), &mut progress) {
                Ok(Some(end)) => return Ok(Ok(end)),
                Ok(None) => {}
                Err(bad) => return Ok(Err(bad)),
            }
            if input.bytes().is_empty() {
                self.client.permit.set_idle();
            }
            let received = match input.fill(self.client.tcp) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.route.release();
                    if input.bytes().is_empty() {
                        input.release_memory();
                        self.buffers = Buffers::default();
                        progress = Progress::default();
                    }
                    sys::tuning::release_unused_stack();
                    // Idle connections do not wake their threads every second.
                    let _ = self.client.tcp.set_read_timeout(None);
                    let received = input.fill(self.client.tcp);
                    let _ = self.client.tcp.set_read_timeout(Some(READ_TIMEOUT));
                    received?
                }
                received => received?,
            };
            if received == 0 || !self.client.permit.set_busy() {
                return Err(ClientGone);
            }
        }
    }
}
