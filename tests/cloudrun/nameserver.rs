//! The nameserver at 169.254.169.254, UDP and TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::dns_message::{NOERROR, NOTIMP, NXDOMAIN, Query, REFUSED, SERVFAIL};
use crate::dns_records::{answer, kind_name};
use crate::world::World;

pub async fn udp(world: Arc<World>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; 65_535];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let message = buffer[..length].to_vec();
        let (world, socket) = (world.clone(), socket.clone());
        // Each on its own, so that a slow answer holds nobody up.
        tokio::spawn(async move {
            let at = socket.local_addr().map(|at| at.ip().to_string());
            let at = at.unwrap_or_default();
            let Some(reply) = reply(&world, &message, &at, false).await else {
                return;
            };
            let _ = match world.mode("dns").as_str() {
                "other-port" => by_another_port(&socket, &reply, from).await,
                "twice" => {
                    let _ = socket.send_to(&reply, from).await;
                    socket.send_to(&reply, from).await
                }
                _ => socket.send_to(&reply, from).await,
            };
        });
    }
}

/// As one who guesses would: the right answer, from the right address.
async fn by_another_port(socket: &UdpSocket, reply: &[u8], to: SocketAddr) -> io::Result<usize> {
    let here = socket.local_addr()?.ip();
    UdpSocket::bind((here, 0)).await?.send_to(reply, to).await
}

pub async fn tcp(world: Arc<World>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let world = world.clone();
        tokio::spawn(async move {
            let _ = conversation(world, stream).await;
        });
    }
}

async fn conversation(world: Arc<World>, mut stream: TcpStream) -> io::Result<()> {
    let at = stream.local_addr()?.ip().to_string();
    loop {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        let Some(reply) = reply(&world, &message, &at, true).await else {
            continue;
        };
        let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
        stream.write_all(&[length.to_be_bytes().as_slice(), &reply].concat()).await?;
    }
}

/// The answer of the nameserver at the address `at`.
async fn reply(world: &World, message: &[u8], at: &str, over_tcp: bool) -> Option<Vec<u8>> {
    let query = Query::read(message)?;
    let asked = format!("{} {}", query.name, kind_name(query.kind));
    world.count("dns", &asked);
    if over_tcp {
        world.count("dns_tcp", &asked);
    }
    if !query.is_ordinary() {
        return Some(query.reply(NOTIMP, &[], false));
    }
    let is_meant =
        [("only", query.name.as_str()), ("type", &kind_name(query.kind)), ("at", at)].iter().all(|(key, its)| {
            let told = world.setting("dns", key);
            told.as_str().is_none_or(|told| its.ends_with(told))
        });
    let mode = if is_meant { world.mode("dns") } else { "ok".into() };
    if is_meant {
        tokio::time::sleep(world.delay("dns")).await;
    }
    let front = world.setting("dns", "front");
    let (code, records) = answer(&query.name, query.kind, front.as_str());
    let whole = query.reply(code, &records, false);
    match mode.as_str() {
        "silent" => None,
        // Word that there is more, but none of it where it should be had.
        "truncated-for-good" if over_tcp => None,
        "truncated-for-good" => Some(query.reply(code, &records, true)),
        "servfail" => Some(query.reply(SERVFAIL, &[], false)),
        "nxdomain" => Some(query.reply(NXDOMAIN, &[], false)),
        "nodata" => Some(query.reply(NOERROR, &[], false)),
        "refused" => Some(query.reply(REFUSED, &[], false)),
        "notimp" => Some(query.reply(NOTIMP, &[], false)),
        "bare" => Some(query.header(NOTIMP)),
        "garbage" => Some(message.iter().map(|byte| !byte).collect()),
        "short" => Some(message[..2].to_vec()),
        "wrong-id" => Some(query.with_wrong_id(whole)),
        "wrong-question" => Some(query.with_wrong_question(whole)),
        _ if !over_tcp && (whole.len() > query.room || mode == "truncated") => Some(query.reply(code, &records, true)),
        _ => Some(whole),
    }
}
