//! What is just allowed, and what is just too much.

use super::*;

fn response(text: &str) -> Result<Option<usize>, HeadError> {
    Head::default().read_response(text.as_bytes(), &mut Progress::default())
}

/// `text` with an "x" as often as it takes to have `len` bytes.
fn filled(len: usize, before: &str, after: &str) -> String {
    format!("{before}{}{after}", "x".repeat(len - before.len() - after.len()))
}

#[test]
fn heads_are_as_long_as_the_limit() {
    let too_long = HeadError::from(RequestError::TargetTooLong);
    // A start line with its end, and without.
    let line = |len| filled(len, "GET /", " HTTP/1.1") + "\r\n\r\n";
    assert_eq!(request(&line(MAX_HEAD_LEN)), Ok(Some(MAX_HEAD_LEN + 4)));
    assert_eq!(request(&line(MAX_HEAD_LEN + 1)), Err(too_long));
    assert_eq!(request(&filled(MAX_HEAD_LEN, "GET /", "")), Ok(None));
    assert_eq!(request(&filled(MAX_HEAD_LEN + 1, "GET /", "")), Err(too_long));
    assert_eq!(response(&filled(MAX_HEAD_LEN + 1, "HTTP/1.1 200 ", "")), Err(HeadError::TooLarge));
    // All header lines, with the end of the last, and without.
    let fields = |len| filled(len, "GET / HTTP/1.1\r\nA: b\r\nB: ", "\r\n");
    assert_eq!(request(&(fields(MAX_HEAD_LEN) + "\r\n")), Ok(Some(MAX_HEAD_LEN + 2)));
    assert_eq!(request(&(fields(MAX_HEAD_LEN + 1) + "\r\n")), Err(HeadError::TooLarge));
    for after in ["", "\r"] {
        let cut = |len| filled(len, "GET / HTTP/1.1\r\nB: ", after);
        assert_eq!(request(&cut(MAX_HEAD_LEN)), Ok(None), "{after:?}");
        assert_eq!(request(&cut(MAX_HEAD_LEN + 1)), Err(HeadError::TooLarge), "{after:?}");
    }
    // What comes behind a head does not count.
    let text = format!("GET / HTTP/1.1\r\n\r\n{}", "x".repeat(2 * MAX_HEAD_LEN));
    assert_eq!(request(&text), Ok(Some(18)));
}

#[test]
fn lines_are_rejected_at_the_byte_that_is_wrong() {
    for (text, want) in [
        ("\n", HeadError::BareLf),
        ("\r\n\n", HeadError::BareLf),
        ("\rG\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\n\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\n\rA", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nA: b\r\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nA\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\nA\rb", HeadError::BareCr),
        ("GET / HTTP/1.1\r\n\tA", HeadError::ObsFold),
        ("GET / HTTP/1.1\r\nA\t:", HeadError::FieldName),
        ("GET / HTTP/1.1\r\nA:\x7f", HeadError::FieldValue),
    ] {
        assert_eq!(request(text), Err(want), "{text:?}");
    }
}

#[test]
fn status_lines_have_a_code_of_three_digits_and_any_reason() {
    for (line, want) in [
        ("HTTP/1.1 200 OK", Some(["200", "OK"])),
        ("HTTP/1.1 999 ", Some(["999", ""])),
        ("HTTP/1.0 100", Some(["100", ""])),
        ("HTTP/1.1 200  a b ", Some(["200", " a b "])),
        ("HTTP/1.1 200 \u{e9}\t", Some(["200", "\u{e9}\t"])),
        ("HTTP/1.1 200OK", None),
        ("HTTP/1.1 20", None),
        ("HTTP/1.1\t200 OK", None),
        ("HTTP/1.1 2x0 OK", None),
        ("HTTP/1.1 099 OK", None),
        ("HTTP/1.1 200 \x7f", None),
        ("HTTP/1.x 200 OK", None),
    ] {
        let text = format!("{line}\r\n\r\n");
        let mut head = Head::default();
        let got = head.read_response(text.as_bytes(), &mut Progress::default());
        match want {
            None => assert_eq!(got, Err(HeadError::StartLine), "{line:?}"),
            Some(want) => {
                assert_eq!(got, Ok(Some(text.len())), "{line:?}");
                let got = head.status_and_reason(text.as_bytes()).map(|part| str::from_utf8(part).unwrap());
                assert_eq!(got, want, "{line:?}");
                assert_eq!(head.status(text.as_bytes()).to_string(), want[0]);
            }
        }
    }
    // What is not HTTP is rejected without an end of line.
    for (text, want) in [("HTTP/1.", Ok(None)), ("HTTP/2", Err(HeadError::StartLine)), ("x", Err(HeadError::StartLine))]
    {
        assert_eq!(response(text), want, "{text:?}");
    }
}

#[test]
fn responses_without_a_body_are_those_of_rfc_9112() {
    for (status, want) in [
        (100, Framing::None),
        (101, Framing::None),
        (199, Framing::None),
        (200, Framing::Length(7)),
        (203, Framing::Length(7)),
        (204, Framing::None),
        (205, Framing::Length(7)),
        (303, Framing::Length(7)),
        (304, Framing::None),
        (305, Framing::Length(7)),
    ] {
        let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 7\r\n\r\n");
        let mut head = Head::default();
        assert!(head.read_response(text.as_bytes(), &mut Progress::default()).is_ok());
        assert_eq!(head.response_framing(text.as_bytes(), false), Ok(want), "{status}");
    }
    let is_empty = |framing: Framing| framing.is_empty();
    assert!(is_empty(Framing::None) && is_empty(Framing::Length(0)));
    assert!(![Framing::Length(1), Framing::Chunked, Framing::UntilClose].into_iter().any(is_empty));
}

#[test]
fn hosts_are_counted() {
    for (version, fields, want) in [
        ("1.1", "Host: a\r\n", Ok(Some(&b"a"[..]))),
        ("1.1", "Host:\r\n", Ok(Some(b""))),
        ("1.1", "", Err(HeadError::MissingHost)),
        ("1.1", "Hos: a\r\nHosts: a\r\n", Err(HeadError::MissingHost)),
        ("1.1", "Host: a\r\nHOST: a\r\n", Err(HeadError::MultipleHosts)),
        ("1.0", "", Ok(None)),
        ("1.0", "Host: a\r\n", Ok(Some(b"a"))),
        ("1.0", "Host: a\r\nHost: b\r\n", Err(HeadError::MultipleHosts)),
    ] {
        let text = format!("GET / HTTP/{version}\r\n{fields}\r\n");
        let mut head = Head::default();
        assert!(head.read_request(text.as_bytes(), &mut Progress::default()).is_ok());
        assert_eq!(head.host(text.as_bytes()), want, "{version} {fields:?}");
    }
}

#[test]
fn an_error_has_its_status_and_says_what_is_wrong() {
    for (error, status, want) in [
        (HeadError::TooLarge, 431, "a head larger than 64 KiB"),
        (HeadError::UnsupportedCoding, 501, "a Transfer-Encoding other than chunked"),
        (HeadError::Version, 505, "an HTTP version other than 1.0, 1.1 and 2"),
        (HeadError::StartLine, 400, "a first line that is not of HTTP/1"),
        (HeadError::NotChunkedLast, 400, "a Transfer-Encoding that does not end in chunked"),
    ] {
        assert_eq!((error.status(), error.to_string().as_str()), (status, want));
    }
    let error = RequestError::TargetTooLong;
    let head_error = HeadError::from(error);
    assert_eq!((head_error.status(), head_error.to_string()), (error.status(), error.to_string()));
}

#[test]
fn members_of_a_list_are_what_stands_between_commas() {
    let text = "GET / HTTP/1.1\r\nA: b , c\r\nAA: d\r\na:, e,\r\n\r\n".as_bytes();
    let mut head = Head::default();
    assert!(head.read_request(text, &mut Progress::default()).is_ok());
    for (member, want) in [("b", true), ("c", true), ("e", true), ("d", false), ("b , c", false), ("", false)] {
        assert_eq!(head.list_contains(text, "a", member), want, "{member}");
    }
    assert_eq!(
        (head.get(text, "a"), head.get(text, "aa"), head.get(text, "b")),
        (Some(&b"b , c"[..]), Some(&b"d"[..]), None)
    );
    assert_eq!(head.get_all(text, "a").count(), 2);
    assert_eq!(members(b" a ,,b\t, ").collect::<Vec<_>>(), [b"a", b"b"]);
}
