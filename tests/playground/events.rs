//! What is told to the page while it happens: a line of JSON for each event
//! (newline-delimited JSON), with its time in milliseconds since the start.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The writing end. Each call is `Err` once nobody reads.
pub struct Events {
    sender: mpsc::Sender<Bytes>,
    started: Instant,
}

pub struct Gone;

impl Events {
    /// `event` and what is known of it, an object.
    pub async fn send(&self, event: &str, fields: Value) -> Result<(), Gone> {
        let line = self.line(event, fields);
        self.sender.send(line).await.map_err(|_| Gone)
    }

    /// The same from a thread that may wait.
    pub fn send_blocking(&self, event: &str, fields: Value) -> Result<(), Gone> {
        let line = self.line(event, fields);
        self.sender.blocking_send(line).map_err(|_| Gone)
    }

    fn line(&self, event: &str, mut fields: Value) -> Bytes {
        fields["event"] = json!(event);
        fields["ms"] = json!(milliseconds(self.started));
        Bytes::from(format!("{fields}\n"))
    }
}

/// To the microsecond.
pub fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

/// A body that `work` writes; it is aborted when its reader leaves.
pub fn stream<F>(work: impl FnOnce(Events) -> F) -> Stream
where
    F: Future<Output = ()> + Send + 'static,
{
    // One line waits at most, so that whoever writes feels the reader.
    let (sender, receiver) = mpsc::channel(1);
    let events = Events { sender, started: Instant::now() };
    let task = tokio::spawn(work(events));
    Stream { receiver, task: task.abort_handle() }
}

pub struct Stream {
    receiver: mpsc::Receiver<Bytes>,
    task: AbortHandle,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.receiver.poll_recv(cx);
        next.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
