//! Has the kernel find out whether the other end of a silent connection is
//! still there. What comes of it is an error of the socket.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Asks after so many seconds of silence, and after as many again; the third
/// question without an answer is the end.
///
/// Where this is not known (a sandbox may ignore it) all stays as it was.
pub fn keep_alive(socket: BorrowedFd<'_>, seconds: i32) {
    set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds);
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds);
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3);
}

/// Gives up when what was sent is not acknowledged for so many seconds,
/// instead of a quarter of an hour.
pub fn give_up_after(socket: BorrowedFd<'_>, seconds: i32) {
    set(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_USER_TIMEOUT,
        seconds.saturating_mul(1000),
    );
}

#[allow(unsafe_code)]
#[allow(clippy::cast_possible_truncation)] // four octets are no more on any target
fn set(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) {
    // SAFETY: the option is an `int`, which outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
}
