//! After a 101: bytes both ways, until both sides are done.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use crate::net::buffer::Buffer;
use crate::sys::tcp;
use crate::upstream::{Parts, Reader, Ready, ShutdownHandle, Writer};

/// Passes bytes both ways, `sent` and `received` first.
///
/// When one side is done the other hears of it and may go on (half-close).
///
/// # Errors
/// Where there is no second thread. The client has got nothing then, and the
/// upstream is gone.
pub fn run(tcp: &TcpStream, sent: Buffer, received: &[u8], connection: &mut Ready) -> io::Result<()> {
    let Parts { reader, writer, .. } = &mut **connection;
    let aborter = reader.aborter();
    reader.keep_alive();
    thread::scope(|scope| {
        let up = thread::Builder::new()
            .name("tunnel".to_owned())
            .stack_size(crate::proxy::STACK)
            .spawn_scoped(scope, || up(tcp, sent, writer, &aborter));
        if up.is_err() {
            reader.abort();
        } else if down(tcp, received, reader).is_err() {
            reader.abort();
            let _ = tcp.shutdown(Shutdown::Both);
        }
        up.map(drop)
    })
}

fn up(mut tcp: &TcpStream, mut input: Buffer, writer: &mut Writer, aborter: &ShutdownHandle) {
    let mut pass = || -> io::Result<()> {
        loop {
            let bytes = input.bytes();
            if !bytes.is_empty() {
                writer.write_all(bytes)?;
                let n = bytes.len();
                input.consume(n);
            }
            match input.fill_with(|room| tcp.read(room)) {
                Ok(0) => {
                    // It may wait for the rest, or be gone altogether: that
                    // shows only when it is asked.
                    tcp::set_keepalive(tcp.as_fd(), ASKED_AFTER);
                    return writer.finish();
                }
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                got => drop(got?),
            }
        }
    };
    if pass().is_err() {
        aborter.abort();
    }
}

fn down(mut tcp: &TcpStream, received: &[u8], reader: &mut Reader) -> io::Result<()> {
    tcp.write_all(received)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return tcp.shutdown(Shutdown::Write),
            Ok(n) => tcp.write_all(&buffer[..n])?,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                if let Some(error) = tcp.take_error()? {
                    return Err(error);
                }
            }
            // Many servers close without saying so in TLS; after a 101 the
            // protocol inside knows whether it was complete.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                return tcp.shutdown(Shutdown::Write);
            }
            Err(err) => return Err(err),
        }
    }
}

/// Seconds of silence after which a client that ended its direction is asked
/// whether it is still there.
const ASKED_AFTER: u32 = 2;
