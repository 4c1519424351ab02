mod bounds;

use std::time::{Duration, Instant};

use super::*;

fn request(text: &str) -> Result<Option<usize>, HeadError> {
    Head::default().read_request(text.as_bytes(), &mut Progress::default())
}

#[test]
fn request_head_is_parsed() {
    let text = b"\r\nPOST /a?b=c HTTP/1.1\r\nHost: hello\r\nX-Empty:\r\nAccept:\t a , b \r\n\r\nrest";
    let mut head = Head::default();
    assert_eq!(head.read_request(text, &mut Progress::default()), Ok(Some(text.len() - 4)));
    assert_eq!(head.method(text), b"POST");
    assert_eq!(head.target(text), b"/a?b=c");
    assert_eq!(head.minor_version, 1);
    let fields: Vec<_> = head.fields(text).collect();
    let want: [(&[u8], &[u8]); 3] = [(b"Host", b"hello"), (b"X-Empty", b""), (b"Accept", b"a , b")];
    assert_eq!(fields, want);
    assert!(head.list_contains(text, "accept", "b"));
    assert_eq!(head.host(text), Ok(Some(&b"hello"[..])));
}

#[test]
fn higher_minor_version_counts_as_1_1() {
    for (version, minor) in [("1.0", 0), ("1.1", 1), ("1.2", 1), ("1.9", 1)] {
        let text = format!("GET / HTTP/{version}\r\n\r\n");
        let mut head = Head::default();
        assert_eq!(head.read_request(text.as_bytes(), &mut Progress::default()), Ok(Some(text.len())));
        assert_eq!(head.minor_version, minor, "{version}");
    }
}

#[test]
fn incomplete_head_wants_more_at_every_cut() {
    let text = "GET / HTTP/1.1\r\nHost: hello\r\nA: b\r\n\r\n";
    for cut in 0..text.len() {
        assert_eq!(request(&text[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(request(text), Ok(Some(text.len())));
    let text = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    for cut in 0..text.len() {
        let got = Head::default().read_response(&text.as_bytes()[..cut], &mut Progress::default());
        assert_eq!(got, Ok(None), "cut at {cut}");
    }
}

#[test]
fn malformed_requests_are_rejected() {
    let large = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD_LEN));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD_LEN));
    let endless = "x".repeat(MAX_HEAD_LEN + 1);
    for (text, want) in [
        ("GET /\r\n", HeadError::StartLine),
        ("GET / HTTP/1.1 \r\n", HeadError::StartLine),
        (" GET / HTTP/1.1\r\n", RequestError::Method.into()),
        ("G(T / HTTP/1.1\r\n", RequestError::Method.into()),
        ("GET / http/1.1\r\n", HeadError::StartLine),
        ("GET / HTTP/2.0\r\n", HeadError::Version),
        ("GET / HTTP/0.9\r\n", HeadError::Version),
        ("GET / HTTP/1.10\r\n", HeadError::StartLine),
        ("GET / HTTP/1\r\n", HeadError::StartLine),
        ("GET / HTTP/1.1\rHost: a\r\n", HeadError::BareCr),
        ("GET /\r HTTP/1.1\r\n", HeadError::BareCr),
        ("\x16\x03\x01\x02", HeadError::StartLine),
        ("\r\n\x16", HeadError::StartLine),
        ("GET / HTTP/1.1\n\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\nA: b\n\r\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", HeadError::FieldName),
        ("GET / HTTP/1.1\r\n: b\r\n\r\n", HeadError::FieldName),
        ("GET / HTTP/1.1\r\nA\r\n\r\n", HeadError::FieldName),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", HeadError::ObsFold),
        ("GET / HTTP/1.1\r\n A: b\r\n\r\n", HeadError::ObsFold),
        ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", HeadError::FieldValue),
        (&large, HeadError::TooLarge),
        (&endless, RequestError::TargetTooLong.into()),
        (&long, RequestError::TargetTooLong.into()),
    ] {
        let shown = &text[..text.len().min(60)];
        assert_eq!(request(text), Err(want), "{shown:?}");
    }
}

#[test]
fn request_framing_follows_the_length_fields() {
    for (fields, want) in [
        ("", Ok(Framing::None)),
        ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Ok(Framing::Length(5))),
        ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(HeadError::Request(RequestError::ConflictingLengths))),
        ("Content-Length: 5, 5\r\n", Err(HeadError::Request(RequestError::ContentLength))),
        ("Content-Length: +5\r\n", Err(HeadError::Request(RequestError::ContentLength))),
        ("Content-Length: -5\r\n", Err(HeadError::Request(RequestError::ContentLength))),
        ("Content-Length: 0x5\r\n", Err(HeadError::Request(RequestError::ContentLength))),
        ("Content-Length:\r\n", Err(HeadError::Request(RequestError::ContentLength))),
        ("Content-Length: 9999999999999999999\r\n", Err(HeadError::Request(RequestError::ContentLength))),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(HeadError::LengthAndTransferEncoding)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(HeadError::UnsupportedCoding)),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: br,, Chunked\r\n", Err(HeadError::UnsupportedCoding)),
        ("Transfer-Encoding: chunked, gzip\r\n", Err(HeadError::NotChunkedLast)),
        ("Transfer-Encoding: gzip, chunked, chunked\r\n", Err(HeadError::NotChunkedLast)),
        ("Transfer-Encoding: gzip\r\n", Err(HeadError::NotChunkedLast)),
        ("Transfer-Encoding: chunked;q=1\r\n", Err(HeadError::NotChunkedLast)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(HeadError::NotChunkedLast)),
        ("Transfer-Encoding: xchunked\r\n", Err(HeadError::NotChunkedLast)),
        ("Transfer-Encoding:\r\n", Err(HeadError::NotChunkedLast)),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut head = Head::default();
        assert!(head.read_request(text.as_bytes(), &mut Progress::default()).is_ok(), "{fields:?}");
        assert_eq!(head.request_framing(text.as_bytes()), want, "{fields:?}");
    }
    let text = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut head = Head::default();
    assert!(head.read_request(text, &mut Progress::default()).is_ok());
    let got = head.request_framing(text);
    assert_eq!(got, Err(HeadError::NotChunkedLast));
}

#[test]
fn response_framing_follows_status_and_length_fields() {
    for (text, method, status, want) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "GET", 200, Framing::UntilClose),
        ("HTTP/1.1 200\r\n\r\n", "GET", 200, Framing::UntilClose),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "GET", 200, Framing::Length(7)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", 200, Framing::None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 200, Framing::Chunked),
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, Framing::None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET", 304, Framing::None),
        ("HTTP/1.1 100 Continue\r\n\r\n", "POST", 100, Framing::None),
    ] {
        let mut head = Head::default();
        let got = head.read_response(text.as_bytes(), &mut Progress::default());
        assert_eq!(got, Ok(Some(text.len())), "{text:?}");
        assert_eq!(head.status(text.as_bytes()), status, "{text:?}");
        let got = head.response_framing(text.as_bytes(), method == "HEAD");
        assert_eq!(got, Ok(want), "{text:?}");
    }
    for text in [
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 000 OK\r\n",
        "HTTP/1.1 200 \0\r\n",
        "200 OK\r\n",
        "HTTP/1.1\r\n",
        "\r\n",
        "no answer",
    ] {
        let got = Head::default().read_response(text.as_bytes(), &mut Progress::default());
        assert_eq!(got, Err(HeadError::StartLine), "{text:?}");
    }
}

#[test]
fn persistence_follows_version_and_connection_field() {
    for (start, connection, want) in [
        ("GET / HTTP/1.1", "", true),
        ("GET / HTTP/1.1", "Connection: Close\r\n", false),
        ("GET / HTTP/1.1", "Connection: te, close\r\n", false),
        ("GET / HTTP/1.0", "", false),
        ("GET / HTTP/1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let text = format!("{start}\r\n{connection}\r\n");
        let mut head = Head::default();
        assert!(head.read_request(text.as_bytes(), &mut Progress::default()).is_ok());
        let got = head.keeps_alive(text.as_bytes());
        assert_eq!(got, want, "{start} {connection:?}");
    }
}

#[test]
fn kept_lines_are_copied_byte_for_byte() {
    let text = b"GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC:\t3 \r\nD: 4\r\n\r\nrest";
    let mut head = Head::default();
    assert_eq!(head.read_request(text, &mut Progress::default()), Ok(Some(text.len() - 4)));
    for (dropped, want) in [
        ("", "A: 1\r\nB:2\r\nC:\t3 \r\nD: 4\r\n"),
        ("A", "B:2\r\nC:\t3 \r\nD: 4\r\n"),
        ("B", "A: 1\r\nC:\t3 \r\nD: 4\r\n"),
        ("D", "A: 1\r\nB:2\r\nC:\t3 \r\n"),
        ("AC", "B:2\r\nD: 4\r\n"),
        ("BD", "A: 1\r\nC:\t3 \r\n"),
        ("ABCD", ""),
    ] {
        let mut out = Vec::new();
        head.copy_fields(text, &mut out, |name| !dropped.as_bytes().contains(&name[0]));
        assert_eq!(String::from_utf8_lossy(&out), want, "without {dropped:?}");
    }
}

#[test]
fn head_that_comes_byte_by_byte_is_read_in_linear_time() {
    let long = "x".repeat(60_000);
    let requests = [
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a:\r\n".repeat(15_000)),
        format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(30_000)),
    ];
    let started = Instant::now();
    for text in requests {
        let (mut head, mut progress) = (Head::default(), Progress::default());
        for end in 1..text.len() {
            let got = head.read_request(&text.as_bytes()[..end], &mut progress);
            assert_eq!(got, Ok(None), "cut at {end}");
        }
        let got = head.read_request(text.as_bytes(), &mut progress);
        assert_eq!(got, Ok(Some(text.len())));
        assert_eq!(head.method(text.as_bytes()), b"GET");
        assert_eq!(head.get(text.as_bytes(), "host"), Some(&b"a"[..]));
    }
    // Read anew with each byte it took more than ten times as long.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn result_is_the_same_at_every_cut() {
    for text in [
        "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\nrest",
        "GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        let text = text.as_bytes();
        let want = Head::default().read_request(text, &mut Progress::default());
        for cut in 0..text.len() {
            let (mut head, mut progress) = (Head::default(), Progress::default());
            let first = head.read_request(&text[..cut], &mut progress);
            let got = match first {
                Ok(None) => head.read_request(text, &mut progress),
                first => first,
            };
            assert_eq!(got, want, "{:?} cut at {cut}", text.escape_ascii().to_string());
        }
    }
}
