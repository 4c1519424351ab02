//! A gRPC service by tonic whose messages are bytes: `test.Echo`.
//!
//! A client without generated code can call it: any serializer that lets bytes
//! through will do.

use std::future::{self, Ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{Grpc, StreamingService};
use tonic::{Code, Response, Status, Streaming};

use crate::body::{Answer, Problem};
use crate::codec::AsTheyAre;
use crate::frontend;
use crate::world::World;

/// - `Unary`: the message back.
/// - `ClientStream`: all messages in one, when the client has finished.
/// - `ServerStream`: the message as a number N → `0`, `1`, … N-1.
/// - `Bidi`: each message back as it comes.
/// - `Fail`: status 9 and a message with a space and an umlaut, no message.
/// - `TrailersOnly`: status 7 in the one head that is also the trailers.
/// - `Slow`: answers after as many milliseconds as the message says.
/// - `HalfClose`: two messages and the status while the client still writes.
/// - `Metadata`: the request's headers as JSON.
/// - `/grpc.health.v1.Health/Check`: that it serves, whatever service was meant.
pub async fn answer(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let echo = Echo {
        method: request.uri().path().replace("/test.Echo/", ""),
        host: frontend::host_of(&request),
        head: frontend::described(&request).to_string(),
        world,
    };
    let mut server = Grpc::new(AsTheyAre).max_decoding_message_size(usize::MAX);
    // A stream of one message is a message, so this serves every kind of call.
    let answer = server.streaming(echo, request).await;
    answer.map(|body| body.map_err(Problem::from).boxed_unsync())
}

/// One call.
#[derive(Clone)]
struct Echo {
    method: String,
    world: Arc<World>,
    host: String,
    head: String,
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        if self.method == "TrailersOnly" {
            return future::ready(Err(Status::permission_denied("not you")));
        }
        // One message waits at most, so that whoever writes feels the reader.
        let (sender, receiver) = mpsc::channel(1);
        let echo = self.clone();
        tokio::spawn(async move {
            match echo.answer(request.into_inner(), &sender).await {
                Ok(status) => drop(sender.send(Err(status)).await),
                Err(Gone) => echo.world.count("gone", &echo.host),
            }
        });
        let mut answer = Response::new(ReceiverStream::new(receiver));
        let first = MetadataValue::from_static("first");
        answer.metadata_mut().insert("x-initial", first);
        future::ready(Ok(answer))
    }
}

impl Echo {
    /// Sends the messages of the answer; its status.
    async fn answer(&self, mut messages: Streaming<Bytes>, to: &Sender<Result<Bytes, Status>>) -> Result<Status, Gone> {
        match self.method.as_str() {
            "Unary" => send(to, next(&mut messages).await?.unwrap_or_default()).await?,
            "ClientStream" => {
                let mut all = Vec::new();
                while let Some(message) = next(&mut messages).await? {
                    all.extend(message);
                }
                send(to, all).await?;
            }
            "ServerStream" => {
                for at in 0..number(&mut messages).await? {
                    send(to, at.to_string()).await?;
                }
            }
            "Bidi" => {
                while let Some(message) = next(&mut messages).await? {
                    send(to, message).await?;
                }
            }
            "Fail" => {
                next(&mut messages).await?;
                return Ok(status(Code::FailedPrecondition, "nothing to grüßen"));
            }
            "Slow" => {
                let milliseconds = number(&mut messages).await?;
                let pause = Duration::from_millis(milliseconds);
                let gone = tokio::time::timeout(pause, to.closed());
                if gone.await.is_ok() {
                    return Err(Gone);
                }
                send(to, "at last").await?;
            }
            "HalfClose" => {
                send(to, "one").await?;
                send(to, "two").await?;
            }
            "Metadata" => {
                next(&mut messages).await?;
                send(to, self.head.clone()).await?;
            }
            "/grpc.health.v1.Health/Check" => {
                next(&mut messages).await?;
                // HealthCheckResponse { status: SERVING }
                send(to, &b"\x08\x01"[..]).await?;
            }
            _ => return Ok(status(Code::Unimplemented, "no such method")),
        }
        Ok(status(Code::Ok, ""))
    }
}

/// The client went away in the middle.
struct Gone;

async fn next(messages: &mut Streaming<Bytes>) -> Result<Option<Bytes>, Gone> {
    messages.message().await.map_err(|_| Gone)
}

async fn number(messages: &mut Streaming<Bytes>) -> Result<u64, Gone> {
    let message = next(messages).await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&message).trim().parse().unwrap_or(0))
}

async fn send(to: &Sender<Result<Bytes, Status>>, message: impl Into<Bytes>) -> Result<(), Gone> {
    to.send(Ok(message.into())).await.map_err(|_| Gone)
}

/// With something of its own in the trailers.
fn status(code: Code, message: &str) -> Status {
    let mut trailers = MetadataMap::new();
    trailers.insert("x-last", MetadataValue::from_static("after all"));
    trailers.insert_bin("x-last-bin", MetadataValue::from_bytes(b"\0\x01\x02\xff"));
    Status::with_metadata(code, message, trailers)
}
