//! The server with real sockets; the tests are its clients and nameservers.

mod codes;
mod tcp;
mod unresponsive;

use super::*;
use crate::dns::message::tests::{A, AAAA, ANY, CNAME, HTTPS, MX, PRIVATE_USE, SOA, SRV, TXT, answer};
use crate::dns::message::{Rcode, RecordType, question, rcode};
use crate::names::policy::NamePolicy;

/// The addresses of a running server.
struct Server {
    udp: Vec<SocketAddr>,
    tcp: SocketAddr,
}

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// What resolv.conf says of other names.
struct Config {
    nameservers: Vec<SocketAddr>,
    search: Vec<String>,
}

fn config(nameservers: &[SocketAddr]) -> Config {
    Config { nameservers: nameservers.to_vec(), search: vec!["c.proj.internal".to_owned()] }
}

fn start(nameservers: &[SocketAddr], first: Duration) -> Server {
    let config = config(nameservers);
    let sockets = bind(0).unwrap();
    serve(sockets, config, first)
}

fn serve(sockets: Sockets, config: Config, first: Duration) -> Server {
    serve_with(sockets, config, Timeouts { first, total: first * 2, probe_interval: LONG })
}

fn serve_with(sockets: Sockets, config: Config, timeouts: Timeouts) -> Server {
    let server = Server {
        udp: sockets.udp.iter().map(|s| s.local_addr().unwrap()).collect(),
        tcp: sockets.tcp[0].local_addr().unwrap(),
    };
    let names = NamePolicy { zone: "run.internal".to_owned(), routes: Vec::new(), allowlist: None };
    let nameservers = Arc::new(Nameservers::new(&config.nameservers, &sockets.local_addrs()));
    let zones = Zones { names, search: config.search, ipv6: true };
    thread::spawn(move || sockets.serve(ServerContext { zones, nameservers, timeouts }));
    server
}

/// A UDP socket that is a client or a nameserver.
struct Peer(UdpSocket);

impl Peer {
    fn new() -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Peer(socket)
    }

    fn client(server: &Server) -> Peer {
        let peer = Peer::new();
        peer.0.connect(server.udp[0]).unwrap();
        peer
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn ask(&self, wire: &[u8]) {
        self.0.send(wire).unwrap();
    }

    fn next(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let (len, from) = self.0.recv_from(&mut buffer).unwrap();
        buffer.truncate(len);
        (buffer, from)
    }

    fn hear(&self) -> Vec<u8> {
        self.next().0
    }

    fn tell(&self, wire: &[u8], to: SocketAddr) {
        self.0.send_to(wire, to).unwrap();
    }
}

/// The same message under another id.
fn with_id(wire: &[u8], id: &[u8]) -> Vec<u8> {
    [&id[..2], &wire[2..]].concat()
}

fn with_rcode(wire: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut wire = answer(wire, &[]);
    wire[3] |= rcode.0;
    wire
}

const IP: &[u8] = &[192, 0, 2, 1];

#[test]
fn queries_and_responses_keep_their_bytes() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    // Every flag a client may set, an unknown type and class, options.
    let mut asked = question(0xbeef, "WeIrD.example", PRIVATE_USE);
    asked[2] |= 0x06; // AA, TC
    asked[3] |= 0x7f; // Z, AD, CD, and a code
    let last = asked.len() - 1;
    asked[last] = 254;
    asked.extend_from_slice(b"\0\0\x29\xff\xff\0\0\x80\0\0\x04\xfd\xe9\0\0and more");
    asked[11] = 1;
    client.ask(&asked);
    let (heard, from) = upstream.next();
    assert_eq!(heard[2..], asked[2..]);
    let mut said = with_id(&answer(&asked, &[("x", PRIVATE_USE, 1, IP)]), &heard);
    said.extend_from_slice(&[0xa5; 4000]);
    upstream.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn datagrams_of_every_size_pass_many_at_once() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    // What is usual, one more, one less, and the largest there is.
    let sizes = [400, 1231, 1232, 1233, 2000, 4096, 9000, 65_507];
    for &size in &sizes {
        let mut asked = question(1, "example.com", A);
        asked.resize(size, 0x5a);
        client.ask(&asked);
        let (heard, from) = upstream.next();
        assert_eq!(heard[2..], asked[2..], "{size}");
        let mut said = answer(&heard, &[("example.com", A, 60, IP)]);
        said.resize(size, 0xa5);
        upstream.tell(&said, from);
        assert_eq!(client.hear(), with_id(&said, &asked), "{size}");
    }
    // Read in whatever batches, each is its own.
    let sizes = [1232, 4096, 40, 1233];
    let asked = |id| {
        let mut asked = question(id, "example.com", A);
        asked.resize(sizes[usize::from(id) % 4], u8::try_from(id).unwrap());
        asked
    };
    for id in 0..16 {
        client.ask(&asked(id));
    }
    let mut rests: Vec<_> = (0..16).map(|_| upstream.hear()[2..].to_vec()).collect();
    let mut want: Vec<_> = (0..16).map(|id| asked(id)[2..].to_vec()).collect();
    rests.sort();
    want.sort();
    assert!(rests == want);
}

#[test]
fn only_a_matching_response_is_accepted_and_once() {
    let (upstream, stranger) = (Peer::new(), Peer::new());
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (heard, from) = upstream.next();
    let right = answer(&heard, &[("example.com", A, 60, IP)]);
    let other_id = [heard[0], heard[1] ^ 1];
    stranger.tell(&right, from);
    upstream.tell(&with_id(&right, &other_id), from);
    upstream.tell(&with_id(&answer(&question(0, "example.org", A), &[]), &heard), from);
    upstream.tell(&with_id(&answer(&question(0, "example.com", AAAA), &[]), &heard), from);
    upstream.tell(&heard, from);
    for cut in [0, 1, 2, 5, 12, 20, asked.len() - 1] {
        upstream.tell(&right[..cut], from);
    }
    upstream.tell(&right, from);
    upstream.tell(&right, from);
    assert_eq!(client.hear(), with_id(&right, &asked));
    // Whatever else was sent would come before this.
    client.ask(&question(2, "hello.run.internal", A));
    assert_eq!(client.hear()[..2], [0, 2]);
}

#[test]
fn pending_queries_do_not_delay_each_other_or_names_of_runsd() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    let mut heard = Vec::new();
    for id in 0..50 {
        client.ask(&question(id, &format!("n{id}.example"), A));
        heard.push(upstream.next());
    }
    client.ask(&question(99, "hello.run.internal", A));
    assert_eq!(client.hear()[..2], [0, 99]);
    for (id, (query, from)) in heard.iter().enumerate().rev() {
        let said = answer(query, &[]);
        upstream.tell(&said, *from);
        let id = u16::try_from(id).unwrap().to_be_bytes();
        assert_eq!(client.hear(), with_id(&said, &id));
    }
}

#[test]
fn ids_and_ports_change() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    let (mut ids, mut ports) = (Vec::new(), Vec::new());
    for _ in 0..64 {
        client.ask(&question(7, "example.com", A));
        let (heard, from) = upstream.next();
        upstream.tell(&answer(&heard, &[]), from);
        client.hear();
        ids.push([heard[0], heard[1]]);
        ports.push(from.port());
    }
    ids.sort_unstable();
    ids.dedup();
    ports.sort_unstable();
    ports.dedup();
    // 64 of 65,536: three alike by chance do not happen.
    assert!(ids.len() > 61, "{ids:?}");
    assert!(ports.len() > 2, "{ports:?}");
}

#[test]
fn the_oldest_of_too_many_queries_gets_servfail() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    let mut heard = Vec::new();
    for id in 0..1001 {
        client.ask(&question(id, "example.com", A));
        // Read one by one, so that no buffer overflows.
        heard.push(upstream.next());
    }
    let gone = client.hear();
    assert_eq!((&gone[..2], rcode(&gone)), (&[0, 0][..], Rcode::SERVFAIL));
    for (id, (query, from)) in heard.iter().enumerate() {
        upstream.tell(&answer(query, &[]), *from);
        if id > 0 {
            let id = u16::try_from(id).unwrap().to_be_bytes();
            assert_eq!(client.hear()[..2], id);
        }
    }
}

#[test]
fn runsd_does_not_ask_itself() {
    let sockets = bind(0).unwrap();
    let own = sockets.local_addrs();
    let server = serve(sockets, config(&own), LONG);
    let client = Peer::client(&server);
    client.ask(&question(1, "example.com", A));
    assert_eq!(rcode(&client.hear()), Rcode::SERVFAIL);
}

#[test]
fn malformed_queries_get_an_error_and_others_nothing() {
    let server = start(&[], LONG);
    let client = Peer::client(&server);
    let with = |at: usize, byte: u8| {
        let mut wire = question(1, "hello.run.internal", A);
        wire[at] = byte;
        wire
    };
    for (wire, want, why) in [
        (with(5, 2), Some(Rcode::FORMERR), "two questions"),
        (with(5, 0), Some(Rcode::FORMERR), "no question"),
        (with(2, 0x28), Some(Rcode::NOTIMP), "an update"),
        (with(2, 0x80), None, "a response"),
        (vec![1, 2, 3], None, "garbage"),
        (vec![], None, "nothing"),
    ] {
        client.ask(&wire);
        if let Some(want) = want {
            assert_eq!(rcode(&client.hear()), want, "{why}");
        }
        client.ask(&with(1, 77));
        let heard = client.hear();
        assert_eq!((heard[1], rcode(&heard)), (77, Rcode::NOERROR), "after {why}");
    }
}

#[test]
fn clients_and_nameservers_may_use_ipv6() {
    let Ok(upstream) = UdpSocket::bind("[::1]:0") else {
        return;
    };
    let upstream = Peer(upstream);
    upstream.0.set_read_timeout(Some(LONG)).unwrap();
    let server = start(&[upstream.address()], LONG);
    let client = UdpSocket::bind("[::1]:0").unwrap();
    client.connect(server.udp[1]).unwrap();
    let client = Peer(client);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (heard, from) = upstream.next();
    let said = answer(&heard, &[]);
    upstream.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn a_query_too_large_to_forward_affects_no_other() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let Some(v6) = server.udp.get(1) else { return };
    let client = Peer::client(&server);
    // So many that one of them leaves by the same socket.
    let heard: Vec<_> = (0..100)
        .map(|id| {
            client.ask(&question(id, "example.com", A));
            upstream.next()
        })
        .collect();
    // By IPv6 a datagram holds 20 octets more than by IPv4.
    let large = UdpSocket::bind("[::1]:0").unwrap();
    large.connect(v6).unwrap();
    for id in 0..20 {
        let mut asked = question(id, "large.example", A);
        asked.resize(65_527, 0);
        large.send(&asked).unwrap();
    }
    client.ask(&question(101, "hello.run.internal", A));
    assert_eq!(client.hear()[1], 101);
    for (id, (query, from)) in (0..).zip(&heard) {
        upstream.tell(&answer(query, &[]), *from);
        assert_eq!(client.hear()[..2], [0, id]);
    }
}
