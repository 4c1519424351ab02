//! The same services without anything before them: `http://NAME.direct.example`,
//! in cleartext, HTTP/1.1 or HTTP/2 with prior knowledge, for whoever comes. What a
//! client sees here is what it has to see through runsd.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::body::{self, Answer};
use crate::frontend;
use crate::hosts::{self, Host};
use crate::services;
use crate::world::World;

/// What the names of these services end in.
pub const DOMAIN: &str = ".direct.example";

pub async fn serve(world: Arc<World>, stream: TcpStream) {
    let mut start = [0; 3];
    let is_h2 = stream.peek(&mut start).await.is_ok() && &start == b"PRI";
    let service = service_fn(move |request: Request<Incoming>| {
        let world = world.clone();
        async { Ok::<_, Infallible>(answer(world, request).await) }
    });
    let stream = TokioIo::new(stream);
    if is_h2 {
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(stream, service).await;
    } else {
        let connection = http1::Builder::new().serve_connection(stream, service);
        let _ = connection.with_upgrades().await;
    }
}

async fn answer(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let host = frontend::host_of(&request);
    let name = host.strip_suffix(":80").unwrap_or(&host);
    let service = name.strip_suffix(DOMAIN).unwrap_or_default();
    if !services::NAMES.contains(&service) {
        return body::text(StatusCode::NOT_FOUND, "no such service\n");
    }
    let called = Host {
        tag: None,
        service: service.to_owned(),
        project: hosts::PROJECT.to_owned(),
        region: "us-east1".to_owned(),
        audience: String::new(),
    };
    services::answer(world, called, request).await
}
