//! Answers over HTTP/1.1 that no server library would write: an early hint,
//! trailers nobody asked for, a body that is cut.
//!
//! A connection belongs to one host, so its first request decides: for a
//! service of this file the connection is served here, any other goes on to
//! the library with the bytes that were read.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::frontend;
use crate::world::World;

/// `None` when the connection has been served here.
pub async fn serve(world: &World, mut stream: TlsStream<TcpStream>) -> Option<Rewound> {
    let mut read = Vec::new();
    loop {
        let Some((request, length)) = next_head(&mut stream, &mut read).await else {
            return Some(Rewound { read, stream });
        };
        let host = frontend::host_of(&request);
        let admitted = frontend::admit(world, request.method(), &host, request.headers());
        let script = match admitted {
            Ok(called) => script(&called.service, request.uri().path()),
            Err(_) => None,
        };
        let Some((answer, end)) = script else {
            return Some(Rewound { read, stream });
        };
        read.drain(..length);
        frontend::see(world, &host, frontend::described(&request));
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
        match end {
            End::Open => {}
            End::Closed => {
                let _ = stream.shutdown().await;
                return None;
            }
            End::Cut => {
                // Without TLS's own goodbye.
                let _ = stream.get_mut().0.shutdown().await;
                return None;
            }
        }
    }
}

enum End {
    Open,
    Closed,
    Cut,
}

fn script(service: &str, path: &str) -> Option<(&'static str, End)> {
    Some(match (service, path) {
        ("hints", _) => (
            "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nafter hints",
            End::Open,
        ),
        ("trailers", _) => (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n\
             5;part=1\r\nhello\r\n6\r\n world\r\n0\r\nx-checksum: 0xcafe\r\n\r\n",
            End::Open,
        ),
        // Said to stay open, but gone after the answer.
        ("close", "/quietly") => ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngone", End::Closed),
        ("close", "/mid") => ("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nnot all", End::Closed),
        ("close", "/mid-chunked") => {
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", End::Closed)
        }
        ("close", "/cut") => ("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nnot all", End::Cut),
        // The end of the connection is the end of the body.
        ("close", "/until-close") => ("HTTP/1.1 200 OK\r\n\r\nto the end", End::Closed),
        ("close", "/nothing") => ("", End::Closed),
        ("close", "/garbage") => ("SSH-2.0-OpenSSH_9.9\r\n", End::Closed),
        ("close", "/two-lengths") => {
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n12345", End::Closed)
        }
        ("close", "/half-a-head") => ("HTTP/1.1 200 OK\r\ncontent-le", End::Closed),
        ("close", "/large-head") => (&LARGE_HEAD, End::Closed),
        ("close", "/gzip") => ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", End::Closed),
        ("close", "/switched") => {
            ("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", End::Closed)
        }
        ("close", _) => ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbye\n", End::Closed),
        _ => return None,
    })
}

/// Reads a whole head into `read`; the request without its body, which these
/// services do not have. `None` when that does not work out.
async fn next_head(stream: &mut TlsStream<TcpStream>, read: &mut Vec<u8>) -> Option<(Request<()>, usize)> {
    loop {
        if let Some(found) = parse(read)? {
            return Some(found);
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

/// `None` is wrong, `Some(None)` is not all here yet.
fn parse(read: &[u8]) -> Option<Option<(Request<()>, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(read).ok()? else {
        return Some(None);
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = head.path?.parse().ok()?;
    let mut map = HeaderMap::new();
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    *request.headers_mut() = map;
    Some(Some((request, length)))
}

/// A stream of which something was read already.
pub struct Rewound {
    read: Vec<u8>,
    stream: TlsStream<TcpStream>,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..length]);
        self.read.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

static LARGE_HEAD: LazyLock<String> = LazyLock::new(|| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70_000)));
