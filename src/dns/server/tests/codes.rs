//! Each response code of a nameserver, by UDP and by TCP: which nameserver is next, and what the client gets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::dns::message::HEADER_LEN;

/// A way from a client to the server, or from the server to a nameserver.
trait Way {
    type Nameserver;
    type Client;
    fn nameserver() -> Self::Nameserver;
    fn at(nameserver: &Self::Nameserver) -> SocketAddr;
    fn client(server: &Server) -> Self::Client;
    fn ask(client: &mut Self::Client, wire: &[u8]) -> Vec<u8>;
    /// Takes one query, and says what `answer` makes of it.
    fn serve(nameserver: &Self::Nameserver, answer: impl FnOnce(&[u8]) -> Vec<u8>);
    /// Serves `nameservers` in turn while the client asks.
    fn turns(client: &mut Self::Client, wire: &[u8], nameservers: &[Self::Nameserver], answers: &[Vec<u8>]) -> Vec<u8>
    where
        Self::Nameserver: Sync,
    {
        thread::scope(|scope| {
            scope.spawn(|| {
                for (nameserver, answer) in nameservers.iter().zip(answers) {
                    Self::serve(nameserver, |query| with_id(answer, query));
                }
            });
            Self::ask(client, wire)
        })
    }
}

struct Udp;

impl Way for Udp {
    type Nameserver = Peer;
    type Client = Peer;

    fn nameserver() -> Peer {
        Peer::new()
    }

    fn at(nameserver: &Peer) -> SocketAddr {
        nameserver.address()
    }

    fn client(server: &Server) -> Peer {
        Peer::client(server)
    }

    fn ask(client: &mut Peer, wire: &[u8]) -> Vec<u8> {
        client.0.send(wire).unwrap();
        client.hear()
    }

    fn serve(nameserver: &Peer, answer: impl FnOnce(&[u8]) -> Vec<u8>) {
        let (query, from) = nameserver.next();
        nameserver.tell(&answer(&query), from);
    }
}

struct Tcp;

impl Way for Tcp {
    type Nameserver = TcpListener;
    type Client = TcpStream;

    fn nameserver() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn at(nameserver: &TcpListener) -> SocketAddr {
        nameserver.local_addr().unwrap()
    }

    fn client(server: &Server) -> TcpStream {
        TcpStream::connect(server.tcp).unwrap()
    }

    fn ask(client: &mut TcpStream, wire: &[u8]) -> Vec<u8> {
        say(client, wire);
        hear(client)
    }

    fn serve(nameserver: &TcpListener, answer: impl FnOnce(&[u8]) -> Vec<u8>) {
        let (mut stream, _) = nameserver.accept().unwrap();
        let query = hear(&mut stream);
        say(&mut stream, &answer(&query));
    }
}

fn say(stream: &mut TcpStream, wire: &[u8]) {
    let len = u16::try_from(wire.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len, wire].concat()).unwrap();
}

fn hear(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut wire = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut wire).unwrap();
    wire
}

/// The ways there are to refuse with a code: with the question, with a header
/// alone, with a header alone that has the query's counts.
fn error_responses(asked: &[u8], rcode: Rcode) -> Vec<Vec<u8>> {
    let whole = with_rcode(asked, rcode);
    if matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        return vec![whole];
    }
    let bare = whole[..HEADER_LEN].to_vec();
    let mut empty = bare.clone();
    empty[5] = 0;
    vec![whole, bare, empty]
}

fn every_rcode<W: Way>()
where
    W::Nameserver: Sync,
{
    for count in 1..=3 {
        let nameservers: Vec<_> = (0..count).map(|_| W::nameserver()).collect();
        let addresses: Vec<_> = nameservers.iter().map(W::at).collect();
        let server = start(&addresses, LONG);
        let mut client = W::client(&server);
        for error in (0..16).map(Rcode) {
            let settles = matches!(error, Rcode::NOERROR | Rcode::NXDOMAIN);
            for (name, searched) in [("example.com", false), ("vm.c.proj.internal", true)] {
                let asked = question(1, name, A);
                for response in error_responses(&asked, error) {
                    let what = format!("{count} nameservers, code {error}, {name}");
                    // The last one knows, and is asked only where it must be.
                    let mut said = vec![response.clone(); count - 1];
                    let knows = answer(&asked, &[(name, A, 60, IP)]);
                    said.push(knows.clone());
                    if settles {
                        said.truncate(1);
                    }
                    let got = W::turns(&mut client, &asked, &nameservers, &said);
                    assert_eq!(&got, said.last().unwrap(), "{what}");
                    // All of them refuse: the first one's words, and the question.
                    let mut said = vec![response.clone()];
                    if !settles {
                        let others = |at: usize| with_rcode(&asked, if at == 1 { Rcode::SERVFAIL } else { Rcode(9) });
                        said.extend((1..count).map(others));
                    }
                    let got = W::turns(&mut client, &asked, &nameservers, &said);
                    let want = if searched && !settles { Rcode::NXDOMAIN } else { error };
                    assert_eq!(rcode(&got), want, "{what}");
                    let counts = &got[4..HEADER_LEN];
                    assert_eq!(counts, [0, 1, 0, 0, 0, 0, 0, 0], "{what}");
                    assert_eq!(got[HEADER_LEN..], asked[HEADER_LEN..], "{what}");
                }
            }
        }
    }
}

#[test]
fn every_rcode_by_udp() {
    every_rcode::<Udp>();
}

#[test]
fn every_rcode_by_tcp() {
    every_rcode::<Tcp>();
}

#[test]
fn an_extended_rcode_does_not_settle_a_query() {
    // BADVERS is 16: 0 in the header, 1 in the OPT record.
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], LONG);
    let mut client = Peer::client(&server);
    let mut asked = question(1, "example.com", A);
    asked[11] = 1;
    let bare = asked.clone();
    asked.extend_from_slice(b"\0\0\x29\x04\xd0\0\x01\0\0\0\0");
    let mut badvers = answer(&bare, &[]);
    badvers.extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\0\0\0\0");
    let knows = answer(&asked, &[]);
    let servers = [first, second];
    let said = [badvers.clone(), knows.clone()];
    assert_eq!(Udp::turns(&mut client, &asked, &servers, &said), knows);
    let said = [badvers.clone(), with_rcode(&bare, Rcode::SERVFAIL)];
    assert_eq!(Udp::turns(&mut client, &asked, &servers, &said), badvers);
}

/// A query for a name of runsd that is not about addresses is forwarded, and its records relayed; without any the name
/// exists nevertheless.
fn a_name_of_runsd<W: Way>()
where
    W::Nameserver: Sync,
{
    let nameservers = [W::nameserver()];
    let server = start(&[W::at(&nameservers[0])], LONG);
    let mut client = W::client(&server);
    for name in ["hello", "HELLO.us-east1", "canary---hello", "metadata"] {
        for record_type in [SRV, TXT, MX, RecordType::NS, SOA, RecordType(43), PRIVATE_USE] {
            let asked = question(1, name, record_type);
            let known = answer(&asked, &[(name, record_type, 60, b"data")]);
            let said = [known.clone()];
            let got = W::turns(&mut client, &asked, &nameservers, &said);
            assert_eq!(got, known, "{name} {record_type}");
            for error in (0..16).map(Rcode) {
                for said in error_responses(&asked, error) {
                    let got = W::turns(&mut client, &asked, &nameservers, &[said]);
                    let what = format!("{name} {record_type}, code {error}");
                    assert_eq!(rcode(&got), Rcode::NOERROR, "{what}");
                    // The SOA of it, which is for ten seconds: no longer is
                    // it kept that there is no such record.
                    assert_eq!(got[4..HEADER_LEN], [0, 1, 0, 0, 0, 1, 0, 0], "{what}");
                    assert_eq!(got[HEADER_LEN..asked.len()], asked[HEADER_LEN..], "{what}");
                    let soa = &got[asked.len()..];
                    assert_eq!(soa[..10], [0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 10], "{what}");
                    assert_eq!(got[got.len() - 4..], [0, 0, 0, 10], "{what}");
                }
            }
        }
        for record_type in [A, CNAME, AAAA, HTTPS, ANY] {
            // Nobody else is asked.
            let got = W::ask(&mut client, &question(1, name, record_type));
            assert_eq!(rcode(&got), Rcode::NOERROR, "{name} {record_type}");
        }
    }
}

#[test]
fn a_name_of_runsd_exists_for_every_type() {
    a_name_of_runsd::<Udp>();
    a_name_of_runsd::<Tcp>();
}

#[test]
fn a_name_of_runsd_exists_without_a_nameserver() {
    let server = start(&[], LONG);
    let mut client = Peer::client(&server);
    let asked = question(1, "hello", SRV);
    let got = Udp::ask(&mut client, &asked);
    assert_eq!((rcode(&got), got[9]), (Rcode::NOERROR, 1));
}
