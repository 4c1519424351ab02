//! Sends one request as an application behind runsd would, and tells of all
//! that happens: `try` and `address` of the name, `connected`, `sent`, `head`,
//! `chunk` for each piece of the body, `trailers`, and `end` or `error`.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hickory_proto::rr::{RData, RecordType};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::elide::{Elider, Text, elide};
use super::events::{Events, Gone};
use super::settings::Settings;
use super::target::Target;
use super::{lookup, websocket};

/// What the page wants sent.
#[derive(Debug)]
pub struct Ask {
    url: String,
    method: String,
    headers: Vec<(String, String)>,
    pub body: String,
    protocol: String,
}

/// Why there is no answer: a sentence for people, or nobody who would read it.
pub enum Failed {
    Sentence(String),
    Gone,
}

impl From<Gone> for Failed {
    fn from(_: Gone) -> Failed {
        Failed::Gone
    }
}

impl From<String> for Failed {
    fn from(sentence: String) -> Failed {
        Failed::Sentence(sentence)
    }
}

impl From<hyper::Error> for Failed {
    fn from(err: hyper::Error) -> Failed {
        Failed::Sentence(whole_sentence(&err))
    }
}

impl Ask {
    pub fn read(asked: &Value) -> Ask {
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        let headers = asked["headers"].as_array().map(Vec::as_slice);
        let pairs = headers.unwrap_or_default().iter().filter_map(|pair| {
            let (name, value) = (pair[0].as_str()?, pair[1].as_str()?);
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        Ask {
            url: text("url"),
            method: text("method"),
            headers: pairs.collect(),
            body: text("body"),
            protocol: text("protocol"),
        }
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.is_empty()) {
            let lower = name.to_ascii_lowercase();
            if lower == "host" || lower.starts_with("proxy-") || FRAMING.contains(&lower.as_str()) {
                return Err(format!("{name} is not for this page to set: the address says where to, the protocol how"));
            }
            let parsed = HeaderName::from_bytes(lower.as_bytes()).ok();
            let (Some(parsed), Ok(value)) = (parsed, HeaderValue::from_str(value)) else {
                return Err(format!("{name:?} cannot be a header with this value"));
            };
            headers.append(parsed, value);
        }
        Ok(headers)
    }
}

/// Sends it, and tells of it until its answer is over.
pub async fn run(settings: &Settings, ask: &Ask, events: &Events) -> Result<(), Gone> {
    match exchange(settings, ask, events).await {
        Ok(()) => Ok(()),
        Err(Failed::Gone) => Err(Gone),
        Err(Failed::Sentence(sentence)) => events.send("error", json!({ "sentence": elide(&sentence) })).await,
    }
}

async fn exchange(settings: &Settings, ask: &Ask, events: &Events) -> Result<(), Failed> {
    let mut target = Target::parse(&ask.url)?;
    // What is wrong is said before anything is sent.
    let mut headers = ask.headers()?;
    let through_proxy = settings.http_proxy.is_some();
    let stream = connect(settings, &target, events).await?;
    let mut request = match ask.protocol.as_str() {
        "websocket" => {
            return websocket::converse(stream, &target, headers, &ask.body, through_proxy, events).await;
        }
        "grpc-health" => {
            target.path = HEALTH_PATH.to_owned();
            health(&ask.body)?
        }
        _ => {
            let method = Method::from_bytes(ask.method.as_bytes())
                .map_err(|_| format!("{:?} cannot be a method", ask.method))?;
            let mut request = Request::new(Full::new(Bytes::from(ask.body.clone())));
            *request.method_mut() = method;
            request
        }
    };
    headers.extend(std::mem::take(request.headers_mut()));
    *request.headers_mut() = headers;
    let response = match ask.protocol.as_str() {
        "http2" | "grpc-health" => {
            *request.uri_mut() = absolute(&target)?;
            *request.version_mut() = Version::HTTP_2;
            let executor = TokioExecutor::new();
            let (mut sender, connection) = http2::handshake(executor, TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            events.send("sent", sent(&request)).await?;
            sender.send_request(request).await?
        }
        _ => {
            address(&mut request, &target, through_proxy)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            events.send("sent", sent(&request)).await?;
            sender.send_request(request).await?
        }
    };
    pass(response, ask.protocol == "grpc-health", events).await
}

/// Connects to runsd, and to nothing else: a name that leads elsewhere is not
/// followed.
async fn connect(settings: &Settings, target: &Target, events: &Events) -> Result<TcpStream, Failed> {
    let address = match settings.http_proxy {
        Some(address) => {
            let said = json!({ "address": address.to_string(), "proxy": true });
            events.send("address", said).await?;
            address
        }
        None => {
            let found = lookup::look_up(&target.name, RecordType::A, events).await?;
            let address = found?.iter().find_map(|record| match record {
                RData::A(address) => Some(Ipv4Addr::from(*address)),
                _ => None,
            });
            let address = address.ok_or_else(|| format!("{} has no address", target.name))?;
            let said = json!({ "address": address.to_string() });
            events.send("address", said).await?;
            if !address.is_loopback() {
                return Err(Failed::Sentence(format!(
                    "{} leads to {address}, which is not runsd; this page asks runsd only",
                    target.name
                )));
            }
            SocketAddr::new(IpAddr::V4(address), HTTP_PORT)
        }
    };
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = connected
        .map_err(|_| format!("{address} did not answer in {CONNECT_TIMEOUT:?}"))?
        .map_err(|err| format!("cannot connect to runsd at {address}: {err}"))?;
    let _ = stream.set_nodelay(true);
    events.send("connected", json!({ "address": address.to_string() })).await?;
    Ok(stream)
}

/// A question of the gRPC health checking protocol, for `service` or all.
fn health(service: &str) -> Result<Request<Full<Bytes>>, String> {
    let service = service.trim();
    // HealthCheckRequest { string service = 1; }, empty where it is the default.
    let mut message = Vec::new();
    if !service.is_empty() {
        let length = u8::try_from(service.len()).ok().filter(|length| *length < 128);
        let length = length.ok_or("the name of a gRPC service has 127 bytes at most here")?;
        message = [&[0x0a, length], service.as_bytes()].concat();
    }
    // Length-Prefixed-Message: not compressed, and four bytes of length.
    let length = u8::try_from(message.len()).unwrap_or_default();
    let framed = [&[0, 0, 0, 0, length], &message[..]].concat();
    let request = Request::post(HEALTH_PATH)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)));
    request.map_err(|err| err.to_string())
}

fn absolute(target: &Target) -> Result<Uri, String> {
    let path = &target.path;
    let uri = format!("http://{}{path}", target.name);
    uri.parse().map_err(|err| format!("{uri} is not a URL: {err}"))
}

/// Where an HTTP/1.1 request goes to: as it is asked of the server itself, or of
/// a proxy (RFC 9112 section 3.2).
pub fn address<B>(request: &mut Request<B>, target: &Target, through_proxy: bool) -> Result<(), String> {
    *request.uri_mut() = match through_proxy {
        true => absolute(target)?,
        false => target.path.parse().map_err(|err| format!("{:?}: {err}", target.path))?,
    };
    let host = HeaderValue::from_str(&target.name).map_err(|err| err.to_string())?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// What leaves this program, before runsd has it.
pub fn sent<B>(request: &Request<B>) -> Value {
    json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "headers": shown(request.headers()),
    })
}

pub fn head<B>(response: &Response<B>) -> Value {
    let status = response.status();
    json!({
        "status": status.as_u16(),
        "reason": status.canonical_reason().unwrap_or_default(),
        "version": format!("{:?}", response.version()),
        "headers": shown(response.headers()),
    })
}

fn shown(headers: &HeaderMap) -> Vec<[String; 2]> {
    let pairs = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        [name.to_string(), elide(&value)]
    });
    pairs.collect()
}

/// Passes the answer on, piece by piece as it comes.
async fn pass(response: Response<Incoming>, is_health: bool, events: &Events) -> Result<(), Failed> {
    events.send("head", head(&response)).await?;
    let encoding = response.headers().get(CONTENT_ENCODING);
    // What cannot be read could have a token in it.
    let is_readable = encoding.is_none_or(|encoding| encoding == "identity");
    let mut body = response.into_body();
    let (mut elider, mut text) = (Elider::default(), Text::default());
    let (mut total, mut message) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        if let Some(trailers) = frame.trailers_ref() {
            events.send("trailers", json!({ "headers": shown(trailers) })).await?;
            continue;
        }
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total += data.len();
        if total > MAX_SHOWN {
            let sentence = format!("the answer has more than {} KiB; no more of it is shown", MAX_SHOWN >> 10);
            return Err(Failed::Sentence(sentence));
        }
        let said = if is_health {
            message.extend_from_slice(&data);
            serving(&message).map_or_else(String::new, str::to_owned)
        } else if is_readable {
            text.next(&elider.next(&data))
        } else {
            String::new()
        };
        events.send("chunk", json!({ "text": said, "bytes": data.len() })).await?;
    }
    events.send("end", json!({ "bytes": total, "encoded": !is_readable })).await?;
    Ok(())
}

/// The word of a HealthCheckResponse, once it is all here.
fn serving(message: &[u8]) -> Option<&'static str> {
    // The prefix, and `ServingStatus status = 1;`, left out where it is 0.
    match message {
        [0, 0, 0, 0, 0] | [0, 0, 0, 0, 2, 0x08, 0] => Some("UNKNOWN"),
        [0, 0, 0, 0, 2, 0x08, 1] => Some("SERVING"),
        [0, 0, 0, 0, 2, 0x08, 2] => Some("NOT_SERVING"),
        [0, 0, 0, 0, 2, 0x08, 3] => Some("SERVICE_UNKNOWN"),
        _ => None,
    }
}

/// An error with all its causes.
fn whole_sentence(err: &dyn Error) -> String {
    let mut sentence = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        sentence += &format!(": {err}");
        cause = err.source();
    }
    sentence
}

const HTTP_PORT: u16 = 80;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer: a page with more is hard to read, and slow.
const MAX_SHOWN: usize = 2 << 20;
const HEALTH_PATH: &str = "/grpc.health.v1.Health/Check";
/// Headers that say how a message is framed, or what a connection is for.
const FRAMING: &[&str] =
    &["connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
