//! Conversations at random: a client and an upstream that do what no library
//! would. Whatever they do, no answer reaches another request, and no body
//! becomes a request.
//!
//! Each run has another seed, which a failure prints; `RUNSD_SEED` repeats
//! it, as far as threads let it be repeated.

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

/// Numbers that look random: splitmix64.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
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

/// What the client asks for, and what the upstream makes of it.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub method: &'static str,
    /// The bytes of the body, and whether they go in chunks.
    pub body: Option<(usize, bool)>,
    /// In how many pieces the client sends it.
    pub pieces: usize,
    /// The client sends the next request behind this one.
    pub pipelined: bool,
    pub answer: Answer,
    pub then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To the whole request.
    Whole,
    /// To its head.
    Early,
    AfterInterim,
    Chunked,
    /// 204 or 304.
    Bodiless(u16),
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Open,
    Close,
    Reset,
    /// A second answer, in the segment of the first or after it.
    StrayAlong,
    StrayLater,
}

impl Plan {
    fn new(dice: &mut Dice) -> Plan {
        let method = dice.pick(&["GET", "HEAD", "POST", "POST", "PUT", "PUT"]);
        let length = dice.pick(&[1, 40, 200, 5_000, 70_000, 200_000]);
        let body = (method.starts_with('P') && !dice.one_in(4)).then(|| (length, dice.one_in(2)));
        let answers = [
            Answer::Whole,
            Answer::Whole,
            Answer::Early,
            Answer::Early,
            Answer::AfterInterim,
            Answer::Chunked,
            Answer::Bodiless(204),
            Answer::Bodiless(304),
            Answer::None,
        ];
        let thens = [Then::Open, Then::Open, Then::Close, Then::Reset, Then::StrayAlong, Then::StrayLater];
        let (answer, mut then) = (dice.pick(&answers), dice.pick(&thens));
        let pipelined = dice.one_in(4);
        // What comes after the look that the next request begins with could
        // be told from its answer by nobody.
        if pipelined && then == Then::StrayLater {
            then = Then::StrayAlong;
        }
        if answer == Answer::None && !matches!(then, Then::Close | Then::Reset) {
            then = Then::Close;
        }
        let pieces = dice.pick(&[1, 2, 3, 7]);
        Plan { method, body, pieces, pipelined, answer, then }
    }
}

/// runsd's proxy, whose `up` is at this port.
fn proxy(port: u16) -> Proxy {
    let words = [format!("-route=up=http://127.0.0.1:{port}"), "app".into()];
    let Ok(Cli::Run(args)) = cli::parse(words.map(Into::into).into_iter(), &[]) else {
        panic!("flags");
    };
    let config = Config::new(args, |_| None);
    Proxy::new(&config, Arc::new(Nameservers::new(&[], &[])), 80, false)
}

#[test]
fn no_answer_goes_astray_and_no_body_becomes_a_request() {
    let given = env::var("RUNSD_SEED").ok().and_then(|seed| seed.parse().ok());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed: u64 = given.unwrap_or(since.subsec_nanos().into());
    let started = Instant::now();
    let mut conversations = 0;
    while started.elapsed() < LIMIT {
        let seed = seed + conversations;
        let told = std::panic::catch_unwind(|| conversation(&mut Dice(seed)));
        assert!(told.is_ok(), "RUNSD_SEED={seed}");
        conversations += 1;
    }
}

/// Some clients, one after the other, and one upstream, with a pool between.
fn conversation(dice: &mut Dice) {
    let plans: Vec<Plan> = (0..12).map(|_| Plan::new(dice)).collect();
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
            at = Client::new(tcp, &plans, &upstream, dice).run(at);
            serving.join().expect("no panic");
            upstream.settle();
        }
    });
    let asked: BTreeSet<String> = (0..plans.len()).map(|id| format!("/{id}")).collect();
    for target in upstream.targets() {
        assert!(asked.contains(&target), "the upstream was asked for {target}");
    }
}

/// How long conversations go on.
const LIMIT: Duration = Duration::from_secs(2);
