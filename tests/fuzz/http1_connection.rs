//! A whole HTTP/1 connection with both sides scripted, over real sockets. Whatever they send, and in whatever pieces:
//! the upstream gets requests of the client alone, each with its own body, and the client gets the responses to its
//! own requests, in their order, each whole or cut by a reset.
//!
//! Who is right is decided by a reader that is more lenient than runsd, and finds the same in what both read.

mod read;
mod script;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use self::read::{Request, Responses, read_request, read_requests, response_end};
use self::script::{AfterResponse, ScriptedResponse, stamp};
use crate::cli::{self, Cli};
use crate::config::Config;
use crate::dns::nameservers::Nameservers;
use crate::net::conn_limit::ConnLimiter;
use crate::proxy::Proxy;
use crate::proxy::http1::{READ_TIMEOUT, serve};
use crate::sys;

/// Sections with 0xff between them; the first octet of each says what it is (`script.rs`).
pub fn http1_connection(data: &[u8]) {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let world = crate::sync::lock(WORLD.get_or_init(|| Mutex::new(World::new())));
    let mut script = script::parse(data);
    let requests = script.stamp_requests(read_requests(&script.client_bytes()));
    let done = AtomicBool::new(false);
    let (arrivals, received) = thread::scope(|scope| {
        let (listener, responses) = (&world.upstream, &script.responses);
        let upstream = Upstream { responses, requests: &requests, arrivals: Vec::new(), replayable: None };
        let upstream = scope.spawn(|| upstream.accept(listener, &done));
        let client = TcpStream::connect(world.clients.local_addr().expect("an address")).expect("a connection");
        let (served, _) = world.clients.accept().expect("its other end");
        // A pool of its own, whose connections end with it.
        let proxy = Proxy::new(&world.config, Arc::new(Nameservers::new(&[], &[])), 80, false);
        let serving = scope.spawn(move || {
            served.set_read_timeout(Some(READ_TIMEOUT)).expect("a time-out");
            let _ = served.set_nodelay(true);
            let permit = ConnLimiter::new(1_024, usize::MAX).acquire(served, |_, _| ());
            serve(&proxy, &permit, Vec::new(), None);
        });
        let received = Client { tcp: client, requests: &requests, received: Received::default() }.run(&script.client);
        serving.join().expect("no panic");
        done.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(world.upstream.local_addr().expect("an address"));
        (upstream.join().expect("no panic"), received)
    });
    for arrival in &arrivals {
        let of = arrival.request.map(|number| &requests[number]);
        assert!(of.is_some_and(|request| request.is_that(&arrival.got)), "{:?} is not {of:?}", arrival.got);
    }
    received.check(&requests);
}

/// What all runs share: the configuration with a route `up`, and where that leads to.
struct World {
    config: Config,
    upstream: TcpListener,
    clients: TcpListener,
}

impl World {
    fn new() -> World {
        let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = upstream.local_addr().expect("its address").port();
        // Other names go nowhere.
        let argv = [format!("-route=up=http://127.0.0.1:{port}"), "-only=up".into(), "app".into()];
        let Ok(Cli::Run(args)) = cli::parse(argv.map(Into::into).into_iter(), &[]) else {
            panic!("flags");
        };
        let config = Config::new(args, |name| (name == "GCE_METADATA_HOST").then(|| NOWHERE.into()));
        World { config, upstream, clients: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }
}

/// What the upstream got, as far as it came, and which of the client's requests it is.
struct Arrival {
    request: Option<usize>,
    got: Request,
}

struct Upstream<'a> {
    responses: &'a [ScriptedResponse],
    requests: &'a [Request],
    arrivals: Vec<Arrival>,
    /// The last request, if it may come again: nothing of a response may have come to runsd.
    replayable: Option<usize>,
}

impl Upstream<'_> {
    /// Serves one connection after the other, and at last all that runsd has left behind it: none is to come to the
    /// next run.
    fn accept(mut self, listener: &TcpListener, done: &AtomicBool) -> Vec<Arrival> {
        loop {
            let is_done = done.load(Ordering::SeqCst);
            listener.set_nonblocking(is_done).expect("fcntl(2)");
            let Ok((tcp, _)) = listener.accept() else { break };
            tcp.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let _ = tcp.set_nodelay(true);
            let mut input = Vec::new();
            while self.exchange(&tcp, &mut input).is_some() {}
        }
        self.arrivals
    }

    /// Reads one request and responds to it; `None` at the end of the connection.
    fn exchange(&mut self, tcp: &TcpStream, input: &mut Vec<u8>) -> Option<()> {
        let mut got = read_request(input);
        while got.head_end.is_none() && !got.is_malformed {
            if !fill(tcp, input) {
                // What came of a head is no request.
                return None;
            }
            got = read_request(input);
        }
        let request = self.find(&got);
        let number = self.arrivals.len();
        self.arrivals.push(Arrival { request, got });
        let usual = ScriptedResponse::usual();
        let response = self.responses.get(number).unwrap_or(&usual);
        let whole = response.is_early || self.read_whole(tcp, input);
        let request = request.filter(|_| whole && !self.arrivals[number].got.is_malformed)?;
        let end = self.respond(tcp, response, request);
        if end == Some(AfterResponse::Upgraded) {
            let _ = tcp.shutdown(Shutdown::Write);
            while fill(tcp, input) {}
        }
        if end != Some(AfterResponse::Open) || !self.read_whole(tcp, input) {
            return None;
        }
        input.drain(..self.arrivals[number].got.end?);
        Some(())
    }

    /// Returns which of the client's requests came; `None` for what is none of them.
    fn find(&mut self, got: &Request) -> Option<usize> {
        let last = self.arrivals.last().and_then(|last| last.request);
        let again = self.replayable.take().filter(|number| self.requests[*number].has_head_of(got));
        let next = last.map_or(0, |last| last + 1);
        again.or_else(|| (next..self.requests.len()).find(|number| self.requests[*number].has_head_of(got)))
    }

    /// Reads the last request to its end; false if that does not come.
    fn read_whole(&mut self, tcp: &TcpStream, input: &mut Vec<u8>) -> bool {
        let last = self.arrivals.last_mut().expect("a request");
        while last.got.end.is_none() && !last.got.is_malformed && fill(tcp, input) {
            last.got = read_request(input);
        }
        last.got.end.is_some()
    }

    /// Sends a response; what comes after it, `None` if it has no end but that of the connection.
    fn respond(&mut self, mut tcp: &TcpStream, response: &ScriptedResponse, number: usize) -> Option<AfterResponse> {
        let pieces: Vec<_> = response.pieces.iter().map(|piece| stamp(piece, number)).collect();
        let bytes = pieces.concat();
        let request = &self.requests[number];
        let (end, is_upgrade) = response_end(&bytes, &request.method);
        let is_lost = bytes.is_empty() || response.after == AfterResponse::Reset;
        self.replayable = (is_lost && request.is_repeatable()).then_some(number);
        // What comes behind a response comes with it: later, it cannot be told from the response to the next request.
        let mut sent = 0;
        for piece in &pieces {
            let cut = sent + piece.len();
            if cut < bytes.len() && end.is_none_or(|end| cut < end) {
                let _ = tcp.write_all(&bytes[sent..cut]);
                sent = cut;
            } else {
                break;
            }
        }
        let is_sent = tcp.write_all(&bytes[sent..]).is_ok();
        if response.after == AfterResponse::Reset {
            sys::tcp::set_linger_zero(tcp.as_fd());
        }
        match end {
            _ if is_upgrade => Some(AfterResponse::Upgraded),
            Some(_) if is_sent => Some(response.after),
            _ => None,
        }
    }
}

struct Client<'a> {
    tcp: TcpStream,
    requests: &'a [Request],
    received: Received,
}

impl Client<'_> {
    /// Sends all pieces, and reads to the end of the connection.
    fn run(mut self, pieces: &[(bool, Vec<u8>)]) -> Received {
        self.tcp.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let _ = self.tcp.set_nodelay(true);
        let mut sent = 0;
        for (waits, piece) in pieces {
            let due = self.requests.iter().filter(|request| request.end.is_some_and(|end| end <= sent)).count();
            while *waits && self.count_responses() < due && self.fill() {}
            sent += piece.len();
            if self.tcp.write_all(piece).is_err() {
                // A reset is told once, here or by a read.
                self.received.is_reset = true;
                break;
            }
        }
        let _ = self.tcp.shutdown(Shutdown::Write);
        while self.fill() {}
        self.received
    }

    fn count_responses(&self) -> usize {
        Responses::read(&self.received.bytes, self.requests).complete()
    }

    /// Reads once; false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.tcp.read(&mut bytes) {
            Ok(n) => {
                self.received.bytes.extend_from_slice(&bytes[..n]);
                n > 0
            }
            Err(err) if err.kind() == ErrorKind::WouldBlock => panic!("neither a response nor the end"),
            Err(_) => {
                self.received.is_reset = true;
                false
            }
        }
    }
}

/// All that the client got.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    is_reset: bool,
}

impl Received {
    fn check(&self, requests: &[Request]) {
        let shown = self.bytes.escape_ascii();
        let responses = Responses::read(&self.bytes, requests);
        assert!(!responses.is_malformed, "{shown}");
        for (number, response) in responses.all.iter().enumerate() {
            assert!(number < requests.len(), "more responses than requests: {shown}");
            let strays =
                self.bytes[response.range.clone()].iter().filter(|octet| script::is_other_stamp(**octet, number));
            assert_eq!(strays.count(), 0, "response {number} has something of another one: {shown}");
        }
        if self.is_reset {
            return;
        }
        assert!(responses.all.iter().all(|response| response.is_whole), "cut without a reset: {shown}");
        let due = requests.iter().filter(|request| request.end.is_some()).count();
        let is_told = responses.all.last().is_some_and(|last| last.is_last) || responses.has_upgrade;
        assert!(responses.complete() >= due || is_told, "{due} requests, and {shown}");
    }
}

/// Reads once; false at the end of the connection.
fn fill(mut tcp: &TcpStream, input: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 4096];
    match tcp.read(&mut bytes) {
        Ok(n) => {
            input.extend_from_slice(&bytes[..n]);
            n > 0
        }
        Err(err) if err.kind() == ErrorKind::WouldBlock => panic!("neither a request nor the end"),
        Err(_) => false,
    }
}

/// An address that nothing can listen on, for the metadata server.
const NOWHERE: &str = "127.0.0.1:0";

/// How long either side waits for runsd: far longer than runsd waits for anything here.
const PATIENCE: Duration = Duration::from_secs(10);
