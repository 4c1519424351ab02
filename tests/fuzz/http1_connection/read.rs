//! A reader of HTTP/1 that takes more than runsd, and never something else.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, Status};

/// A request, as far as it has come.
#[derive(Debug, Default)]
pub struct Request {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    /// What came of the body's data.
    pub body: Vec<u8>,
    /// Nothing behind it is a request.
    pub is_malformed: bool,
    /// Of a route, as far as its host goes.
    pub is_for_route: bool,
    pub has_body: bool,
    pub start: usize,
    /// Where its head ends, and all of it, if these have come.
    pub head_end: Option<usize>,
    pub end: Option<usize>,
    is_old: bool,
}

impl Request {
    /// Whether it may be sent twice (RFC 9110 section 9.2.2).
    pub fn is_repeatable(&self) -> bool {
        matches!(&*self.method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE") && !self.has_body
    }

    /// Whether this is what the upstream got of it.
    pub fn is_that(&self, got: &Request) -> bool {
        let is_same_body = match got.end {
            Some(_) => self.end.is_some() && self.body == got.body,
            None => self.body.starts_with(&got.body),
        };
        self.has_head_of(got) && is_same_body && !got.is_malformed
    }

    /// The same but for its body. Of an absolute target the upstream gets the path (RFC 9112 section 3.2.1).
    pub fn has_head_of(&self, got: &Request) -> bool {
        let path = got.target.strip_prefix(b"/").unwrap_or(&got.target);
        let path = if got.target == b"*" { b"" } else { path };
        let is_absolute = self.target.windows(3).any(|octets| octets == b"://");
        let is_same = self.target == got.target || (is_absolute && self.target.ends_with(path));
        self.head_end.is_some() && self.method == got.method && is_same
    }

    /// Where its method and target are.
    pub fn line(&self) -> Range<usize> {
        self.start..self.start + self.method.len() + 1 + self.target.len()
    }
}

/// Reads all requests of a client. The last one may be incomplete or malformed.
pub fn read_requests(bytes: &[u8]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // Empty lines before a request (RFC 9112 section 2.2).
        at += bytes[at..].iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        let mut request = read_request(&bytes[at..]);
        request.start = at;
        for end in [&mut request.head_end, &mut request.end].into_iter().flatten() {
            *end += at;
        }
        let end = request.end.filter(|_| request.method != b"CONNECT");
        requests.push(request);
        match end {
            Some(end) => at = end,
            None => break,
        }
    }
    requests
}

/// Reads the request that starts here.
pub fn read_request(bytes: &[u8]) -> Request {
    let known = with_known_version(bytes);
    let mut fields = room_for_fields(&known);
    let mut head = httparse::Request::new(&mut fields);
    let end = match head.parse(&known) {
        Ok(Status::Complete(end)) => end,
        Ok(Status::Partial) => return Request { is_for_route: true, ..Request::default() },
        Err(_) => return Request { is_malformed: true, is_for_route: true, ..Request::default() },
    };
    let mut request = Request {
        method: head.method.unwrap_or_default().as_bytes().to_vec(),
        target: head.path.unwrap_or_default().as_bytes().to_vec(),
        is_for_route: is_for_route(head.path.unwrap_or_default(), head.headers),
        head_end: Some(end),
        is_old: head.version == Some(0),
        ..Request::default()
    };
    match framing(head.headers) {
        None => request.is_malformed = true,
        Some(Framing::None) => request.end = Some(end),
        Some(Framing::Length(len)) => {
            request.has_body = true;
            let body = &bytes[end..];
            request.body = body[..len.min(body.len())].to_vec();
            request.end = (len <= body.len()).then_some(end.saturating_add(len));
        }
        Some(Framing::Chunked) => {
            request.has_body = true;
            let (data, chunks_end, is_malformed) = read_chunks(&bytes[end..]);
            request.body = data;
            request.end = chunks_end.map(|len| end + len);
            request.is_malformed = is_malformed;
        }
    }
    request
}

/// The same with a higher minor version as HTTP/1.1, for which it counts (RFC 9110 section 2.5).
fn with_known_version(bytes: &[u8]) -> Vec<u8> {
    let mut known = bytes.to_vec();
    let line_end = known.iter().skip_while(|octet| matches!(octet, b'\r' | b'\n')).position(|&octet| octet == b'\n');
    let blank_len = known.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
    let line = &mut known[blank_len..][..line_end.unwrap_or(0)];
    let line_len = line.trim_ascii_end().len();
    if let [.., b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9'] = &mut line[..line_len] {
        *minor = b'1';
    }
    known
}

/// Whether all hosts that a request names are the route's.
fn is_for_route(target: &str, fields: &[Header<'_>]) -> bool {
    let hosts = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let authority = match target.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => "up",
    };
    authority.eq_ignore_ascii_case("up") && hosts.into_iter().all(|host| host.value.eq_ignore_ascii_case(b"up"))
}

/// The responses that a client got.
#[derive(Default)]
pub struct Responses {
    pub all: Vec<Response>,
    pub is_malformed: bool,
    /// What comes behind the last is of another protocol.
    pub has_upgrade: bool,
}

pub struct Response {
    /// All of it, with interim responses before it.
    pub range: Range<usize>,
    pub is_whole: bool,
    /// The client cannot expect another one.
    pub is_last: bool,
}

impl Responses {
    pub fn read(bytes: &[u8], requests: &[Request]) -> Responses {
        let mut responses = Responses::default();
        let (mut start, mut at) = (0, 0);
        let incomplete = |start| Response { range: start..bytes.len(), is_whole: false, is_last: true };
        while at < bytes.len() {
            let rest = &bytes[at..];
            let mut fields = room_for_fields(rest);
            let mut head = httparse::Response::new(&mut fields);
            let head_end = match head.parse(rest) {
                Ok(Status::Complete(end)) => end,
                Ok(Status::Partial) => {
                    responses.all.push(incomplete(start));
                    return responses;
                }
                Err(_) => {
                    responses.is_malformed = true;
                    return responses;
                }
            };
            let request = requests.get(responses.all.len());
            let method = request.map_or(&b""[..], |request| &request.method);
            let status = head.code.unwrap_or_default();
            responses.has_upgrade = status == 101 || (method == b"CONNECT" && status < 300);
            if responses.has_upgrade {
                return responses;
            }
            if status < 200 {
                at += head_end;
                continue;
            }
            let is_last = says(head.headers, "connection", "close") || request.is_none_or(|request| request.is_old);
            let is_unread = request.is_some_and(|request| request.is_malformed && request.head_end.is_none());
            if is_unread || (is_last && method == b"HEAD") {
                // runsd may not have come to the method: a body or none, and nothing follows.
                responses.all.push(Response { range: start..bytes.len(), is_whole: true, is_last: true });
                return responses;
            }
            let (is_whole, end) = match response_end(rest, method).0 {
                Some(end) => (true, at + end),
                None => (is_until_close(head.headers), bytes.len()),
            };
            responses.all.push(Response { range: start..end, is_whole, is_last });
            (start, at) = (end, end);
        }
        responses
    }

    /// How many are whole.
    pub fn complete(&self) -> usize {
        self.all.iter().filter(|response| response.is_whole).count()
    }
}

/// Returns where a response ends, with interim ones before it, and whether it is a 101. `None` where it is not all
/// there, and where it has no end but that of its connection, or none that all readers find.
pub fn response_end(bytes: &[u8], method: &[u8]) -> (Option<usize>, bool) {
    let mut at = 0;
    loop {
        let mut fields = room_for_fields(&bytes[at..]);
        let mut head = httparse::Response::new(&mut fields);
        let Ok(Status::Complete(len)) = head.parse(&bytes[at..]) else { return (None, false) };
        at += len;
        let status = head.code.unwrap_or_default();
        match status {
            101 => return (None, true),
            0..200 => continue,
            204 | 304 => return (Some(at), false),
            _ if method == b"HEAD" => return (Some(at), false),
            _ => {}
        }
        let body = &bytes[at..];
        let len = match framing(head.headers) {
            Some(Framing::Length(len)) => (len <= body.len()).then_some(len),
            // HTTP/1.0 has no chunks.
            Some(Framing::Chunked) if head.version == Some(1) => read_chunks(body).1,
            Some(Framing::Chunked) => None,
            None | Some(Framing::None) => None,
        };
        return (len.map(|len| at + len), false);
    }
}

enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// `None` where it is not clear.
fn framing(fields: &[Header<'_>]) -> Option<Framing> {
    let values = |name: &'static str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
    };
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    let lengths: Vec<&[u8]> = lengths.flat_map(|value| value.split(|octet| *octet == b',')).collect();
    let codings: Vec<&[u8]> = codings.collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Some(Framing::None),
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        ([], [first, others @ ..]) => {
            let read = |text: &[u8]| {
                let digits =
                    str::from_utf8(text.trim_ascii()).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                digits?.parse::<u64>().ok()
            };
            let len = read(first)?;
            let is_same = others.iter().all(|other| read(other) == Some(len));
            is_same.then_some(Framing::Length(usize::try_from(len).unwrap_or(usize::MAX)))
        }
        _ => None,
    }
}

fn is_until_close(fields: &[Header<'_>]) -> bool {
    matches!(framing(fields), Some(Framing::None))
}

fn says(fields: &[Header<'_>], name: &str, token: &str) -> bool {
    let mut values = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    values.any(|value| {
        value.split(|octet| *octet == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// Reads a chunked body: its data, where it ends, and whether it cannot end any more.
fn read_chunks(input: &[u8]) -> (Vec<u8>, Option<usize>, bool) {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(len) = input[at..].windows(2).position(|two| two == b"\r\n") else { return (data, None, false) };
        let line = &input[at..at + len];
        let digits = line.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
        let size = str::from_utf8(&line[..digits]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let (Some(size), true) = (size, matches!(line.get(digits), None | Some(b';' | b' ' | b'\t'))) else {
            return (data, None, true);
        };
        at += len + 2;
        if size == 0 {
            break;
        }
        let chunk = &input[at..];
        data.extend_from_slice(&chunk[..size.min(chunk.len())]);
        match chunk.get(size..).map(|rest| &rest[..rest.len().min(2)]) {
            Some(b"\r\n") => at += size + 2,
            None | Some(b"" | b"\r") => return (data, None, false),
            Some(_) => return (data, None, true),
        }
    }
    match httparse::parse_headers(&input[at..], &mut room_for_fields(&input[at..])) {
        Ok(Status::Complete((len, _))) => (data, Some(at + len), false),
        Ok(Status::Partial) => (data, None, false),
        Err(_) => (data, None, true),
    }
}

/// As many fields as there are lines.
fn room_for_fields(bytes: &[u8]) -> Vec<Header<'_>> {
    vec![EMPTY_HEADER; bytes.iter().filter(|octet| **octet == b'\n').count() + 1]
}
