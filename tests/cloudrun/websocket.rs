//! A WebSocket that echoes (RFC 6455).

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::body::{self, Answer};
use crate::frontend;
use crate::world::World;

pub fn answer(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        return body::text(StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key\n");
    };
    let host = frontend::host_of(&request);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            world.count("received", &host);
            if echo(TokioIo::new(upgraded)).await.is_err() {
                world.count("gone", &host);
            }
        }
    });
    let mut answer = Response::new(body::whole(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let salted = [key.as_bytes(), SALT].concat();
    let accept = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &salted);
    if let Ok(accept) = HeaderValue::from_str(&BASE64_STANDARD.encode(accept)) {
        headers.insert("sec-websocket-accept", accept);
    }
    answer
}

/// Sends every frame back unmasked, a ping as a pong, and ends with a close.
/// "close 4001" is answered with that close code, as the first to say so, and
/// "leave" not at all.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    // Whether we were the first to close.
    let mut closing = false;
    loop {
        let first = stream.read_u8().await?;
        let second = stream.read_u8().await?;
        let length = match second & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            stream.read_exact(&mut mask).await?;
        }
        if length > MOST {
            return Err(io::Error::other("a frame of more than 64 MiB"));
        }
        let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }

        let order = String::from_utf8_lossy(&payload);
        let code = order.strip_prefix("close ").map(str::parse::<u16>);
        if order == "leave" {
            return stream.shutdown().await;
        }
        if let Some(Ok(code)) = code {
            closing = true;
            payload = code.to_be_bytes().to_vec();
        }
        let kind = match first & 0x0f {
            _ if matches!(code, Some(Ok(_))) => FIN | CLOSE,
            PING => first & 0xf0 | PONG,
            CLOSE if closing => return stream.shutdown().await,
            _ => first,
        };
        let mut frame = vec![kind];
        match payload.len() {
            short @ 0..126 => frame.push(u8::try_from(short).unwrap_or(0)),
            medium @ 126..65_536 => {
                frame.push(126);
                frame.extend(u16::try_from(medium).unwrap_or(0).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend(payload);
        stream.write_all(&frame).await?;
        stream.flush().await?;
        if first & 0x0f == CLOSE {
            return stream.shutdown().await;
        }
    }
}

const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FIN: u8 = 0x80;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MOST: u64 = 64 << 20;
