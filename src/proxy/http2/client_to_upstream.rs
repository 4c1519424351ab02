//! The session's half from the client to the upstream: bytes in, bytes out. Sockets and threads are in `connection`.
//!
//! Frames are forwarded as they came, except for header blocks, which are decoded, rewritten and encoded again
//! (`headers`), and for frames on streams that the upstream does not know or no longer knows.
//!
//! ```text
//!  bytes of the client ─► receive ─┬─► FrameSplicer::output ─► upstream
//!                                  ├─► take_to_client ───────► client: acknowledgements, RST_STREAM, error responses
//!                                  └─► Next: what the thread does then
//! ```

use std::sync::Mutex;
use std::time::Instant;

use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{log_error, loggable_host};
use crate::proxy::http2::Handler;
use crate::proxy::http2::conn_state::ConnState;
use crate::proxy::http2::early_frames::EarlyFrames;
use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode, Frame, PREFACE, flag, frame_type, setting};
use crate::proxy::http2::frame_splicer::FrameSplicer;
use crate::proxy::http2::header_block::HeaderBlock;
use crate::proxy::http2::local_response;
use crate::proxy::http2::rate_limit::FrameLimits;
use crate::proxy::http2::request::Request;
use crate::proxy::http2::settings_sync::MAX_CLIENT_STREAMS;
use crate::proxy::http2::stream_table::{Side, State};
use crate::proxy::syntax::RequestError;
use crate::sync::lock;

mod control;
mod headers;
mod pending;

use crate::proxy::http2::client_to_upstream::headers::HeaderCodec;
use crate::proxy::http2::client_to_upstream::pending::PendingRequests;

/// The half that the thread uses that reads the client.
pub struct ClientToUpstream<'a> {
    conn: &'a Mutex<ConnState>,
    handler: &'a dyn Handler,
    upstream: UpstreamState,
    greeting: Greeting,
    codec: HeaderCodec,
    /// The highest id that the client used, as `conn` has it too; here it is read for each frame without the lock.
    last_id: u32,
    pending: PendingRequests,
    limits: FrameLimits,
    to_client: ToClient,
    /// The time of the last call of `receive`.
    now: Instant,
}

/// The upstream of the connection, as this half knows it.
enum UpstreamState {
    /// The next request decides which upstream it is.
    Idle {
        early: EarlyFrames,
        /// The authority whose upstream could not be reached, and why. All requests for it that came in the meantime are
        /// rejected, since each would take as long to fail.
        failure: Option<(Option<Vec<u8>>, ProxyError)>,
    },
    /// All requests go there. `awaits_settings`: the first was sent, and the SETTINGS with the limit of streams have not
    /// come yet.
    Connected { awaits_settings: bool },
}

impl UpstreamState {
    fn early_frames(&mut self) -> Option<&mut EarlyFrames> {
        match self {
            UpstreamState::Idle { early, .. } => Some(early),
            UpstreamState::Connected { .. } => None,
        }
    }
}

/// What a client must send before other frames (RFC 9113 section 3.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greeting {
    AwaitsPreface,
    AwaitsSettings,
    Complete,
}

/// What runsd itself has for the client.
struct ToClient {
    frames: Vec<u8>,
    /// Octets of DATA that ended at runsd: credit for the connection's window that the upstream will not give.
    discarded_len: usize,
}

/// What the thread does after [`ClientToUpstream::receive`].
pub enum Next {
    /// It connects to the upstream of this request, and calls `connected` or `connect_failed`.
    Connect(Request),
    /// It waits for the upstream's SETTINGS, for a while, and calls `stop_awaiting_settings`.
    AwaitSettings,
    /// It reads the client.
    Read,
}

impl<'a> ClientToUpstream<'a> {
    /// The half of a new connection, with runsd's SETTINGS for the client: some clients wait for them. A client that
    /// opened more streams than its upstream will allow would see the rest refused, so there is a limit from the start.
    pub fn new(conn: &'a Mutex<ConnState>, handler: &'a dyn Handler, now: Instant) -> ClientToUpstream<'a> {
        let mut frames = Vec::new();
        frame::write_settings(&mut frames, &[(setting::MAX_CONCURRENT_STREAMS, MAX_CLIENT_STREAMS)]);
        ClientToUpstream {
            conn,
            handler,
            upstream: UpstreamState::Idle { early: EarlyFrames::default(), failure: None },
            greeting: Greeting::AwaitsPreface,
            codec: HeaderCodec::new(),
            last_id: 0,
            pending: PendingRequests::default(),
            limits: FrameLimits::new(now),
            to_client: ToClient { frames, discarded_len: 0 },
            now,
        }
    }

    /// Processes the frames of `splicer` to the last complete one, or to one that needs the thread.
    ///
    /// Blocks: while the handler gets a token.
    ///
    /// # Errors
    /// What the client did wrong; the connection ends, see [`ClientToUpstream::close`].
    pub fn receive(&mut self, splicer: &mut FrameSplicer<'_>, now: Instant) -> Result<Next, ConnectionError> {
        self.now = now;
        if self.greeting == Greeting::AwaitsPreface && !self.receive_preface(splicer)? {
            return Ok(Next::Read);
        }
        self.release_pending(splicer);
        loop {
            let max = lock(self.conn).settings.upstream_max_frame_ever;
            let Some(frame) = frame::parse(splicer.rest(), max)? else {
                return Ok(Next::Read);
            };
            let header = frame.header;
            if matches!(self.upstream, UpstreamState::Connected { awaits_settings: true })
                && header.frame_type == frame_type::HEADERS
                && header.stream_id > self.last_id
            {
                return Ok(Next::AwaitSettings);
            }
            let is_settings = header.frame_type == frame_type::SETTINGS && !header.has(flag::ACK);
            if self.greeting != Greeting::Complete && !is_settings {
                return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
            }
            if let Some(request) = self.receive_frame(&frame, splicer)? {
                return Ok(Next::Connect(request));
            }
        }
    }

    /// Returns whether the preface is complete.
    fn receive_preface(&mut self, splicer: &mut FrameSplicer<'_>) -> Result<bool, ConnectionError> {
        let input = splicer.rest();
        if input.starts_with(PREFACE) {
            splicer.discard(PREFACE.len());
            self.greeting = Greeting::AwaitsSettings;
            return Ok(true);
        }
        match PREFACE.starts_with(input) {
            true => Ok(false),
            false => Err(ConnectionError::protocol("the preface is not HTTP/2's")),
        }
    }

    /// There is an upstream for the first request. It is sent the early frames, then the request.
    pub fn connected(&mut self, request: Request, splicer: &mut FrameSplicer<'_>) {
        if let Some(early) = self.upstream.early_frames() {
            early.write(splicer.insert());
        }
        self.upstream = UpstreamState::Connected { awaits_settings: true };
        self.forward_request(request, splicer);
    }

    /// There is no upstream for a request, because of `error`.
    pub fn connect_failed(&mut self, request: &Request, error: ProxyError) {
        self.reject(request, &error);
        if let UpstreamState::Idle { failure, .. } = &mut self.upstream {
            *failure = Some((request.authority().map(<[u8]>::to_vec), error));
        }
    }

    /// Whether requests are rejected because of a failed connect.
    pub fn has_failed(&self) -> bool {
        matches!(self.upstream, UpstreamState::Idle { failure: Some(_), .. })
    }

    /// The next request causes a new attempt to connect.
    pub fn retry_connect(&mut self) {
        if let UpstreamState::Idle { failure, .. } = &mut self.upstream {
            *failure = None;
        }
    }

    /// The upstream's SETTINGS came, or have taken too long.
    pub fn stop_awaiting_settings(&mut self) {
        self.upstream = UpstreamState::Connected { awaits_settings: false };
    }

    /// Takes the frames that runsd itself has for the client.
    pub fn take_to_client(&mut self) -> Vec<u8> {
        let ToClient { frames, discarded_len } = &mut self.to_client;
        frame::write_window_update(frames, 0, u32::try_from(*discarded_len).unwrap_or(0));
        *discarded_len = 0;
        lock(self.conn).write_goaway_on_resets(frames);
        std::mem::take(frames)
    }

    /// Closes the connection because of `error`; returns the GOAWAY for the client.
    pub fn close(&mut self, error: ConnectionError) -> Vec<u8> {
        let mut conn = lock(self.conn);
        let mut frames = Vec::new();
        if !std::mem::replace(&mut conn.is_closed, true) {
            conn.write_goaway(&mut frames, error);
        }
        frames
    }

    fn is_connected(&self) -> bool {
        matches!(self.upstream, UpstreamState::Connected { .. })
    }

    /// Processes one frame; returns a request that needs an upstream.
    fn receive_frame(
        &mut self,
        frame: &Frame<'_>,
        splicer: &mut FrameSplicer<'_>,
    ) -> Result<Option<Request>, ConnectionError> {
        if let Some(mut block) = self.codec.partial_block.take() {
            splicer.discard(frame.len());
            block.extend(frame)?;
            return self.receive_block(block, splicer);
        }
        let id = frame.header.stream_id;
        let forward = match frame.header.frame_type {
            frame_type::HEADERS => {
                splicer.discard(frame.len());
                return self.receive_block(HeaderBlock::new(frame)?, splicer);
            }
            frame_type::DATA => return self.receive_data(frame, splicer).map(|()| None),
            frame_type::PRIORITY => return self.receive_priority(frame, splicer).map(|()| None),
            frame_type::SETTINGS => return self.receive_settings(frame, splicer).map(|()| None),
            frame_type::PING => self.receive_ping(frame)?,
            frame_type::WINDOW_UPDATE => {
                let forward = self.receive_window_update(frame)?;
                if self.has_pending() && lock(self.conn).streams.is_pending(id) {
                    self.keep_pending(frame, splicer);
                    return Ok(None);
                }
                forward
            }
            frame_type::RST_STREAM => self.receive_rst_stream(frame)?,
            frame_type::GOAWAY if id != 0 => return Err(ConnectionError::protocol("GOAWAY on a stream")),
            frame_type::PUSH_PROMISE => return Err(ConnectionError::protocol("PUSH_PROMISE from a client")),
            frame_type::CONTINUATION => return Err(ConnectionError::protocol("CONTINUATION without HEADERS")),
            _ if id == 0 => self.is_connected(),
            // An extension (RFC 9113 section 5.5).
            _ => {
                let streams = &lock(self.conn).streams;
                matches!(streams.state(id), State::Open | State::HalfClosed) && !streams.is_pending(id)
            }
        };
        splicer.forward_if(forward, frame.len());
        Ok(None)
    }

    fn receive_data(&mut self, frame: &Frame<'_>, splicer: &mut FrameSplicer<'_>) -> Result<(), ConnectionError> {
        let id = frame.header.stream_id;
        let data = frame.unpadded()?;
        let end_stream = frame.header.has(flag::END_STREAM);
        if data.is_empty() && !end_stream && !self.limits.empty_data.take(self.now) {
            return Err(ConnectionError::calm("too many empty DATA frames"));
        }
        if self.check_may_send(id)? == State::Discarded {
            self.discard_data(frame);
            splicer.discard(frame.len());
            return Ok(());
        }
        let mut conn = lock(self.conn);
        if !conn.streams.receive_data(id, data.len(), end_stream) {
            drop(conn);
            splicer.discard(frame.len());
            self.reset_malformed(id, None, RequestError::LengthMismatch, splicer);
            self.discard_data(frame);
            return Ok(());
        }
        if end_stream {
            conn.streams.end(id, Side::Client);
        }
        let is_pending = self.has_pending() && conn.streams.is_pending(id);
        drop(conn);
        match is_pending {
            true => self.keep_pending(frame, splicer),
            false => splicer.forward(frame.len()),
        }
        Ok(())
    }

    /// Discards DATA of a closed stream, and gives the client the credit for it (RFC 9113 section 6.9).
    fn discard_data(&mut self, frame: &Frame<'_>) {
        let (id, len) = (frame.header.stream_id, frame.header.len);
        self.to_client.discarded_len += len;
        let mut conn = lock(self.conn);
        if frame.header.has(flag::END_STREAM) {
            return conn.streams.close_discarded(id);
        }
        // RST_STREAM with NO_ERROR would stop the client at once (RFC 9113 section 8.1). But curl, for one, drops the
        // response when it receives that before it has sent all. So only a client that does not stop gets it.
        match conn.streams.count_discarded(id, len) {
            Some(sum) if sum <= MAX_DISCARDED_BODY => {
                frame::write_window_update(&mut self.to_client.frames, id, u32::try_from(len).unwrap_or(0));
            }
            Some(sum) if sum - len <= MAX_DISCARDED_BODY => {
                frame::write_rst_stream(&mut self.to_client.frames, id, ErrorCode::NO_ERROR);
            }
            _ => {}
        }
    }

    /// Rejects a request with a response of runsd's own.
    fn reject(&mut self, request: &Request, error: &ProxyError) {
        let mut conn = lock(self.conn);
        let headers = request.headers;
        if !conn.accepts(headers.stream_id) {
            // The client may not know of the GOAWAY, and send a body.
            if !headers.end_stream {
                conn.streams.discard_in_flight(headers.stream_id);
            }
            return;
        }
        if !headers.end_stream {
            conn.streams.discard_body(headers.stream_id);
        }
        let windows = (&mut conn.settings, self.upstream.early_frames());
        local_response::write(&mut self.to_client.frames, windows, headers.stream_id, request.traits(), error);
    }

    /// Resets the stream of a malformed request (RFC 9113 section 8.1.1). RST_STREAM has no reason phrase, so the reason
    /// is logged, as for HTTP/1.
    fn reset_malformed(
        &mut self,
        id: u32,
        authority: Option<&[u8]>,
        error: RequestError,
        splicer: &mut FrameSplicer<'_>,
    ) {
        log_error(&loggable_host(authority), &error.into());
        self.reset_stream(id, ErrorCode::PROTOCOL_ERROR, splicer);
    }

    /// Resets a stream, towards both ends, because of a frame of the client (RFC 9113 section 5.4.2).
    fn reset_stream(&mut self, id: u32, code: ErrorCode, splicer: &mut FrameSplicer<'_>) {
        frame::write_rst_stream(&mut self.to_client.frames, id, code);
        self.to_client.discarded_len += self.pending.remove(id);
        let mut conn = lock(self.conn);
        let is_pending = conn.streams.is_pending(id);
        if conn.reset(id, self.now) && !is_pending {
            frame::write_rst_stream(splicer.insert(), id, code);
        }
    }

    /// Returns `Open` or `Discarded`.
    ///
    /// # Errors
    /// Where the client may not send DATA or HEADERS on this stream (RFC 9113 sections 5.1 and 5.1.1).
    fn check_may_send(&self, id: u32) -> Result<State, ConnectionError> {
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("a frame that a client may not send on this stream"));
        }
        match lock(self.conn).streams.state(id) {
            State::Idle => Err(stream_is_idle()),
            State::HalfClosed | State::Closed => {
                let reason = "a frame on a stream that the client had ended";
                Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, reason))
            }
            state => Ok(state),
        }
    }
}

fn stream_is_idle() -> ConnectionError {
    ConnectionError::protocol("a frame on an idle stream")
}

/// Octets of the body of a rejected request that runsd receives and discards before it resets the stream: most clients
/// read the response in time, few send more.
const MAX_DISCARDED_BODY: usize = 1 << 20;
