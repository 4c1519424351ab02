//! A small WebSocket client (RFC 6455): sends lines, and tells of what comes
//! back, a `chunk` for each message.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::elide::{Elider, Text, elide};
use super::events::Events;
use super::random;
use super::send::{self, Failed};
use super::target::Target;

/// Sends each line of `lines`, and waits for as many messages, or for silence.
pub async fn converse(
    stream: TcpStream,
    target: &Target,
    headers: HeaderMap,
    lines: &str,
    through_proxy: bool,
    events: &Events,
) -> Result<(), Failed> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.headers_mut() = headers;
    send::address(&mut request, target, through_proxy)?;
    let key = HeaderValue::from_str(&BASE64_STANDARD.encode(random::<16>()));
    for (name, value) in
        [(CONNECTION.as_str(), "Upgrade"), (UPGRADE.as_str(), "websocket"), ("sec-websocket-version", "13")]
    {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let key = key.map_err(|err| err.to_string())?;
    request.headers_mut().insert("sec-websocket-key", key);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    events.send("sent", send::sent(&request)).await?;
    let response = sender.send_request(request).await?;
    events.send("head", send::head(&response)).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = response.into_body().collect().await?.to_bytes();
        let text = elide(&String::from_utf8_lossy(&body));
        events.send("chunk", json!({ "text": text, "bytes": body.len() })).await?;
        return Err(Failed::Sentence("the service did not switch to WebSocket".to_owned()));
    }
    let upgraded = hyper::upgrade::on(response).await?;
    talk(TokioIo::new(upgraded), lines, events).await
}

async fn talk(mut stream: TokioIo<Upgraded>, lines: &str, events: &Events) -> Result<(), Failed> {
    let messages: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
    for message in &messages {
        let frame = masked(TEXT, message.as_bytes());
        stream.write_all(&frame).await.map_err(broken)?;
        events.send("said", json!({ "text": message })).await?;
    }
    stream.flush().await.map_err(broken)?;
    // One for all, because a token may be cut between two messages, too.
    let (mut elider, mut text) = (Elider::default(), Text::default());
    let (mut heard, mut total, mut is_closed) = (0, 0, false);
    while heard < messages.len().max(1) {
        let Ok(frame) = timeout(SILENCE, frame(&mut stream)).await else {
            break;
        };
        let (opcode, is_final, payload) = frame?;
        match opcode {
            CLOSE => {
                is_closed = true;
                break;
            }
            PING => stream.write_all(&masked(PONG, &payload)).await.map_err(broken)?,
            PONG => {}
            _ => {
                heard += usize::from(is_final);
                total += payload.len();
                let text = text.next(&elider.next(&payload));
                events.send("chunk", json!({ "text": text, "bytes": payload.len() })).await?;
            }
        }
    }
    // 1000: the purpose is fulfilled. How the service takes it is its affair.
    let _ = stream.write_all(&masked(CLOSE, &1000_u16.to_be_bytes())).await;
    let _ = stream.shutdown().await;
    events.send("end", json!({ "bytes": total, "closed": is_closed })).await?;
    Ok(())
}

/// Reads a frame: its opcode, whether it ends a message, and what it carries.
async fn frame(stream: &mut TokioIo<Upgraded>) -> Result<(u8, bool, Vec<u8>), Failed> {
    let first = stream.read_u8().await.map_err(broken)?;
    let second = stream.read_u8().await.map_err(broken)?;
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.map_err(broken)?),
        127 => stream.read_u64().await.map_err(broken)?,
        short => u64::from(short),
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_MESSAGE);
    let length = length.ok_or_else(|| "a message has more than 1 MiB".to_owned())?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.map_err(broken)?;
    Ok((first & 0x0f, first & FIN != 0, payload))
}

/// A frame as a client sends it (RFC 6455 section 5.2), the only one of its
/// message.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | opcode];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(MASKED | short.to_be_bytes()[1]),
        Ok(medium) => {
            frame.push(MASKED | 126);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(MASKED | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let mask = random::<4>();
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn broken(err: std::io::Error) -> Failed {
    Failed::Sentence(format!("the WebSocket ended: {err}"))
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MAX_MESSAGE: usize = 1 << 20;
/// How long to wait for the next message.
const SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        for (length, head) in [(5, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload = vec![b'x'; length];
            let frame = masked(TEXT, &payload);
            assert_eq!(frame.len(), head + 4 + length, "{length}");
            assert_eq!(frame[0], 0x81);
            let mask = &frame[head..head + 4];
            let unmasked = frame[head + 4..].iter().zip(mask.iter().cycle());
            assert!(unmasked.map(|(a, b)| a ^ b).eq(payload), "{length}");
        }
    }
}
