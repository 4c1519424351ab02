//! The bodies of answers: whole, in pieces as they come, or the request's own.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

pub type Problem = Box<dyn Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, Problem>;
pub type Answer = Response<Body>;

pub fn whole(content: impl Into<Bytes>) -> Body {
    let full = Full::new(content.into());
    full.map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub fn same(body: Incoming) -> Body {
    body.map_err(Problem::from).boxed_unsync()
}

/// A body written piece by piece by another task.
pub fn pieces() -> (Pen, Body) {
    // One piece waits at most, so that whoever writes feels the reader.
    let (sender, receiver) = mpsc::channel(1);
    (Pen(sender), Pieces(receiver).boxed_unsync())
}

pub fn text(status: StatusCode, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(whole(content));
    *answer.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
    answer
}

pub fn json(value: &serde_json::Value) -> Answer {
    let mut answer = text(StatusCode::OK, format!("{value:#}\n"));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    answer
}

/// The writing end of a body in pieces. Each call is `Err` once the reader is
/// gone.
pub struct Pen(mpsc::Sender<Result<Frame<Bytes>, Problem>>);

impl Pen {
    pub async fn write(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(Ok(Frame::data(piece.into()))).await.map_err(|_| Gone)
    }

    /// Ends the body in the middle: a reset stream, a cut connection.
    pub async fn break_off(&self) {
        let _ = self.0.send(Err("broken off, as asked".into())).await;
    }

    /// Waits until nobody reads any more.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

pub struct Gone;

struct Pieces(mpsc::Receiver<Result<Frame<Bytes>, Problem>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Problem;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Problem>>> {
        self.0.poll_recv(cx)
    }
}
