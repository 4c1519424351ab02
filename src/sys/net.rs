//! Sockets beyond std: waiting for several at once, and taking or giving many
//! datagrams with one system call.

#![allow(unsafe_code)]
// Lengths of C structures and of batches: all of them are small.
#![allow(clippy::cast_possible_truncation)]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket,
};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A descriptor, and what to wait for on it.
#[repr(transparent)]
pub struct Wait(libc::pollfd);

impl Wait {
    /// Waits for bytes, a connection, an end or an error.
    pub fn readable(fd: &impl AsFd) -> Wait {
        Wait::new(fd, libc::POLLIN)
    }

    /// Waits until it can be written, or for an error; for a connection that
    /// was begun, until that is decided.
    pub fn writable(fd: &impl AsFd) -> Wait {
        Wait::new(fd, libc::POLLOUT)
    }

    /// Waits until the other side sends nothing more, whatever of it is still
    /// to be read, or for an error.
    pub fn ended(fd: &impl AsFd) -> Wait {
        Wait::new(fd, libc::POLLRDHUP)
    }

    /// Waits for an error alone.
    pub fn broken(fd: &impl AsFd) -> Wait {
        Wait::new(fd, 0)
    }

    fn new(fd: &impl AsFd, events: libc::c_short) -> Wait {
        Wait(libc::pollfd {
            fd: fd.as_fd().as_raw_fd(),
            events,
            revents: 0,
        })
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
    let socket = bound(address, libc::SOCK_STREAM)?;
    // SAFETY: takes no memory.
    match unsafe { libc::listen(socket.as_raw_fd(), i32::from(i16::MAX)) } {
        0 => Ok(socket.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A socket for datagrams that never waits.
pub fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    bound(address, libc::SOCK_DGRAM).map(UdpSocket::from)
}

/// Each of std's ways here makes one or two calls more, before the application
/// is there.
fn bound(address: SocketAddr, kind: libc::c_int) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a descriptor that was just made belongs to nobody else; the option
    // is an int and the address as long as it is said to be, and both outlive
    // the calls.
    unsafe {
        let mut storage = mem::zeroed();
        let len = put_address(&address, &mut storage);
        let socket = libc::socket(libc::c_int::from(storage.ss_family), kind | flags, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let fd = socket.as_raw_fd();
        if kind == libc::SOCK_STREAM {
            // Connections of before that still end are no reason to refuse.
            let yes: libc::c_int = 1;
            let (place, len) = ((&raw const yes).cast(), size_of::<libc::c_int>() as _);
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, place, len);
        }
        match libc::bind(fd, (&raw const storage).cast(), len) {
            0 => Ok(socket),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Waits until one of `waits` is ready, or `timeout` is over.
///
/// A signal ends it early with nothing ready.
pub fn poll(waits: &mut [Wait], timeout: Option<Duration>) -> io::Result<()> {
    // Rounded up: a deadline half a millisecond away must not spin.
    let millis = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: `Wait` is a transparent pollfd, and the slice is as long as said.
    let found = unsafe { libc::poll(waits.as_mut_ptr().cast(), waits.len() as _, millis) };
    let err = io::Error::last_os_error();
    if found < 0 && err.kind() != io::ErrorKind::Interrupted {
        return Err(err);
    }
    Ok(())
}

/// The number of an interface, as an address of one link has it for its scope.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// Sends on a socket what it takes at once, without changing it for others who
/// share it; `WouldBlock` where it takes nothing.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length belong to one slice.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// One receive that does not wait: `WouldBlock` where nothing is there.
pub fn receive_now(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    let (place, len) = (room.as_mut_ptr().cast(), room.len());
    // SAFETY: the room is as long as said, and outlives the call.
    let got = unsafe { libc::recv(socket.as_raw_fd(), place, len, libc::MSG_DONTWAIT) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Whether it is one datagram that cannot leave, too large for its way or one
/// too many at a time, and not the way that is gone.
pub fn is_about_one_datagram(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EMSGSIZE | libc::ENOBUFS | libc::EAGAIN)
    )
}

/// Why there is no socket on ::1, where there is no IPv6: switched off, or not
/// in the kernel.
pub fn has_no_such_address(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
    )
}

/// How many datagrams one system call takes or gives at most.
pub const BATCH: usize = 32;

/// Room for the largest datagram there is.
const ROOM: usize = 65_536;

/// Room for nearly every datagram: what EDNS clients say to take.
const USUAL: usize = 1232;

/// Datagrams as they came in, [`BATCH`] at most.
pub struct Inbox {
    // The beginnings of all datagrams side by side: a batch of ordinary ones
    // touches ten pages. A room of its own for each would be one page each.
    usual: Vec<u8>,
    // A large datagram goes on here, behind room for its beginning. Zeroed by
    // the kernel; never touched, and so no real memory, before one comes.
    large: Vec<u8>,
    arrived: Vec<(usize, Option<SocketAddr>)>,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Inbox {
        Inbox {
            usual: vec![0; BATCH * USUAL],
            large: vec![0; BATCH * ROOM],
            arrived: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what is there, without waiting, in place of what it held; the
    /// number of datagrams, 0 when there are none.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.arrived.clear();
        // SAFETY: all of these are plain C structures, valid when zero.
        let mut froms: [libc::sockaddr_storage; BATCH] = unsafe { mem::zeroed() };
        let mut slices: [[libc::iovec; 2]; BATCH] = unsafe { mem::zeroed() };
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let usual = self.usual.chunks_exact_mut(USUAL);
        let rooms = usual.zip(self.large.chunks_exact_mut(ROOM));
        for (((header, slices), from), (usual, large)) in headers
            .iter_mut()
            .zip(&mut slices)
            .zip(&mut froms)
            .zip(rooms)
        {
            for (slice, room) in slices.iter_mut().zip([usual, &mut large[USUAL..]]) {
                slice.iov_base = room.as_mut_ptr().cast();
                slice.iov_len = room.len();
            }
            header.msg_hdr.msg_iov = slices.as_mut_ptr();
            header.msg_hdr.msg_iovlen = slices.len() as _;
            header.msg_hdr.msg_name = ptr::from_mut(from).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
        }
        // SAFETY: every header points to two slices and one address, which
        // live until the call returns, and each slice to a room of its own.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => unless_missing(|| {
                // SAFETY: as above, for the first header.
                let len = unsafe {
                    libc::recvmsg(
                        socket.as_raw_fd(),
                        &raw mut headers[0].msg_hdr,
                        libc::MSG_DONTWAIT,
                    )
                };
                headers[0].msg_len = u32::try_from(len).ok()?;
                Some(1)
            }),
        };
        let count = match count {
            Ok(count) => count,
            Err(err) => match err.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Ok(0),
                _ => return Err(err),
            },
        };
        for (at, (header, from)) in headers.iter().zip(&froms).take(count).enumerate() {
            let len = (header.msg_len as usize).min(ROOM);
            if len > USUAL {
                let beginning = &self.usual[at * USUAL..][..USUAL];
                self.large[at * ROOM..][..USUAL].copy_from_slice(beginning);
            }
            self.arrived.push((len, address(from)));
        }
        Ok(count)
    }

    /// The datagrams of the last [`Inbox::receive`], and whence they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<SocketAddr>)> {
        self.arrived.iter().enumerate().map(|(at, &(len, from))| {
            let bytes = match len > USUAL {
                true => &self.large[at * ROOM..][..len],
                false => &self.usual[at * USUAL..][..len],
            };
            (bytes, from)
        })
    }
}

/// Datagrams on their way out of one socket.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    waiting: Vec<(Range<usize>, Option<SocketAddr>)>,
}

impl Outbox {
    /// Adds what `write` appends, for `to`, or for the peer of a connected socket.
    pub fn push(&mut self, to: Option<SocketAddr>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.waiting.push((start..self.bytes.len(), to));
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sends everything without waiting, and is empty then.
    ///
    /// What the kernel refuses twice is dropped; the last refusal is the answer.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut outcome = Ok(());
        let mut sent = 0;
        let mut refused_at = None;
        while sent < self.waiting.len() {
            match self.send_batch(socket, sent) {
                Ok(count) => sent += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // The first refusal may be an old one, of a datagram long
                // gone (ICMP), reported now: try once more.
                Err(_) if refused_at != Some(sent) => refused_at = Some(sent),
                Err(err) => {
                    outcome = Err(err);
                    sent += 1;
                }
            }
        }
        self.bytes.clear();
        self.waiting.clear();
        outcome
    }

    fn send_batch(&mut self, socket: &UdpSocket, first: usize) -> io::Result<usize> {
        // SAFETY: all of these are plain C structures, valid when zero.
        let mut tos: [libc::sockaddr_storage; BATCH] = unsafe { mem::zeroed() };
        let mut slices: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let waiting = &self.waiting[first..];
        let count = waiting.len().min(BATCH);
        for (((header, slice), storage), (range, to)) in headers
            .iter_mut()
            .zip(&mut slices)
            .zip(&mut tos)
            .zip(waiting)
        {
            let bytes = &mut self.bytes[range.clone()];
            slice.iov_base = bytes.as_mut_ptr().cast();
            slice.iov_len = bytes.len();
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            if let Some(to) = to {
                header.msg_hdr.msg_namelen = put_address(to, storage);
                header.msg_hdr.msg_name = ptr::from_mut(storage).cast();
            }
        }
        // SAFETY: the first `count` headers point to slices and addresses
        // that live until the call returns.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as _,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        match usize::try_from(sent) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => Ok(sent),
            Err(_) => unless_missing(|| {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                // SAFETY: as above, for the first header.
                let sent = unsafe {
                    libc::sendmsg(socket.as_raw_fd(), &raw const headers[0].msg_hdr, flags)
                };
                (sent >= 0).then_some(1)
            }),
        }
    }
}

/// What the last system call failed with; or, where the kernel has no such
/// call, what `instead` comes to, which does the same for one datagram.
fn unless_missing(instead: impl FnOnce() -> Option<usize>) -> io::Result<usize> {
    let err = io::Error::last_os_error();
    if err.raw_os_error() != Some(libc::ENOSYS) {
        return Err(err);
    }
    instead().ok_or_else(io::Error::last_os_error)
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is, and the storage is large
            // and aligned enough for every kind.
            let v4 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

pub(super) fn put_address(
    to: &SocketAddr,
    storage: &mut libc::sockaddr_storage,
) -> libc::socklen_t {
    let len = match to {
        SocketAddr::V4(to) => {
            // SAFETY: the storage is large and aligned enough for every kind.
            let v4 = unsafe { &mut *ptr::from_mut(storage).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as _;
            v4.sin_port = to.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(to) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *ptr::from_mut(storage).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as _;
            v6.sin6_port = to.port().to_be();
            v6.sin6_addr.s6_addr = to.ip().octets();
            v6.sin6_flowinfo = to.flowinfo();
            v6.sin6_scope_id = to.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    len as _
}
