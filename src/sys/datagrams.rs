//! Taking or giving many datagrams with one system call.

#![allow(unsafe_code)]
// Lengths of C structures and of batches: all of them are small.
#![allow(clippy::cast_possible_truncation)]

use std::io::{self, IoSlice};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::ptr;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny};

/// How many datagrams one system call takes or gives at most.
const BATCH: usize = 32;

/// Room for the largest datagram there is.
const ROOM: usize = 65_536;

/// Room for nearly every datagram: what EDNS clients say to take.
const USUAL: usize = 1232;

/// Datagrams as they came in, [`BATCH`] at most.
pub struct RecvBatch {
    // The beginnings of all datagrams side by side: a batch of ordinary ones
    // touches ten pages. A room of its own for each would be one page each.
    usual: Vec<u8>,
    // A large datagram goes on here, behind room for its beginning. Zeroed by
    // the kernel; never touched, and so no real memory, before one comes.
    large: Vec<u8>,
    arrived: Vec<(usize, Option<SocketAddr>)>,
}

impl RecvBatch {
    /// An empty one.
    pub fn new() -> RecvBatch {
        RecvBatch { usual: vec![0; BATCH * USUAL], large: vec![0; BATCH * ROOM], arrived: Vec::with_capacity(BATCH) }
    }

    /// Takes what is there, without waiting, in place of what it held; the
    /// number of datagrams, 0 when there are none.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.arrived.clear();
        let received = match self.receive_batch(socket) {
            Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => self.receive_one(socket),
            received => received,
        };
        match received {
            Ok(()) => Ok(self.arrived.len()),
            Err(err) => match err.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(err),
            },
        }
    }

    fn receive_batch(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut froms = [[0_u8; ADDRESS_LEN]; BATCH];
        let mut slices = [[NO_SLICE; 2]; BATCH];
        // SAFETY: plain C structures, valid when zero.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let usual = self.usual.chunks_exact_mut(USUAL);
        let rooms = usual.zip(self.large.chunks_exact_mut(ROOM));
        for (((header, slices), from), (usual, large)) in headers.iter_mut().zip(&mut slices).zip(&mut froms).zip(rooms)
        {
            for (slice, room) in slices.iter_mut().zip([usual, &mut large[USUAL..]]) {
                slice.iov_base = room.as_mut_ptr().cast();
                slice.iov_len = room.len();
            }
            header.msg_hdr.msg_iov = slices.as_mut_ptr();
            header.msg_hdr.msg_iovlen = slices.len() as _;
            header.msg_hdr.msg_name = from.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = ADDRESS_LEN as _;
        }
        // rustix has no call for it.
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
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (at, (header, from)) in headers.iter().zip(&froms).take(count).enumerate() {
            let len = (header.msg_len as usize).min(ROOM);
            if len > USUAL {
                let beginning = &self.usual[at * USUAL..][..USUAL];
                self.large[at * ROOM..][..USUAL].copy_from_slice(beginning);
            }
            self.arrived.push((len, read_address(from)));
        }
        Ok(())
    }

    /// The same for one datagram, where the kernel has no call for more.
    fn receive_one(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let room = &mut self.large[..ROOM];
        let (len, _, from) = rustix::net::recvfrom(socket, room, RecvFlags::DONTWAIT)?;
        if len <= USUAL {
            self.usual[..len].copy_from_slice(&self.large[..len]);
        }
        let from = from.and_then(|from| from.try_into().ok());
        self.arrived.push((len, from));
        Ok(())
    }

    /// The datagrams of the last [`RecvBatch::receive`], and whence they came.
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
pub struct SendBatch {
    bytes: Vec<u8>,
    waiting: Vec<(Range<usize>, Option<SocketAddr>)>,
}

impl SendBatch {
    /// Adds a datagram of what `write` appends, if that is anything, for `to`, or for the peer of a connected socket.
    pub fn push(&mut self, to: Option<SocketAddr>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() > start {
            self.waiting.push((start..self.bytes.len(), to));
        }
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
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let waiting = self.waiting[first..].iter().take(BATCH);
        let mut messages: Vec<_> = waiting
            .map(|(range, to)| {
                let slice = [IoSlice::new(&self.bytes[range.clone()])];
                let to = to.map(SocketAddrAny::from);
                (slice, to, SendAncillaryBuffer::default())
            })
            .collect();
        let mut headers: Vec<_> = messages
            .iter_mut()
            .map(|(slice, to, control)| match to {
                Some(to) => MMsgHdr::new_with_addr(to, slice, control),
                None => MMsgHdr::new(slice, control),
            })
            .collect();
        match rustix::net::sendmmsg(socket, &mut headers, flags) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::NOSYS) => self.send_one(socket, first, flags).map(|_| 1),
            sent => Ok(sent?),
        }
    }

    /// The same for one datagram, where the kernel has no call for more.
    fn send_one(&self, socket: &UdpSocket, at: usize, flags: SendFlags) -> io::Result<usize> {
        let (range, to) = &self.waiting[at];
        let bytes = &self.bytes[range.clone()];
        Ok(match to {
            Some(to) => rustix::net::sendto(socket, bytes, flags, to)?,
            None => rustix::net::send(socket, bytes, flags)?,
        })
    }
}

/// Reads a sockaddr_in or a sockaddr_in6 (ip(7), ipv6(7)). The family and the
/// scope are the machine's numbers; ports and addresses the network's.
fn read_address(bytes: &[u8; ADDRESS_LEN]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (four, rest) = rest.split_first_chunk()?;
    let (sixteen, scope) = rest.split_first_chunk::<16>()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => Some((Ipv4Addr::from(*four), port).into()),
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(*four);
            let scope = u32::from_ne_bytes(scope.try_into().ok()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(*sixteen), port, flow, scope).into())
        }
        _ => None,
    }
}

/// The larger of the two: a sockaddr_in6.
const ADDRESS_LEN: usize = size_of::<libc::sockaddr_in6>();

const NO_SLICE: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrived, and whence.
    fn take(inbox: &mut RecvBatch, socket: &UdpSocket, one: bool) -> Vec<(Vec<u8>, SocketAddr)> {
        inbox.arrived.clear();
        let received = match one {
            true => inbox.receive_one(socket),
            false => inbox.receive_batch(socket),
        };
        received.expect("datagrams");
        let arrived = inbox.iter();
        arrived.map(|(bytes, from)| (bytes.to_vec(), from.expect("an address"))).collect()
    }

    #[test]
    fn datagrams_arrive_whole_and_with_their_addresses() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let bind = || UdpSocket::bind(ip).expect("a port");
            let address = |socket: &UdpSocket| socket.local_addr().expect("its address");
            let (server, client) = (bind(), bind());
            let mut inbox = RecvBatch::new();
            let flags = SendFlags::empty();
            for len in [0, 1, USUAL, USUAL + 1, 60_000] {
                let datagram: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                let mut outbox = SendBatch::default();
                for mark in [1, 2, 3] {
                    outbox.push(Some(address(&server)), |bytes| {
                        bytes.extend(&datagram);
                        bytes.push(mark);
                    });
                }
                assert_eq!(outbox.send_batch(&client, 0).ok(), Some(3), "{ip} {len}");
                outbox.send_one(&client, 2, flags).expect("sent");
                let mut arrived = take(&mut inbox, &server, true);
                arrived.extend(take(&mut inbox, &server, false));
                for ((bytes, from), mark) in arrived.into_iter().zip([1, 2, 3, 3]) {
                    assert_eq!(from, address(&client));
                    assert!(bytes == [&datagram[..], &[mark]].concat(), "{ip} {len}");
                }
                // And back, over a socket that is connected.
                server.connect(address(&client)).expect("connected");
                outbox.waiting.iter_mut().for_each(|(_, to)| *to = None);
                assert_eq!(outbox.send_batch(&server, 1).ok(), Some(2), "{ip} {len}");
                outbox.send_one(&server, 1, flags).expect("sent");
                let arrived = take(&mut inbox, &client, false);
                let marks: Vec<_> = arrived.iter().map(|(bytes, _)| bytes[len]).collect();
                assert_eq!(marks, [2, 3, 2], "{ip} {len}");
            }
            assert_eq!(inbox.receive(&server).ok(), Some(0));
        }
    }

    #[test]
    fn an_address_of_one_link_keeps_its_scope() {
        let mut bytes = [0; ADDRESS_LEN];
        bytes[..2].copy_from_slice(&10_u16.to_ne_bytes()); // AF_INET6
        bytes[2..4].copy_from_slice(&[0, 53]);
        bytes[8..24].copy_from_slice(&Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets());
        bytes[24..].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(read_address(&bytes), "[fe80::1%7]:53".parse().ok());
        // What the kernel is told of it is the same again.
        let any = SocketAddrAny::from(read_address(&bytes).expect("an address"));
        assert_eq!(SocketAddr::try_from(any).ok(), read_address(&bytes));
        assert_eq!(read_address(&[0; ADDRESS_LEN]), None);
    }
}
