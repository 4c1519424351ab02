//! Parses the heads of HTTP/1 messages (RFC 9112) into ranges of the bytes they came in.
//!
//! The parser rejects whatever two recipients could read differently (request smuggling, RFC 9112 section 11.2). That
//! is why the header lines that it accepts may be relayed as they are. `rewrite.rs` says which of them are.

use std::fmt;
use std::ops::Range;

pub use self::progress::Progress;
use crate::proxy::syntax::{self, BLANK, RequestError, TEXT, TOKEN, is, is_named};

/// The head of a request or a response, as ranges of the bytes it was read from. Each method gets the same bytes again.
///
/// One value reads all heads of a connection, one after the other, and so reuses its memory.
#[derive(Debug, Default)]
pub struct Head {
    method_or_status: Range<usize>,
    target_or_reason: Range<usize>,
    /// 0 for HTTP/1.0; 1 for HTTP/1.1 and any higher minor version.
    pub minor_version: u8,
    fields: Vec<Field>,
}

/// One header line.
#[derive(Debug)]
struct Field {
    name: Range<usize>,
    /// Without the blanks around it.
    value: Range<usize>,
    /// The offset behind the line's CRLF.
    end: usize,
}

/// How a message's body is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The message has no body.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The body ends when the connection is closed; responses only.
    UntilClose,
}

impl Framing {
    /// Whether the message is over with its head; many clients say so with `Content-Length: 0`.
    pub fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length(0))
    }
}

/// Why a head is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// More than [`MAX_HEAD_LEN`].
    TooLarge,
    /// Not a request line or status line of HTTP/1.
    StartLine,
    /// `HTTP/0.9`, `HTTP/2.0` and others.
    Version,
    /// A CR without LF.
    BareCr,
    /// An LF without CR.
    BareLf,
    /// Not a token, blanks before the colon among others.
    FieldName,
    /// A control character.
    FieldValue,
    /// A field that is continued on a second line (RFC 9112 section 5.2).
    ObsFold,
    /// No `Host` in HTTP/1.1.
    MissingHost,
    /// More than one `Host`.
    MultipleHosts,
    /// `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6.3).
    LengthAndTransferEncoding,
    /// CONNECT with a body, which it never has (RFC 9110 section 9.3.6).
    ConnectWithBody,
    /// A `Transfer-Encoding` without "chunked" once and last: the body's end cannot be found.
    NotChunkedLast,
    /// Another coding before "chunked".
    UnsupportedCoding,
    /// What HTTP/2 rejects, too.
    Request(RequestError),
}

impl HeadError {
    /// The status code of the response to such a request.
    pub fn status(self) -> u16 {
        match self {
            HeadError::TooLarge => 431,
            // RFC 9112 section 6.1.
            HeadError::UnsupportedCoding => 501,
            HeadError::Version => 505,
            HeadError::Request(bad) => bad.status(),
            _ => 400,
        }
    }
}

impl From<RequestError> for HeadError {
    fn from(bad: RequestError) -> HeadError {
        HeadError::Request(bad)
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadError::TooLarge => "a head larger than 64 KiB",
            HeadError::StartLine => "a first line that is not of HTTP/1",
            HeadError::Version => "an HTTP version other than 1.0, 1.1 and 2",
            HeadError::BareCr => "a carriage return that does not end a line",
            HeadError::BareLf => "a line feed without its carriage return",
            HeadError::FieldName => "a header name with a character that none may have",
            HeadError::FieldValue => "a header value with a control character",
            HeadError::ObsFold => "a header that goes on in a second line",
            HeadError::MissingHost => "no Host header",
            HeadError::MultipleHosts => "more than one Host header",
            HeadError::LengthAndTransferEncoding => "Content-Length and Transfer-Encoding at once",
            HeadError::ConnectWithBody => "a body, which CONNECT never has",
            HeadError::NotChunkedLast => "a Transfer-Encoding that does not end in chunked",
            HeadError::UnsupportedCoding => "a Transfer-Encoding other than chunked",
            HeadError::Request(bad) => return bad.fmt(f),
        })
    }
}

impl Head {
    /// Parses a request's head at the start of `input`: `Ok(Some(n))` if it ends before byte `n`, `Ok(None)` if
    /// more bytes have to come first.
    ///
    /// The target is not parsed here, but by [`syntax::parse_target`].
    ///
    /// # Errors
    /// As soon as no further bytes could make it a head.
    pub fn read_request(&mut self, input: &[u8], progress: &mut Progress) -> Result<Option<usize>, HeadError> {
        let head_end = self.read(input, progress, Head::parse_request_line, RequestError::TargetTooLong.into())?;
        // Rejected at its first byte: a TLS handshake need not have an end of line.
        let first = input.get(progress.line_start).filter(|_| !progress.has_start_line);
        match first.is_none_or(|&b| b == b'\r' || is(b, TOKEN)) {
            true => Ok(head_end),
            false => Err(HeadError::StartLine),
        }
    }

    /// Parses a response's head at the start of `input`, as [`Head::read_request`] does.
    ///
    /// # Errors
    /// As soon as no further bytes could make it a head.
    pub fn read_response(&mut self, input: &[u8], progress: &mut Progress) -> Result<Option<usize>, HeadError> {
        // Rejected at its first bytes: what is not HTTP need not have an end of line.
        let start = &input[..input.len().min(7)];
        if !b"HTTP/1.".starts_with(start) {
            return Err(HeadError::StartLine);
        }
        self.read(input, progress, Head::parse_status_line, HeadError::TooLarge)
    }

    /// The request's method.
    pub fn method<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.method_or_status.clone()]
    }

    /// The request's target, unparsed.
    pub fn target<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.target_or_reason.clone()]
    }

    /// The response's status code.
    pub fn status(&self, input: &[u8]) -> u16 {
        let digits = input[self.method_or_status.clone()].iter();
        digits.fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }

    /// The response's status code and reason phrase, unparsed.
    pub fn status_and_reason<'a>(&self, input: &'a [u8]) -> [&'a [u8]; 2] {
        [&input[self.method_or_status.clone()], &input[self.target_or_reason.clone()]]
    }

    /// All fields in their order: names as they were sent, values without the blanks around them.
    pub fn fields<'a>(&self, input: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let fields = self.fields.iter();
        fields.map(move |field| (&input[field.name.clone()], &input[field.value.clone()]))
    }

    /// Appends to `out` the header lines whose names `keep` accepts, byte for byte.
    pub fn copy_fields(&self, input: &[u8], out: &mut Vec<u8>, mut keep: impl FnMut(&[u8]) -> bool) {
        // Adjacent lines are copied together: most heads have one or two lines that are not kept.
        let mut run = 0..0;
        for field in &self.fields {
            if !keep(&input[field.name.clone()]) {
                continue;
            }
            if run.end != field.name.start {
                out.extend_from_slice(&input[run]);
                run = field.name.start..field.end;
            }
            run.end = field.end;
        }
        out.extend_from_slice(&input[run]);
    }

    /// The values of the fields with this name (given in lower case).
    pub fn get_all<'a>(&self, input: &'a [u8], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        // Most names differ in length, and need not be looked at.
        let fields = self.fields.iter().filter(move |field| field.name.len() == name.len());
        let fields = fields.filter(move |field| is_named(&input[field.name.clone()], name));
        fields.map(move |field| &input[field.value.clone()])
    }

    /// The first value of the field with this name (given in lower case).
    pub fn get<'a>(&self, input: &'a [u8], name: &'static str) -> Option<&'a [u8]> {
        self.get_all(input, name).next()
    }

    /// Whether a field that is a list (RFC 9110 section 5.6.1) has this member (given in lower case).
    pub fn list_contains(&self, input: &[u8], name: &'static str, member: &str) -> bool {
        self.get_all(input, name).flat_map(members).any(|found| is_named(found, member))
    }

    /// The value of the one `Host`; `None` in HTTP/1.0 without one.
    ///
    /// # Errors
    /// More than one `Host`, or none in HTTP/1.1 (RFC 9112 section 3.2).
    pub fn host<'a>(&self, input: &'a [u8]) -> Result<Option<&'a [u8]>, HeadError> {
        let mut hosts = self.get_all(input, "host");
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => Ok(Some(host)),
            (None, _) if self.minor_version == 0 => Ok(None),
            (None, _) => Err(HeadError::MissingHost),
            (Some(_), Some(_)) => Err(HeadError::MultipleHosts),
        }
    }

    /// How the body of this request is delimited (RFC 9112 section 6.3).
    ///
    /// # Errors
    /// The head says it in two ways, or in one that others may read differently.
    pub fn request_framing(&self, input: &[u8]) -> Result<Framing, HeadError> {
        Ok(self.announced_framing(input)?.unwrap_or(Framing::None))
    }

    /// How the body of this response is delimited (RFC 9112 section 6.3); `to_head`: the request was a HEAD.
    ///
    /// # Errors
    /// As those of [`Head::request_framing`].
    pub fn response_framing(&self, input: &[u8], to_head: bool) -> Result<Framing, HeadError> {
        // No body follows such a response, whatever length it announces.
        if to_head || matches!(self.status(input), 100..=199 | 204 | 304) {
            return Ok(Framing::None);
        }
        Ok(self.announced_framing(input)?.unwrap_or(Framing::UntilClose))
    }

    fn announced_framing(&self, input: &[u8]) -> Result<Option<Framing>, HeadError> {
        let length = || syntax::parse_content_length(self.get_all(input, "content-length"));
        match (self.is_chunked(input)?, length()?) {
            (true, Some(_)) => Err(HeadError::LengthAndTransferEncoding),
            // HTTP/1.0 has no chunks: the field came from another message (RFC 9112 section 6.1).
            (true, None) if self.minor_version == 0 => Err(HeadError::NotChunkedLast),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, length) => Ok(length.map(Framing::Length)),
        }
    }

    /// Whether the sender will use the connection for another message (RFC 9112 section 9.3).
    pub fn keeps_alive(&self, input: &[u8]) -> bool {
        let has = |option| self.list_contains(input, "connection", option);
        !has("close") && (self.minor_version > 0 || has("keep-alive"))
    }

    fn is_chunked(&self, input: &[u8]) -> Result<bool, HeadError> {
        let codings: Vec<_> = self.get_all(input, "transfer-encoding").flat_map(members).collect();
        match codings.iter().position(|coding| is_named(coding, "chunked")) {
            // A field that lists nothing is not the same as no field.
            None if codings.is_empty() && self.get(input, "transfer-encoding").is_none() => Ok(false),
            Some(0) if codings.len() == 1 => Ok(true),
            // The end of such a body could be found, but runsd does not know the other codings.
            Some(at) if at + 1 == codings.len() => Err(HeadError::UnsupportedCoding),
            _ => Err(HeadError::NotChunkedLast),
        }
    }

    fn parse_request_line(&mut self, input: &[u8], line: Range<usize>) -> Result<(), HeadError> {
        let text = &input[line.clone()];
        let first_space = text.iter().position(|&b| b == b' ');
        let last_space = text.iter().rposition(|&b| b == b' ');
        let (Some(first), Some(last)) = (first_space, last_space) else {
            return Err(HeadError::StartLine);
        };
        // Spaces between these two are in the target, where `syntax::parse_target` rejects them.
        if first == last {
            return Err(HeadError::StartLine);
        }
        self.minor_version = version(&text[last + 1..])?;
        syntax::validate_method(&text[..first])?;
        self.method_or_status = line.start..line.start + first;
        self.target_or_reason = line.start + first + 1..line.start + last;
        Ok(())
    }

    fn parse_status_line(&mut self, input: &[u8], line: Range<usize>) -> Result<(), HeadError> {
        let text = &input[line.clone()];
        // "HTTP/1.1 200 ": the last space is required even without a reason, but many senders omit it.
        if text.len() < 12 || text[8] != b' ' || text.get(12).is_some_and(|&b| b != b' ') {
            return Err(HeadError::StartLine);
        }
        self.minor_version = version(&text[..8])?;
        let (code, reason) = (&text[9..12], &text[13.min(text.len())..]);
        if !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' || !reason.iter().all(|&b| is(b, TEXT)) {
            return Err(HeadError::StartLine);
        }
        self.method_or_status = line.start + 9..line.start + 12;
        self.target_or_reason = line.end - reason.len()..line.end;
        Ok(())
    }

    /// Reads the start line and all header lines, and returns where the head ends. `parse` parses the start line;
    /// `too_long` is the error for one without an end.
    fn read(
        &mut self,
        input: &[u8],
        progress: &mut Progress,
        parse: impl Fn(&mut Head, &[u8], Range<usize>) -> Result<(), HeadError>,
        too_long: HeadError,
    ) -> Result<Option<usize>, HeadError> {
        if progress.is_new() {
            self.fields.clear();
        }
        if !progress.advance(input) {
            return Ok(None);
        }
        if !progress.has_start_line {
            // Empty lines before a request are ignored (RFC 9112 section 2.2).
            while input[progress.line_start..].starts_with(b"\r\n") {
                progress.line_start += 2;
            }
            // Only LF ends the search, so a bare LF is found at once, and a bare CR at the line's end.
            match find_line(input, progress.line_start)? {
                Some(line) if line.len() <= MAX_HEAD_LEN => {
                    progress.line_start = line.end + 2;
                    progress.has_start_line = true;
                    parse(self, input, line)?;
                }
                None if input.len() <= MAX_HEAD_LEN => return Ok(None),
                _ => return Err(too_long),
            }
        }
        loop {
            match read_field(input, progress.line_start)? {
                Line::Field(field) => {
                    progress.line_start = field.end;
                    self.fields.push(field);
                }
                Line::Empty => return Ok(Some(progress.line_start + 2)),
                Line::Incomplete => return Ok(None),
            }
            if progress.line_start > MAX_HEAD_LEN {
                return Err(HeadError::TooLarge);
            }
        }
    }
}

/// Returns the range of the line at `start`, without its CRLF; `None` if its end has not come.
fn find_line(input: &[u8], start: usize) -> Result<Option<Range<usize>>, HeadError> {
    let rest = &input[start..];
    let Some(lf) = rest.iter().position(|&b| b == b'\n') else {
        return Ok(None);
    };
    if lf == 0 || rest[lf - 1] != b'\r' {
        return Err(HeadError::BareLf);
    }
    if rest[..lf - 1].contains(&b'\r') {
        return Err(HeadError::BareCr);
    }
    Ok(Some(start..start + lf - 1))
}

/// What stands at the start of a line behind the start line.
enum Line {
    Field(Field),
    /// The empty line that ends the head.
    Empty,
    /// The line's end has not come.
    Incomplete,
}

/// Reads the header line at `start`, each byte once.
fn read_field(input: &[u8], start: usize) -> Result<Line, HeadError> {
    let skip = |mut at: usize, class: u8| {
        while input.get(at).is_some_and(|&b| is(b, class)) {
            at += 1;
        }
        at
    };
    let colon = skip(start, TOKEN);
    match input.get(colon) {
        Some(b':') if colon > start => {}
        Some(b' ' | b'\t') if colon == start => return Err(HeadError::ObsFold),
        Some(b'\r' | b'\n') | None => {
            return match (line_end(input, colon)?, colon == start) {
                (None, _) => Ok(Line::Incomplete),
                (Some(_), true) => Ok(Line::Empty),
                (Some(_), false) => Err(HeadError::FieldName),
            };
        }
        // Also a blank before the colon (RFC 9112 section 5.1).
        Some(_) => return Err(HeadError::FieldName),
    }
    let value = skip(colon + 1, BLANK);
    let value_end = skip(value, TEXT);
    let Some(end) = line_end(input, value_end)? else {
        return Ok(Line::Incomplete);
    };
    let blanks = input[value..value_end].iter().rev().take_while(|b| is(**b, BLANK)).count();
    Ok(Line::Field(Field { name: start..colon, value: value..value_end - blanks, end }))
}

/// Returns the offset behind the CRLF that is expected at `at`; `None` if the CRLF has not come.
fn line_end(input: &[u8], at: usize) -> Result<Option<usize>, HeadError> {
    match input[at..] {
        [b'\r', b'\n', ..] => Ok(Some(at + 2)),
        [] | [b'\r'] if input.len() > MAX_HEAD_LEN => Err(HeadError::TooLarge),
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(HeadError::BareCr),
        [b'\n', ..] => Err(HeadError::BareLf),
        [..] => Err(HeadError::FieldValue),
    }
}

/// The members of a field that is a list (RFC 9110 section 5.6.1); empty ones do not count.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Reads `HTTP/1.x`: the minor version, where 1 stands for the higher ones, too.
fn version(text: &[u8]) -> Result<u8, HeadError> {
    match text {
        b"HTTP/1.0" => Ok(0),
        // A higher minor version has all that HTTP/1.1 has (RFC 9110 section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(1),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::Version),
        _ => Err(HeadError::StartLine),
    }
}

/// Bounds a head, in bytes: more than common servers accept (8 to 32 KiB), and little enough for each connection to
/// hold.
pub const MAX_HEAD_LEN: usize = 64 * 1024;

mod progress;
#[cfg(test)]
mod tests;
