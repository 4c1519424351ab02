use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::Barrier;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::dns::message::Parsed;
use crate::dns::message::tests::{A, AAAA, CNAME, answer, name};
use crate::net::context::Background;

const LONG: Duration = Duration::from_secs(60);
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A nameserver that answers with what `say` makes of a name, a type and the
/// query, and tells the test what it was asked.
fn nameserver(
    say: impl Fn(&str, RecordType, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (asked, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let Parsed::Query(query) = message::parse(&buffer[..len]) else {
                panic!("not a query: {:?}", &buffer[..len]);
            };
            let _ = asked.send(format!("{} {}", query.name, query.record_type));
            if let Some(wire) = say(&query.name, query.record_type, query.raw.wire) {
                socket.send_to(&wire, from).unwrap();
            }
        }
    });
    (address, heard)
}

fn resolver(nameservers: &[SocketAddr], first: Duration) -> Resolver {
    resolver_of(Arc::new(Nameservers::new(nameservers, &[])), first)
}

/// One that waits `first` for the first nameserver.
fn resolver_of(nameservers: Arc<Nameservers>, first: Duration) -> Resolver {
    let timeouts = Timeouts { first, total: first * 2, probe_interval: LONG };
    Resolver::with_exchange(nameservers, timeouts, Box::new(exchange::exchange))
}

fn resolve(resolver: &Resolver, host: &str) -> Result<Vec<SocketAddr>, ResolveError> {
    resolver.resolve(host, 443, &mut Background)
}

fn with_rcode(query: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut wire = answer(query, &[]);
    wire[3] |= rcode.0;
    wire
}

/// `four` and `four-b` have IPv4, `six` IPv6, `mixed` both.
fn world(asked: &str, record_type: RecordType, query: &[u8]) -> Option<Vec<u8>> {
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6];
    let one: (&str, RecordType, u32, &[u8]) = (asked, A, 300, &[192, 0, 2, 1]);
    let two: (&str, RecordType, u32, &[u8]) = (asked, A, 60, &[192, 0, 2, 2]);
    let six: (&str, RecordType, u32, &[u8]) = (asked, AAAA, 60, &v6);
    Some(match (asked, record_type) {
        ("four" | "mixed", A) => answer(query, &[one, two]),
        ("six" | "mixed" | "brittle", AAAA) => answer(query, &[six]),
        ("alias", A) => answer(query, &[("alias", CNAME, 5, &name("four"))]),
        ("ring", _) => answer(query, &[("ring", CNAME, 5, &name("ring"))]),
        ("round", _) => answer(query, &[("round", CNAME, 5, &name("about"))]),
        ("about", _) => answer(query, &[("about", CNAME, 5, &name("round"))]),
        ("brittle" | "broken", _) => with_rcode(query, Rcode::SERVFAIL),
        ("refused", _) => with_rcode(query, Rcode::REFUSED),
        ("four" | "six" | "empty", _) => answer(query, &[]),
        _ => with_rcode(query, Rcode::NXDOMAIN),
    })
}

#[test]
fn names_resolve_to_their_addresses_or_an_error() {
    let (address, _heard) = nameserver(world);
    let resolver = resolver(&[address], LONG);
    let long = "a".repeat(64);
    let v4 = "192.0.2.1:443 192.0.2.2:443";
    let none = "the nameservers know no address of";
    for (host, want) in [
        ("four", Ok(v4)),
        ("FOUR.", Ok(v4)),
        ("mixed", Ok(v4)),
        ("alias", Ok(v4)),
        ("six", Ok("[2001:db8::6]:443")),
        ("brittle", Ok("[2001:db8::6]:443")),
        ("192.0.2.9", Ok("192.0.2.9:443")),
        ("::1", Ok("[::1]:443")),
        ("[::1]", Ok("[::1]:443")),
        ("LocalHost", Ok("127.0.0.1:443 [::1]:443")),
        ("empty", Err(format!("{none} \"empty\""))),
        ("nothing", Err(format!("{none} \"nothing\""))),
        ("ring", Err(format!("{none} \"ring\""))),
        ("round", Err(format!("{none} \"round\""))),
        ("broken", Err("the nameservers answered SERVFAIL for A of \"broken\"".to_owned())),
        ("refused", Err("the nameservers answered REFUSED for A of \"refused\"".to_owned())),
        ("", Err("\"\" is not a host name".to_owned())),
        ("a..b", Err("\"a..b\" is not a host name".to_owned())),
        ("a b", Err("\"a b\" is not a host name".to_owned())),
        (&long, Err(format!("{long:?} is not a host name"))),
    ] {
        let got = resolve(&resolver, host).map_err(|err| err.to_string());
        let got = got.map(|found| {
            let texts: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
            texts.join(" ")
        });
        assert_eq!(got, want.map(str::to_owned), "{host:?}");
    }
}

#[test]
fn ipv6_addresses_are_looked_up_apart() {
    let (address, heard) = nameserver(world);
    let resolver = resolver(&[address], LONG);
    for (host, want) in [
        ("mixed", &["[2001:db8::6]:443"][..]),
        ("Mixed.", &["[2001:db8::6]:443"]),
        ("four", &[]),
        ("nothing", &[]),
        ("192.0.2.1", &[]),
        ("localhost", &[]),
    ] {
        let got = resolver.resolve_v6(host, 443, &mut Background);
        let got: Vec<_> = got.iter().map(SocketAddr::to_string).collect();
        assert_eq!(got, want, "{host}");
    }
    // Kept, and apart from what is usual.
    let asked: Vec<_> = heard.try_iter().collect();
    assert_eq!(asked, ["mixed AAAA", "four AAAA", "nothing AAAA"]);
    assert_eq!(resolve(&resolver, "mixed").unwrap().len(), 2);
}

#[test]
fn addresses_are_cached_for_their_ttl() {
    let (address, heard) = nameserver(world);
    let resolver = resolver(&[address], LONG);
    let at = |second| NOW + Duration::from_secs(second);
    for (host, second, asks) in [
        ("four", 1000, true),
        ("four", 1059, false),
        ("FOUR.", 1059, false),
        ("four", 1060, true), // the shorter TTL of the two
        ("four", 1000, true), // a clock set back
        ("broken", 1000, true),
        ("broken", 1000, true), // failures are not kept
    ] {
        let _ = resolver.addresses(host, Family::V4Preferred, at(second), &mut Background);
        let asked = heard.try_iter().count() > 0;
        assert_eq!(asked, asks, "{host} at {second}");
    }
}

#[test]
fn addresses_that_expire_early_are_looked_up_at_most_once_a_second() {
    let (address, heard) = nameserver(world);
    let resolver = resolver(&[address], LONG);
    let at = |millis| NOW + Duration::from_millis(millis);
    let look_up = |millis| {
        let _ = resolver.addresses("four", Family::V4Preferred, at(millis), &mut Background);
        heard.try_iter().count()
    };
    assert_eq!(look_up(0), 1);
    for (doubted_at, has_expired, looked_up_at, lookups) in [
        (0, false, 500, 0),
        (999, false, 999, 0),
        (1000, true, 1000, 1),
        (1001, false, 1999, 0),
        // Doubted too early to be asked for at once, it is a second later.
        (1500, false, 2000, 1),
        // Without doubt it is kept for its time.
        (2000, false, 2999, 0),
    ] {
        let got = resolver.expire_early_at("FOUR.", at(doubted_at));
        assert_eq!(got, has_expired, "doubted at {doubted_at}");
        assert_eq!(look_up(looked_up_at), lookups, "at {looked_up_at}");
    }
    assert!(!resolver.expire_early_at("unknown", at(5000)));
}

#[test]
fn a_nameserver_that_drops_aaaa_stays_responsive() {
    let (address, _heard) = nameserver(|name, record_type, query| match record_type {
        RecordType::A => world(name, record_type, query),
        _ => None,
    });
    let shared = Arc::new(Nameservers::new(&[address], &[]));
    let resolver = resolver_of(Arc::clone(&shared), Duration::from_millis(20));
    assert_eq!(
        resolve(&resolver, "empty").map_err(|err| err.to_string()),
        Err("no nameserver answered for AAAA of \"empty\"".to_owned())
    );
    assert!(!shared.is_unresponsive(0));
}

/// A context that is cancelled from the start.
struct CancelledContext;

impl Context for CancelledContext {
    fn wait(&mut self, _: &mut Vec<crate::sys::net::PollFd>, _: Duration) -> Result<(), Cancelled> {
        Err(Cancelled)
    }
}

#[test]
fn a_cancelled_lookup_is_made_by_the_next_caller() {
    let (ask, asked) = mpsc::channel();
    let (address, heard) = nameserver(move |name, record_type, query| {
        ask.send(()).unwrap();
        world(name, record_type, query)
    });
    let resolver = resolver(&[address], LONG);
    assert_eq!(resolver.resolve("four", 443, &mut CancelledContext), Err(ResolveError::Cancelled));
    asked.recv().unwrap();
    assert_eq!(resolve(&resolver, "four").unwrap().len(), 2);
    assert_eq!(heard.try_iter().count(), 2);
}

#[test]
fn a_cancelled_caller_does_not_wait_for_the_lookup_of_another() {
    let (begin, begun) = mpsc::channel();
    let (address, _heard) = nameserver(move |_, _, _| {
        begin.send(()).unwrap();
        None
    });
    let resolver = Arc::new(resolver(&[address], LONG));
    let slow = Arc::clone(&resolver);
    thread::spawn(move || resolve(&slow, "slow"));
    begun.recv().unwrap();
    let started = Instant::now();
    assert_eq!(resolver.resolve("slow", 443, &mut CancelledContext), Err(ResolveError::Cancelled));
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn concurrent_callers_share_one_lookup() {
    for host in ["four", "broken"] {
        let (begin, begun) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let (address, heard) = nameserver(move |name, record_type, query| {
            if record_type == A {
                let _ = begin.send(());
                let _ = gone.recv();
            }
            world(name, record_type, query)
        });
        let resolver = Arc::new(resolver(&[address], LONG));
        let together = Arc::new(Barrier::new(9));
        let askers: Vec<_> = (0..8)
            .map(|_| {
                let (resolver, together) = (Arc::clone(&resolver), Arc::clone(&together));
                thread::spawn(move || {
                    together.wait();
                    resolve(&resolver, host).is_ok()
                })
            })
            .collect();
        together.wait();
        begun.recv().unwrap();
        // All of them have the slot, beside the map and this line.
        while Arc::strong_count(&resolver.cache.entry(host, Family::V4Preferred)) < 8 + 2 {
            thread::yield_now();
        }
        go.send(()).unwrap();
        drop(go);
        for asker in askers {
            assert_eq!(asker.join().unwrap(), host == "four");
        }
        let lookups = heard.try_iter().filter(|line| line.ends_with(" A")).count();
        assert_eq!(lookups, 1, "{host}");
    }
}

#[test]
fn a_slow_name_does_not_delay_another() {
    let (begin, begun) = mpsc::channel();
    let (address, _heard) = nameserver(move |name, record_type, query| {
        if name == "slow" {
            begin.send(()).unwrap();
            return None;
        }
        world(name, record_type, query)
    });
    let resolver = Arc::new(resolver(&[address], LONG));
    let slow = Arc::clone(&resolver);
    thread::spawn(move || resolve(&slow, "slow"));
    begun.recv().unwrap();
    assert_eq!(resolve(&resolver, "four").unwrap().len(), 2);
}

#[test]
fn the_next_nameserver_is_asked() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (silent, _heard) = nameserver(|_, _, _| None);
    let (failing, _heard) = nameserver(|_, _, query| Some(with_rcode(query, Rcode::SERVFAIL)));
    let (good, _heard) = nameserver(world);
    // The same time is there for who answers.
    let (short, enough) = (Duration::from_millis(20), Duration::from_secs(1));
    let no_answer = Err("no nameserver answered for A of \"four\"".to_owned());
    for (nameservers, first, want) in [
        (&[closed, good][..], LONG, Ok(2)),
        (&[failing, good], LONG, Ok(2)),
        (&[silent, good], enough, Ok(2)),
        (&[silent], short, no_answer.clone()),
        (&[closed], LONG, no_answer),
        (&[], LONG, Err("no nameserver is there to ask for \"four\"".to_owned())),
    ] {
        let got = resolve(&resolver(nameservers, first), "four");
        let got = got.map(|found| found.len()).map_err(|err| err.to_string());
        assert_eq!(got, want, "{nameservers:?}");
    }
}

#[test]
fn an_unresponsive_nameserver_is_asked_last() {
    let (silent, unheard) = nameserver(|_, _, _| None);
    let (good, _heard) = nameserver(world);
    let shared = Arc::new(Nameservers::new(&[silent, good], &[]));
    let resolver = Resolver::new(Arc::clone(&shared));
    shared.record_failure(0, &std::io::ErrorKind::ConnectionRefused.into(), Instant::now());
    assert_eq!(resolve(&resolver, "four").unwrap().len(), 2);
    assert_eq!(unheard.try_iter().count(), 0);
}

#[test]
fn only_records_of_the_internet_are_addresses() {
    let query = message::question(1, "a", A);
    let mut chaos = answer(&query, &[("a", A, 60, &[6, 6, 6, 6])]);
    let class_at = query.len() + 3 + 3;
    assert_eq!(chaos[class_at], 1);
    chaos[class_at] = 3;
    let found = message::read_addresses(&chaos, "a", A).unwrap();
    assert!(found.addresses.is_empty(), "{found:?}");
}

#[test]
fn a_name_ends_where_its_record_does() {
    let query = message::question(1, "a", A);
    let long = name("longer.example");
    for (len, is_read) in [(long.len(), true), (long.len() - 1, false), (long.len() - 4, false), (1, false), (0, false)]
    {
        // What the record lacks follows it, as the beginning of another one.
        let mut wire = answer(&query, &[("a", CNAME, 5, &long)]);
        let len_at = wire.len() - long.len() - 1;
        wire[len_at] = u8::try_from(len).unwrap();
        let found = message::read_addresses(&wire, "a", A);
        assert_eq!(found.is_some(), is_read, "{len} of {}", long.len());
    }
    let mut padded = answer(&query, &[("a", CNAME, 5, &[&long[..], b"x"].concat())]);
    assert_eq!(message::read_addresses(&padded, "a", A), None);
    padded.truncate(padded.len() - 1);
    assert!(message::read_addresses(&padded, "a", A).is_some_and(|found| found.alias.is_none()));
}

#[test]
fn only_a_matching_response_is_accepted() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        let query = &buffer[..len];
        let lie = answer(query, &[("four", A, 60, &[6, 6, 6, 6])]);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&lie, from).unwrap();
        let mut other_id = lie.clone();
        other_id[1] ^= 1;
        let mut other_name = lie.clone();
        other_name[13] = b'x';
        for wire in [&[][..], &[1, 2], &other_id, &other_name, query, &lie[..20]] {
            socket.send_to(wire, from).unwrap();
        }
        let truth = world("four", A, query).unwrap();
        socket.send_to(&truth, from).unwrap();
    });
    let got = resolve(&resolver(&[address], LONG), "four").unwrap();
    assert_eq!(got[0].to_string(), "192.0.2.1:443");
}

#[test]
fn a_truncated_response_does_not_prove_that_there_is_no_address() {
    // By TCP there is no response: nothing listens, or nothing is accepted.
    for is_silent in [false, true] {
        let (address, _heard) = nameserver(|name, _, query| {
            let mut cut = match name {
                "four" => answer(query, &[]),
                _ => answer(query, &[("some", A, 60, &[192, 0, 2, 9])]),
            };
            cut[2] |= 0x02;
            Some(cut)
        });
        // The kernel gave the number for UDP; another test may have it for TCP.
        let listener = match is_silent {
            true => TcpListener::bind(address).ok(),
            false => None,
        };
        let shared = Arc::new(Nameservers::new(&[address], &[]));
        let resolver = resolver_of(Arc::clone(&shared), Duration::from_millis(50));
        assert_eq!(resolve(&resolver, "four"), Err(ResolveError::TimedOut("four".to_owned(), A)), "{is_silent}");
        // It does answer, and a part is better than nothing.
        assert!(!shared.is_unresponsive(0), "{is_silent}");
        assert_eq!(resolve(&resolver, "some").unwrap().len(), 1);
        drop(listener);
    }
}

#[test]
fn truncated_responses_are_requested_by_tcp() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    // The kernel gave the number for UDP; another test may have it for TCP.
    let Ok(tcp) = TcpListener::bind(address) else {
        return;
    };
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let (len, from) = udp.recv_from(&mut buffer).unwrap();
        let mut cut = answer(&buffer[..len], &[]);
        cut[2] |= 0x02;
        udp.send_to(&cut, from).unwrap();
        let (mut stream, _) = tcp.accept().unwrap();
        let mut framed = vec![0; len + 2];
        stream.read_exact(&mut framed).unwrap();
        let whole = world("four", A, &framed[2..]).unwrap();
        let size = u16::try_from(whole.len()).unwrap().to_be_bytes();
        stream.write_all(&[&size, &whole[..]].concat()).unwrap();
    });
    assert_eq!(resolve(&resolver(&[address], LONG), "four").unwrap().len(), 2);
}
