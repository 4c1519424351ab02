//! Which question of the browser gets which answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::check::Runsd;
use super::events::{self, Events, Gone};
use super::guard::{self, Denied};
use super::send::{self, Ask};
use super::settings::Settings;
use super::{container, lookup, target};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

pub struct Playground {
    settings: Settings,
    runsd: Option<Runsd>,
    /// How many more questions may be under way.
    permits: Semaphore,
}

/// What is answered by events.
enum Question {
    Request(Box<Ask>),
    Lookup { name: String, kind: String },
    Check { name: Option<String> },
}

impl Playground {
    pub fn new(settings: Settings) -> Playground {
        Playground { runsd: Runsd::find(settings.runsd.as_deref()), settings, permits: Semaphore::new(MAX_UNDER_WAY) }
    }

    pub async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let mut answer = match self.answer(request).await {
            Ok(answer) => answer,
            Err(Denied(status, sentence)) => text(status, PLAIN, format!("{sentence}\n")),
        };
        let status = answer.status();
        harden(status, answer.headers_mut());
        answer
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Denied> {
        guard::admit(&self.settings.access, request.headers())?;
        let path = request.uri().path().to_owned();
        let is_get = [Method::GET, Method::HEAD].contains(request.method());
        if let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == path) {
            return match is_get {
                true => Ok(text(StatusCode::OK, kind, *content)),
                false => Err(Denied(StatusCode::METHOD_NOT_ALLOWED, "expected GET")),
            };
        }
        guard::same_site(request.method(), request.headers())?;
        if path == "/api/container" && is_get {
            let described = container::described(&self.settings, self.runsd.as_ref());
            return Ok(text(StatusCode::OK, "application/json", described.to_string()));
        }
        if request.method() != Method::POST {
            return Err(Denied(StatusCode::NOT_FOUND, "there is no such page"));
        }
        let asked = read(request).await?;
        let question =
            Question::read(&path, &asked).ok_or(Denied(StatusCode::NOT_FOUND, "there is no such question"))?;
        let stream = events::stream(async move |events| {
            let Ok(_permit) = self.permits.try_acquire() else {
                let sentence = json!({ "sentence": "too many requests are under way; try again" });
                let _ = events.send("error", sentence).await;
                return;
            };
            let events = Arc::new(events);
            let work = self.work(question, events.clone());
            if timeout(TIME_LIMIT, work).await.is_err() {
                let sentence = format!("it took {} minutes, and was ended", TIME_LIMIT.as_secs() / 60);
                let _ = events.send("error", json!({ "sentence": sentence })).await;
            }
        });
        let mut answer = Response::new(stream.boxed_unsync());
        let kind = HeaderValue::from_static("application/x-ndjson");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(answer)
    }

    /// The work ends early where nobody reads of it any more.
    async fn work(&self, question: Question, events: Arc<Events>) {
        let _ = match question {
            Question::Request(ask) => send::run(&self.settings, &ask, &events).await,
            Question::Lookup { name, kind } => look_up(&name, &kind, &events).await,
            Question::Check { name } => self.check(name, events).await,
        };
    }

    async fn check(&self, name: Option<String>, events: Arc<Events>) -> Result<(), Gone> {
        let read = name.as_deref().map(target::Target::parse).transpose();
        let problem = match (read, &self.runsd) {
            (Err(problem), _) => problem,
            (_, None) => "there is no runsd here: start this as `runsd -- playground`".to_owned(),
            (Ok(target), Some(runsd)) => {
                let (runsd, name) = (runsd.clone(), target.map(|target| target.name));
                let work = move || runsd.check(name.as_deref(), &events);
                return tokio::task::spawn_blocking(work).await.unwrap_or(Ok(()));
            }
        };
        events.send("error", json!({ "sentence": problem })).await
    }
}

impl Question {
    fn read(path: &str, asked: &Value) -> Option<Question> {
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        match path {
            "/api/request" => Some(Question::Request(Box::new(Ask::read(asked)))),
            "/api/lookup" => Some(Question::Lookup { name: text("name"), kind: text("type") }),
            "/api/check" => Some(Question::Check { name: asked["name"].as_str().map(str::to_owned) }),
            _ => None,
        }
    }
}

async fn look_up(name: &str, kind: &str, events: &Events) -> Result<(), Gone> {
    let outcome = match lookup::record_type(kind) {
        Ok(kind) => lookup::look_up(name, kind, events).await?,
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(records) => {
            let records: Vec<_> = records.iter().map(ToString::to_string).collect();
            events.send("found", json!({ "records": records })).await
        }
        Err(sentence) => events.send("error", json!({ "sentence": sentence })).await,
    }
}

async fn read(request: Request<Incoming>) -> Result<Value, Denied> {
    let whole = timeout(QUESTION_LIMIT, read_whole(request.into_body())).await;
    let whole = whole.map_err(|_| Denied(StatusCode::REQUEST_TIMEOUT, "the question took too long"))??;
    serde_json::from_slice(&whole).map_err(|_| Denied(StatusCode::BAD_REQUEST, "that is not JSON"))
}

/// The whole body. One that is too large is read on and dropped, for a client
/// that is still sending when the connection closes may never see the status.
async fn read_whole(mut body: Incoming) -> Result<Vec<u8>, Denied> {
    let too_large = Denied(StatusCode::PAYLOAD_TOO_LARGE, "expected 1 MiB at most");
    if body.size_hint().lower() > MAX_DROPPED {
        return Err(too_large);
    }
    let mut whole = Vec::new();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let left = |_| Denied(StatusCode::BAD_REQUEST, "the question has no end");
        let Ok(data) = frame.map_err(left)?.into_data() else {
            continue;
        };
        read += data.len() as u64;
        if read > MAX_DROPPED {
            return Err(too_large);
        }
        if read <= MAX_QUESTION {
            whole.extend_from_slice(&data);
        }
    }
    if read > MAX_QUESTION {
        return Err(too_large);
    }
    Ok(whole)
}

fn text(status: StatusCode, kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(content.into()).boxed_unsync());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// What holds for each answer.
fn harden(status: StatusCode, headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            let basic = "Basic realm=\"runsd playground\", charset=\"UTF-8\"";
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(basic));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        _ => {}
    }
}

/// The page: nothing of it comes from elsewhere.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/index.html")),
    ("/style.css", CSS, include_str!("page/style.css")),
    ("/answer.css", CSS, include_str!("page/answer.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/request.js", SCRIPT, include_str!("page/request.js")),
    ("/answer.js", SCRIPT, include_str!("page/answer.js")),
    ("/lookup.js", SCRIPT, include_str!("page/lookup.js")),
    ("/container.js", SCRIPT, include_str!("page/container.js")),
    ("/stream.js", SCRIPT, include_str!("page/stream.js")),
];
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Questions that are answered at a time. One that comes beyond is told to wait:
/// each may keep a connection for minutes.
const MAX_UNDER_WAY: usize = 32;
/// Bytes of a question, which has the body of the request to send in it.
const MAX_QUESTION: u64 = 1 << 20;
/// Bytes of a body that is read only so that its client sees why it was refused.
const MAX_DROPPED: u64 = 16 << 20;
/// How long a browser may take to send one.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// How long a request may take: enough to watch a stream of events.
const TIME_LIMIT: Duration = Duration::from_secs(300);
