//! FrameHeader blocks as frames carry them: put together from HEADERS and
//! CONTINUATION, and cut up again (RFC 9113, sections 4.3, 6.2 and 6.10); and
//! what a request's fields must look like (section 8).

use crate::net::authority::Authority;
use crate::proxy::hop_by_hop::is_connection_specific;
use crate::proxy::http2::frame::{self, ConnectionError, Frame, flag, frame_type};
use crate::proxy::http2::hpack::Field;
use crate::proxy::syntax;
use crate::proxy::syntax::{BLANK, RequestError, TEXT, TOKEN, is};

/// A header block that is on its way.
#[derive(Debug, PartialEq, Eq)]
pub struct HeaderBlock {
    pub stream: u32,
    pub end_stream: bool,
    /// The old priority fields, passed on as they came.
    pub priority: Option<[u8; 5]>,
    /// The compressed fields so far.
    pub fragment: Vec<u8>,
    /// No CONTINUATION follows.
    pub whole: bool,
    /// Octets of all its frames.
    wire: usize,
}

impl HeaderBlock {
    /// Where it belongs, and what its frame says beside the block.
    pub fn head(&self) -> Head {
        Head { stream: self.stream, end_stream: self.end_stream, priority: self.priority }
    }

    /// Begins with a HEADERS frame.
    pub fn begin(frame: &Frame<'_>) -> Result<HeaderBlock, ConnectionError> {
        if frame.header.stream_id == 0 {
            return Err(ConnectionError::protocol("HEADERS on stream 0"));
        }
        let mut fragment = frame.unpadded()?;
        let mut priority = None;
        if frame.header.has(flag::PRIORITY) {
            let short = ConnectionError::protocol("HEADERS too short for its priority");
            let (fields, rest) = fragment.split_first_chunk().ok_or(short)?;
            (priority, fragment) = (Some(*fields), rest);
        }
        Ok(HeaderBlock {
            stream: frame.header.stream_id,
            end_stream: frame.header.has(flag::END_STREAM),
            priority,
            fragment: fragment.to_vec(),
            whole: frame.header.has(flag::END_HEADERS),
            wire: frame.len(),
        })
    }

    /// Goes on with the next frame, which must be its CONTINUATION.
    pub fn extend(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        if frame.header.frame_type != frame_type::CONTINUATION || frame.header.stream_id != self.stream {
            let reason = "another frame where CONTINUATION was expected";
            return Err(ConnectionError::protocol(reason));
        }
        // The headers of the frames count too, so that empty ones come to an
        // end as well.
        self.wire += frame.len();
        if self.wire > MAX_BLOCK_WIRE {
            return Err(ConnectionError::calm("a header block over 1 MiB"));
        }
        self.fragment.extend_from_slice(frame.payload);
        self.whole = frame.header.has(flag::END_HEADERS);
        Ok(())
    }
}

/// Appends a header block as HEADERS and as many CONTINUATION as frames of
/// `max_frame` octets need.
pub fn write(out: &mut Vec<u8>, head: Head, block: &[u8], max_frame: usize) {
    let priority = head.priority.as_ref().map_or(&[][..], |fields| fields);
    let (first, mut rest) = block.split_at(block.len().min(max_frame - priority.len()));
    let mut flags = 0;
    for (set, flag) in [
        (head.end_stream, flag::END_STREAM),
        (!priority.is_empty(), flag::PRIORITY),
        (rest.is_empty(), flag::END_HEADERS),
    ] {
        if set {
            flags |= flag;
        }
    }
    let len = priority.len() + first.len();
    frame::write_header(out, len, frame_type::HEADERS, flags, head.stream);
    out.extend_from_slice(priority);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (next, after) = rest.split_at(rest.len().min(max_frame));
        let flags = if after.is_empty() { flag::END_HEADERS } else { 0 };
        frame::write_header(out, next.len(), frame_type::CONTINUATION, flags, head.stream);
        out.extend_from_slice(next);
        rest = after;
    }
}

/// What a HEADERS frame says beside its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub stream: u32,
    pub end_stream: bool,
    pub priority: Option<[u8; 5]>,
}

impl Head {
    /// Whether its old priority fields make it depend on itself (RFC 7540
    /// section 5.3.1).
    pub fn depends_on_itself(&self) -> bool {
        let on = |[a, b, c, d, _]: [u8; 5]| u32::from_be_bytes([a & 0x7f, b, c, d]);
        self.priority.is_some_and(|fields| on(fields) == self.stream)
    }
}

/// Reads the fields of a request (RFC 9113 section 8.3.1): the length of its
/// body, where it has one.
///
/// # Errors
///
/// Whatever makes it malformed: what HTTP/1 refuses is refused here by the
/// same code, for it may become a line of HTTP/1 behind the next hop.
pub fn read_request(fields: &[Field]) -> Result<Option<u64>, RequestError> {
    let pseudo = fields.iter().take_while(|field| field.name.starts_with(b":")).count();
    let (pseudo, fields) = fields.split_at(pseudo);
    let mut found = [None; PSEUDO.len()];
    for field in pseudo {
        let at = PSEUDO.iter().position(|name| *name == field.name);
        let slot = &mut found[at.ok_or(RequestError::PseudoField)?];
        if slot.replace(field.value.as_slice()).is_some() {
            return Err(RequestError::PseudoField);
        }
    }
    let [method, scheme, authority, path, protocol] = found;
    let method = method.ok_or(RequestError::PseudoField)?;
    syntax::method(method)?;
    if let Some(authority) = authority {
        Authority::parse(authority)?;
    }
    match (method, protocol) {
        // RFC 9113 section 8.5.
        (b"CONNECT", None) if scheme.is_some() || path.is_some() || authority.is_none() => {
            return Err(RequestError::ConnectTarget);
        }
        (b"CONNECT", None) => {}
        // RFC 8441 section 4: extended CONNECT is the only one with a protocol.
        (b"CONNECT", Some(protocol)) => syntax::method(protocol)?,
        (_, Some(_)) => return Err(RequestError::PseudoField),
        (_, None) => {}
    }
    if method != b"CONNECT" || protocol.is_some() {
        syntax::scheme(scheme.ok_or(RequestError::PseudoField)?)?;
        syntax::path(method, path.ok_or(RequestError::PseudoField)?)?;
    }
    check_fields(fields)?;
    let named = |name: &'static [u8]| {
        let fields = fields.iter().filter(move |field| field.name == name);
        fields.map(|field| field.value.as_slice())
    };
    let mut hosts = named(b"host");
    match (hosts.next(), authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            return Err(RequestError::TwoAuthorities);
        }
        (Some(host), _) => drop(Authority::parse(host)?),
        (None, _) => {}
    }
    if hosts.next().is_some() {
        return Err(RequestError::TwoAuthorities);
    }
    if named(b"content-length").nth(1).is_some() {
        return Err(RequestError::TwoLengths);
    }
    syntax::content_length(named(b"content-length"))
}

/// Whether these may be the trailers of a request (RFC 9113 section 8.1).
pub fn is_trailer(fields: &[Field]) -> bool {
    check_fields(fields).is_ok()
}

/// Checks fields that are not pseudo-fields (RFC 9113 sections 8.2.1 and 8.2.2).
fn check_fields(fields: &[Field]) -> Result<(), RequestError> {
    for field in fields {
        let (name, value) = (field.name.as_slice(), field.value.as_slice());
        if name.starts_with(b":") {
            return Err(RequestError::PseudoField);
        }
        let in_name = |&b: &u8| is(b, TOKEN) && !b.is_ascii_uppercase();
        if name.is_empty() || !name.iter().all(in_name) {
            return Err(RequestError::FieldName);
        }
        let is_blank = |end: Option<&u8>| end.is_some_and(|&b| is(b, BLANK));
        if !value.iter().all(|&b| is(b, TEXT)) || is_blank(value.first()) || is_blank(value.last()) {
            return Err(RequestError::FieldValue);
        }
        if is_connection_specific(name) || (name == b"te" && value != b"trailers") {
            return Err(RequestError::ConnectionField);
        }
    }
    Ok(())
}

/// The pseudo-fields of requests (RFC 9113 section 8.3.1, RFC 8441 section 4).
const PSEUDO: [&[u8]; 5] = [b":method", b":scheme", b":authority", b":path", b":protocol"];

/// The most octets of fields in a header section, counted as RFC 9113 section
/// 6.5.2 does: as many as a head of HTTP/1 may have.
pub const MAX_BLOCK: usize = 65_536;

/// The most octets of one header block, frames and all. What is longer than
/// [`MAX_BLOCK`] has to be read to keep the table in step; past this the
/// client only wants to keep runsd busy.
const MAX_BLOCK_WIRE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http2::frame::ErrorCode;

    fn frame(bytes: &[u8]) -> Frame<'_> {
        frame::parse(bytes, 16_384).unwrap().unwrap()
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let wire = [
            0, 0, 11, 1, 0x2d, 0, 0, 0, 3, // HEADERS, END_STREAM END_HEADERS PADDED PRIORITY
            2, // padding
            0x80, 0, 0, 1, 200, // exclusive, depends on 1, weight 201
            b'a', b'b', b'c', 0, 0,
        ];
        let block = HeaderBlock::begin(&frame(&wire)).unwrap();
        assert_eq!(block.fragment, b"abc");
        assert_eq!(block.priority, Some([0x80, 0, 0, 1, 200]));
        assert!(block.end_stream && block.whole);
        let mut short = wire[..9 + 3].to_vec();
        short[2] = 3;
        assert_eq!(HeaderBlock::begin(&frame(&short)).unwrap_err().code, ErrorCode::PROTOCOL_ERROR);
    }

    #[test]
    fn cut_up_and_put_together() {
        let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for max_frame in [6, 7, 100, 999, 1000, 1004, 1005, 16_384] {
            for priority in [None, Some([1, 2, 3, 4, 5])] {
                let mut wire = Vec::new();
                let head = Head { stream: 7, end_stream: true, priority };
                write(&mut wire, head, &text, max_frame);
                let first = frame(&wire);
                assert!(first.header.len <= max_frame);
                let mut block = HeaderBlock::begin(&first).unwrap();
                let mut rest = first.rest;
                while !block.whole {
                    let next = frame(rest);
                    assert!(next.header.len <= max_frame);
                    block.extend(&next).unwrap();
                    rest = next.rest;
                }
                assert_eq!((block.fragment, block.priority, rest), (text.clone(), priority, &b""[..]));
            }
        }
    }

    #[test]
    fn an_endless_block_ends() {
        let begin = [0, 0, 0, 1, 0, 0, 0, 0, 1];
        let more = [0, 0, 0, 9, 0, 0, 0, 0, 1];
        let mut block = HeaderBlock::begin(&frame(&begin)).unwrap();
        let mut frames = 1;
        let error = loop {
            match block.extend(&frame(&more)) {
                Ok(()) => frames += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, frames), (ErrorCode::ENHANCE_YOUR_CALM, MAX_BLOCK_WIRE / 9));
    }

    #[test]
    fn only_its_continuation_may_follow() {
        for next in [[0, 0, 0, 9, 4, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            let mut block = HeaderBlock::begin(&frame(&[0, 0, 0, 1, 0, 0, 0, 0, 1])).unwrap();
            assert_eq!(block.extend(&frame(&next)).unwrap_err().code, ErrorCode::PROTOCOL_ERROR);
        }
    }

    fn read(fields: &[(&str, &str)]) -> Result<Option<u64>, RequestError> {
        let fields = fields.iter().map(|&(name, value)| Field::new(name, value));
        read_request(&fields.collect::<Vec<_>>())
    }

    #[test]
    fn what_a_request_must_be() {
        let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        for (more, want) in [
            (&[("accept", "*/*"), ("te", "trailers")][..], Ok(None)),
            (&[("te", "gzip")], Err(RequestError::ConnectionField)),
            (&[("te", "trailers, gzip")], Err(RequestError::ConnectionField)),
            (&[(":path", "/again")], Err(RequestError::PseudoField)),
            (&[("accept", "*/*"), (":late", "")], Err(RequestError::PseudoField)),
            (&[("accept", "*/*"), (":path", "/")], Err(RequestError::PseudoField)),
            (&[(":status", "200")], Err(RequestError::PseudoField)),
            (&[(":unknown", "")], Err(RequestError::PseudoField)),
            (&[(":protocol", "websocket")], Err(RequestError::PseudoField)),
            (&[("Accept", "*/*")], Err(RequestError::FieldName)),
            (&[("", "x")], Err(RequestError::FieldName)),
            (&[("a b", "x")], Err(RequestError::FieldName)),
            (&[("a:b", "x")], Err(RequestError::FieldName)),
            (&[("x", "a\r\nb: c")], Err(RequestError::FieldValue)),
            (&[("x", "a\nb")], Err(RequestError::FieldValue)),
            (&[("x", "a\0b")], Err(RequestError::FieldValue)),
            (&[("x", " a")], Err(RequestError::FieldValue)),
            (&[("x", "a\t")], Err(RequestError::FieldValue)),
            (&[("x", "a \t b"), ("y", "")], Ok(None)),
            (&[("connection", "close")], Err(RequestError::ConnectionField)),
            (&[("keep-alive", "5")], Err(RequestError::ConnectionField)),
            (&[("proxy-connection", "close")], Err(RequestError::ConnectionField)),
            (&[("upgrade", "h2c")], Err(RequestError::ConnectionField)),
            (&[("transfer-encoding", "chunked")], Err(RequestError::ConnectionField)),
            (&[("content-length", "3")], Ok(Some(3))),
            (&[("content-length", "+3")], Err(RequestError::Length)),
            (&[("content-length", "")], Err(RequestError::Length)),
            (&[("content-length", "3, 3")], Err(RequestError::Length)),
            (&[("content-length", "3"), ("content-length", "4")], Err(RequestError::TwoLengths)),
            (&[("content-length", "3"), ("content-length", "3")], Err(RequestError::TwoLengths)),
            (&[("host", "A")], Ok(None)),
            (&[("host", "b")], Err(RequestError::TwoAuthorities)),
            (&[("host", "a"), ("host", "a")], Err(RequestError::TwoAuthorities)),
        ] {
            assert_eq!(read(&[&get, more].concat()), want, "{more:?}");
        }
    }

    #[test]
    fn what_a_request_line_must_be() {
        for (method, scheme, authority, path, want) in [
            ("OPTIONS", "https", "a", "*", true),
            ("M-SEARCH", "HTTP", "a:80", "/?x={y}|", true),
            ("GET /admin", "http", "a", "/", false),
            ("GET\r\n", "http", "a", "/", false),
            ("", "http", "a", "/", false),
            ("GET", "http", "a", "", false),
            ("GET", "http", "a", "admin", false),
            ("GET", "http", "a", "@evil/", false),
            ("GET", "http", "a", "http://evil/x", false),
            ("GET", "http", "a", "/a HTTP/1.1", false),
            ("GET", "http", "a", "/a\r\nx: y", false),
            ("GET", "http", "a", "/\u{e9}", false),
            ("GET", "http", "a", "/#x", false),
            ("GET", "http", "a", "*", false),
            ("GET", "ftp", "a", "/", false),
            ("GET", "", "a", "/", false),
            ("GET", "http", "", "/", false),
            ("GET", "http", "u@a", "/", false),
            ("GET", "http", "a/b", "/", false),
            ("GET", "http", "a:80abc", "/", false),
            ("GET", "http", "a b", "/", false),
            ("CONNECT", "http", "a:80", "/", false),
        ] {
            let fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
            assert_eq!(read(&fields).is_ok(), want, "{fields:?}");
        }
        let (get, http, path) = ((":method", "GET"), (":scheme", "http"), (":path", "/"));
        let (connect, to) = ((":method", "CONNECT"), (":authority", "a:80"));
        let websocket = (":protocol", "websocket");
        for (fields, want) in [
            (&[get, http, path][..], true),
            (&[get, http], false),
            (&[get, path], false),
            (&[http, path], false),
            (&[("accept", "*/*")], false),
            (&[], false),
            (&[connect, to], true),
            (&[connect], false),
            (&[connect, to, path], false),
            (&[connect, to, http, path, websocket], true),
            (&[connect, to, websocket], false),
        ] {
            assert_eq!(read(fields).is_ok(), want, "{fields:?}");
        }
        assert!(is_trailer(&[Field::new("grpc-status", "0")]));
        assert!(!is_trailer(&[Field::new(":path", "/")]));
    }
}
