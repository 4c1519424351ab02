//! The server with real sockets; the test is the client and the nameservers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::message::tests::{answer, name};
use super::message::{A, NXDOMAIN, REFUSED, SERVFAIL, code, question};
use super::*;

/// A server of ours: where it takes queries by UDP, and by TCP.
struct Server {
    udp: Vec<SocketAddr>,
    tcp: SocketAddr,
}

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn config(nameservers: &[SocketAddr]) -> DnsConfig {
    DnsConfig {
        port: 0,
        nameservers: nameservers.to_vec(),
        search: vec!["c.proj.internal".to_owned()],
    }
}

fn start(nameservers: &[SocketAddr], first: Duration) -> Server {
    let config = config(nameservers);
    let sockets = bind(&config).unwrap();
    serve(sockets, config, first)
}

fn serve(sockets: Sockets, config: DnsConfig, first: Duration) -> Server {
    let patience = Patience {
        first,
        all: first * 2,
        silent: LONG,
    };
    serve_with(sockets, config, patience)
}

fn serve_with(sockets: Sockets, config: DnsConfig, patience: Patience) -> Server {
    let server = Server {
        udp: sockets
            .udp
            .iter()
            .map(|s| s.local_addr().unwrap())
            .collect(),
        tcp: sockets.tcp[0].local_addr().unwrap(),
    };
    let names = Names {
        zone: "run.internal".to_owned(),
        routes: Vec::new(),
        only: None,
    };
    sockets.serve_patiently(Arc::new(names), Arc::new(config), true, patience);
    server
}

/// A UDP socket with a way of saying what came.
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
        let mut room = vec![0; 65_536];
        let (len, from) = self.0.recv_from(&mut room).unwrap();
        room.truncate(len);
        (room, from)
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

fn with_code(wire: &[u8], code: u8) -> Vec<u8> {
    let mut wire = answer(wire, &[]);
    wire[3] |= code;
    wire
}

const IP: &[u8] = &[192, 0, 2, 1];

#[test]
fn both_ways_are_bytes() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], LONG);
    let client = Peer::client(&server);
    // Every flag a client may set, a type and a class nobody knows, options.
    let mut asked = question(0xbeef, "WeIrD.example", 65_280);
    asked[2] |= 0x06; // AA, TC
    asked[3] |= 0x7f; // Z, AD, CD, and a code
    let last = asked.len() - 1;
    asked[last] = 254;
    asked.extend_from_slice(b"\0\0\x29\xff\xff\0\0\x80\0\0\x04\xfd\xe9\0\0and more");
    asked[11] = 1;
    client.ask(&asked);
    let (heard, from) = upstream.next();
    assert_eq!(heard[2..], asked[2..]);
    let mut said = with_id(&answer(&asked, &[("x", 65_280, 1, IP)]), &heard);
    said.extend_from_slice(&[0xa5; 4000]);
    upstream.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn only_the_answer_is_taken_and_once() {
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
    upstream.tell(
        &with_id(&answer(&question(0, "example.org", A), &[]), &heard),
        from,
    );
    upstream.tell(
        &with_id(&answer(&question(0, "example.com", 28), &[]), &heard),
        from,
    );
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
fn answers_in_any_order_and_our_own_before_all() {
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
fn the_next_nameserver_after_silence() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(
        &[first.address(), second.address()],
        Duration::from_millis(50),
    );
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (_, _) = first.next();
    let (heard, from) = second.next();
    let said = answer(&heard, &[("example.com", A, 60, IP)]);
    second.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
    // Remembered: the second is asked at once.
    let asked = question(2, "example.org", A);
    client.ask(&asked);
    let (heard, from) = second.next();
    let said = answer(&heard, &[]);
    second.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
    first.0.set_nonblocking(true).unwrap();
    assert!(first.0.recv(&mut [0; 512]).is_err());
}

#[test]
fn a_nameserver_that_is_back_comes_first_again() {
    let (first, second) = (Peer::new(), Peer::new());
    let config = config(&[first.address(), second.address()]);
    let patience = Patience {
        first: Duration::from_millis(50),
        all: LONG,
        silent: Duration::ZERO,
    };
    let server = serve_with(bind(&config).unwrap(), config, patience);
    let client = Peer::client(&server);
    let exchange = |who: &Peer, id| {
        let (heard, from) = who.next();
        let said = answer(&heard, &[]);
        who.tell(&said, from);
        assert_eq!(client.hear(), with_id(&said, &[0, id]));
    };
    client.ask(&question(1, "one.example", A));
    first.hear();
    exchange(&second, 1);
    // Both are asked now, and the first is the one to answer.
    client.ask(&question(2, "two.example", A));
    second.hear();
    exchange(&first, 2);
    client.ask(&question(3, "three.example", A));
    exchange(&first, 3);
}

#[test]
fn a_late_answer_counts() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(
        &[first.address(), second.address()],
        Duration::from_millis(500),
    );
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (heard, from) = first.next();
    let (_, _) = second.next();
    let said = answer(&heard, &[]);
    first.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn the_next_nameserver_after_a_refusal() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], LONG);
    let client = Peer::client(&server);
    for refusal in [SERVFAIL, REFUSED] {
        let asked = question(1, "example.com", A);
        client.ask(&asked);
        let (heard, from) = first.next();
        first.tell(&with_code(&heard, refusal), from);
        let (heard, from) = second.next();
        let said = answer(&heard, &[]);
        second.tell(&said, from);
        assert_eq!(client.hear(), with_id(&said, &asked));
    }
    // Both: the first one's own words, and NXDOMAIN under a search domain.
    for (name, want) in [("example.com", REFUSED), ("vm.c.proj.internal", NXDOMAIN)] {
        let asked = question(1, name, A);
        client.ask(&asked);
        let (heard, from) = first.next();
        first.tell(&with_code(&heard, REFUSED), from);
        let (heard, from) = second.next();
        second.tell(&with_code(&heard, SERVFAIL), from);
        assert_eq!(code(&client.hear()), want, "{name}");
    }
}

#[test]
fn no_such_name_is_an_answer() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], LONG);
    let client = Peer::client(&server);
    client.ask(&question(1, "vm.c.proj.internal", A));
    let (heard, from) = first.next();
    first.tell(&with_code(&heard, NXDOMAIN), from);
    assert_eq!(code(&client.hear()), NXDOMAIN);
}

#[test]
fn nobody_there_at_all() {
    let silent = Peer::new();
    let closed = Peer::new().address();
    for (nameservers, first) in [
        (&[][..], LONG),
        (&[closed][..], LONG),
        (&[silent.address()], Duration::from_millis(20)),
        (&[silent.address(), closed], Duration::from_millis(20)),
    ] {
        let server = start(nameservers, first);
        let client = Peer::client(&server);
        for (name, want) in [("example.com", SERVFAIL), ("vm.c.proj.internal", NXDOMAIN)] {
            let asked = question(1, name, A);
            client.ask(&asked);
            let heard = client.hear();
            assert_eq!(code(&heard), want, "{name} {nameservers:?}");
            assert_eq!(heard[12..], asked[12..], "{name} {nameservers:?}");
        }
    }
}

#[test]
fn a_closed_port_is_no_reason_to_wait() {
    let closed = Peer::new().address();
    let second = Peer::new();
    let server = start(&[closed, second.address()], LONG);
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (heard, from) = second.next();
    let said = answer(&heard, &[]);
    second.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], Duration::from_millis(50));
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (_, _) = upstream.next();
    let (heard, from) = upstream.next();
    let said = answer(&heard, &[]);
    upstream.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn of_too_many_the_oldest_goes() {
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
    assert_eq!((&gone[..2], code(&gone)), (&[0, 0][..], SERVFAIL));
    for (id, (query, from)) in heard.iter().enumerate() {
        upstream.tell(&answer(query, &[]), *from);
        if id > 0 {
            let id = u16::try_from(id).unwrap().to_be_bytes();
            assert_eq!(client.hear()[..2], id);
        }
    }
}

#[test]
fn we_do_not_ask_ourselves() {
    let sockets = bind(&config(&[])).unwrap();
    let own: Vec<_> = sockets
        .udp
        .iter()
        .map(|s| s.local_addr().unwrap())
        .collect();
    let server = serve(sockets, config(&own), LONG);
    let client = Peer::client(&server);
    client.ask(&question(1, "example.com", A));
    assert_eq!(code(&client.hear()), SERVFAIL);
}

#[test]
fn what_is_no_query() {
    let server = start(&[], LONG);
    let client = Peer::client(&server);
    let with = |at: usize, byte: u8| {
        let mut wire = question(1, "hello.run.internal", A);
        wire[at] = byte;
        wire
    };
    for (wire, want, why) in [
        (with(5, 2), Some(1), "two questions"),
        (with(5, 0), Some(1), "no question"),
        (with(2, 0x28), Some(4), "an update"),
        (with(2, 0x80), None, "a response"),
        (vec![1, 2, 3], None, "garbage"),
        (vec![], None, "nothing"),
    ] {
        client.ask(&wire);
        if let Some(want) = want {
            assert_eq!(code(&client.hear()), want, "{why}");
        }
        client.ask(&with(1, 77));
        let heard = client.hear();
        assert_eq!((heard[1], code(&heard)), (77, 0), "after {why}");
    }
}

#[test]
fn ipv6_where_there_is_any() {
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

fn say(stream: &mut TcpStream, wire: &[u8]) {
    let len = u16::try_from(wire.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len, wire].concat()).unwrap();
}

fn listen(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut wire = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut wire).unwrap();
    wire
}

#[test]
fn several_on_a_connection_in_any_order() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start(&[upstream.local_addr().unwrap()], LONG);
    let mut client = TcpStream::connect(server.tcp).unwrap();
    let one = question(1, "one.example", 16);
    let two = question(2, "two.example", 16);
    say(&mut client, &one);
    let (mut of_one, _) = upstream.accept().unwrap();
    let heard_one = listen(&mut of_one);
    assert_eq!(heard_one[2..], one[2..]);
    say(&mut client, &two);
    let (mut of_two, _) = upstream.accept().unwrap();
    let heard_two = listen(&mut of_two);
    say(&mut client, &question(3, "hello.run.internal", A));
    assert_eq!(listen(&mut client)[..2], [0, 3]);
    let large = [0xa5; 60_000];
    for (heard, stream, asked) in [(heard_two, &mut of_two, two), (heard_one, &mut of_one, one)] {
        let said = answer(&heard, &[("x", 16, 1, &large)]);
        say(stream, &with_id(&said, &[heard[0], !heard[1]]));
        say(stream, &said);
        assert_eq!(listen(&mut client), with_id(&said, &asked));
    }
}

#[test]
fn the_next_nameserver_by_tcp() {
    let closed = Peer::new().address();
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let answers = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let server = start(&[closed, address(&hangs_up), address(&answers)], LONG);
    let mut client = TcpStream::connect(server.tcp).unwrap();
    let asked = question(1, "one.example", 16);
    // In two pieces, the second one a byte.
    let framed = [&[0, 29][..], &asked].concat();
    assert_eq!(asked.len(), 29);
    client.write_all(&framed[..30]).unwrap();
    client.write_all(&framed[30..]).unwrap();
    drop(hangs_up.accept().unwrap());
    let (mut stream, _) = answers.accept().unwrap();
    let heard = listen(&mut stream);
    let said = answer(&heard, &[("one.example", 5, 1, &name("two.example"))]);
    say(&mut stream, &said);
    assert_eq!(listen(&mut client), with_id(&said, &asked));
}

#[test]
fn no_nameserver_by_tcp() {
    let closed = Peer::new().address();
    let server = start(&[closed], LONG);
    let mut client = TcpStream::connect(server.tcp).unwrap();
    for (name, want) in [("example.com", SERVFAIL), ("vm.c.proj.internal", NXDOMAIN)] {
        say(&mut client, &question(1, name, A));
        assert_eq!(code(&listen(&mut client)), want, "{name}");
    }
    say(&mut client, &[0; 12]);
    assert_eq!(code(&listen(&mut client)), 1);
    // A response ends the conversation.
    say(&mut client, &answer(&question(1, "x", A), &[]));
    assert_eq!(client.read(&mut [0; 2]).unwrap(), 0);
}
