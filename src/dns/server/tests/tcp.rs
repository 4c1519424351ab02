//! Connections: from clients, and to the nameservers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;

use super::*;
use crate::dns::message::tests::name;
use crate::dns::tcp::MAX_CONNECTIONS;
use crate::dns::tcp_framing::{DeadlineStream, receive, send};
use crate::net::context::Background;

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
fn queries_of_one_connection_are_answered_in_any_order() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start(&[upstream.local_addr().unwrap()], LONG);
    let mut client = TcpStream::connect(server.tcp).unwrap();
    let one = question(1, "one.example", TXT);
    let two = question(2, "two.example", TXT);
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
        let said = answer(&heard, &[("x", TXT, 1, &large)]);
        say(stream, &with_id(&said, &[heard[0], !heard[1]]));
        say(stream, &said);
        assert_eq!(listen(&mut client), with_id(&said, &asked));
    }
}

#[test]
fn the_next_nameserver_is_tried_by_tcp() {
    let closed = Peer::new().address();
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let answers = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = |listener: &TcpListener| listener.local_addr().unwrap();
    let server = start(&[closed, address(&hangs_up), address(&answers)], LONG);
    let mut client = TcpStream::connect(server.tcp).unwrap();
    let asked = question(1, "one.example", TXT);
    // In two pieces, the second one a byte.
    let framed = [&[0, 29][..], &asked].concat();
    assert_eq!(asked.len(), 29);
    client.write_all(&framed[..30]).unwrap();
    client.write_all(&framed[30..]).unwrap();
    drop(hangs_up.accept().unwrap());
    let (mut stream, _) = answers.accept().unwrap();
    let heard = listen(&mut stream);
    let said = answer(&heard, &[("one.example", CNAME, 1, &name("two.example"))]);
    say(&mut stream, &said);
    assert_eq!(listen(&mut client), with_id(&said, &asked));
}

#[test]
fn without_a_nameserver_the_client_gets_a_failure_by_tcp() {
    let closed = Peer::new().address();
    let server = start(&[closed], LONG);
    let mut client = TcpStream::connect(server.tcp).unwrap();
    for (name, want) in [("example.com", Rcode::SERVFAIL), ("vm.c.proj.internal", Rcode::NXDOMAIN)] {
        say(&mut client, &question(1, name, A));
        assert_eq!(rcode(&listen(&mut client)), want, "{name}");
    }
    say(&mut client, &[0; 12]);
    assert_eq!(rcode(&listen(&mut client)), Rcode::FORMERR);
    // A response ends the conversation.
    say(&mut client, &answer(&question(1, "x", A), &[]));
    assert_eq!(client.read(&mut [0; 2]).unwrap(), 0);
}

#[test]
fn a_new_connection_replaces_the_one_idle_for_longest() {
    crate::sys::raise_nofile_limit();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start(&[silent.local_addr().unwrap()], LONG);
    let own = |id| question(id, "hello.run.internal", A);
    let ask = |client: &mut TcpStream, id| {
        say(client, &own(id));
        assert_eq!(listen(client)[1], id.to_be_bytes()[1]);
    };
    let mut clients: Vec<TcpStream> = (0..MAX_CONNECTIONS).map(|_| TcpStream::connect(server.tcp).unwrap()).collect();
    for client in &mut clients {
        ask(client, 1);
    }
    // The first waits for its answer, and the second was idle for less than the third.
    say(&mut clients[0], &question(2, "one.example", TXT));
    let (mut upstream, _) = silent.accept().unwrap();
    let heard = listen(&mut upstream);
    ask(&mut clients[1], 3);
    let mut newcomer = TcpStream::connect(server.tcp).unwrap();
    ask(&mut newcomer, 4);
    assert_eq!(clients[2].read(&mut [0; 2]).unwrap(), 0);
    ask(&mut clients[1], 5);
    ask(&mut clients[MAX_CONNECTIONS - 1], 6);
    say(&mut upstream, &answer(&heard, &[("one.example", TXT, 1, b"x")]));
    assert_eq!(listen(&mut clients[0])[..2], [0, 2]);
}

/// A peer that sends this, an octet now and then, until it is dropped.
fn trickle(mut stream: TcpStream, wire: Vec<u8>) -> mpsc::Sender<()> {
    let (heard, until) = mpsc::channel();
    thread::spawn(move || {
        for byte in wire {
            let paced = until.recv_timeout(Duration::from_millis(5));
            if paced != Err(mpsc::RecvTimeoutError::Timeout) || stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    heard
}

#[test]
fn a_nameserver_that_sends_byte_by_byte_has_no_more_time_than_others() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start(&[upstream.local_addr().unwrap()], Duration::from_millis(100));
    let mut client = TcpStream::connect(server.tcp).unwrap();
    let asked = question(1, "one.example", TXT);
    say(&mut client, &asked);
    let (mut stream, _) = upstream.accept().unwrap();
    let heard = listen(&mut stream);
    let large = answer(&heard, &[("one.example", TXT, 1, &[0xa5; 60_000])]);
    // For five minutes, if it could.
    let slow = trickle(stream, [&[0xea, 0x60][..], &large].concat());
    assert_eq!(rcode(&listen(&mut client)), Rcode::SERVFAIL);
    drop(slow);
}

#[test]
fn a_message_has_one_deadline_however_it_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let soon = || Instant::now() + Duration::from_millis(100);
    let kind = |err: io::Error| err.kind();
    say(&mut peer, b"one");
    assert_eq!(
        receive(&mut DeadlineStream::new(&stream, Instant::now() + LONG, &mut Background)).unwrap().unwrap(),
        b"one"
    );
    // The kernel's buffers are full in the end, and no reader empties them.
    let filled =
        (0..).find_map(|_| send(&mut DeadlineStream::new(&stream, soon(), &mut Background), &[0; 65_535]).err());
    assert_eq!(filled.map(kind), Some(io::ErrorKind::TimedOut));
    let slow = trickle(peer.try_clone().unwrap(), vec![0xff; 65_537]);
    let cut = receive(&mut DeadlineStream::new(&stream, soon(), &mut Background)).map_err(kind);
    assert_eq!(cut, Err(io::ErrorKind::TimedOut));
    drop(slow);
}
