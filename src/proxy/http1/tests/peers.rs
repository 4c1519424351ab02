//! The two ends of conversations at random.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::{Answer, Dice, Plan, Then};
use crate::sys;

/// What bodies of requests are made of: each could pass for a request.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: up\r\n\r\n";
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";

/// Answers as the plans say; request `/3` has the fourth.
pub struct Upstream {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    plans: Vec<Plan>,
    seen: Mutex<RequestLog>,
    moved: Condvar,
}

#[derive(Default)]
struct RequestLog {
    targets: Vec<String>,
    /// Those whose answer is out, with all that comes after it.
    settled: Vec<usize>,
    /// How many are not.
    pending: usize,
}

impl Upstream {
    pub fn start(plans: Vec<Plan>) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared { plans, seen: Mutex::default(), moved: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                // What was written is there, and not held back.
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

    /// What it was asked for.
    pub fn targets(&self) -> Vec<String> {
        self.shared.seen.lock().expect("no panic").targets.clone()
    }

    /// Waits until all that it was asked for is answered, with all that comes
    /// after the answers: what comes later than the look before a request
    /// could be told from its answer by nobody.
    pub fn settle(&self) {
        let seen = self.shared.seen.lock().expect("no panic");
        let pending = |seen: &mut RequestLog| seen.pending > 0;
        let moved = &self.shared.moved;
        let waited = moved.wait_timeout_while(seen, Duration::from_secs(5), pending);
        let (seen, _) = waited.expect("no panic");
        assert_eq!(seen.pending, 0, "requests that the upstream does not answer");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// `None` when the connection is over.
    fn exchange(&self, tcp: &TcpStream) -> Option<()> {
        let head = head(tcp)?;
        self.seen.lock().expect("no panic").pending += 1;
        let done = self.answer(tcp, &head);
        self.seen.lock().expect("no panic").pending -= 1;
        self.moved.notify_all();
        let (answer, then) = done?;
        if answer == Answer::Early {
            body(tcp, &head)?;
        }
        (!matches!(then, Then::Close | Then::Reset)).then_some(())
    }

    /// Answers as planned, and does what comes then.
    fn answer(&self, mut tcp: &TcpStream, head: &str) -> Option<(Answer, Then)> {
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let id = target[1..].parse().unwrap_or(usize::MAX);
        let again = {
            let mut seen = self.seen.lock().expect("no panic");
            seen.targets.push(target.to_owned());
            seen.settled.contains(&id)
        };
        let plan = self.plans.get(id)?;
        // A second try is answered.
        let (answer, then) = match again {
            true => (Answer::Whole, Then::Open),
            false => (plan.answer, plan.then),
        };
        if answer != Answer::Early {
            body(tcp, head)?;
        }
        let text = format!("id={id}");
        let mut out = match answer {
            Answer::None => String::new(),
            Answer::Chunked if method != "HEAD" => {
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
            }
            Answer::Bodiless(status) => format!("HTTP/1.1 {status} x\r\nX-Id: {id}\r\n\r\n"),
            _ => {
                let interim = match answer {
                    Answer::AfterInterim => "HTTP/1.1 103 Early Hints\r\n\r\n",
                    _ => "",
                };
                let body = if method == "HEAD" { "" } else { &text };
                format!("{interim}HTTP/1.1 200 OK\r\nX-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}", text.len())
            }
        };
        if then == Then::StrayAlong {
            out.push_str(STRAY);
        }
        let sent = tcp.write_all(out.as_bytes());
        match then {
            Then::StrayLater => drop(tcp.write_all(STRAY.as_bytes())),
            Then::Close => drop(tcp.shutdown(Shutdown::Both)),
            Then::Reset => {
                sys::tcp::set_linger_zero(tcp.as_fd());
                let _ = tcp.shutdown(Shutdown::Both);
            }
            Then::Open | Then::StrayAlong => {}
        }
        self.seen.lock().expect("no panic").settled.push(id);
        sent.ok()?;
        Some((answer, then))
    }
}

/// One client's connection.
pub struct Client<'a> {
    tcp: TcpStream,
    plans: &'a [Plan],
    upstream: &'a Upstream,
    dice: &'a mut Dice,
}

impl<'a> Client<'a> {
    pub fn new(tcp: TcpStream, plans: &'a [Plan], upstream: &'a Upstream, dice: &'a mut Dice) -> Client<'a> {
        let limit = Some(Duration::from_secs(10));
        tcp.set_read_timeout(limit).expect("a time-out");
        let _ = tcp.set_nodelay(true);
        Client { tcp, plans, upstream, dice }
    }

    /// Asks from `at` on until the connection is over; where to go on.
    pub fn run(mut self, mut at: usize) -> usize {
        while at < self.plans.len() {
            let first = at;
            let mut alive = self.ask(at);
            while alive && self.plans[at].pipelined && at + 1 < self.plans.len() {
                at += 1;
                alive = self.ask(at);
            }
            at += 1;
            for id in first..at {
                if !self.hear(id) {
                    // Whether those behind it were carried out is not known.
                    return at;
                }
            }
            if self.dice.one_in(4) {
                return at;
            }
        }
        at
    }

    /// Sends a request, which may be stopped in its middle.
    fn ask(&mut self, id: usize) -> bool {
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
        if self.dice.one_in(2) {
            head.append(&mut content);
        }
        let mut sent = self.tcp.write_all(&head).is_ok();
        for piece in content.chunks(content.len().div_ceil(pieces).max(1)) {
            for _ in 0..self.dice.below(20) {
                thread::yield_now();
            }
            sent = sent && self.tcp.write_all(piece).is_ok();
        }
        sent
    }

    /// Reads the answer to `id`; whether another request may follow it.
    fn hear(&mut self, id: usize) -> bool {
        let mut found = head(&self.tcp);
        while found.as_ref().is_some_and(|found| found.starts_with("HTTP/1.1 1")) {
            found = head(&self.tcp);
        }
        // A connection that ends is no answer at all.
        let Some(found) = found else { return false };
        let is_head = self.plans[id].method == "HEAD"
            || found[9..].starts_with(['2', '3']) && ["204", "304"].contains(&&found[9..12]);
        let text = match is_head {
            true => Some(String::new()),
            false => body(&self.tcp, &found),
        };
        let Some(text) = text else { return false };
        let ours = found.contains("Proxy-Status: runsd");
        let named = found.contains(&format!("X-Id: {id}\r\n")) || text == format!("id={id}");
        // The answer to a HEAD without a name of its own is as good as any.
        let nameless = is_head && !found.contains("X-Id");
        assert!(
            ours || named || nameless,
            "/{id} was answered by {found}{text}\n{:#?}",
            &self.plans[id.saturating_sub(1)..=id]
        );
        if !self.plans[id].pipelined {
            self.upstream.settle();
        }
        !found.to_lowercase().contains("connection: close")
    }
}

/// A head, byte by byte; `None` at the end, and not in the middle of nowhere.
fn head(mut tcp: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(err) if err.kind() == ErrorKind::WouldBlock => panic!("no end, no answer"),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// The body behind a head.
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
