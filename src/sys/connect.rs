//! Beginning a connection without waiting for it, for which std has no call.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::net::{Wait, put_address};

/// Begins to connect. The outcome is there when [`Wait::writable`] is ready;
/// [`outcome`] says what it is. Until then nothing blocks on this socket.
///
/// # Errors
/// What the kernel knows at once, as that there is no route.
pub fn begin(to: SocketAddr) -> io::Result<TcpStream> {
    // SAFETY: all zeroes is a valid address; a descriptor that was just made
    // belongs to nobody else; the address is as long as it is said to be, and
    // outlives the call.
    unsafe {
        let mut storage = mem::zeroed();
        let len = put_address(&to, &mut storage);
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = libc::socket(libc::c_int::from(storage.ss_family), kind, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        if libc::connect(socket.as_raw_fd(), (&raw const storage).cast(), len) < 0 {
            let err = io::Error::last_os_error();
            if err.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(err);
            }
        }
        Ok(socket.into())
    }
}

/// What came of it, once `wait` is ready.
///
/// # Errors
/// Why there is no connection.
pub fn outcome(tcp: &TcpStream, wait: &Wait) -> io::Result<()> {
    if !wait.is_broken() {
        return Ok(());
    }
    // A reset after the connection was established leaves no error.
    Err(tcp
        .take_error()?
        .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
}
