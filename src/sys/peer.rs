//! Whether the client at the other end of a loopback connection is still there.
//!
//! A FIN alone does not tell a client that closed its socket from one that only ended its sending direction
//! (`shutdown(SHUT_WR)`, `nc -N`) and waits for its response. On loopback both sockets are the same kernel's, which
//! sock_diag(7) asks whether a process still has the client's open.

// Numbers of the kernel and lengths of its structures: all of them are small.
#![allow(clippy::cast_possible_truncation)]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink};

use super::net::{PollFd, poll, recv_nonblocking};

/// The state of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Its socket is open: it sent no FIN, or still reads after one.
    Alive,
    /// It sent FIN; the kernel does not say whether its socket is open.
    FinReceived,
    /// It closed its socket, or the connection failed.
    Closed,
}

/// Returns the state of the client of `tcp`. Reads nothing from the socket.
pub fn peer_state(tcp: &TcpStream) -> PeerState {
    let mut fds = [PollFd::read_closed(tcp), PollFd::readable(tcp)];
    let _ = poll(&mut fds, Some(Duration::ZERO));
    let [has_fin, has_bytes] = [fds[0].is_ready(), fds[1].is_ready()];
    if fds[0].has_failed() {
        return PeerState::Closed;
    }
    // Where nothing reads, the FIN may wait in the client's kernel, behind bytes that the receive window has no space
    // for.
    if !has_fin && !has_bytes {
        return PeerState::Alive;
    }
    let addresses = tcp.peer_addr().and_then(|peer| Ok((peer, tcp.local_addr()?)));
    match addresses.and_then(|(peer, local)| is_open(peer, local)) {
        Ok(true) => PeerState::Alive,
        Ok(false) => PeerState::Closed,
        // A sandbox without sock_diag.
        Err(_) if has_fin => PeerState::FinReceived,
        Err(_) => PeerState::Alive,
    }
}

/// Asks the kernel whether a process has the socket open that is bound to `local` and connected to `remote`.
fn is_open(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &request(local, remote), SendFlags::empty())?;
    poll(&mut [PollFd::readable(&socket)], Some(RESPONSE_TIMEOUT))?;
    let mut response = [0; 512];
    let len = recv_nonblocking(socket.as_fd(), &mut response)?;
    parse_response(&response[..len])
}

/// Writes a request about one socket: nlmsghdr (netlink(7)) and inet_diag_req_v2 (sock_diag(7)). Numbers are in the
/// machine's byte order; ports and addresses in the network's.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = match local {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let mut request = Vec::with_capacity(REQUEST_LEN);
    request.extend((REQUEST_LEN as u32).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend([0; 8]); // nlmsg_seq and nlmsg_pid: one request on each socket
    request.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    request.extend([0xff; 4]); // idiag_states: any
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
    request.extend([0; 4]); // idiag_if: any
    request.extend([0xff; 8]); // idiag_cookie: any
    request
}

/// Reads inet_diag_msg, whose inode is 0 once no process has the socket open, or nlmsgerr.
fn parse_response(response: &[u8]) -> io::Result<bool> {
    let u16_at = |offset| Some(u16::from_ne_bytes(response.get(offset..offset + 2)?.try_into().ok()?));
    let u32_at = |offset| Some(u32::from_ne_bytes(response.get(offset..offset + 4)?.try_into().ok()?));
    match (u16_at(TYPE_OFFSET), u32_at(HEADER_LEN), u32_at(INODE_OFFSET)) {
        (Some(SOCK_DIAG_BY_FAMILY), _, Some(inode)) => Ok(inode != 0),
        (Some(NLMSG_ERROR), Some(code), _) => {
            match io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()) {
                // The kernel has forgotten the socket.
                err if err.raw_os_error() == Some(libc::ENOENT) => Ok(false),
                err => Err(err),
            }
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The kernel responds before send returns; a sandbox's may not at all.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(10);
/// Message types, of linux/sock_diag.h and linux/netlink.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
/// Bytes of nlmsghdr, and of it with inet_diag_req_v2.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = HEADER_LEN + 56;
/// Offsets of nlmsg_type and idiag_inode, in bytes.
const TYPE_OFFSET: usize = 4;
const INODE_OFFSET: usize = HEADER_LEN + 68;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    #[test]
    fn client_that_closed_differs_from_one_that_half_closed() {
        for (address, to) in [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "::ffff:127.0.0.1"), ("[::1]:0", "::1")] {
            let listener = TcpListener::bind(address).expect("a port");
            let port = listener.local_addr().expect("its address").port();
            let connect = || {
                let client = TcpStream::connect((to, port)).expect("a connection");
                let (server, _) = listener.accept().expect("its other end");
                (client, server)
            };
            let (mut client, server) = connect();
            assert_eq!(peer_state(&server), PeerState::Alive);
            // Unread bytes do not hide the FIN.
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
            let (mut client, server) = connect();
            client.set_nonblocking(true).expect("a mode");
            while client.write(&[0; 65_536]).is_ok() {
                assert_eq!(peer_state(&server), PeerState::Alive);
            }
            // Closed with more sent than the server's kernel takes: no FIN.
            drop(client);
            assert_eq!(peer_state(&server), PeerState::Closed);
        }
    }

    #[test]
    fn responses_of_the_kernel() {
        let mut message = vec![0; 88];
        message[TYPE_OFFSET] = 20; // SOCK_DIAG_BY_FAMILY
        assert_eq!(parse_response(&message).ok(), Some(false));
        message[INODE_OFFSET] = 1;
        assert_eq!(parse_response(&message).ok(), Some(true));
        for cut in 0..message.len() {
            assert!(parse_response(&message[..cut]).is_err(), "cut at {cut}");
        }
        let error = |code: i32| {
            let mut message = vec![0; 36];
            message[TYPE_OFFSET] = 2; // NLMSG_ERROR
            message[HEADER_LEN..][..4].copy_from_slice(&code.to_ne_bytes());
            message
        };
        assert_eq!(parse_response(&error(-libc::ENOENT)).ok(), Some(false));
        assert!(parse_response(&error(-libc::EPERM)).is_err());
    }
}
