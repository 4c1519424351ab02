use super::*;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use crate::dns::nameservers::Nameservers;

/// A metadata server that sends `answers`, one on each connection, and then ends.
struct Server {
    host: String,
    requests: Receiver<String>,
}

fn server(answers: Vec<Vec<u8>>) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (sender, requests) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            sender.send(String::from_utf8(request).unwrap()).unwrap();
            // The client may close early.
            let _ = stream.write_all(&answer);
        }
    });
    Server { host, requests }
}

/// The tests' servers are addresses.
fn no_nameservers() -> Arc<Resolver> {
    Arc::new(Resolver::new(Arc::new(Nameservers::new(&[], &[]))))
}

fn metadata(server: &Server) -> Metadata {
    Metadata { sleep: |_| (), ..Metadata::new(server.host.clone(), no_nameservers()) }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nMetadata-Flavor: Google\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn one_request_returns_the_location() {
    let server = server(vec![answer(200, "projects/123456789012/regions/us-east1")]);
    let want = Location { region: "us-east1".to_owned(), project: "123456789012".to_owned() };
    assert_eq!(metadata(&server).location(), Ok(want));
    let request = server.requests.recv().unwrap().to_ascii_lowercase();
    for line in [
        "get /computemetadata/v1/instance/region http/1.1\r\n".to_owned(),
        format!("\r\nhost: {}\r\n", server.host),
        "\r\nmetadata-flavor: google\r\n".to_owned(),
    ] {
        assert!(request.contains(&line), "{line:?} in {request:?}");
    }
    assert!(server.requests.recv().is_err(), "one request, no more");
}

#[test]
fn the_zone_is_asked_for_where_the_region_is_not_known() {
    for first in [answer(404, "no"), answer(200, "moon")] {
        let server = server(vec![first, answer(200, "projects/42/zones/europe-west12-1\n")]);
        let want = Location { region: "europe-west12".to_owned(), project: "42".to_owned() };
        assert_eq!(metadata(&server).location(), Ok(want));
    }
}

#[test]
fn the_audience_is_percent_encoded() {
    let server = server(vec![answer(200, "a.b.c\n")]);
    let token = metadata(&server).identity_token("https://a-1.run.app/x?y=z&w#ü");
    assert_eq!(token, Ok(Secret::new("a.b.c")));
    let request = server.requests.recv().unwrap();
    let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
    let query = "audience=https%3A%2F%2Fa-1.run.app%2Fx%3Fy%3Dz%26w%23%C3%BC";
    let line = format!("GET {path}?{query} HTTP/1.1\r\n");
    assert!(request.starts_with(&line), "{request:?}");
}

#[test]
fn the_email_is_validated() {
    let server = server(vec![answer(200, "me@example.com"), answer(200, "<html>")]);
    let metadata = metadata(&server);
    assert_eq!(metadata.email(), Ok("me@example.com".to_owned()));
    let err = metadata.email().unwrap_err();
    assert_eq!(err, "the metadata server answered \"<html>\" for an email");
    let token = format!("eyJ{}", "x".repeat(200));
    let server = self::server(vec![answer(200, &token), answer(404, ""), answer(200, &token)]);
    let metadata = self::metadata(&server);
    for err in [metadata.email().unwrap_err(), metadata.location().unwrap_err()] {
        assert!(err.contains("203 bytes of something else"), "{err}");
        assert!(!err.contains("eyJ"), "{err}");
    }
}

#[test]
fn transient_errors_are_retried() {
    let server = server(vec![
        answer(500, "just after an IAM change"),
        answer(429, ""),
        Vec::new(),                                  // closed without a byte
        b"HTTP/1.1 200 OK\r\nMetadata-Fla".to_vec(), // closed in the head
        answer(200, "a.b.c"),
    ]);
    let token = metadata(&server).identity_token("https://x");
    assert_eq!(token, Ok(Secret::new("a.b.c")));
}

#[test]
fn five_attempts_are_made() {
    let server = server(vec![answer(503, ""); 6]);
    let err = metadata(&server).email().unwrap_err();
    let want = "the metadata server answered 503 for \
                instance/service-accounts/default/email, after 5 tries";
    assert_eq!(err, want);
    assert_eq!(server.requests.try_iter().count(), 5);
}

#[test]
fn a_closed_port_is_an_error() {
    // A port that was free a moment ago; another program that takes it is not a metadata server.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let metadata = Metadata { sleep: |_| (), ..Metadata::new(host, no_nameservers()) };
    let err = metadata.email().unwrap_err();
    assert!(err.starts_with("cannot reach the metadata server: "), "{err}");
}

#[test]
fn the_backoff_doubles() {
    use std::sync::Mutex;
    static PAUSES: Mutex<Vec<u128>> = Mutex::new(Vec::new());
    let server = server(vec![answer(503, ""); 5]);
    let metadata = Metadata {
        sleep: |pause| PAUSES.lock().unwrap().push(pause.as_millis()),
        ..Metadata::new(server.host.clone(), no_nameservers())
    };
    metadata.email().unwrap_err();
    assert_eq!(*PAUSES.lock().unwrap(), [100, 200, 400, 800]);
}

#[test]
fn permanent_errors_are_not_retried() {
    let huge = "x".repeat(70_000);
    for (first, want) in [
        (answer(400, ""), "the metadata server answered 400 for"),
        (answer(403, ""), "the metadata server answered 403 for"),
        (answer(404, "secret"), "the metadata server answered 404 for"),
        (answer(200, &huge), "is over 65536 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret".to_vec(),
            "came without \"Metadata-Flavor: Google\"",
        ),
        (
            b"HTTP/1.1 302 Found\r\nMetadata-Flavor: Google\r\n\
              Location: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
            "the metadata server answered 302 for",
        ),
        (b"SSH-2.0-secret\r\n\r\n".to_vec(), "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Length: 2\r\n\r\n\xff\xfe".to_vec(), "is no text"),
    ] {
        let server = server(vec![first]);
        let err = metadata(&server).identity_token("https://x").unwrap_err();
        assert!(err.contains(want), "{err}; wanted {want}");
        assert!(!err.contains("secret") && !err.contains("xxx"), "{err}");
        assert_eq!(server.requests.iter().count(), 1, "{want}");
    }
}

#[test]
fn locations_are_parsed() {
    for (text, want) in [
        ("projects/1/regions/us-east1", Some(("1", "us-east1"))),
        (" projects/1/regions/us-east1\n", Some(("1", "us-east1"))),
        ("projects/1/regions/us-east1/", None),
        ("projects/my-name/regions/us-east1", None),
        ("projects/1/zones/us-east1-1", None),
        ("projects/1/regions/moon", None),
        ("projects//regions/us-east1", None),
        ("", None),
    ] {
        let got = parse_region(text);
        let got = got.as_ref().map(|p| (p.project.as_str(), p.region.as_str()));
        assert_eq!(got, want, "{text:?}");
    }
    for (text, want) in [
        ("projects/1/zones/us-east1-1", Some(("1", "us-east1"))),
        ("projects/1/zones/us-east1-b", Some(("1", "us-east1"))),
        ("projects/1/zones/moon", None),
        ("projects/1/zones/", None),
    ] {
        let got = parse_zone(text);
        let got = got.as_ref().map(|p| (p.project.as_str(), p.region.as_str()));
        assert_eq!(got, want, "{text:?}");
    }
}

#[test]
fn a_silent_server_times_out() {
    // The kernel accepts, and no thread responds.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let metadata = |attempt, total| Metadata {
        timeouts: Timeouts { attempt: Duration::from_millis(attempt), total: Duration::from_millis(total) },
        sleep: |_| (),
        ..Metadata::new(listener.local_addr().unwrap().to_string(), no_nameservers())
    };
    let err = metadata(1, 60_000).email().unwrap_err();
    let want = "the metadata server did not answer in time, after 5 tries";
    assert_eq!(err, want);
    let err = metadata(60_000, 100).email().unwrap_err();
    let want = "the metadata server did not answer in time, after 1 try";
    assert_eq!(err, want);
}
