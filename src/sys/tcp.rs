//! TCP: connecting without blocking, and the options of a connection that std has no call for.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketType, sockopt};

use super::net::{PollFd, new_socket};

/// Starts to connect, with a non-blocking socket.
///
/// The connection is established, or has failed, once [`PollFd::writable`] is ready; [`finish_connect`] says which.
///
/// # Errors
/// What the kernel knows at once, as that there is no route.
pub fn start_connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = new_socket(&to, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(err) => Err(err.into()),
    }
}

/// Reports the result of [`start_connect`], once `writable`, the descriptor of `tcp`, is ready.
///
/// # Errors
/// Why the connection was not established.
pub fn finish_connect(tcp: &TcpStream, writable: &PollFd) -> io::Result<()> {
    if !writable.has_failed() {
        return Ok(());
    }
    // A reset after the connection was established leaves no error.
    Err(tcp.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
}

/// Sets TCP keepalive: the kernel probes after `seconds` idle, then every `seconds`, and fails the connection
/// after [`KEEPALIVE_PROBES`] without a response (RFC 9293, section 3.8.4).
///
/// Best effort: a sandbox may ignore the options.
pub fn set_keepalive(socket: BorrowedFd<'_>, seconds: u32) {
    let interval = Duration::from_secs(seconds.into());
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, interval);
    let _ = sockopt::set_tcp_keepintvl(socket, interval);
    let _ = sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES);
}

/// Fails the connection when sent bytes are not acknowledged for `seconds`: `TCP_USER_TIMEOUT` of tcp(7), in place
/// of the kernel's quarter of an hour.
///
/// Best effort, as [`set_keepalive`].
pub fn set_user_timeout(socket: BorrowedFd<'_>, seconds: u32) {
    let _ = sockopt::set_tcp_user_timeout(socket, seconds.saturating_mul(1000));
}

/// Returns whether the connection is open and has no unread bytes. Takes no bytes and does not block.
pub fn is_idle(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0];
    rustix::net::recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::WOULDBLOCK)
}

/// Makes close(2) send RST instead of FIN, so that the peer sees an error and not the end of the bytes.
pub fn set_linger_zero(socket: BorrowedFd<'_>) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Unanswered keepalive probes before the connection fails: two may be lost.
const KEEPALIVE_PROBES: u32 = 3;
