//! The front end of `*.run.app`: TLS, the protocol, who may come in, and to
//! which service.

use std::convert::Infallible;
use std::future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

use crate::body::{self, Answer};
use crate::hosts::{self, Host};
use crate::identity;
use crate::world::World;
use crate::{handmade, scripted, services};

/// One connection. `billing` is a server of somebody else that happens to be
/// served here: no services, no tokens, it only says what it got.
pub async fn serve(world: Arc<World>, tls: TlsAcceptor, stream: TcpStream, from: SocketAddr, billing: bool) {
    let Some(stream) = undisturbed(&world, stream).await else {
        return;
    };
    let tls = agreeing(&world, tls);
    let Ok(stream) = tls.accept(stream).await else {
        world.count("handshakes", "failed");
        return;
    };
    let session = stream.get_ref().1;
    let is_new = session.handshake_kind() != Some(HandshakeKind::Resumed);
    world.count("handshakes", if is_new { "full" } else { "resumed" });
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    world.count("protocols", if is_h2 { "h2" } else { "http/1.1" });
    if let Some(service) = scripted::called(&world, session.server_name()) {
        return scripted::serve(&world, &service, stream).await;
    }

    let service = {
        let world = world.clone();
        service_fn(move |mut request: Request<Incoming>| {
            let world = world.clone();
            request.extensions_mut().insert(from);
            async move {
                let answer = match billing {
                    true => record(&world, &request),
                    false => answer(world, request).await,
                };
                Ok::<_, Infallible>(answer)
            }
        })
    };
    // How a connection ends is the client's affair; tests ask for the counts.
    if is_h2 {
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(100).max_local_error_reset_streams(None);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        until_drained(&world, connection, |it| it.graceful_shutdown()).await;
    } else if let Some(stream) = handmade::serve(&world, stream).await {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        until_drained(&world, connection, |it| it.graceful_shutdown()).await;
    }
}

/// Does to a connection what the ordered fault says, or waits as long as was ordered
/// and hands it on.
async fn undisturbed(world: &World, stream: TcpStream) -> Option<TcpStream> {
    match world.mode("frontend").as_str() {
        "silent" => return future::pending().await,
        "reset" => {
            // After the first bytes: sooner, and it would look refused. (To
            // wait until it is readable is not enough: that may be said early.)
            let _ = stream.peek(&mut [0]).await;
            drop(stream.set_zero_linger());
        }
        "no-tls" => say(stream, b"220 mail.example ESMTP\r\n").await,
        "alert" => say(stream, &UNRECOGNIZED_NAME).await,
        _ => {
            tokio::time::sleep(world.delay("frontend")).await;
            return Some(stream);
        }
    }
    None
}

/// A fatal alert in a record of its own (RFC 8446 sections 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [
    0x15, // alert
    0x03, 0x03, // TLS 1.2, as every record says
    0x00, 0x02, // length
    0x02, // fatal
    0x70, // unrecognized_name
];

/// What TLS may agree on: for "http1" as an old load balancer, which knows nothing else.
fn agreeing(world: &World, tls: TlsAcceptor) -> TlsAcceptor {
    if world.mode("frontend") != "http1" {
        return tls;
    }
    let mut config = tls.config().as_ref().clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Serves a connection to its end, which a drain brings about in order: GOAWAY
/// over HTTP/2, over HTTP/1 the end of the connection after an answer that may
/// not have announced it.
async fn until_drained<C: Future>(world: &World, connection: C, drain: impl Fn(Pin<&mut C>)) {
    let (mut connection, mut drained) = (pin!(connection), pin!(world.drained()));
    let mut draining = false;
    future::poll_fn(|cx| {
        if !draining && drained.as_mut().poll(cx).is_ready() {
            draining = true;
            drain(connection.as_mut());
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// Says something that is not TLS, and hears the other side out.
async fn say(mut stream: TcpStream, words: &[u8]) {
    let _ = stream.write_all(words).await;
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// What comes to port 80 is sent to port 443, by the real one too.
pub async fn to_https(request: Request<Incoming>) -> Answer {
    let to = format!("https://{}{}", host_of(&request), request.uri());
    let mut answer = body::text(StatusCode::FOUND, "");
    if let Ok(to) = HeaderValue::from_str(&to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

async fn answer(world: Arc<World>, mut request: Request<Incoming>) -> Answer {
    let host = host_of(&request);
    see(&world, &host, described(&request));
    let called = match admit(&world, request.method(), &host, request.headers()) {
        Ok(called) => called,
        Err(status) => return refusal(&world, status, &host, request.uri().path()),
    };
    strip(request.headers_mut());
    services::answer(world, called, request).await
}

pub fn see(world: &World, host: &str, description: Value) {
    // First what can be asked for, then the count somebody may wait for.
    world.remember(host, description);
    world.count("requests", host);
}

/// Whether the front end lets a request through, as platform.md says.
pub fn admit(world: &World, method: &Method, host: &str, headers: &HeaderMap) -> Result<Host, StatusCode> {
    if [Method::CONNECT, Method::TRACE].contains(method) {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let called = hosts::read(host).ok_or(StatusCode::NOT_FOUND)?;
    if !services::NAMES.contains(&called.service.as_str()) {
        return Err(StatusCode::NOT_FOUND);
    }
    // With both headers, only the second counts.
    let mut given = headers.get_all(SERVERLESS).iter().peekable();
    if given.peek().is_none() {
        given = headers.get_all(AUTHORIZATION).iter().peekable();
    }
    let given: Vec<_> = given.collect();
    let token = match given.as_slice() {
        [] => return Err(StatusCode::FORBIDDEN),
        [one] => one.to_str().ok().and_then(bearer).ok_or(StatusCode::UNAUTHORIZED)?,
        _ => return Err(StatusCode::UNAUTHORIZED),
    };
    let revoked = world.setting("frontend", "revoke").as_u64().unwrap_or(0);
    match identity::check(token, &called.audience, revoked) {
        Ok(()) if called.service == "forbidden" => Err(StatusCode::FORBIDDEN),
        Ok(()) => Ok(called),
        Err(why) => {
            world.count("refused", &format!("{why:?}").replace('"', ""));
            Err(StatusCode::UNAUTHORIZED)
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The service learns who called, but not what it could call others with.
pub fn strip(headers: &mut HeaderMap) {
    let Some(value) = headers.get(SERVERLESS).and_then(|value| value.to_str().ok()) else {
        return;
    };
    if let Ok(value) = HeaderValue::from_str(&identity::without_signature(value)) {
        headers.insert(SERVERLESS, value);
    }
}

fn refusal(world: &World, status: StatusCode, host: &str, path: &str) -> Answer {
    world.count("refused", &format!("{} {host}", status.as_u16()));
    let mut answer = Response::new(body::whole(page(status, path)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/html; charset=UTF-8"));
    headers.insert("server", HeaderValue::from_static("Google Frontend"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(INVALID_TOKEN));
    }
    answer
}

fn page(status: StatusCode, path: &str) -> String {
    let reason = status.canonical_reason().unwrap_or("");
    let sentence = match status {
        StatusCode::NOT_FOUND => {
            format!("The requested URL <code>{path}</code> was not found on this server.")
        }
        StatusCode::METHOD_NOT_ALLOWED => "The request method is inappropriate for this URL.".into(),
        _ => format!("Your client does not have permission to get URL <code>{path}</code> from this server."),
    };
    format!(
        "<html><head>\n<title>{} {reason}</title>\n</head>\n<body>\n\
         <h1>Error: {reason}</h1>\n<h2>{sentence}</h2>\n</body></html>\n",
        status.as_u16()
    )
}

fn record(world: &World, request: &Request<Incoming>) -> Answer {
    let host = host_of(request);
    see(world, &host, described(request));
    if request.uri().path() == "/headers" {
        return body::json(&described(request));
    }
    body::text(StatusCode::OK, format!("{host}, asked for {}\n", request.uri().path()))
}

/// The host a request is for, in lower case and without a port.
pub fn host_of<B>(request: &Request<B>) -> String {
    let named = request.uri().host().map(str::to_owned);
    let header = || request.headers().get(HOST)?.to_str().ok().map(str::to_owned);
    let host = named.or_else(header).unwrap_or_default().to_ascii_lowercase();
    host.strip_suffix(":443").unwrap_or(&host).to_owned()
}

/// A request's head as JSON, headers in the order they came.
pub fn described<B>(request: &Request<B>) -> Value {
    let headers: Vec<[String; 2]> = request
        .headers()
        .iter()
        .map(|(name, value)| [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
        .collect();
    let from = request.extensions().get::<SocketAddr>().map(ToString::to_string);
    json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "headers": headers,
        "from": from,
    })
}

const SERVERLESS: &str = "x-serverless-authorization";
const INVALID_TOKEN: &str =
    "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"";
