//! Waiting for the network on behalf of a client that may leave meanwhile.
//!
//! Each wait of a dial (for a nameserver, a connection, a TLS handshake) goes
//! through a [`Context`], which cancels it when its outcome is of no use.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::sys::net::{PollFd, poll};
use crate::sys::peer::{PeerState, peer_state};

/// The outcome of a wait is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

/// Waits for descriptors, and for whatever cancels that.
pub trait Context {
    /// Blocks: until one of `waits` is ready, or `limit` is over.
    ///
    /// # Errors
    /// [`Cancelled`] as soon as the outcome is of no use.
    fn wait(&mut self, waits: &mut Vec<PollFd>, limit: Duration) -> Result<(), Cancelled>;

    /// The same for one descriptor; whether it is ready.
    fn wait_for(&mut self, wait: PollFd, limit: Duration) -> Result<bool, Cancelled> {
        let mut waits = vec![wait];
        self.wait(&mut waits, limit)?;
        Ok(waits[0].is_ready())
    }
}

/// The context that is never cancelled.
pub struct Background;

impl Context for Background {
    fn wait(&mut self, waits: &mut Vec<PollFd>, limit: Duration) -> Result<(), Cancelled> {
        let deadline = Instant::now() + limit;
        loop {
            poll_until(waits, deadline);
            if waits.iter().any(PollFd::is_ready) || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }
}

/// The context of a client that waits for its response: cancelled when the
/// client leaves. One that only ended its own direction is there to read.
pub struct ClientContext<'a> {
    tcp: &'a TcpStream,
    /// For how long a client that sent FIN still counts as one that waits,
    /// where the kernel does not say whether it closed or half-closed.
    half_closed: Duration,
    /// When its FIN was first seen.
    ended: Option<Instant>,
}

impl ClientContext<'_> {
    /// The client at the other end of `tcp`. With a `half_closed` of zero, FIN
    /// is its end.
    pub fn new(tcp: &TcpStream, half_closed: Duration) -> ClientContext<'_> {
        ClientContext { tcp, half_closed, ended: None }
    }

    /// Whether the client, whose FIN has come, is there no more.
    fn has_left(&self, since: Instant) -> bool {
        if self.half_closed.is_zero() {
            return true;
        }
        match peer_state(self.tcp) {
            PeerState::Closed => true,
            PeerState::Alive => false,
            PeerState::FinReceived => since.elapsed() >= self.half_closed,
        }
    }
}

impl Context for ClientContext<'_> {
    fn wait(&mut self, waits: &mut Vec<PollFd>, limit: Duration) -> Result<(), Cancelled> {
        let deadline = Instant::now() + limit;
        let count = waits.len();
        loop {
            // After its FIN a client that closes is not heard of any more.
            let (client, until) = match self.ended {
                None => (PollFd::read_closed(self.tcp), deadline),
                Some(_) => (PollFd::errors(self.tcp), deadline.min(Instant::now() + LOOK_EVERY)),
            };
            waits.push(client);
            poll_until(waits, until);
            let client = waits.pop();
            if client.as_ref().is_some_and(PollFd::has_failed) {
                return Err(Cancelled);
            }
            if client.is_some_and(|client| client.is_ready()) {
                self.ended.get_or_insert_with(Instant::now);
            }
            // What is ready counts, though the client's time is over, too.
            if waits[..count].iter().any(PollFd::is_ready) {
                return Ok(());
            }
            if self.ended.is_some_and(|since| self.has_left(since)) {
                return Err(Cancelled);
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
        }
    }
}

/// How often a client that sent FIN is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Polls once. An error of the call itself (too little memory) is no reason to
/// spin: the deadline ends the wait.
fn poll_until(waits: &mut [PollFd], deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let polled: io::Result<()> = poll(waits, Some(left));
    if polled.is_err() {
        std::thread::sleep(left.min(Duration::from_millis(10)));
    }
}

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
    fn a_client_that_left_ends_the_wait() {
        let short = Duration::from_millis(50);
        for (half_closed, leave) in [(LONG, "reset"), (LONG, "close"), (Duration::ZERO, "close")] {
            let (client, ours) = pair();
            // A pipelined request hides the FIN behind it from a read.
            (&client).write_all(b"GET / HTTP/1.1\r\n").unwrap();
            let (_other, silent) = pair();
            let mut context = ClientContext::new(&ours, half_closed);
            let before = context.wait_for(PollFd::readable(&silent), short);
            assert_eq!(before, Ok(false), "{leave}");
            let kept = client.try_clone().unwrap();
            match leave {
                "reset" => {
                    // Closing with octets unread resets.
                    (&ours).write_all(b"x").unwrap();
                    assert_eq!(client.peek(&mut [0]).unwrap(), 1);
                    drop((client, kept));
                }
                _ => drop((client, kept)),
            }
            let started = Instant::now();
            let after = context.wait_for(PollFd::readable(&silent), LONG);
            assert_eq!(after, Err(Cancelled), "{leave}");
            assert!(started.elapsed() < LONG / 2, "{leave}");
        }
    }

    #[test]
    fn a_half_closed_client_gets_what_comes_in_time() {
        let (client, ours) = pair();
        let (mut other, watched) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        let mut context = ClientContext::new(&ours, LONG);
        let soon = Duration::from_millis(20);
        assert_eq!(context.wait_for(PollFd::readable(&watched), soon), Ok(false));
        // It is there, however long that takes.
        let mut context = ClientContext::new(&ours, Duration::from_millis(1));
        assert_eq!(context.wait_for(PollFd::readable(&watched), soon), Ok(false));
        other.write_all(b"x").unwrap();
        assert_eq!(context.wait_for(PollFd::readable(&watched), LONG), Ok(true));
    }
}
