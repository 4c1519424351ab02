//! The services behind the front end, each good for one thing a test wants.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};

use crate::body::{self, Answer};
use crate::hosts::{Host, query};
use crate::world::World;
use crate::{frontend, grpc, tunnel, websocket};

/// `forbidden` is there, but nobody may call it. The last three are served by
/// `handmade.rs` over HTTP/1.1.
pub const NAMES: &[&str] = &[
    "hello",
    "echo",
    "bytes",
    "slow",
    "sse",
    "ws",
    "tunnel",
    "grpc",
    "redirect",
    "early",
    "status",
    "caller",
    "forbidden",
    "trailers",
    "hints",
    "close",
];

pub async fn answer(world: Arc<World>, called: Host, request: Request<Incoming>) -> Answer {
    match called.service.as_str() {
        "echo" if request.uri().path() == "/headers" => body::json(&frontend::described(&request)),
        "echo" => echo(request),
        "bytes" => bytes(&request),
        "slow" => slow(&world, &request).await,
        "sse" => events(world, &request),
        "ws" => websocket::answer(world, request),
        "tunnel" => tunnel::answer(world, request),
        "grpc" => grpc::answer(world, request).await,
        "redirect" => redirect(&called, &request),
        "early" => body::text(StatusCode::PAYLOAD_TOO_LARGE, "too much, seen from afar\n"),
        "status" => status(&request),
        _ => hello(&world, &called, request).await,
    }
}

/// Says who it is. Reads the body first, and says how long it was.
async fn hello(world: &World, called: &Host, request: Request<Incoming>) -> Answer {
    let Host { service, region, project, .. } = called;
    let tag = called.tag.as_deref().map(|tag| format!(" (tag {tag})")).unwrap_or_default();
    let mut text = format!("Hello from {service}{tag} in {region}, project {project}\n");
    let method = request.method().clone();
    let host = frontend::host_of(&request);
    match request.into_body().collect().await {
        Ok(whole) => {
            let length = whole.to_bytes().len();
            if length > 0 {
                text += &format!("{method} of {length} bytes\n");
            }
            world.count("received", &host);
        }
        Err(_) => world.count("gone", &host),
    }
    body::text(StatusCode::OK, text)
}

/// The body as it came, while it comes, with its type.
fn echo(request: Request<Incoming>) -> Answer {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let mut answer = Response::new(body::same(request.into_body()));
    if let Some(kind) = kind {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    answer
}

/// `/N`: N bytes, always the same ones. `/N?chunked=1`: without their length;
/// `/N?break=1`: broken off after them, short of a length never told.
fn bytes(request: &Request<Incoming>) -> Answer {
    let length: usize = request.uri().path().trim_matches('/').parse().unwrap_or(0);
    let (pen, body) = body::pieces();
    let mut answer = Response::new(body);
    let breaks = query(request.uri(), "break").is_some();
    if query(request.uri(), "chunked").is_none() && !breaks {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    tokio::spawn(async move {
        // A prime period, so that a lost or doubled block shows.
        let block: Vec<u8> = (0..PIECE * 251).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
        let block = Bytes::from(block);
        let mut sent = 0;
        while sent < length {
            let piece = block.slice(..block.len().min(length - sent));
            sent += piece.len();
            if pen.write(piece).await.is_err() {
                return;
            }
        }
        if breaks {
            pen.break_off().await;
        }
    });
    answer
}

/// Answers after `?ms=…`, or the setting's delay; counts who left before.
async fn slow(world: &Arc<World>, request: &Request<Incoming>) -> Answer {
    let leaving = Leaving { world: world.clone(), host: frontend::host_of(request) };
    let asked = query(request.uri(), "ms").and_then(|ms| ms.parse().ok());
    let delay = asked.map(Duration::from_millis).unwrap_or(world.delay("service"));
    tokio::time::sleep(delay).await;
    std::mem::forget(leaving);
    body::text(StatusCode::OK, "at last\n")
}

/// `?n=3&ms=100`: that many events, each with the time it was sent at.
fn events(world: Arc<World>, request: &Request<Incoming>) -> Answer {
    let number = |key, fallback| query(request.uri(), key).and_then(|text| text.parse().ok()).unwrap_or(fallback);
    let (count, pause): (u64, u64) = (number("n", 3), number("ms", 100));
    let host = frontend::host_of(request);
    let (pen, body) = body::pieces();
    tokio::spawn(async move {
        for at in 0..count {
            if at > 0 {
                let timer = tokio::time::sleep(Duration::from_millis(pause));
                if let Left::Gone = race(timer, pen.gone()).await {
                    return world.count("gone", &host);
                }
            }
            let mut event = Vec::new();
            let _ = write!(event, "id: {at}\ndata: {}\n\n", milliseconds());
            if pen.write(event).await.is_err() {
                return world.count("gone", &host);
            }
        }
    });
    let mut answer = Response::new(body);
    let kind = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// To `/landed` on its own host, by an absolute URL; `?to=` says where else.
fn redirect(called: &Host, request: &Request<Incoming>) -> Answer {
    if request.uri().path() == "/landed" {
        return body::text(StatusCode::OK, "landed\n");
    }
    let host = frontend::host_of(request);
    let to = query(request.uri(), "to").unwrap_or(format!("https://{host}/landed"));
    let mut answer = body::text(StatusCode::FOUND, format!("{} moved\n", called.service));
    if let Ok(to) = HeaderValue::from_str(&to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

/// `/NNN` is answered with that status; with `?page=1` on a page for people.
fn status(request: &Request<Incoming>) -> Answer {
    let asked = request.uri().path().trim_matches('/').parse();
    let status = asked.unwrap_or(StatusCode::OK);
    if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
        let mut answer = Response::new(body::whole(Bytes::new()));
        *answer.status_mut() = status;
        return answer;
    }
    if query(request.uri(), "page").is_none() {
        return body::text(status, format!("{status}\n"));
    }
    let title = "<html><head><title>The shop</title></head>";
    let page = format!("{title}<body><h1>Error: {status}</h1></body></html>\n");
    let mut answer = body::text(status, page);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert("www-authenticate", HeaderValue::from_static("Basic realm=x"));
    }
    answer
}

/// Counts its own end, which comes early when the client leaves.
struct Leaving {
    world: Arc<World>,
    host: String,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.world.count("gone", &self.host);
    }
}

enum Left {
    TimeIsUp,
    Gone,
}

async fn race(timer: impl Future<Output = ()>, gone: impl Future<Output = ()>) -> Left {
    let (mut timer, mut gone) = (std::pin::pin!(timer), std::pin::pin!(gone));
    std::future::poll_fn(|cx| {
        if gone.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(Left::Gone);
        }
        timer.as_mut().poll(cx).map(|()| Left::TimeIsUp)
    })
    .await
}

fn milliseconds() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis()
}

const PIECE: usize = 256;
