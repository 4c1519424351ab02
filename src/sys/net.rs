//! Sockets: waiting for several at once, and calls that do not block.

#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, sockopt};

pub use super::datagrams::{RecvBatch, SendBatch};

/// A descriptor and the events to wait for: `struct pollfd` of poll(2).
///
/// It does not borrow the descriptor, as rustix's does: callers save lists of these while their sockets come and
/// go, and the kernel reports a number that is closed as ready, which does no harm.
#[repr(transparent)]
pub struct PollFd(libc::pollfd);

impl PollFd {
    /// Waits for bytes, a connection to accept, a FIN or an error.
    pub fn readable(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, libc::POLLIN)
    }

    /// Waits until the kernel takes bytes, a started connection is decided, or an error comes.
    pub fn writable(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, libc::POLLOUT)
    }

    /// Waits for the peer's FIN, whether or not bytes before it are unread, or for an error.
    pub fn read_closed(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, libc::POLLRDHUP)
    }

    /// Waits for an error alone.
    pub fn errors(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, 0)
    }

    fn new(fd: &impl AsFd, events: libc::c_short) -> PollFd {
        PollFd(libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 })
    }

    /// Returns whether the last [`poll`] reported an event.
    pub fn is_ready(&self) -> bool {
        self.0.revents != 0
    }

    /// Returns whether the last [`poll`] reported an error, or that both directions are closed.
    pub fn has_failed(&self) -> bool {
        self.0.revents & (libc::POLLERR | libc::POLLHUP) != 0
    }
}

/// Waits for the events of `fds`.
///
/// Blocks: until one of them is ready, `timeout` has passed, or a signal handler ran, which is reported as nothing
/// ready.
///
/// # Errors
/// Those of poll(2) but EINTR.
pub fn poll(fds: &mut [PollFd], timeout: Option<Duration>) -> io::Result<()> {
    // Rounded up: a deadline half a millisecond away must not spin.
    let millis = timeout
        .map_or(-1, |timeout| libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX));
    // SAFETY: `PollFd` is a transparent pollfd, and the slice is as long as said.
    let result = unsafe { libc::poll(fds.as_mut_ptr().cast(), fds.len() as _, millis) };
    poll_result(result.into())
}

/// Makes a result of poll(2) or ppoll(2), which ended just now.
pub(super) fn poll_result(result: libc::c_long) -> io::Result<()> {
    let err = io::Error::last_os_error();
    match result {
        ..0 if err.kind() != io::ErrorKind::Interrupted => Err(err),
        _ => Ok(()),
    }
}

/// Listens on `address` with a non-blocking socket, whose accept queue is as long as the kernel allows: with the
/// 128 of std, each connection more of a burst would come a second late, with its second SYN.
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(&address, SocketType::STREAM)?;
    // Otherwise connections of before in TIME_WAIT would keep the port.
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, MAX_BACKLOG)?;
    Ok(socket.into())
}

/// Binds a non-blocking UDP socket.
///
/// # Errors
/// Those of socket(2) and bind(2).
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(&address, SocketType::DGRAM)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

/// Makes a non-blocking socket in one call; std takes two or three, before the application starts.
pub(super) fn new_socket(address: &SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Returns the index of an interface, which a link-local address has for its scope (RFC 4007, section 6).
pub fn interface_index(name: &str) -> Option<u32> {
    // Any socket will do (netdevice(7)).
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    netdevice::name_to_index(socket, name).ok()
}

/// Sends the bytes that the kernel takes at once, on a socket that other processes share and that therefore stays
/// in blocking mode.
///
/// # Errors
/// `WouldBlock` where the kernel takes none; else those of send(2).
pub fn send_nonblocking(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Receives the bytes that have come.
///
/// # Errors
/// `WouldBlock` where none have; else those of recv(2).
pub fn recv_nonblocking(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let (len, _) = rustix::net::recv(socket, buf, RecvFlags::DONTWAIT)?;
    Ok(len)
}

/// Returns whether an error of a UDP send is about this datagram alone, too large or one too many at a time; any
/// other is about the socket or its route.
pub fn is_datagram_error(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS | libc::EAGAIN))
}

/// Returns whether ::1 could not be bound because IPv6 is switched off, or not in the kernel.
pub fn is_address_unavailable(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
}

/// Connections to wait in the accept queue, before the kernel cuts it to net.core.somaxconn: the largest that any
/// kernel has taken.
const MAX_BACKLOG: i32 = i16::MAX as i32;
