//! The client's side of a connection: its socket, its permit, and whether the client is still there to read.

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use crate::net::conn_limit::Permit;
use crate::sys::net::recv_nonblocking;
use crate::sys::peer::{PeerState, peer_state};
use crate::sys::tcp;

/// The client. Its socket has a read timeout of [`READ_TIMEOUT`].
pub struct Client<'a> {
    /// Its right to be served.
    pub permit: &'a Permit,
    /// Its socket, which the permit has.
    pub tcp: &'a TcpStream,
    /// When FIN was first seen from a client of which the kernel does not say whether it still reads.
    half_closed_at: Option<Instant>,
}

/// The client is gone, or has to be told by the end of the connection that a response is not whole.
pub struct ClientGone;

impl From<io::Error> for ClientGone {
    fn from(_: io::Error) -> ClientGone {
        ClientGone
    }
}

impl<'a> Client<'a> {
    /// The client that has this permit.
    pub fn new(permit: &'a Permit) -> Client<'a> {
        Client { permit, tcp: permit.tcp(), half_closed_at: None }
    }

    /// Sends all of `bytes`.
    ///
    /// Blocks: until the kernel has taken them.
    ///
    /// # Errors
    /// [`ClientGone`] if the connection is broken.
    pub fn send(&self, bytes: &[u8]) -> Result<(), ClientGone> {
        let mut tcp = self.tcp;
        Ok(tcp.write_all(bytes)?)
    }

    /// Checks whether the client still waits for its response. Called for each [`READ_TIMEOUT`] of upstream silence.
    ///
    /// # Errors
    /// [`ClientGone`] if the client closed its socket, or sent FIN more than [`MAX_HALF_CLOSED`] ago where the kernel
    /// does not say whether it still reads.
    pub fn check_alive(&mut self) -> Result<(), ClientGone> {
        match peer_state(self.tcp) {
            PeerState::Alive => Ok(()),
            PeerState::Closed => Err(ClientGone),
            PeerState::FinReceived => {
                let since = *self.half_closed_at.get_or_insert_with(Instant::now);
                if since.elapsed() > MAX_HALF_CLOSED { Err(ClientGone) } else { Ok(()) }
            }
        }
    }

    /// Has the end of the connection tell the client that its response is not whole: RST instead of FIN.
    pub fn reset_on_close(&self) {
        tcp::set_linger_zero(self.tcp.as_fd());
    }

    /// Ends a connection whose client may still be sending (RFC 9112 section 9.6). Closing at once would make the
    /// kernel send RST, and the client could lose the last response.
    ///
    /// Blocks: until the client closes, pauses for [`LINGER_PAUSE`], or for [`MAX_LINGER`].
    pub fn lingering_close(&self) {
        let mut tcp = self.tcp;
        let _ = tcp.shutdown(Shutdown::Write);
        let started = Instant::now();
        let mut last_read = started;
        let mut discarded = [0; 4096];
        while started.elapsed() < MAX_LINGER && last_read.elapsed() < LINGER_PAUSE {
            match tcp.read(&mut discarded) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(_) => last_read = Instant::now(),
            }
        }
    }
}

/// Reads what has come and never waits: `WouldBlock` where nothing has.
pub struct NonBlocking<'a>(pub &'a TcpStream);

impl Read for NonBlocking<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        recv_nonblocking(self.0.as_fd(), out)
    }
}

/// How long a read from the client waits: after so much silence its upstream connection goes to the pool, and its
/// memory is freed. Most clients that send another request soon do within this.
pub const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a half-closed client may wait for its response where the kernel does not say whether it still reads. Most
/// clients that send FIN have given up; the others mostly have a response within this.
const MAX_HALF_CLOSED: Duration = Duration::from_secs(10);
/// Bounds the lingering close of a client that does not stop sending: by then it has had the response for long.
const MAX_LINGER: Duration = Duration::from_secs(10);
/// Ends the lingering close of a client that has stopped sending, and does not close either: more than a round trip
/// on loopback, and than one [`READ_TIMEOUT`].
const LINGER_PAUSE: Duration = Duration::from_millis(1500);
