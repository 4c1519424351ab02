//! Hostile requests and responses, in the tables of `clients/hostile_requests.py` and its neighbours: each is
//! refused, or goes on as exactly one message that nginx, haproxy and strict parsers read alike.

use std::time::Duration;

use crate::harness::CloudRun;

/// Runs one function of `clients/smuggling.py`; what it passed on, as pairs of what came and what went on.
#[track_caller]
fn passed_on(table: &str) -> Vec<[Vec<u8>; 2]> {
    let routes = ["-route=echo=http://127.0.0.1:8099", "-route=other=http://127.0.0.1:8098"];
    let client = ["--", "python3", "-B", "/tests/clients/smuggling.py", table];
    let command = [&["/runsd"], &routes[..], &client].concat();
    let out = CloudRun::new().limit(Duration::from_secs(300)).run(&command);
    assert_eq!(out.status, 0, "{table}: {}", out.stderr);
    let pairs: Vec<[String; 2]> = serde_json::from_str(&out.stdout).expect("JSON");
    let bytes = |text: &String| text.chars().map(|c| u8::try_from(c).expect("latin-1")).collect();
    pairs.iter().map(|pair| [bytes(&pair[0]), bytes(&pair[1])]).collect()
}

/// A header line as httparse reads it.
type Field = (String, Vec<u8>);

fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| &*field.1).collect()
}

fn fields(headers: &[httparse::Header<'_>]) -> Vec<Field> {
    headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
}

/// The bytes behind a body, if it ends as these header lines say.
fn behind_body<'a>(fields: &[Field], mut rest: &'a [u8]) -> &'a [u8] {
    match (&*values(fields, "content-length"), &*values(fields, "transfer-encoding")) {
        ([], []) => rest,
        ([length], []) => {
            let length = std::str::from_utf8(length).expect("text").parse().expect("a number");
            &rest[length..]
        }
        ([], [b"chunked"]) => loop {
            let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
                panic!("a chunk size: {:?}", String::from_utf8_lossy(rest));
            };
            if size == 0 {
                let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of the trailers");
                return &rest[end + 4..];
            }
            rest = &rest[start + usize::try_from(size).expect("a size") + 2..];
        },
        both => panic!("lengths: {both:?}"),
    }
}

#[test]
fn a_hostile_request_is_refused_or_one_request_to_every_reader() {
    let passed = passed_on("requests");
    assert!(passed.len() > 40, "{}", passed.len());
    for [came, went] in passed {
        let mut headers = vec![httparse::EMPTY_HEADER; 4000];
        let mut request = httparse::Request::new(&mut headers);
        let shown = String::from_utf8_lossy(&went[..went.len().min(300)]).into_owned();
        let Ok(httparse::Status::Complete(end)) = request.parse(&went) else { panic!("{shown}") };
        assert_eq!(request.version, Some(1), "{shown}");
        // Method and target are those that came; a URL has become a path.
        let line = went.split(|&b| b == b'\r').next().unwrap_or_default();
        let [method, target] = [request.method, request.path].map(Option::unwrap_or_default);
        assert_eq!(line, format!("{method} {target} HTTP/1.1").as_bytes(), "{shown}");
        let start = came.trim_ascii_start().split(|&b| b == b'\r').next().unwrap_or_default();
        let start = String::from_utf8_lossy(start);
        assert!(start.starts_with(method) && start.contains(target.trim_start_matches('/')), "{start}: {shown}");
        let fields = fields(request.headers);
        assert_eq!(values(&fields, "host").len(), 1, "{shown}");
        assert_eq!(behind_body(&fields, &went[end..]), b"", "{shown}");
    }
}

#[test]
fn a_hostile_response_is_a_502_or_one_response_to_every_reader() {
    let passed = passed_on("responded");
    assert!(passed.len() > 40, "{}", passed.len());
    for [method, went] in passed {
        let mut rest = &*went;
        loop {
            let mut headers = vec![httparse::EMPTY_HEADER; 4000];
            let mut response = httparse::Response::new(&mut headers);
            let shown = String::from_utf8_lossy(&rest[..rest.len().min(300)]).into_owned();
            let Ok(httparse::Status::Complete(end)) = response.parse(rest) else { panic!("{shown}") };
            assert_eq!(response.version, Some(1), "{shown}");
            rest = &rest[end..];
            let status = response.code.unwrap_or_default();
            if (100..200).contains(&status) {
                continue;
            }
            let fields = fields(response.headers);
            if !matches!(status, 204 | 304) && method != b"HEAD" {
                rest = behind_body(&fields, rest);
            }
            let ends_it = values(&fields, "connection") == [b"close"];
            assert!(ends_it || rest.is_empty(), "{shown}");
            break;
        }
    }
}

#[test]
fn a_hostile_request_over_http_2_is_refused_or_one_request_to_every_reader() {
    let miniature = CloudRun::new().env("RUNSD_ROUTE", "echo=http://127.0.0.1:8097");
    miniature.python(&["/tests/clients/smuggling_h2.py"]);
}
