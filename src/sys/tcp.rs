//! Has the kernel find out whether the other end of a silent connection is
//! still there. What comes of it is an error of the socket.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::sockopt;

/// Asks after so many seconds of silence, and after as many again; the third
/// question without an answer is the end.
///
/// Where this is not known (a sandbox may ignore it) all stays as it was.
pub fn keep_alive(socket: BorrowedFd<'_>, seconds: u32) {
    let interval = Duration::from_secs(seconds.into());
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, interval);
    let _ = sockopt::set_tcp_keepintvl(socket, interval);
    let _ = sockopt::set_tcp_keepcnt(socket, 3);
}

/// Gives up when what was sent is not acknowledged for so many seconds,
/// instead of a quarter of an hour.
pub fn give_up_after(socket: BorrowedFd<'_>, seconds: u32) {
    let _ = sockopt::set_tcp_user_timeout(socket, seconds.saturating_mul(1000));
}
