//! What became of the client at the other end of a loopback connection.
//!
//! A FIN alone does not tell whether a client closed its socket or only ended
//! its sending direction (`shutdown(SHUT_WR)`, `nc -N`) and waits for its
//! answer. But here both ends are sockets of one kernel, which can be asked
//! (sock_diag(7)) whether anyone still holds the client's.

// Numbers of the kernel and lengths of its structures: all of them are small.
#![allow(clippy::cast_possible_truncation)]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink};

use super::net::{PollFd, poll, recv_nonblocking};

/// What became of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It may still send, or sends nothing more and is there to read.
    Alive,
    /// It sends nothing more; whether it reads, the kernel does not say.
    FinReceived,
    /// It closed its socket, or the connection is broken.
    Closed,
}

/// Looks, waits for nothing, and takes nothing from the socket.
pub fn peer_state(tcp: &TcpStream) -> PeerState {
    let mut wait = [PollFd::read_closed(tcp)];
    let _ = poll(&mut wait, Some(Duration::ZERO));
    if wait[0].has_failed() {
        return PeerState::Closed;
    }
    if !wait[0].is_ready() {
        return PeerState::Alive;
    }
    let ends = tcp.peer_addr().and_then(|peer| Ok((peer, tcp.local_addr()?)));
    match ends.and_then(|(peer, local)| is_held(peer, local)) {
        Ok(true) => PeerState::Alive,
        Ok(false) => PeerState::Closed,
        // A sandbox without this way to ask.
        Err(_) => PeerState::FinReceived,
    }
}

/// Whether a process holds the socket of this kernel that is bound to `local`
/// and connected to `remote`.
fn is_held(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    let request = request(local, remote);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut wait = [PollFd::readable(&socket)];
    poll(&mut wait, Some(ANSWERED_WITHIN))?;
    let mut answer = [0; 512];
    let n = recv_nonblocking(socket.as_fd(), &mut answer)?;
    read_answer(&answer[..n])
}

/// A question about one socket: nlmsghdr (netlink(7)) and inet_diag_req_v2
/// (sock_diag(7)). Numbers are the machine's; ports and addresses the network's.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = match local {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let mut request = Vec::with_capacity(REQUEST_LEN);
    request.extend((REQUEST_LEN as u32).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend([0; 8]); // sequence and sender: one question, one answer
    request.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    request.extend([0xff; 4]); // in any state
    request.extend(local.port().to_be_bytes());
    request.extend(remote.port().to_be_bytes());
    for ip in [local.ip(), remote.ip()] {
        match ip {
            IpAddr::V4(ip) => {
                request.extend(ip.octets());
                request.extend([0; 12]);
            }
            IpAddr::V6(ip) => request.extend(ip.octets()),
        }
    }
    request.extend([0; 4]); // on any interface
    request.extend([0xff; 8]); // whatever its cookie is
    request
}

/// inet_diag_msg, or an error.
fn read_answer(answer: &[u8]) -> io::Result<bool> {
    let u16_at = |at| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    match (u16_at(4), u32_at(HEADER_LEN), u32_at(INODE_AT)) {
        (Some(SOCK_DIAG_BY_FAMILY), _, Some(inode)) => Ok(inode != 0),
        (Some(NLMSG_ERROR), Some(code), _) => {
            match io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()) {
                // Its last trace is gone, too.
                err if err.raw_os_error() == Some(libc::ENOENT) => Ok(false),
                err => Err(err),
            }
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The kernel answers before the question's call returns.
const ANSWERED_WITHIN: Duration = Duration::from_millis(10);
/// Types of messages.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
/// Lengths and places, in bytes.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = HEADER_LEN + 56;
const INODE_AT: usize = HEADER_LEN + 68;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    #[test]
    fn a_client_that_closed_is_told_from_one_that_only_stopped_sending() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port");
            let to = listener.local_addr().expect("its address");
            let connect = || {
                let client = TcpStream::connect(to).expect("a connection");
                let (server, _) = listener.accept().expect("its other end");
                (client, server)
            };
            let (mut client, server) = connect();
            assert_eq!(peer_state(&server), PeerState::Alive);
            // What it sent and nobody read hides nothing.
            client.write_all(b"GET").expect("sent");
            client.shutdown(Shutdown::Write).expect("half closed");
            assert_eq!(peer_state(&server), PeerState::Alive);
            drop(client);
            assert_eq!(peer_state(&server), PeerState::Closed);
            let (client, server) = connect();
            (&server).write_all(b"HTTP").expect("sent");
            // Closed with something unread: a reset.
            drop(client);
            assert_eq!(peer_state(&server), PeerState::Closed);
        }
    }

    #[test]
    fn what_the_kernel_says_of_a_socket() {
        let mut message = vec![0; 88];
        message[4] = 20;
        assert_eq!(read_answer(&message).ok(), Some(false));
        message[84] = 1;
        assert_eq!(read_answer(&message).ok(), Some(true));
        for cut in 0..message.len() {
            assert!(read_answer(&message[..cut]).is_err(), "cut at {cut}");
        }
        let error = |code: i32| {
            let mut message = vec![0; 36];
            message[4] = 2;
            message[16..20].copy_from_slice(&code.to_ne_bytes());
            message
        };
        assert_eq!(read_answer(&error(-libc::ENOENT)).ok(), Some(false));
        assert!(read_answer(&error(-libc::EPERM)).is_err());
    }
}
