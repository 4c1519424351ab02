//! A gRPC service whose messages are bytes: `test.Echo`.
//!
//! A client without generated code can call it: any serializer that lets bytes
//! through will do.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Request, Response};

use crate::body::{self, Answer, Gone, Pen};
use crate::frontend;
use crate::world::World;

/// - `Unary`: the message back.
/// - `ClientStream`: all messages in one, when the client has finished.
/// - `ServerStream`: the message as a number N → `0`, `1`, … N-1.
/// - `Bidi`: each message back as it comes.
/// - `Fail`: status 9 and a message with a space and an umlaut, no message.
/// - `Slow`: answers after as many milliseconds as the message says.
/// - `HalfClose`: two messages and the status while the client still writes.
/// - `Metadata`: the request's headers as JSON.
pub async fn answer(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let method = request
        .uri()
        .path()
        .rsplit('/')
        .next()
        .unwrap_or("")
        .to_owned();
    let host = frontend::host_of(&request);
    let described = frontend::described(&request).to_string();
    let (pen, body) = body::pieces();
    let mut answer = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
        .headers_mut()
        .insert("x-initial", HeaderValue::from_static("first"));
    if request.uri().path() == "/test.Echo/TrailersOnly" {
        // The one head that is also the trailers, as servers answer errors.
        let headers = answer.headers_mut();
        headers.insert("grpc-status", HeaderValue::from_static("7"));
        headers.insert("grpc-message", HeaderValue::from_static("not%20you"));
        *answer.body_mut() = body::whole("");
        return answer;
    }
    let messages = Messages {
        body: request.into_body(),
        read: BytesMut::new(),
        broken: false,
    };
    tokio::spawn(async move {
        if call(&method, messages, &pen, &described).await.is_err() {
            world.count("gone", &host);
        }
    });
    answer
}

async fn call(method: &str, mut messages: Messages, pen: &Pen, head: &str) -> Result<(), Gone> {
    match method {
        "Unary" => {
            let message = messages.next().await.unwrap_or_default();
            send(pen, &message).await?;
        }
        "ClientStream" => {
            let mut all = Vec::new();
            while let Some(message) = messages.next().await {
                all.extend(message);
            }
            send(pen, &all).await?;
        }
        "ServerStream" => {
            for at in 0..messages.number().await {
                send(pen, at.to_string().as_bytes()).await?;
            }
        }
        "Bidi" => {
            while let Some(message) = messages.next().await {
                send(pen, &message).await?;
            }
        }
        "Fail" => {
            messages.next().await;
            return finish(pen, "9", "nothing%20to%20gr%C3%BC%C3%9Fen").await;
        }
        "Slow" => {
            let milliseconds = messages.number().await;
            let timer = Box::pin(tokio::time::sleep(Duration::from_millis(milliseconds)));
            let mut gone = Box::pin(pen.gone());
            let mut timer = timer;
            std::future::poll_fn(|cx| {
                if gone.as_mut().poll(cx).is_ready() {
                    return std::task::Poll::Ready(Err(Gone));
                }
                timer.as_mut().poll(cx).map(Ok)
            })
            .await?;
            send(pen, b"at last").await?;
        }
        "HalfClose" => {
            send(pen, b"one").await?;
            send(pen, b"two").await?;
        }
        "Metadata" => {
            messages.next().await;
            send(pen, head.as_bytes()).await?;
        }
        _ => return finish(pen, "12", "no%20such%20method").await,
    }
    if messages.broken {
        return Err(Gone);
    }
    finish(pen, "0", "").await
}

async fn send(pen: &Pen, message: &[u8]) -> Result<(), Gone> {
    let mut framed = vec![0]; // not compressed
    framed.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend(message);
    pen.write(framed).await
}

async fn finish(pen: &Pen, status: &'static str, message: &'static str) -> Result<(), Gone> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    if !message.is_empty() {
        trailers.insert("grpc-message", HeaderValue::from_static(message));
    }
    trailers.insert("x-last", HeaderValue::from_static("after all"));
    trailers.insert("x-last-bin", HeaderValue::from_static("AAEC/w"));
    pen.trailers(trailers).await
}

/// The messages of a request.
struct Messages {
    body: Incoming,
    read: BytesMut,
    /// The client went away in the middle.
    broken: bool,
}

impl Messages {
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(head) = self.read.get(..5) {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                let length = usize::try_from(length).ok()?;
                if self.read.len() >= 5 + length {
                    self.read.advance(5);
                    return Some(self.read.split_to(length).to_vec());
                }
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Err(_) => {
                    self.broken = true;
                    return None;
                }
            }
        }
    }

    async fn number(&mut self) -> u64 {
        let message = self.next().await.unwrap_or_default();
        String::from_utf8_lossy(&message)
            .trim()
            .parse()
            .unwrap_or(0)
    }
}
