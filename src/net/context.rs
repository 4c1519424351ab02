//! Waiting for the network on behalf of a client, which may leave meanwhile.
//!
//! Each wait of a dial (for a nameserver, a connection, a TLS handshake) goes through a [`Context`], which ends it when
//! no client needs its result any more. The name is that of Go's `context`.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::net::{PollFd, poll};
use crate::sys::peer::{PeerState, peer_state};

/// The error of a wait whose result is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// Waits for descriptors, unless it is cancelled.
pub trait Context {
    /// Polls `fds`.
    ///
    /// Blocks: until one of them is ready, for `timeout` at most.
    ///
    /// # Errors
    /// [`Cancelled`], as soon as the result is not needed any more.
    fn wait(&mut self, fds: &mut Vec<PollFd>, timeout: Duration) -> Result<(), Cancelled>;

    /// Polls one descriptor. Returns whether it is ready.
    ///
    /// Blocks and fails as [`Context::wait`] does.
    fn wait_for(&mut self, fd: PollFd, timeout: Duration) -> Result<bool, Cancelled> {
        let mut fds = vec![fd];
        self.wait(&mut fds, timeout)?;
        Ok(fds[0].is_ready())
    }
}

/// A context that is never cancelled.
pub struct Background;

impl Context for Background {
    fn wait(&mut self, fds: &mut Vec<PollFd>, timeout: Duration) -> Result<(), Cancelled> {
        let deadline = Instant::now() + timeout;
        loop {
            poll_once(fds, deadline);
            if fds.iter().any(PollFd::is_ready) || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }
}

/// The context of a client's request: cancelled when the client closes its connection. A client that only shut down
/// its sending direction still reads the response.
pub struct ClientContext<'a> {
    tcp: &'a TcpStream,
    half_close_timeout: Duration,
    /// When the client's FIN was first seen.
    fin_seen_at: Option<Instant>,
}

impl ClientContext<'_> {
    /// The client at the other end of `tcp`. After its FIN it counts as one that reads for `half_close_timeout`, where
    /// the kernel does not say whether it closed or half-closed; for zero time a FIN is a close.
    pub fn new(tcp: &TcpStream, half_close_timeout: Duration) -> ClientContext<'_> {
        ClientContext { tcp, half_close_timeout, fin_seen_at: None }
    }

    /// Whether the client, whose FIN came at `fin_seen_at`, closed its connection.
    fn has_left(&self, fin_seen_at: Instant) -> bool {
        if self.half_close_timeout.is_zero() {
            return true;
        }
        match peer_state(self.tcp) {
            PeerState::Closed => true,
            PeerState::Alive => false,
            PeerState::FinReceived => fin_seen_at.elapsed() >= self.half_close_timeout,
        }
    }
}

impl Context for ClientContext<'_> {
    fn wait(&mut self, fds: &mut Vec<PollFd>, timeout: Duration) -> Result<(), Cancelled> {
        let deadline = Instant::now() + timeout;
        let count = fds.len();
        loop {
            // A FIN stays readable, so after it poll reports errors only; a later close causes no event.
            let (client, until) = match self.fin_seen_at {
                None => (PollFd::read_closed(self.tcp), deadline),
                Some(_) => (PollFd::errors(self.tcp), deadline.min(Instant::now() + RECHECK_INTERVAL)),
            };
            fds.push(client);
            poll_once(fds, until);
            let client = fds.pop();
            if client.as_ref().is_some_and(PollFd::has_failed) {
                return Err(Cancelled);
            }
            if client.is_some_and(|client| client.is_ready()) {
                self.fin_seen_at.get_or_insert_with(Instant::now);
            }
            // First, so that a result that is there counts although the client's time is over.
            if fds[..count].iter().any(PollFd::is_ready) {
                return Ok(());
            }
            if self.fin_seen_at.is_some_and(|at| self.has_left(at)) {
                return Err(Cancelled);
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
        }
    }
}

/// Polls once, until `deadline` at most. After an error of the call (too little memory) it pauses, so that its caller
/// does not spin; the caller's deadline ends the wait.
fn poll_once(fds: &mut [PollFd], deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    if poll(fds, Some(left)).is_err() {
        thread::sleep(left.min(ERROR_PAUSE));
    }
}

/// How often the state of a client that sent FIN is asked for.
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The pause after a poll that failed.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_client_that_closes_cancels_the_wait() {
        let short = Duration::from_millis(50);
        for (half_close_timeout, leave) in [(LONG, "reset"), (LONG, "close"), (Duration::ZERO, "close")] {
            let (client, ours) = pair();
            // A pipelined request hides the FIN behind it from a read.
            (&client).write_all(b"GET / HTTP/1.1\r\n").unwrap();
            let (_other, silent) = pair();
            let mut context = ClientContext::new(&ours, half_close_timeout);
            let before = context.wait_for(PollFd::readable(&silent), short);
            assert_eq!(before, Ok(false), "{leave}");
            match leave {
                "reset" => {
                    // Closing with octets unread resets.
                    (&ours).write_all(b"x").unwrap();
                    assert_eq!(client.peek(&mut [0]).unwrap(), 1);
                    drop(client);
                }
                _ => drop(client),
            }
            let started = Instant::now();
            let after = context.wait_for(PollFd::readable(&silent), LONG);
            assert_eq!(after, Err(Cancelled), "{leave}");
            assert!(started.elapsed() < LONG / 2, "{leave}");
        }
    }

    #[test]
    fn a_half_closed_client_still_waits_for_its_response() {
        let (client, ours) = pair();
        let (mut other, watched) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        let mut context = ClientContext::new(&ours, LONG);
        let soon = Duration::from_millis(20);
        assert_eq!(context.wait_for(PollFd::readable(&watched), soon), Ok(false));
        // The kernel says that its socket is open, so the timeout does not matter.
        let mut context = ClientContext::new(&ours, Duration::from_millis(1));
        assert_eq!(context.wait_for(PollFd::readable(&watched), soon), Ok(false));
        other.write_all(b"x").unwrap();
        assert_eq!(context.wait_for(PollFd::readable(&watched), LONG), Ok(true));
    }
}
