use super::*;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::dns::nameservers::Nameservers;

/// The response of a server that sends each of `parts` by itself, and closes.
fn fetch(parts: &[&[u8]]) -> Result<(u16, Vec<u8>), String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (tcp, _) = listener.accept().unwrap();
            request(&tcp);
            tcp.set_nodelay(true).unwrap();
            for part in parts {
                // The client may close early.
                let _ = (&tcp).write_all(part);
            }
        });
        match client(&host).round_trip("/x", MINUTE) {
            Ok(response) => Ok((response.status, response.body)),
            Err(err) => Err(err.into_sentence()),
        }
    })
}

/// Without nameservers: the tests' servers are addresses.
fn client(host: &str) -> Client {
    let resolver = Resolver::new(Arc::new(Nameservers::new(&[], &[])));
    Client::new(host.to_owned(), Arc::new(resolver))
}

/// Reads a request to its end.
fn request(mut tcp: &TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && tcp.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn responses_are_read_however_they_are_split() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na.b.c",
        "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n3\r\na.b\r\n2;x\r\n.c\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\na.b.c",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nA: b\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na.b.c and more",
    ] {
        for cut in 0..wire.len() {
            let (one, two) = wire.as_bytes().split_at(cut);
            let want = Ok((200, b"a.b.c".to_vec()));
            assert_eq!(fetch(&[one, two]), want, "{wire:?} cut at {cut}");
        }
    }
}

#[test]
fn incomplete_and_malformed_responses_are_errors() {
    let long = [b'x'; 70_000];
    let length = b"HTTP/1.1 200 OK\r\nContent-Length: ";
    for (parts, want) in [
        (&[&b""[..]][..], "closed before its response was complete"),
        (&[b"HTTP/1.1 200 OK\r\nA"], "closed before its response was"),
        (&[length, b"6\r\n\r\na.b.c"], "closed before its response was"),
        (
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na.b.c\r\n"],
            "closed before its response was complete",
        ),
        (
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n"],
            "is not HTTP: chunk length cannot be read as a number",
        ),
        (
            &[length, b"6\r\nTransfer-Encoding: chunked\r\n\r\nsecret"],
            "is not HTTP: Content-Length and Transfer-Encoding at once",
        ),
        (&[b"secret\r\n\r\n"], "is not HTTP: invalid HTTP version"),
        (&[b"HTTP/1.1 200 OK\r\nA: ", &long], "a head larger than"),
        (&[b"HTTP/1.0 200 OK\r\n\r\n", &long], "is over 65536 bytes"),
        (&[length, b"70000\r\n\r\n", &long], "is over 65536 bytes"),
    ] {
        let err = fetch(parts).unwrap_err();
        assert!(err.contains(want), "{err}; wanted {want}");
        assert!(!err.contains("secret") && !err.contains("xxx"), "{err}");
    }
}

#[test]
fn the_timeout_is_for_the_whole_response() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
        // A byte now and then, so that no read ever waits for the whole time.
        let (_sender, receiver) = channel::<()>();
        while receiver.recv_timeout(Duration::from_millis(5)).is_err() && tcp.write_all(b"x").is_ok() {}
    });
    let got = client(&host).round_trip("/", Duration::from_millis(50));
    assert_eq!(got.err(), Some(Error::timed_out()));
}

#[test]
fn an_invalid_host_is_named() {
    for host in ["a b", "", "http://x", "x/y", "u@x", "x:y", "x?y", "x#y"] {
        let err = client(host).round_trip("/", MINUTE).err();
        let want = format!("the metadata server is said to be at {host:?}, which is no host[:port]");
        assert_eq!(err.map(Error::into_sentence), Some(want));
    }
}

#[test]
fn errors_of_the_library_are_told_without_what_was_read() {
    for (text, want) in [
        ("protocol: chunk length is not ascii", "chunk length is not ascii"),
        ("protocol: http parse fail: invalid status code: 099", "invalid status code"),
        ("protocol: http parse fail: invalid HTTP version", "invalid HTTP version"),
        ("protocol: bad header: secret", "bad header"),
        ("protocol: location header is malformed: http://secret", "location header is malformed"),
    ] {
        assert_eq!(without_data(text), want);
    }
}
