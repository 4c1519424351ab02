//! Beginning a connection without waiting for it, for which std has no call.

use std::io;
use std::net::{SocketAddr, TcpStream};

use rustix::io::Errno;
use rustix::net::SocketType;

use super::net::{PollFd, new_socket};

/// Begins to connect. The outcome is there when [`PollFd::writable`] is ready;
/// [`outcome`] says what it is. Until then nothing blocks on this socket.
///
/// # Errors
/// What the kernel knows at once, as that there is no route.
pub fn begin(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = new_socket(&to, SocketType::STREAM)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(err) => Err(err.into()),
    }
}

/// What came of it, once `wait` is ready.
///
/// # Errors
/// Why there is no connection.
pub fn outcome(tcp: &TcpStream, wait: &PollFd) -> io::Result<()> {
    if !wait.is_broken() {
        return Ok(());
    }
    // A reset after the connection was established leaves no error.
    Err(tcp.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
}
