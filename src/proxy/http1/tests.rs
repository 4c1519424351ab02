//! Random exchanges between a client and an upstream that do what no library would. Whatever they do, no response
//! reaches another request, and no body becomes a request.
//!
//! Each run has another seed, which a failure prints. `RUNSD_SEED` repeats a run, as far as threads can repeat it.

mod peers;

use std::collections::BTreeSet;
use std::env;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::peers::{Client, Upstream};
use super::{READ_TIMEOUT, serve};
use crate::cli::{self, Cli};
use crate::config::Config;
use crate::dns::nameservers::Nameservers;
use crate::net::conn_limit::ConnLimiter;
use crate::proxy::Proxy;

/// Pseudo-random numbers: splitmix64.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap_or(0) % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What the client sends, and what the upstream does then.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub method: &'static str,
    /// The length of the body in bytes, and whether it is chunked.
    pub body: Option<(usize, bool)>,
    /// In how many pieces the client sends it.
    pub pieces: usize,
    /// The client sends the next request behind this one.
    pub pipelined: bool,
    pub response: Response,
    pub after: AfterResponse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Once the whole request was read.
    Whole,
    /// Once its head was read.
    Early,
    AfterInterim,
    Chunked,
    /// 204 or 304.
    Bodiless(u16),
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterResponse {
    Open,
    Close,
    Reset,
    /// A second response, in the write of the first or after it.
    StrayAlong,
    StrayLater,
}

impl Plan {
    fn new(rng: &mut Rng) -> Plan {
        let method = rng.pick(&["GET", "HEAD", "POST", "POST", "PUT", "PUT"]);
        let length = rng.pick(&[1, 40, 200, 5_000, 70_000, 200_000]);
        let body = (method.starts_with('P') && !rng.one_in(4)).then(|| (length, rng.one_in(2)));
        let responses = [
            Response::Whole,
            Response::Whole,
            Response::Early,
            Response::Early,
            Response::AfterInterim,
            Response::Chunked,
            Response::Bodiless(204),
            Response::Bodiless(304),
            Response::None,
        ];
        let afters = [
            AfterResponse::Open,
            AfterResponse::Open,
            AfterResponse::Close,
            AfterResponse::Reset,
            AfterResponse::StrayAlong,
            AfterResponse::StrayLater,
        ];
        let (response, mut after) = (rng.pick(&responses), rng.pick(&afters));
        let pipelined = rng.one_in(4);
        // A stray response that comes after the check before the next request cannot be told from its response.
        if pipelined && after == AfterResponse::StrayLater {
            after = AfterResponse::StrayAlong;
        }
        if response == Response::None && !matches!(after, AfterResponse::Close | AfterResponse::Reset) {
            after = AfterResponse::Close;
        }
        let pieces = rng.pick(&[1, 2, 3, 7]);
        Plan { method, body, pieces, pipelined, response, after }
    }
}

/// A proxy with a route `up` to this port.
fn proxy(port: u16) -> Proxy {
    let argv = [format!("-route=up=http://127.0.0.1:{port}"), "app".into()];
    let Ok(Cli::Run(args)) = cli::parse(argv.map(Into::into).into_iter(), &[]) else {
        panic!("flags");
    };
    // No metadata server, whatever this machine has.
    let config = Config::new(args, |name| (name == "GCE_METADATA_HOST").then(|| "127.0.0.1:0".into()));
    Proxy::new(&config, Arc::new(Nameservers::new(&[], &[])), 80, false)
}

#[test]
fn responses_reach_their_requests_and_bodies_never_become_requests() {
    let chosen = env::var("RUNSD_SEED").ok().and_then(|seed| seed.parse().ok());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed: u64 = chosen.unwrap_or(since.subsec_nanos().into());
    let started = Instant::now();
    let mut exchanges = 0;
    while started.elapsed() < DURATION {
        let seed = seed + exchanges;
        let result = std::panic::catch_unwind(|| exchange(&mut Rng(seed)));
        assert!(result.is_ok(), "RUNSD_SEED={seed}");
        exchanges += 1;
    }
}

/// Several clients, one after the other, and one upstream, with a pool between them.
fn exchange(rng: &mut Rng) {
    let plans: Vec<Plan> = (0..12).map(|_| Plan::new(rng)).collect();
    let upstream = Upstream::start(plans.clone());
    let proxy = proxy(upstream.port);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("its address");
    thread::scope(|scope| {
        let mut at = 0;
        while at < plans.len() {
            let tcp = TcpStream::connect(to).expect("a connection");
            let (served, _) = listener.accept().expect("its other end");
            let proxy = &proxy;
            let serving = scope.spawn(move || {
                served.set_read_timeout(Some(READ_TIMEOUT)).expect("a time-out");
                let _ = served.set_nodelay(true);
                let limiter = ConnLimiter::new(1_024, usize::MAX);
                let permit = limiter.acquire(served, |_, _| ());
                serve(proxy, &permit, Vec::new(), None);
            });
            at = Client::new(tcp, &plans, &upstream, rng).run(at);
            serving.join().expect("no panic");
            upstream.settle();
        }
    });
    let planned: BTreeSet<String> = (0..plans.len()).map(|id| format!("/{id}")).collect();
    for target in upstream.targets() {
        assert!(planned.contains(&target), "the upstream got a request for {target}");
    }
}

/// How long the test runs: hundreds of exchanges.
const DURATION: Duration = Duration::from_secs(2);
