//! Sockets beyond std: waiting for several at once, and never waiting for one.

#![allow(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{netdevice, sockopt};

pub use super::datagrams::{RecvBatch, SendBatch};

/// A descriptor, and what to wait for on it.
#[repr(transparent)]
pub struct PollFd(libc::pollfd);

impl PollFd {
    /// Waits for bytes, a connection, an end or an error.
    pub fn readable(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, libc::POLLIN)
    }

    /// Waits until it can be written, or for an error; for a connection that
    /// was begun, until that is decided.
    pub fn writable(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, libc::POLLOUT)
    }

    /// Waits until the other side sends nothing more, whatever of it is still
    /// to be read, or for an error.
    pub fn ended(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, libc::POLLRDHUP)
    }

    /// Waits for an error alone.
    pub fn broken(fd: &impl AsFd) -> PollFd {
        PollFd::new(fd, 0)
    }

    fn new(fd: &impl AsFd, events: libc::c_short) -> PollFd {
        PollFd(libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 })
    }

    /// Whether the last [`poll`] found something there.
    pub fn is_ready(&self) -> bool {
        self.0.revents != 0
    }

    /// Whether the last [`poll`] found that no bytes go either way any more.
    pub fn is_broken(&self) -> bool {
        self.0.revents & (libc::POLLERR | libc::POLLHUP) != 0
    }
}

/// Listens, and lets as many connections wait to be accepted as the kernel
/// allows: past the 128 of std, each more of a burst would come a second late.
/// Accepting never waits.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(&address, SocketType::STREAM)?;
    // Connections of before that still end are no reason to refuse.
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i16::MAX.into())?;
    Ok(socket.into())
}

/// A socket for datagrams that never waits.
pub fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = new_socket(&address, SocketType::DGRAM)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

/// Each of std's ways to a socket that never waits makes one or two calls more,
/// before the application is there.
pub(super) fn new_socket(address: &SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Waits until one of `waits` is ready, or `timeout` is over.
///
/// A signal ends it early with nothing ready.
pub fn poll(waits: &mut [PollFd], timeout: Option<Duration>) -> io::Result<()> {
    // Rounded up: a deadline half a millisecond away must not spin.
    let millis = timeout
        .map_or(-1, |timeout| libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX));
    // rustix has each structure borrow its descriptor. A `PollFd` does not: lists of
    // them are kept while their sockets come and go, and a number that means
    // nothing any more is only reported as such.
    // SAFETY: `PollFd` is a transparent pollfd, and the slice is as long as said.
    let found = unsafe { libc::poll(waits.as_mut_ptr().cast(), waits.len() as _, millis) };
    let err = io::Error::last_os_error();
    if found < 0 && err.kind() != io::ErrorKind::Interrupted {
        return Err(err);
    }
    Ok(())
}

/// The number of an interface, as an address of one link has it for its scope.
pub fn interface_index(name: &str) -> Option<u32> {
    // Any socket will do (netdevice(7)).
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None).ok()?;
    netdevice::name_to_index(socket, name).ok()
}

/// Sends on a socket what it takes at once, without changing it for others who
/// share it; `WouldBlock` where it takes nothing.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::send(socket, bytes, flags)?)
}

/// One receive that does not wait: `WouldBlock` where nothing is there.
pub fn receive_now(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    let (got, _) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
    Ok(got)
}

/// Whether a socket is open and nothing has come that was not read.
pub fn is_quiet(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(socket, &mut byte, flags) == Err(Errno::WOULDBLOCK)
}

/// Makes a later close say that something went wrong, instead of "the end".
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Whether it is one datagram that cannot leave, too large for its way or one
/// too many at a time, and not the way that is gone.
pub fn is_about_one_datagram(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS | libc::EAGAIN))
}

/// Why there is no socket on ::1, where there is no IPv6: switched off, or not
/// in the kernel.
pub fn has_no_such_address(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT))
}
