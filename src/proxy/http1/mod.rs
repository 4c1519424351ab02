//! One HTTP/1 connection of the application: requests in, answers back.

mod answer;
pub mod body;
pub mod head;
mod input;
mod rewrite;
mod tunnel;
mod upload;

use std::fmt;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{Level, debug, log_enabled, warn};

use self::answer::Answered;
use self::body::Body;
use self::head::{BadHead, Framing, Head};
use self::input::Input;
use self::upload::{Upload, Uploaded};
use super::refusal::{Kind, Refusal};
use super::route::{Sent, USER_AGENT};
use super::upstream::{Alpn, Connection};
use super::{Goal, Proxy, trace};
use crate::secret::Secret;

/// Serves the connection until one side closes it. `first` are the bytes that
/// were read to see that it is HTTP/1.
pub fn serve(proxy: &Proxy, tcp: &TcpStream, first: Vec<u8>) {
    let mut session = Session {
        proxy,
        tcp,
        input: Input::new(first),
        head: Head::default(),
        out: Vec::new(),
        answer: Vec::new(),
        last: None,
        tunnelled: None,
        ended: None,
        upstream: None,
    };
    while let Ok(Next::Request) = session.exchange() {}
    if let Some(connection) = session.upstream.take() {
        proxy.upstream.put(connection);
    }
}

struct Session<'a> {
    proxy: &'a Proxy,
    tcp: &'a TcpStream,
    input: Input,
    head: Head,
    /// What is about to be sent, either way.
    out: Vec<u8>,
    /// What the upstream sent and the client has not got yet.
    answer: Vec<u8>,
    /// The last Host and where it led: nearly always the next one too.
    last: Option<(Vec<u8>, Arc<Goal>)>,
    /// The authority of a CONNECT that was answered by this very connection.
    tunnelled: Option<String>,
    /// Since when the client sends nothing more.
    ended: Option<Instant>,
    /// The connection of the last request, while the client is busy.
    upstream: Option<Connection>,
}

/// What an exchange leaves behind.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

/// The connection is over: its client is gone, or no answer would be whole.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over
    }
}

/// What is to be remembered of a request while it is answered.
struct Asked {
    goal: Arc<Goal>,
    host: String,
    method: Vec<u8>,
    target: String,
    accept: Option<String>,
    minor: u8,
    keep: bool,
    framing: Framing,
    /// The client waits for leave to send its body.
    expects: bool,
    upgrade: bool,
    bearer: Option<Secret>,
    /// It is sent for the second time, with another token.
    again: bool,
    /// For the log, if anybody reads that.
    seen: Option<Box<Seen>>,
    started: Instant,
}

/// Whom an answer of our own is for.
struct To {
    name: String,
    accept: Option<String>,
    head_only: bool,
    /// It is clear where the next request starts, and there may be one.
    keep: bool,
    minor: u8,
}

impl Default for To {
    fn default() -> To {
        To {
            name: "a request".to_owned(),
            accept: None,
            head_only: false,
            keep: false,
            minor: 1,
        }
    }
}

impl To {
    fn asked(asked: &Asked) -> To {
        To {
            name: asked.host.clone(),
            accept: asked.accept.clone(),
            head_only: asked.method == b"HEAD",
            keep: asked.keep && asked.framing == Framing::None,
            minor: asked.minor,
        }
    }

    /// Whoever wrote a head that can be read, but not carried out.
    fn head(head: &Head, input: &[u8]) -> To {
        let text = |value| String::from_utf8_lossy(value).into_owned();
        let name = head.host(input).ok().flatten().map(text);
        To {
            name: name.unwrap_or_else(|| To::default().name),
            accept: head.get(input, "accept").map(text),
            head_only: head.method(input) == b"HEAD",
            keep: head.keeps_alive(input) && head.request_framing(input) == Ok(Framing::None),
            minor: head.minor,
        }
    }
}

/// What only the log wants to know of a request.
struct Seen {
    user_agent: String,
    trace: Option<String>,
}

impl Asked {
    /// Whether it may be sent twice without harm (RFC 9110 section 9.2.2).
    fn repeatable(&self) -> bool {
        self.framing == Framing::None
            && !self.upgrade
            && [
                &b"GET"[..],
                b"HEAD",
                b"OPTIONS",
                b"PUT",
                b"DELETE",
                b"TRACE",
            ]
            .contains(&self.method.as_slice())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = String::from_utf8_lossy(&self.method);
        write!(f, "{method} http://{}{}", self.host, self.target)
    }
}

/// Why an attempt brought no answer.
enum Failed {
    Refused(Refusal),
    /// The connection had died before; another one may do.
    Stale,
    /// Its token was not accepted; here is another one.
    Denied(Secret),
    Over,
}

impl From<Over> for Failed {
    fn from(_: Over) -> Failed {
        Failed::Over
    }
}

impl Session<'_> {
    /// One request and its answer.
    fn exchange(&mut self) -> Result<Next, Over> {
        let Some(end) = self.read_head()? else {
            return Ok(Next::Close);
        };
        let mut asked = match self.understand() {
            Ok(Request::Forward(asked)) => asked,
            Ok(Request::Tunnelled) => {
                self.input.consume(end);
                (&mut &*self.tcp).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                return Ok(Next::Request);
            }
            Err(refusal) => {
                let mut to = To::head(&self.head, self.input.bytes());
                // Who wrote this wrong may mean something else by the rest, too.
                to.keep &= !matches!(refusal.kind, Kind::HttpRequestError(_));
                self.input.consume(end);
                return self.refuse(&refusal, &to);
            }
        };
        self.input.consume(end);
        match self.forward(&mut asked) {
            Ok(next) => Ok(next),
            Err(Failed::Over) => Err(Over),
            Err(Failed::Stale | Failed::Denied(_)) => {
                self.refuse(&closed(&asked), &To::asked(&asked))
            }
            Err(Failed::Refused(refusal)) => self.refuse(&refusal, &To::asked(&asked)),
        }
    }

    /// Answers in the upstream's place. Only after a whole request without a
    /// body is it clear where the next one starts.
    fn refuse(&mut self, refusal: &Refusal, to: &To) -> Result<Next, Over> {
        warn!("proxy: {}: {}", to.name, refusal.reason());
        let mut answer = refusal.to_http1(to.accept.as_deref(), to.head_only, !to.keep);
        if to.keep && to.minor == 0 {
            answer = rewrite::kept_alive(&answer);
        }
        (&mut &*self.tcp).write_all(&answer)?;
        if to.keep {
            return Ok(Next::Request);
        }
        input::linger(self.tcp);
        Ok(Next::Close)
    }

    /// Reads until a whole head stands at the start of the input; `None` when
    /// the client is done.
    fn read_head(&mut self) -> Result<Option<usize>, Over> {
        loop {
            match self.head.read_request(self.input.bytes()) {
                Ok(Some(end)) => return Ok(Some(end)),
                Ok(None) => {}
                Err(bad) => {
                    self.refuse(&bad_head(bad), &To::default())?;
                    return Ok(None);
                }
            }
            let got = match self.input.fill(self.tcp) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    // A client that pauses lends its connection to others,
                    // and waits without waking us every second.
                    if let Some(connection) = self.upstream.take() {
                        self.proxy.upstream.put(connection);
                    }
                    if self.input.bytes().is_empty() {
                        self.input.rest();
                        self.out = Vec::new();
                        self.answer = Vec::new();
                    }
                    let _ = self.tcp.set_read_timeout(None);
                    let got = self.input.fill(self.tcp);
                    let _ = self.tcp.set_read_timeout(Some(PATIENCE));
                    got?
                }
                got => got?,
            };
            if got == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads the request's meaning out of its head.
    fn understand(&mut self) -> Result<Request, Refusal> {
        let input = self.input.bytes();
        let head = &self.head;
        let framing = head.request_framing(input).map_err(bad_head)?;
        let header = head.host(input).map_err(bad_head)?;
        let method = head.method(input);
        let target = head.target(input);
        if method == b"CONNECT" {
            let authority = text(target)?;
            // To one of our names, the tunnel leads right here; the others
            // would make a proxy for everything.
            self.proxy.goal(authority)?;
            self.tunnelled = Some(authority.to_owned());
            return Ok(Request::Tunnelled);
        }
        let (host, path) = match target.strip_prefix(b"/") {
            Some(_) => (header.unwrap_or_default(), target),
            None if target == b"*" && method == b"OPTIONS" => (header.unwrap_or_default(), target),
            None => absolute(target).ok_or_else(|| bad_head(BadHead::StartLine))?,
        };
        let host = match &self.tunnelled {
            Some(authority) if host.is_empty() => authority.as_bytes(),
            _ => host,
        };
        let goal = match &self.last {
            Some((last, goal)) if last == host => goal.clone(),
            _ => {
                let goal = Arc::new(self.proxy.goal(text(host)?)?);
                self.last = Some((host.to_vec(), goal.clone()));
                goal
            }
        };
        let sent = Sent::of(head.fields(input));
        let bearer = match goal.foreign {
            true => None,
            false => self.proxy.bearer(&goal, &sent, SystemTime::now())?,
        };
        let asked = Asked {
            host: text(host)?.to_owned(),
            method: method.to_vec(),
            target: String::from_utf8_lossy(path).into_owned(),
            accept: head
                .get(input, "accept")
                .map(|accept| String::from_utf8_lossy(accept).into_owned()),
            minor: head.minor,
            keep: head.keeps_alive(input),
            framing,
            expects: head.lists(input, "expect", "100-continue"),
            upgrade: head.minor == 1
                && framing == Framing::None
                && head.lists(input, "connection", "upgrade")
                && head.get(input, "upgrade").is_some()
                // A correct answer in HTTP/1.1 is allowed (RFC 7540, 3.2),
                // and HTTP/2 is spoken here without asking first.
                && !head.lists(input, "upgrade", "h2c"),
            bearer,
            goal,
            again: false,
            seen: log_enabled!(Level::Trace).then(|| Box::new(seen(head, input))),
            started: Instant::now(),
        };
        let changes = match asked.goal.foreign {
            true => None,
            false => Some(self.proxy.router.rewrite(&sent, asked.bearer.as_ref())),
        };
        self.out.clear();
        rewrite::request(&mut self.out, head, input, &asked, path, changes.as_ref());
        Ok(Request::Forward(asked))
    }

    /// Sends the request that stands in `out`, its body after it, and passes
    /// the answer back.
    fn forward(&mut self, asked: &mut Asked) -> Result<Next, Failed> {
        let mut request = std::mem::take(&mut self.out);
        let mut fresh = false;
        let next = loop {
            let mut connection = self.connection(asked, fresh).map_err(Failed::Refused)?;
            self.answer.clear();
            let done = self.attempt(asked, &request, &mut connection);
            match done {
                Err(Failed::Stale) if asked.repeatable() && !fresh => {
                    debug!("proxy: {}: connection was dead; a new one", asked.host);
                    fresh = true;
                }
                Err(Failed::Denied(bearer)) => {
                    debug!("proxy: {}: another token after a 401", asked.host);
                    if let Some(old) = asked.bearer.replace(bearer) {
                        let new = asked.bearer.as_ref().unwrap_or(&old);
                        request = rewrite::with_another(&request, &old, new);
                    }
                    asked.again = true;
                }
                Ok((next, keep)) => {
                    if keep {
                        connection.used = true;
                        self.upstream = Some(connection);
                    }
                    break Ok(next);
                }
                Err(failed) => break Err(failed),
            }
        };
        // Kept, because its room serves the next request.
        if request.capacity() <= ROOM {
            self.out = request;
        }
        next
    }

    fn connection(&mut self, asked: &Asked, fresh: bool) -> Result<Connection, Refusal> {
        let to = &asked.goal.destination;
        if let Some(held) = self.upstream.take() {
            if held.leads_to(to) && !fresh {
                // What cannot be repeated looks first whether anyone is there.
                if asked.repeatable() || held.is_quiet() {
                    return Ok(held);
                }
            } else if !fresh {
                self.proxy.upstream.put(held);
            }
        }
        if !fresh && let Some(idle) = self.proxy.upstream.take(to) {
            return Ok(idle);
        }
        self.proxy.upstream.dial(to, Alpn::Http1)
    }

    /// One try on one connection: what comes next for the client, and whether
    /// the connection can serve again.
    fn attempt(
        &mut self,
        asked: &Asked,
        request: &[u8],
        connection: &mut Connection,
    ) -> Result<(Next, bool), Failed> {
        let whole = match Body::new(asked.framing) {
            None => connection.writer.write_all(request).is_ok(),
            Some(mut body) => match asked.framing {
                Framing::Length(length) if length <= SMALL && !asked.expects => {
                    self.send_small(request, &mut body, connection)?
                }
                // An answer may come before the body is through, and then must
                // not wait behind it.
                _ => return self.attempt_large(asked, request, body, connection),
            },
        };
        if !whole && connection.used && asked.repeatable() {
            return Err(Failed::Stale);
        }
        match self.answer(asked, &mut connection.reader, None) {
            // Whoever was told half a request cannot be told another.
            Ok(Answered::Done { next, keep }) => Ok((next, keep && whole)),
            Ok(Answered::Switched) => {
                tunnel::run(self.tcp, self.input.bytes(), &self.answer, connection);
                Ok((Next::Close, false))
            }
            Err(Failed::Stale) if !connection.used => Err(Failed::Refused(closed(asked))),
            Err(failed) => Err(failed),
        }
    }

    /// The same while a second thread sends the body.
    fn attempt_large(
        &mut self,
        asked: &Asked,
        request: &[u8],
        body: Body,
        connection: &mut Connection,
    ) -> Result<(Next, bool), Failed> {
        let Connection { reader, writer, .. } = connection;
        let upload = Upload::new(
            self.tcp,
            std::mem::take(&mut self.input),
            body,
            reader.aborter(),
        );
        let result = thread::scope(|scope| -> Result<_, Failed> {
            let job = &upload;
            let thread = thread::Builder::new()
                .name("upload".to_owned())
                .stack_size(super::STACK)
                .spawn_scoped(scope, move || job.run(request, writer))
                .map_err(|err| {
                    let details = format!("no thread for a body: {err}");
                    Failed::Refused(Refusal::new(Kind::ProxyInternalError, details))
                })?;
            let answered = self.answer(asked, reader, Some(&upload));
            let complete = upload.is_complete();
            if !complete {
                // The upstream has said what it had to say. What the client
                // still sends is read, so that it gets to read the answer.
                reader.abort();
                upload.drain();
                if answered.is_ok() {
                    let _ = self.tcp.shutdown(Shutdown::Write);
                }
            }
            if answered.is_ok() || complete {
                let _ = thread.join();
            }
            Ok((answered, complete))
        });
        let outcome = upload.outcome();
        self.input = upload.into_input();
        let (answered, complete) = result?;
        match (outcome, answered) {
            (Some(Uploaded::ClientGone), _) => Err(Failed::Over),
            (Some(Uploaded::Bad(bad)), Err(_)) => Err(Failed::Refused(Refusal::new(
                Kind::HttpRequestError(400),
                bad.to_string(),
            ))),
            (_, Ok(Answered::Done { next, keep })) if complete => Ok((next, keep)),
            (_, Ok(_)) => Ok((Next::Close, false)),
            // A body is on its way, or gone: it cannot be sent again.
            (_, Err(Failed::Stale)) => Err(Failed::Refused(closed(asked))),
            (_, Err(failed)) => Err(failed),
        }
    }

    /// Sends a small body together with its head; whether all of it went out.
    fn send_small(
        &mut self,
        request: &[u8],
        body: &mut Body,
        connection: &mut Connection,
    ) -> Result<bool, Over> {
        let mut first = Some(request);
        loop {
            let bytes = self.input.bytes();
            // A body of known length has nothing in it that could be bad.
            let (n, done) = body.take(bytes, |_| {}).map_err(|_| Over)?;
            let sent = match first.take() {
                Some(request) => connection
                    .writer
                    .write_all(&[request, &bytes[..n]].concat()),
                None => connection.writer.write_all(&bytes[..n]),
            };
            self.input.consume(n);
            if sent.is_err() {
                return Ok(false);
            }
            if done {
                return Ok(true);
            }
            loop {
                match self.input.fill(self.tcp) {
                    Ok(0) => {
                        connection.reader.abort();
                        return Err(Over);
                    }
                    Ok(_) => break,
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                    Err(err) => {
                        connection.reader.abort();
                        return Err(err.into());
                    }
                }
            }
        }
    }
}

/// Asks for `/` on a new connection: the status, and the start of the body.
pub fn ask(
    connection: &mut Connection,
    authority: &str,
    bearer: Option<&Secret>,
) -> io::Result<(u16, Vec<u8>)> {
    let mut request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    if let Some(bearer) = bearer {
        request.push_str(&format!("Authorization: {}\r\n", bearer.expose()));
    }
    request.push_str("\r\n");
    connection.writer.write_all(request.as_bytes())?;
    let mut head = Head::default();
    let mut answer = vec![0; head::LARGEST];
    let mut held = 0;
    loop {
        let n = connection.reader.read(&mut answer[held..])?;
        held += n;
        let read = head.read_response(&answer[..held]);
        match read.map_err(|bad| io::Error::other(bad.to_string()))? {
            Some(end) => {
                let status = head.status(&answer);
                // The body mostly comes with it; who knows no front end's page
                // takes the status for the service's own.
                if held == end
                    && let Ok(n) = connection.reader.read(&mut answer[held..])
                {
                    held += n;
                }
                return Ok((status, answer[end..held].to_vec()));
            }
            None if n == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

/// What a head asks for.
enum Request {
    Forward(Asked),
    /// CONNECT to one of our names: the tunnel's other end is this proxy.
    Tunnelled,
}

/// Host and path of an absolute-form target (RFC 9112 section 3.2.2).
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = target.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"http://") {
        return None;
    }
    let end = rest.iter().position(|&b| b == b'/' || b == b'?');
    match rest.split_at(end.unwrap_or(rest.len())) {
        (b"", _) => None,
        (host, b"") => Some((host, b"/")),
        (host, path) => Some((host, path)),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| {
        Refusal::new(
            Kind::HttpRequestError(400),
            "a host that is not of letters, digits and dashes",
        )
    })
}

fn bad_head(bad: BadHead) -> Refusal {
    let status = match bad {
        BadHead::TooLarge => 431,
        BadHead::Version => 505,
        _ => 400,
    };
    Refusal::new(
        Kind::HttpRequestError(status),
        format!("the request has {bad}"),
    )
}

fn seen(head: &Head, input: &[u8]) -> Seen {
    let user_agent = head.get(input, USER_AGENT).unwrap_or_default();
    let id = trace::id(
        head.get(input, trace::TRACEPARENT),
        head.get(input, trace::CLOUD_TRACE),
    );
    Seen {
        user_agent: String::from_utf8_lossy(user_agent).into_owned(),
        trace: id.map(str::to_owned),
    }
}

fn closed(asked: &Asked) -> Refusal {
    Refusal::new(
        Kind::ConnectionTerminated,
        format!(
            "{} closed the connection without an answer",
            asked.goal.destination.host
        ),
    )
}

/// The largest body that is sent by the thread that reads the answer.
const SMALL: u64 = 64 * 1024;
/// The largest buffer kept between requests.
const ROOM: usize = 64 * 1024;
/// How long a read waits before it looks around.
pub const PATIENCE: Duration = Duration::from_secs(1);
