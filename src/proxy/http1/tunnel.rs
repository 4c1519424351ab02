//! After a 101 (RFC 9110 section 7.8): relays bytes both ways until both sides have ended.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use crate::net::buffer::Buffer;
use crate::proxy::STACK_SIZE;
use crate::sys::tcp;
use crate::upstream::{Connection, Reader};

/// Relays bytes both ways: first `from_client`, which the client has sent already, and `to_client`.
///
/// When one side ends its direction, the other side is told, and may go on (half-close).
///
/// Blocks: until both directions have ended, or one has failed.
///
/// # Errors
/// There is no thread for the second direction. Then the client has got nothing, and the upstream is shut down.
pub fn run(client: &TcpStream, from_client: Buffer, to_client: &[u8], upstream: &mut Connection) -> io::Result<()> {
    let Connection { reader, writer, .. } = upstream;
    let upstream = reader.shutdown_handle();
    reader.set_keepalive();
    let send = || {
        let sent = relay_to_upstream(client, from_client, writer);
        // A client that has ended its direction may wait for the rest, or be gone: only a probe shows that.
        tcp::set_keepalive(client.as_fd(), KEEPALIVE_AFTER_FIN);
        if sent.and_then(|()| writer.shutdown_write()).is_err() {
            upstream.shutdown();
        }
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("tunnel".to_owned()).stack_size(STACK_SIZE).spawn_scoped(scope, send);
        if thread.is_err() {
            reader.shutdown();
        } else if relay_to_client(reader, client, to_client).is_err() {
            reader.shutdown();
            let _ = client.shutdown(Shutdown::Both);
        }
        thread.map(drop)
    })
}

/// Sends `pending` and all that `client` sends, until its end.
fn relay_to_upstream(mut client: impl Read, mut pending: Buffer, writer: &mut impl Write) -> io::Result<()> {
    loop {
        if !pending.bytes().is_empty() {
            writer.write_all(pending.bytes())?;
            pending.clear();
        }
        match pending.fill_with(|room| client.read(room)) {
            Ok(0) => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            received => drop(received?),
        }
    }
}

/// Sends `pending` and all that the upstream sends, and the end behind it.
fn relay_to_client(reader: &mut Reader, mut client: &TcpStream, pending: &[u8]) -> io::Result<()> {
    client.write_all(pending)?;
    loop {
        match reader.fill() {
            // Many servers close without a close_notify of TLS; the protocol inside knows whether it is complete.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => match client.take_error()? {
                Some(err) => return Err(err),
                None => continue,
            },
            filled => filled?,
        }
        let unread = reader.unread();
        if unread.is_empty() {
            return client.shutdown(Shutdown::Write);
        }
        client.write_all(unread)?;
        let n = unread.len();
        reader.consume(n);
    }
}

/// Seconds of silence after which a client that has ended its direction is probed: few such clients stay.
const KEEPALIVE_AFTER_FIN: u32 = 2;
