//! A port of the machine's loopback that leads into the container, as
//! `docker run --publish` makes one: a listening socket that was made outside,
//! whose connections are relayed to the inside.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use tokio::net;

/// The environment variable that says where the container is found from outside.
pub const URL: &str = "PUBLISHED_URL";

/// Listens outside; to be called there. Also the URL of it.
pub fn bind(port: u16) -> Result<(TcpListener, String), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|err| format!("cannot publish at port {port} of 127.0.0.1: {err}"))?;
    let address = listener.local_addr().map_err(|err| format!("cannot say where it is published: {err}"))?;
    Ok((listener, format!("http://{address}")))
}

/// Relays what comes to the socket that is stdin here.
pub fn serve() -> io::Result<()> {
    let inherited: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = TcpListener::from(inherited);
    listener.set_nonblocking(true)?;
    let listener = net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream));
            }
        }
    });
    Ok(())
}

async fn relay(mut outside: net::TcpStream) -> io::Result<()> {
    // Where nobody listens inside, the connection is closed without an answer.
    let mut inside = net::TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).await?;
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

/// What `PORT` is in the container, unless told otherwise.
const PORT: u16 = 8080;
