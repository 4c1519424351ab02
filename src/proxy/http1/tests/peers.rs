//! The client and the upstream of random exchanges.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::{AfterResponse, Plan, Response, Rng};
use crate::sys;

/// What request bodies consist of: requests, if they were read as such.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: up\r\n\r\n";
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";

/// Responds as planned; the plan of request `/3` is the fourth.
pub struct Upstream {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    plans: Vec<Plan>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    targets: Vec<String>,
    /// The requests whose response was sent, with all that comes after it.
    settled: Vec<usize>,
    /// The number of requests that are not settled.
    pending: usize,
}

impl Upstream {
    pub fn start(plans: Vec<Plan>) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared { plans, progress: Mutex::default(), changed: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                // Sent at once: the tests wait for what was written.
                let _ = tcp.set_nodelay(true);
                let shared = accepting.clone();
                thread::spawn(move || while shared.exchange(&tcp).is_some() {});
                if Arc::strong_count(&accepting) == 1 {
                    return;
                }
            }
        });
        Upstream { port, shared }
    }

    /// The targets of the requests that came.
    pub fn targets(&self) -> Vec<String> {
        self.shared.progress.lock().expect("no panic").targets.clone()
    }

    /// Waits until all requests are settled: a stray response that comes after the check before the next request
    /// cannot be told from its response.
    pub fn settle(&self) {
        let progress = self.shared.progress.lock().expect("no panic");
        let pending = |progress: &mut Progress| progress.pending > 0;
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(progress, Duration::from_secs(5), pending);
        let (progress, _) = waited.expect("no panic");
        assert_eq!(progress.pending, 0, "requests without a response");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// Reads and serves one request; `None` when the connection is over.
    fn exchange(&self, tcp: &TcpStream) -> Option<()> {
        let head = head(tcp)?;
        self.progress.lock().expect("no panic").pending += 1;
        let responded = self.respond(tcp, &head);
        self.progress.lock().expect("no panic").pending -= 1;
        self.changed.notify_all();
        let (response, after) = responded?;
        if response == Response::Early {
            body(tcp, &head)?;
        }
        (!matches!(after, AfterResponse::Close | AfterResponse::Reset)).then_some(())
    }

    /// Responds as planned, and does what comes after.
    fn respond(&self, mut tcp: &TcpStream, head: &str) -> Option<(Response, AfterResponse)> {
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let id = target[1..].parse().unwrap_or(usize::MAX);
        let is_second = {
            let mut progress = self.progress.lock().expect("no panic");
            progress.targets.push(target.to_owned());
            progress.settled.contains(&id)
        };
        let plan = self.plans.get(id)?;
        // A second attempt gets its response.
        let (response, after) = match is_second {
            true => (Response::Whole, AfterResponse::Open),
            false => (plan.response, plan.after),
        };
        if response != Response::Early {
            body(tcp, head)?;
        }
        let text = format!("id={id}");
        let mut out = match response {
            Response::None => String::new(),
            Response::Chunked if method != "HEAD" => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
            }
            Response::Bodiless(status) => format!("HTTP/1.1 {status} x\r\nX-Id: {id}\r\n\r\n"),
            _ => {
                let interim = match response {
                    Response::AfterInterim => "HTTP/1.1 103 Early Hints\r\n\r\n",
                    _ => "",
                };
                let body = if method == "HEAD" { "" } else { &text };
                format!("{interim}HTTP/1.1 200 OK\r\nX-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}", text.len())
            }
        };
        if after == AfterResponse::StrayAlong {
            out.push_str(STRAY);
        }
        let sent = tcp.write_all(out.as_bytes());
        match after {
            AfterResponse::StrayLater => drop(tcp.write_all(STRAY.as_bytes())),
            AfterResponse::Close => drop(tcp.shutdown(Shutdown::Both)),
            AfterResponse::Reset => {
                sys::tcp::set_linger_zero(tcp.as_fd());
                let _ = tcp.shutdown(Shutdown::Both);
            }
            AfterResponse::Open | AfterResponse::StrayAlong => {}
        }
        self.progress.lock().expect("no panic").settled.push(id);
        sent.ok()?;
        Some((response, after))
    }
}

/// One client's connection.
pub struct Client<'a> {
    tcp: TcpStream,
    plans: &'a [Plan],
    upstream: &'a Upstream,
    rng: &'a mut Rng,
}

impl<'a> Client<'a> {
    pub fn new(tcp: TcpStream, plans: &'a [Plan], upstream: &'a Upstream, rng: &'a mut Rng) -> Client<'a> {
        let timeout = Some(Duration::from_secs(10));
        tcp.set_read_timeout(timeout).expect("a time-out");
        let _ = tcp.set_nodelay(true);
        Client { tcp, plans, upstream, rng }
    }

    /// Sends the requests from `at` on until the connection is over; returns where the next client starts.
    pub fn run(mut self, mut at: usize) -> usize {
        while at < self.plans.len() {
            let first = at;
            let mut alive = self.send(at);
            while alive && self.plans[at].pipelined && at + 1 < self.plans.len() {
                at += 1;
                alive = self.send(at);
            }
            at += 1;
            for id in first..at {
                if !self.receive(id) {
                    // Whether the requests behind it were served is not known.
                    return at;
                }
            }
            if self.rng.one_in(4) {
                return at;
            }
        }
        at
    }

    /// Sends a request; false if the connection broke.
    fn send(&mut self, id: usize) -> bool {
        let Plan { method, body, pieces, .. } = self.plans[id];
        let mut head = format!("{method} /{id} HTTP/1.1\r\nHost: up\r\n").into_bytes();
        let mut content: Vec<u8> = SMUGGLED.iter().copied().cycle().take(body.map_or(0, |b| b.0)).collect();
        match body {
            None => head.extend(b"\r\n"),
            Some((length, false)) => head.extend(format!("Content-Length: {length}\r\n\r\n").bytes()),
            Some((length, true)) => {
                head.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                let size = format!("{length:x}\r\n").into_bytes();
                content = [&size[..], &content, b"\r\n0\r\n\r\n"].concat();
            }
        }
        if self.rng.one_in(2) {
            head.append(&mut content);
        }
        let mut sent = self.tcp.write_all(&head).is_ok();
        for piece in content.chunks(content.len().div_ceil(pieces).max(1)) {
            for _ in 0..self.rng.below(20) {
                thread::yield_now();
            }
            sent = sent && self.tcp.write_all(piece).is_ok();
        }
        sent
    }

    /// Reads the response to `id`; returns whether another request may follow.
    fn receive(&mut self, id: usize) -> bool {
        let mut found = head(&self.tcp);
        while found.as_ref().is_some_and(|found| found.starts_with("HTTP/1.1 1")) {
            found = head(&self.tcp);
        }
        // The connection may end instead.
        let Some(found) = found else { return false };
        let is_head = self.plans[id].method == "HEAD"
            || found[9..].starts_with(['2', '3']) && ["204", "304"].contains(&&found[9..12]);
        let text = match is_head {
            true => Some(String::new()),
            false => body(&self.tcp, &found),
        };
        let Some(text) = text else { return false };
        let is_own = found.contains("Proxy-Status: runsd");
        let named = found.contains(&format!("X-Id: {id}\r\n")) || text == format!("id={id}");
        // A response to HEAD without an id cannot be told from others.
        let nameless = is_head && !found.contains("X-Id");
        assert!(is_own || named || nameless, "/{id} got {found}{text}\n{:#?}", &self.plans[id.saturating_sub(1)..=id]);
        if !self.plans[id].pipelined {
            self.upstream.settle();
        }
        !found.to_lowercase().contains("connection: close")
    }
}

/// Reads a head, byte by byte; `None` at the end of the connection.
fn head(mut tcp: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(err) if err.kind() == ErrorKind::WouldBlock => panic!("no response"),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Reads the body that belongs to a head.
fn body(mut tcp: &TcpStream, head: &str) -> Option<String> {
    let lower = head.to_lowercase();
    if lower.contains("transfer-encoding") {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                tcp.read_exact(&mut byte).ok()?;
                line.push(byte[0]);
            }
            let size = std::str::from_utf8(&line).ok()?.trim_end();
            let size = usize::from_str_radix(size, 16).expect("a chunk");
            let mut chunk = vec![0; size + 2];
            tcp.read_exact(&mut chunk).ok()?;
            if size == 0 {
                return String::from_utf8(body).ok();
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let length = lower.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split('\r').next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    tcp.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}
