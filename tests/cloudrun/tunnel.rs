//! A protocol of nobody's behind `Upgrade`: bytes, and who ends first.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::body::{self, Answer};
use crate::frontend;
use crate::world::World;

/// - `/last-word`: reads to the end, then says how much it was.
/// - `/first-word`: says so and ends, then reads to the end.
/// - `/silent`: reads to the end and says nothing.
///
/// Who has read to the end counts as `received`, and with its N bytes as `N-of-`.
pub fn answer(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let host = frontend::host_of(&request);
    let path = request.uri().path().to_owned();
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await
            && talk(&world, &host, &path, TokioIo::new(upgraded)).await.is_err()
        {
            world.count("gone", &host);
        }
    });
    let mut answer = Response::new(body::whole(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("bytes"));
    answer
}

async fn talk(world: &World, host: &str, path: &str, mut stream: TokioIo<hyper::upgrade::Upgraded>) -> io::Result<()> {
    if path == "/first-word" {
        stream.write_all(b"that is all").await?;
        stream.shutdown().await?;
    }
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    world.count("received", host);
    world.count("received", &format!("{}-of-{host}", all.len()));
    if path == "/last-word" {
        let said = format!("{} bytes", all.len());
        stream.write_all(said.as_bytes()).await?;
        stream.shutdown().await?;
    }
    if path == "/silent" {
        std::future::pending::<()>().await;
    }
    Ok(())
}
