//! Where the body of an HTTP/1 message ends.
//!
//! A body passes as the bytes it came in; what is read here only finds its
//! end, and refuses framing that another reader could take for a different
//! one (RFC 9112 section 7.1).

use std::fmt;

use super::head::Framing;
use crate::proxy::syntax::{TEXT, TOKEN, is};

/// Follows one body through its bytes.
#[derive(Debug)]
pub enum Body {
    Length(u64),
    Chunked(Chunks),
    /// Until the sender closes.
    Close,
}

/// Where in a chunked body the next byte stands.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    /// Bytes of the chunk that are still to come, or its size as read so far.
    left: u64,
    /// Length of the line that is being read.
    line: usize,
    /// Length of the trailer section so far.
    trailers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Name,
    Value,
    LineLf,
    LastLf,
    Done,
}

/// Where in a chunk's extensions the next byte stands (RFC 9112 section 7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// After ";".
    NameStart,
    Name,
    /// After a name and blanks.
    NameEnd,
    /// After "=".
    ValueStart,
    Token,
    Quoted,
    /// After the backslash in a quoted string.
    Escaped,
    /// After the size, a value in quotes, or blanks.
    End,
}

impl Extension {
    /// The next place; `None` where the line ends.
    fn step(self, byte: u8) -> Result<Option<Extension>, BadChunk> {
        use Extension::{End, Escaped, Name, NameEnd, NameStart, Quoted, Token, ValueStart};
        Ok(Some(match (self, byte) {
            // "BAD" white space is allowed around the signs, and common after
            // a size that was padded.
            (NameStart | NameEnd | ValueStart | End, b' ' | b'\t') => self,
            (Name, b' ' | b'\t') => NameEnd,
            (Token, b' ' | b'\t') => End,
            (Name | NameEnd | Token | End, b';') => NameStart,
            (Name | NameEnd, b'=') => ValueStart,
            (Name | NameEnd | Token | End, b'\r') => return Ok(None),
            (NameStart | Name, _) if is(byte, TOKEN) => Name,
            (ValueStart | Token, _) if is(byte, TOKEN) => Token,
            (ValueStart, b'"') => Quoted,
            (Quoted, b'"') => End,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if is(byte, TEXT) => Quoted,
            (_, b'\r' | b'\n') => return Err(BadChunk::LineEnd),
            _ => return Err(BadChunk::Extension),
        }))
    }
}

/// Why a chunked body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadChunk {
    SizeNotHex,
    SizeTooLarge,
    LineTooLong,
    LineEnd,
    Extension,
    DataEnd,
    Trailer,
}

impl fmt::Display for BadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadChunk::SizeNotHex => "a chunk size that is no hexadecimal number",
            BadChunk::SizeTooLarge => "a chunk size above 2^60",
            BadChunk::LineTooLong => "a chunk line longer than 4 KiB",
            BadChunk::LineEnd => "a chunk line that does not end in CRLF",
            BadChunk::Extension => "a chunk extension that is not well-formed",
            BadChunk::DataEnd => "a chunk longer than its size",
            BadChunk::Trailer => "a trailer section that is not well-formed",
        })
    }
}

impl Body {
    /// The body that `framing` announces; `None` if none follows.
    pub fn new(framing: Framing) -> Option<Body> {
        match framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(Chunks::new())),
            Framing::Close => Some(Body::Close),
        }
    }

    /// Takes the bytes of `input` that belong to the body, and says how many
    /// and whether it ends with them. `data` gets what they carry.
    pub fn take<'a>(&mut self, input: &'a [u8], data: impl FnMut(&'a [u8])) -> Result<(usize, bool), BadChunk> {
        match self {
            Body::Length(left) => {
                let n = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                let mut data = data;
                data(&input[..n]);
                *left -= n as u64;
                Ok((n, *left == 0))
            }
            Body::Chunked(chunks) => chunks.take(input, data),
            Body::Close => {
                let mut data = data;
                data(input);
                Ok((input.len(), false))
            }
        }
    }
}

impl Chunks {
    fn new() -> Chunks {
        Chunks { state: State::SizeStart, left: 0, line: 0, trailers: 0 }
    }

    fn take<'a>(&mut self, input: &'a [u8], mut data: impl FnMut(&'a [u8])) -> Result<(usize, bool), BadChunk> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let rest = &input[at..];
                let n = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                data(&rest[..n]);
                at += n;
                self.left -= n as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(input[at])?;
            at += 1;
        }
        Ok((at, self.state == State::Done))
    }

    /// One byte outside of chunk data.
    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        if self.line > LONGEST_LINE {
            return Err(BadChunk::LineTooLong);
        }
        match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.state == State::SizeStart {
                    self.left = 0;
                }
                if self.left >> 56 != 0 {
                    return Err(BadChunk::SizeTooLarge);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (State::Size, b'\r' | b';' | b' ' | b'\t') => extension(Extension::End, byte),
            (State::SizeStart | State::Size, _) => Err(BadChunk::SizeNotHex),
            (State::Extension(at), _) => extension(at, byte),
            (State::SizeLf, b'\n') => {
                self.line = 0;
                match self.left {
                    0 => Ok(State::LineStart),
                    _ => Ok(State::Data),
                }
            }
            (State::SizeLf, _) => Err(BadChunk::LineEnd),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.line = 0;
                Ok(State::SizeStart)
            }
            (State::DataCr | State::DataLf, _) => Err(BadChunk::DataEnd),
            (State::LineStart, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::Done),
            (State::LineStart | State::Name, _) if is(byte, TOKEN) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::LineLf),
            (State::Value, _) if is(byte, TEXT) => Ok(State::Value),
            (State::LineLf, b'\n') => {
                self.trailers += self.line;
                self.line = 0;
                match self.trailers > super::head::LARGEST {
                    true => Err(BadChunk::Trailer),
                    false => Ok(State::LineStart),
                }
            }
            _ => Err(BadChunk::Trailer),
        }
    }
}

fn extension(at: Extension, byte: u8) -> Result<State, BadChunk> {
    let next = at.step(byte)?;
    Ok(next.map_or(State::SizeLf, State::Extension))
}

/// The longest chunk line or trailer line, in bytes.
const LONGEST_LINE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the body carries and where it ends, fed in two parts.
    fn read(input: &[u8], cut: usize) -> Result<(Vec<u8>, usize, bool), BadChunk> {
        let mut body = Body::new(Framing::Chunked).expect("a body");
        let mut carried = Vec::new();
        let (first, done) = body.take(&input[..cut], |data| carried.extend_from_slice(data))?;
        if done {
            return Ok((carried, first, true));
        }
        let (second, done) = body.take(&input[cut..], |data| carried.extend_from_slice(data))?;
        Ok((carried, first + second, done))
    }

    #[test]
    fn chunks_at_every_cut() {
        for (text, want) in [
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("0005;a=\"b\"\r\nhello\r\n6 ;x\r\n world\r\n0\r\n\r\n", "hello world"),
            ("5 \t\r\nhello\r\n6 ; a = \"\\\"; \u{e9}\t\" ;b=c ; d \r\n world\r\n0;end\r\n\r\n", "hello world"),
            ("A\r\n0123456789\r\n0\r\nDigest: a b\r\nX:\r\n\r\n", "0123456789"),
            ("0\r\n\r\n", ""),
        ] {
            for cut in 0..=text.len() {
                let mut input = text.as_bytes().to_vec();
                input.extend_from_slice(b"GET");
                let got = read(&input, cut);
                let want = Ok((want.as_bytes().to_vec(), text.len(), true));
                assert_eq!(got, want, "{text:?} cut at {cut}");
            }
            for end in 0..text.len() {
                let (_, used, done) = read(&text.as_bytes()[..end], 0).expect(text);
                assert_eq!((used, done), (end, false), "{text:?} ends at {end}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        let long = format!("1;{}\r\n", "x".repeat(5000));
        for (text, want) in [
            ("+5\r\n", BadChunk::SizeNotHex),
            ("-1\r\n", BadChunk::SizeNotHex),
            ("0x5\r\n", BadChunk::SizeNotHex),
            (" 5\r\n", BadChunk::SizeNotHex),
            ("\r\n", BadChunk::SizeNotHex),
            ("5\n", BadChunk::SizeNotHex),
            ("5;a\nb", BadChunk::LineEnd),
            ("5;\r\n", BadChunk::LineEnd),
            ("5; \r\n", BadChunk::LineEnd),
            ("5;a=\r\n", BadChunk::LineEnd),
            ("5;a=\"open\r\n", BadChunk::LineEnd),
            ("5;a=\"open\\\r\n", BadChunk::LineEnd),
            ("5 5\r\n", BadChunk::Extension),
            ("5 x\r\n", BadChunk::Extension),
            ("5\t;a b\r\n", BadChunk::Extension),
            ("5;;\r\n", BadChunk::Extension),
            ("5;=a\r\n", BadChunk::Extension),
            ("5;\"a\"\r\n", BadChunk::Extension),
            ("5;a==b\r\n", BadChunk::Extension),
            ("5;a=b=c\r\n", BadChunk::Extension),
            ("5;a=\"b\"c\r\n", BadChunk::Extension),
            ("5;a=\"b\0\"\r\n", BadChunk::Extension),
            ("5;a(\r\n", BadChunk::Extension),
            ("5\rx", BadChunk::LineEnd),
            ("fffffffffffffffff\r\n", BadChunk::SizeTooLarge),
            ("1\r\nab", BadChunk::DataEnd),
            ("1\r\na\n", BadChunk::DataEnd),
            ("1\r\na\r0", BadChunk::DataEnd),
            ("0\r\n folded\r\n", BadChunk::Trailer),
            ("0\r\nno colon\r\n", BadChunk::Trailer),
            ("0\r\nA: b\n", BadChunk::Trailer),
            ("0\r\n\rx", BadChunk::Trailer),
            (&long, BadChunk::LineTooLong),
        ] {
            assert_eq!(read(text.as_bytes(), 0), Err(want), "{text:?}");
        }
    }

    #[test]
    fn a_length_ends_where_it_says() {
        let mut body = Body::new(Framing::Length(5)).expect("a body");
        assert_eq!(body.take(b"hel", |_| {}), Ok((3, false)));
        assert_eq!(body.take(b"loGET", |_| {}), Ok((2, true)));
        assert!(Body::new(Framing::Length(0)).is_none());
    }
}
