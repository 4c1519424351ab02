//! The heads of HTTP/1 messages (RFC 9112): read strictly, answered as
//! places in the bytes they were read from.
//!
//! Whatever two readers could understand differently is refused here, which
//! is what makes it safe to pass the rest on as it came.

use std::fmt;
use std::ops::Range;

pub use self::progress::Progress;
use crate::proxy::syntax::{self, BLANK, RequestError, TEXT, TOKEN, is, is_named};

/// The head of a request or a response; its parts are places in its bytes.
///
/// One value serves all the heads of a connection, one after the other.
#[derive(Debug, Default)]
pub struct Head {
    /// Request: method. Response: status code.
    first: Range<usize>,
    /// Request: target. Response: reason phrase.
    second: Range<usize>,
    /// `1` of HTTP/1.1.
    pub minor: u8,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
    /// Where the next line starts.
    end: usize,
}

/// How a message's body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// With the connection; responses only.
    Close,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    TooLarge,
    StartLine,
    Version,
    BareCr,
    BareLf,
    FieldName,
    FieldValue,
    FoldedLine,
    NoHost,
    TwoHosts,
    BothLengths,
    ConnectBody,
    /// Not "chunked", or not at its end: nobody knows where the body ends.
    TransferEncoding,
    /// Another coding before "chunked".
    TransferCoding,
    /// What HTTP/2 would not say either.
    RequestError(RequestError),
}

impl HeadError {
    /// The status that answers such a request.
    pub fn status(self) -> u16 {
        match self {
            HeadError::TooLarge => 431,
            // RFC 9112 section 6.1.
            HeadError::TransferCoding => 501,
            HeadError::Version => 505,
            HeadError::RequestError(bad) => bad.status(),
            _ => 400,
        }
    }
}

impl From<RequestError> for HeadError {
    fn from(bad: RequestError) -> HeadError {
        HeadError::RequestError(bad)
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
            HeadError::FoldedLine => "a header that goes on in a second line",
            HeadError::NoHost => "no Host header",
            HeadError::TwoHosts => "more than one Host header",
            HeadError::BothLengths => "Content-Length and Transfer-Encoding at once",
            HeadError::ConnectBody => "a body, which CONNECT never has",
            HeadError::TransferEncoding => "a Transfer-Encoding that does not end in chunked",
            HeadError::TransferCoding => "a Transfer-Encoding other than chunked",
            HeadError::RequestError(bad) => return bad.fmt(f),
        })
    }
}

impl Head {
    /// Reads a request's head at the start of `input`.
    ///
    /// `Ok(Some(n))`: it ends before byte `n`. `Ok(None)`: it is not all here
    /// yet. The target is whatever stands there: [`syntax::target`] reads it.
    pub fn read_request(&mut self, input: &[u8], progress: &mut Progress) -> Result<Option<usize>, HeadError> {
        let Some((line, end)) = self.read(input, RequestError::TargetTooLong.into(), progress)? else {
            // Seen at its first byte: a TLS handshake has no line to wait for.
            let begin = input.get(progress.line).filter(|_| progress.first.is_none());
            return match begin.is_none_or(|&b| b == b'\r' || is(b, TOKEN)) {
                true => Ok(None),
                false => Err(HeadError::StartLine),
            };
        };
        let text = &input[line.clone()];
        let one = text.iter().position(|&b| b == b' ');
        let two = text.iter().rposition(|&b| b == b' ');
        let (Some(one), Some(two)) = (one, two) else {
            return Err(HeadError::StartLine);
        };
        // Spaces between the two are in the target, which may have none.
        if one == two {
            return Err(HeadError::StartLine);
        }
        self.minor = version(&text[two + 1..])?;
        syntax::method(&text[..one])?;
        self.first = line.start..line.start + one;
        self.second = line.start + one + 1..line.start + two;
        Ok(Some(end))
    }

    /// Reads a response's head at the start of `input`, as above.
    pub fn read_response(&mut self, input: &[u8], progress: &mut Progress) -> Result<Option<usize>, HeadError> {
        // Seen at its first bytes, for no line may ever end in what is none.
        let start = &input[..input.len().min(7)];
        if !b"HTTP/1.".starts_with(start) {
            return Err(HeadError::StartLine);
        }
        let Some((line, end)) = self.read(input, HeadError::TooLarge, progress)? else {
            return Ok(None);
        };
        let text = &input[line.clone()];
        // "HTTP/1.1 200", and then a space, even if no reason follows; many
        // senders forget that space.
        if text.len() < 12 || text[8] != b' ' || text.get(12).is_some_and(|&b| b != b' ') {
            return Err(HeadError::StartLine);
        }
        self.minor = version(&text[..8])?;
        let code = &text[9..12];
        if !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
            return Err(HeadError::StartLine);
        }
        self.first = line.start + 9..line.start + 12;
        self.second = line.start + 13.min(text.len())..line.end;
        if !input[self.second.clone()].iter().all(|&b| is(b, TEXT)) {
            return Err(HeadError::StartLine);
        }
        Ok(Some(end))
    }

    /// The request's method.
    pub fn method<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.first.clone()]
    }

    /// The request's target, as it was written.
    pub fn target<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.second.clone()]
    }

    /// The response's status code, as it was written.
    pub fn code<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.first.clone()]
    }

    /// The response's status code.
    pub fn status(&self, input: &[u8]) -> u16 {
        let digits = input[self.first.clone()].iter();
        digits.fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }

    /// The response's reason phrase.
    pub fn reason<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        &input[self.second.clone()]
    }

    /// All header lines in their order: name as written, value trimmed.
    pub fn fields<'a>(&self, input: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let fields = self.fields.iter();
        fields.map(move |field| (&input[field.name.clone()], &input[field.value.clone()]))
    }

    /// Appends the header lines whose names `keeps` has, as they stand.
    pub fn copy(&self, input: &[u8], out: &mut Vec<u8>, mut keeps: impl FnMut(&[u8]) -> bool) {
        // Neighbours go together: most heads have a line or two to leave out.
        let mut run = 0..0;
        for field in &self.fields {
            if !keeps(&input[field.name.clone()]) {
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

    /// The values of the headers with this name (given in lower case).
    pub fn all<'a>(&self, input: &'a [u8], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.len() == name.len() && is_named(&input[field.name.clone()], name))
            .map(move |field| &input[field.value.clone()])
    }

    /// The first value of the header with this name (given in lower case).
    pub fn get<'a>(&self, input: &'a [u8], name: &'static str) -> Option<&'a [u8]> {
        self.all(input, name).next()
    }

    /// Whether a header that is a list has `word` (in lower case) as a member.
    pub fn lists(&self, input: &[u8], name: &'static str, word: &str) -> bool {
        self.all(input, name).flat_map(members).any(|member| is_named(member, word))
    }

    /// The one Host header; HTTP/1.0 may do without.
    pub fn host<'a>(&self, input: &'a [u8]) -> Result<Option<&'a [u8]>, HeadError> {
        let mut hosts = self.all(input, "host");
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => Ok(Some(host)),
            (None, _) if self.minor == 0 => Ok(None),
            (None, _) => Err(HeadError::NoHost),
            (Some(_), Some(_)) => Err(HeadError::TwoHosts),
        }
    }

    /// How this request's body ends.
    pub fn request_framing(&self, input: &[u8]) -> Result<Framing, HeadError> {
        match (self.chunked(input)?, self.length(input)?) {
            (true, Some(_)) => Err(HeadError::BothLengths),
            // HTTP/1.0 has no chunks: who sent this is not who wrote it.
            (true, None) if self.minor == 0 => Err(HeadError::TransferEncoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }

    /// How the body of this response, maybe one to a HEAD, ends.
    pub fn response_framing(&self, input: &[u8], to_head: bool) -> Result<Framing, HeadError> {
        // Whatever lengths such a response speaks of, no body follows it.
        if to_head || matches!(self.status(input), 100..=199 | 204 | 304) {
            return Ok(Framing::None);
        }
        match (self.chunked(input)?, self.length(input)?) {
            (true, Some(_)) => Err(HeadError::BothLengths),
            (true, None) if self.minor == 0 => Err(HeadError::TransferEncoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::Close),
        }
    }

    /// Whether the sender means to keep the connection (RFC 9112 section 9.3).
    pub fn keeps_alive(&self, input: &[u8]) -> bool {
        match self.minor {
            0 => self.lists(input, "connection", "keep-alive") && !self.lists(input, "connection", "close"),
            _ => !self.lists(input, "connection", "close"),
        }
    }

    fn chunked(&self, input: &[u8]) -> Result<bool, HeadError> {
        let mut codings = self.all(input, "transfer-encoding").flat_map(members);
        let is_chunked = |coding: &[u8]| is_named(coding, "chunked");
        match (codings.next(), codings.next()) {
            // The header may be there and list nothing; who knows what that means?
            (None, _) if self.get(input, "transfer-encoding").is_none() => Ok(false),
            (Some(only), None) if is_chunked(only) => Ok(true),
            // Once, and last: the end of such a body could be found.
            (Some(first), Some(second)) if !is_chunked(first) => {
                let mut rest = [second].into_iter().chain(codings);
                match rest.find(|coding| is_chunked(coding)) {
                    Some(_) if rest.next().is_none() => Err(HeadError::TransferCoding),
                    _ => Err(HeadError::TransferEncoding),
                }
            }
            _ => Err(HeadError::TransferEncoding),
        }
    }

    fn length(&self, input: &[u8]) -> Result<Option<u64>, HeadError> {
        Ok(syntax::content_length(self.all(input, "content-length"))?)
    }

    /// Finds the first line and reads the header lines after it.
    /// `long` is what a first line without an end is.
    fn read(
        &mut self,
        input: &[u8],
        long: HeadError,
        progress: &mut Progress,
    ) -> Result<Option<(Range<usize>, usize)>, HeadError> {
        if progress.is_new() {
            self.fields.clear();
        }
        if !progress.look_at(input) {
            return Ok(None);
        }
        let first = match progress.first.clone() {
            Some(first) => first,
            None => {
                // Empty lines before a request are to be overlooked (RFC 9112, 2.2).
                while input[progress.line..].starts_with(b"\r\n") {
                    progress.line += 2;
                }
                let Some(first) = line(input, progress.line)? else {
                    // A line feed is all that ends a line, so a bare one is found at
                    // once, and a bare carriage return no later than the line's end.
                    return match input.len() > LARGEST {
                        true => Err(long),
                        false => Ok(None),
                    };
                };
                if first.len() > LARGEST {
                    return Err(long);
                }
                progress.line = first.end + 2;
                progress.first.insert(first).clone()
            }
        };
        loop {
            match field(input, progress.line)? {
                Line::Field(field) => {
                    progress.line = field.end;
                    self.fields.push(field);
                }
                Line::Empty => return Ok(Some((first, progress.line + 2))),
                Line::More => return Ok(None),
            }
            if progress.line > LARGEST {
                return Err(HeadError::TooLarge);
            }
        }
    }
}

/// The next line, without its CRLF; `None` while it is not all here.
fn line(input: &[u8], start: usize) -> Result<Option<Range<usize>>, HeadError> {
    let rest = &input[start..];
    let Some(length) = rest.iter().position(|&b| b == b'\n') else {
        return Ok(None);
    };
    if length == 0 || rest[length - 1] != b'\r' {
        return Err(HeadError::BareLf);
    }
    if rest[..length - 1].contains(&b'\r') {
        return Err(HeadError::BareCr);
    }
    Ok(Some(start..start + length - 1))
}

/// What stands where a header line may.
enum Line {
    Field(Field),
    /// The end of the head.
    Empty,
    /// It is not all here yet.
    More,
}

/// Reads one header line, each of its bytes once.
fn field(input: &[u8], start: usize) -> Result<Line, HeadError> {
    let skip = |mut at: usize, class: u8| {
        while input.get(at).is_some_and(|&b| is(b, class)) {
            at += 1;
        }
        at
    };
    let colon = skip(start, TOKEN);
    match input.get(colon) {
        Some(b':') if colon > start => {}
        Some(b' ' | b'\t') if colon == start => return Err(HeadError::FoldedLine),
        Some(b'\r' | b'\n') | None => {
            return match (line_end(input, colon)?, colon == start) {
                (None, _) => Ok(Line::More),
                (Some(_), true) => Ok(Line::Empty),
                (Some(_), false) => Err(HeadError::FieldName),
            };
        }
        // Space before the colon is among what no name may have.
        Some(_) => return Err(HeadError::FieldName),
    }
    let value = skip(colon + 1, BLANK);
    let last = skip(value, TEXT);
    let Some(end) = line_end(input, last)? else {
        return Ok(Line::More);
    };
    let tail = input[value..last].iter().rev().take_while(|b| is(**b, BLANK));
    Ok(Line::Field(Field { name: start..colon, value: value..last - tail.count(), end }))
}

/// Where the line that ends at `at` is over; `None` if that is not here yet.
fn line_end(input: &[u8], at: usize) -> Result<Option<usize>, HeadError> {
    match input[at..] {
        [b'\r', b'\n', ..] => Ok(Some(at + 2)),
        [] | [b'\r'] if input.len() > LARGEST => Err(HeadError::TooLarge),
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(HeadError::BareCr),
        [b'\n', ..] => Err(HeadError::BareLf),
        [..] => Err(HeadError::FieldValue),
    }
}

/// The members of a header that is a list (RFC 9110 section 5.6.1).
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|member| !member.is_empty())
}

fn version(text: &[u8]) -> Result<u8, HeadError> {
    match text {
        b"HTTP/1.0" => Ok(0),
        // A higher minor version says no less than HTTP/1.1 (RFC 9110 section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(1),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::Version),
        _ => Err(HeadError::StartLine),
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let lead = text.iter().take_while(|b| is(**b, BLANK)).count();
    let text = &text[lead..];
    let tail = text.iter().rev().take_while(|b| is(**b, BLANK)).count();
    &text[..text.len() - tail]
}

/// The largest head, in bytes.
pub const LARGEST: usize = 64 * 1024;

mod progress;
#[cfg(test)]
mod tests;
