//! Receives or sends many datagrams with one system call: recvmmsg(2) and sendmmsg(2).

#![allow(unsafe_code)]
// Lengths of C structures and of batches, all of them small.
#![allow(clippy::cast_possible_truncation)]

use std::io::{self, IoSlice};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::ptr;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny};

/// Datagrams of one system call: more bring little, and each has its buffers.
const BATCH_LEN: usize = 32;

/// Bytes for the largest datagram, which has 65,527.
const MAX_DATAGRAM_LEN: usize = 65_536;

/// Bytes for nearly every datagram: what EDNS clients say to accept.
const TYPICAL_DATAGRAM_LEN: usize = 1232;

/// The datagrams that one call received, [`BATCH_LEN`] at most.
pub struct RecvBatch {
    /// The beginnings of all datagrams side by side, so that a batch of typical ones touches ten pages and not one
    /// for each.
    typical: Vec<u8>,
    /// The rest of each large datagram, behind space for its beginning. Zeroed by the kernel, and without memory
    /// before the first large one comes.
    large: Vec<u8>,
    /// Length and sender of each datagram.
    received: Vec<(usize, Option<SocketAddr>)>,
}

impl RecvBatch {
    /// Returns an empty batch.
    pub fn new() -> RecvBatch {
        RecvBatch {
            typical: vec![0; BATCH_LEN * TYPICAL_DATAGRAM_LEN],
            large: vec![0; BATCH_LEN * MAX_DATAGRAM_LEN],
            received: Vec::with_capacity(BATCH_LEN),
        }
    }

    /// Receives datagrams in place of those of the last call, without waiting. Returns their number, which may be 0.
    ///
    /// # Errors
    /// Those of recvmmsg(2), as ECONNREFUSED where a connected socket's peer sent ICMP.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received.clear();
        let outcome = match self.receive_batch(socket) {
            Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => self.receive_one(socket),
            outcome => outcome,
        };
        match outcome {
            Ok(()) => Ok(self.received.len()),
            Err(err) => match err.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(err),
            },
        }
    }

    fn receive_batch(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut senders = [[0_u8; ADDRESS_LEN]; BATCH_LEN];
        let mut slices = [[NO_SLICE; 2]; BATCH_LEN];
        // SAFETY: plain C structures, valid when zero.
        let mut headers: [libc::mmsghdr; BATCH_LEN] = unsafe { mem::zeroed() };
        let typical = self.typical.chunks_exact_mut(TYPICAL_DATAGRAM_LEN);
        let buffers = typical.zip(self.large.chunks_exact_mut(MAX_DATAGRAM_LEN));
        let places = slices.iter_mut().zip(&mut senders).zip(buffers);
        for (header, ((slices, sender), (typical, large))) in headers.iter_mut().zip(places) {
            for (slice, buffer) in slices.iter_mut().zip([typical, &mut large[TYPICAL_DATAGRAM_LEN..]]) {
                slice.iov_base = buffer.as_mut_ptr().cast();
                slice.iov_len = buffer.len();
            }
            header.msg_hdr.msg_iov = slices.as_mut_ptr();
            header.msg_hdr.msg_iovlen = slices.len() as _;
            header.msg_hdr.msg_name = sender.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = ADDRESS_LEN as _;
        }
        // rustix has no call for it.
        // SAFETY: every header points to two slices and one address, which
        // live until the call returns, and each slice to a buffer of its own.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_LEN as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (at, (header, sender)) in headers.iter().zip(&senders).take(count).enumerate() {
            let len = (header.msg_len as usize).min(MAX_DATAGRAM_LEN);
            if len > TYPICAL_DATAGRAM_LEN {
                let beginning = &self.typical[at * TYPICAL_DATAGRAM_LEN..][..TYPICAL_DATAGRAM_LEN];
                self.large[at * MAX_DATAGRAM_LEN..][..TYPICAL_DATAGRAM_LEN].copy_from_slice(beginning);
            }
            self.received.push((len, read_address(sender)));
        }
        Ok(())
    }

    /// Receives one datagram, for kernels and sandboxes without recvmmsg(2).
    fn receive_one(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let buffer = &mut self.large[..MAX_DATAGRAM_LEN];
        let (len, _, sender) = rustix::net::recvfrom(socket, buffer, RecvFlags::DONTWAIT)?;
        if len <= TYPICAL_DATAGRAM_LEN {
            self.typical[..len].copy_from_slice(&self.large[..len]);
        }
        self.received.push((len, sender.and_then(|sender| sender.try_into().ok())));
        Ok(())
    }

    /// Returns the datagrams of the last [`RecvBatch::receive`] and their senders.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<SocketAddr>)> {
        self.received.iter().enumerate().map(|(at, &(len, sender))| {
            let bytes = match len > TYPICAL_DATAGRAM_LEN {
                true => &self.large[at * MAX_DATAGRAM_LEN..][..len],
                false => &self.typical[at * TYPICAL_DATAGRAM_LEN..][..len],
            };
            (bytes, sender)
        })
    }
}

/// The datagrams that one socket is to send.
#[derive(Default)]
pub struct SendBatch {
    bytes: Vec<u8>,
    /// The place in `bytes` and the receiver of each datagram.
    pending: Vec<(Range<usize>, Option<SocketAddr>)>,
}

impl SendBatch {
    /// Adds a datagram of what `write` appends, if that is anything, for `to`, or for the peer of a connected socket.
    pub fn push(&mut self, to: Option<SocketAddr>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() > start {
            self.pending.push((start..self.bytes.len(), to));
        }
    }

    /// Sends all datagrams without waiting. The batch is empty then: a datagram that fails twice is dropped.
    ///
    /// # Errors
    /// That of the last datagram that was dropped.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut outcome = Ok(());
        let mut sent = 0;
        let mut failed_at = None;
        while sent < self.pending.len() {
            match self.send_batch(socket, sent) {
                Ok(count) => sent += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // The first error may be that of an earlier datagram, which ICMP reported since: try again.
                Err(_) if failed_at != Some(sent) => failed_at = Some(sent),
                Err(err) => {
                    outcome = Err(err);
                    sent += 1;
                }
            }
        }
        self.bytes.clear();
        self.pending.clear();
        outcome
    }

    fn send_batch(&mut self, socket: &UdpSocket, first: usize) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut messages: Vec<_> = self.pending[first..]
            .iter()
            .take(BATCH_LEN)
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

    /// Sends one datagram, for kernels and sandboxes without sendmmsg(2).
    fn send_one(&self, socket: &UdpSocket, at: usize, flags: SendFlags) -> io::Result<usize> {
        let (range, to) = &self.pending[at];
        let bytes = &self.bytes[range.clone()];
        Ok(match to {
            Some(to) => rustix::net::sendto(socket, bytes, flags, to)?,
            None => rustix::net::send(socket, bytes, flags)?,
        })
    }
}

/// Reads a sockaddr_in or a sockaddr_in6 (ip(7), ipv6(7)): family and scope in the machine's byte order, ports and
/// addresses in that of the network.
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

/// Bytes of the larger one, a sockaddr_in6.
const ADDRESS_LEN: usize = size_of::<libc::sockaddr_in6>();

const NO_SLICE: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives with either call.
    fn receive(batch: &mut RecvBatch, socket: &UdpSocket, one: bool) -> Vec<(Vec<u8>, SocketAddr)> {
        batch.received.clear();
        let outcome = match one {
            true => batch.receive_one(socket),
            false => batch.receive_batch(socket),
        };
        outcome.expect("datagrams");
        batch.iter().map(|(bytes, from)| (bytes.to_vec(), from.expect("an address"))).collect()
    }

    #[test]
    fn datagrams_arrive_whole_and_with_their_addresses() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let bind = || UdpSocket::bind(ip).expect("a port");
            let address = |socket: &UdpSocket| socket.local_addr().expect("its address");
            let (server, client) = (bind(), bind());
            let mut recv_batch = RecvBatch::new();
            let flags = SendFlags::empty();
            for len in [0, 1, TYPICAL_DATAGRAM_LEN, TYPICAL_DATAGRAM_LEN + 1, 60_000] {
                let datagram: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                let mut send_batch = SendBatch::default();
                for mark in [1, 2, 3] {
                    send_batch.push(Some(address(&server)), |bytes| {
                        bytes.extend(&datagram);
                        bytes.push(mark);
                    });
                }
                assert_eq!(send_batch.send_batch(&client, 0).ok(), Some(3), "{ip} {len}");
                send_batch.send_one(&client, 2, flags).expect("sent");
                let mut received = receive(&mut recv_batch, &server, true);
                received.extend(receive(&mut recv_batch, &server, false));
                for ((bytes, from), mark) in received.into_iter().zip([1, 2, 3, 3]) {
                    assert_eq!(from, address(&client));
                    assert!(bytes == [&datagram[..], &[mark]].concat(), "{ip} {len}");
                }
                // And back, through a connected socket.
                server.connect(address(&client)).expect("connected");
                send_batch.pending.iter_mut().for_each(|(_, to)| *to = None);
                assert_eq!(send_batch.send_batch(&server, 1).ok(), Some(2), "{ip} {len}");
                send_batch.send_one(&server, 1, flags).expect("sent");
                let received = receive(&mut recv_batch, &client, false);
                let marks: Vec<_> = received.iter().map(|(bytes, _)| bytes[len]).collect();
                assert_eq!(marks, [2, 3, 2], "{ip} {len}");
            }
            assert_eq!(recv_batch.receive(&server).ok(), Some(0));
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
