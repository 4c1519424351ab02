//! The recording upstream: its answers are bytes that a test wrote, and each
//! byte that a connection received is kept for the test to look at.
//!
//! Any service becomes one by `POST /scripted`, over TLS and by its name in
//! the handshake, so that it can also speak before it is asked; `plain` is
//! `http://external.example:81`, without TLS:
//!
//!     {"services": {"hello": [[STEP, ...], [STEP, ...]]}}
//!
//! The first list is for the first connection, and so on; the last one is for
//! all that follow. A list that is over leaves its connection open. Whatever
//! a connection does, it goes on receiving. Text stands for bytes, one by
//! character (latin-1).
//!
//! - `{"until": "\r\n\r\n"}`: received, counted from the last such step.
//! - `{"bytes": 5}`: so many more were received.
//! - `{"say": "HTTP/1.1 200 OK\r\n...", "times": 1}`: one TLS record each.
//! - `{"wait": ["cues", "go", 1]}`: as `GET /wait` does; `POST /cue` with
//!   `{"name": "go"}` gives such a sign.
//! - `{"cue": "said"}`: gives one itself, for a test to wait for.
//! - `{"do": "notify"}`: TLS's close_notify and FIN; `"fin"`: FIN without it;
//!   `"close"`: close_notify, and the socket is closed; `"reset"`: RST;
//!   `"deaf"`: nothing is received from here on; `"rekey"`: TLS's KeyUpdate.
//!
//! `GET /recorded` lists the connections: `{"service", "bytes", "ended"}`, the
//! last being `null` while it is open, `"closed"` in order by the other side,
//! `"by its script"`, or an error. `GET /wait?what=recorded` counts bytes,
//! `what=ended` connections that are over.

use std::future;
use std::io;
use std::pin::pin;
use std::task::Poll;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::world::World;

/// The service of this name in the handshake, if a test wrote a script for it.
pub fn called(world: &World, server_name: Option<&str>) -> Option<String> {
    let service = crate::hosts::read(server_name?)?.service;
    world.has_script(&service).then_some(service)
}

pub trait Line: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&mut self) -> &mut TcpStream;

    /// Goes on with new keys, where there are any.
    fn rekey(&mut self) {}
}

impl Line for TcpStream {
    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl Line for TlsStream<TcpStream> {
    fn tcp(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }

    fn rekey(&mut self) {
        // `Err` over TLS 1.2, which has none.
        let _ = self.get_mut().1.refresh_traffic_keys();
    }
}

/// Plays the next script of the service.
pub async fn serve(world: &World, service: &str, mut line: impl Line) {
    let (number, script) = world.next_script(service);
    let mut tape = Tape { world, service, number, received: Vec::new(), used: 0, deaf: false };
    for step in &script {
        if tape.step(&mut line, step).await.is_none() {
            drop(line);
            world.record_end(service, number, "by its script");
            return;
        }
    }
    tape.receive_while(&mut line, future::pending::<()>()).await;
}

/// What one connection received.
struct Tape<'a> {
    world: &'a World,
    service: &'a str,
    number: usize,
    received: Vec<u8>,
    /// What steps have waited for already.
    used: usize,
    /// No more is received: it was told so, or there is no more.
    deaf: bool,
}

impl Tape<'_> {
    /// `None` when the connection is over.
    async fn step(&mut self, line: &mut impl Line, step: &Value) -> Option<()> {
        if let Some(text) = step["until"].as_str() {
            let text = bytes(text);
            loop {
                let new = &self.received[self.used..];
                let found = new.windows(text.len()).position(|part| part == text);
                if let Some(at) = found {
                    self.used += at + text.len();
                    return Some(());
                }
                self.receive(line).await?;
            }
        }
        if let Some(n) = step["bytes"].as_u64() {
            self.used += usize::try_from(n).ok()?;
            while self.received.len() < self.used {
                self.receive(line).await?;
            }
        } else if let Some(text) = step["say"].as_str() {
            let text = bytes(text);
            for _ in 0..step["times"].as_u64().unwrap_or(1) {
                self.say(line, &text).await?;
            }
        } else if let Some([what, which, times]) = step["wait"].as_array().map(Vec::as_slice) {
            let (what, which) = (what.as_str()?, which.as_str()?);
            let happened = self.world.wait_for(what, which, times.as_u64()?);
            self.receive_while(line, happened).await;
        } else if let Some(name) = step["cue"].as_str() {
            self.world.count("cues", name);
        } else {
            return self.act(line, step["do"].as_str()?).await;
        }
        Some(())
    }

    async fn act(&mut self, line: &mut impl Line, what: &str) -> Option<()> {
        match what {
            "notify" => line.shutdown().await.ok(),
            "fin" => line.tcp().shutdown().await.ok(),
            "close" => {
                let _ = line.shutdown().await;
                None
            }
            "reset" => {
                let _ = line.tcp().set_zero_linger();
                None
            }
            "rekey" => {
                line.rekey();
                Some(())
            }
            "deaf" => {
                self.deaf = true;
                Some(())
            }
            _ => None,
        }
    }

    /// Says it, and hears the other side meanwhile.
    async fn say(&mut self, line: &mut impl Line, text: &[u8]) -> Option<()> {
        let (mut reader, mut writer) = tokio::io::split(line);
        let say = async {
            writer.write_all(text).await?;
            writer.flush().await
        };
        self.receive_while(&mut reader, say).await.ok()
    }

    async fn receive_while<T>(&mut self, line: &mut (impl AsyncRead + Unpin), done: impl Future<Output = T>) -> T {
        let mut done = pin!(done);
        while !self.deaf {
            let mut receive = pin!(self.receive(line));
            let first = future::poll_fn(|cx| match done.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => receive.as_mut().poll(cx).map(|_| None),
            });
            if let Some(result) = first.await {
                return result;
            }
        }
        done.await
    }

    /// One receive; `None` where nothing more will come.
    async fn receive(&mut self, line: &mut (impl AsyncRead + Unpin)) -> Option<()> {
        if self.deaf {
            return None;
        }
        let before = self.received.len();
        let end: io::Result<()> = match line.read_buf(&mut self.received).await {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.world.record(self.service, self.number, &self.received[before..]);
                return Some(());
            }
            Err(err) => Err(err),
        };
        self.deaf = true;
        let how = end.map_or_else(|err| err.to_string(), |()| "closed".to_owned());
        self.world.record_end(self.service, self.number, &how);
        None
    }
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}
