//! Finds the end of an HTTP/1 message body (RFC 9112 section 6). Bytes in, lengths out.
//!
//! runsd relays a body as the bytes it came in. The decoder only finds where the body ends, and rejects framing that
//! another recipient could read differently.
//!
//! ```text
//! SizeStart ─▶ Size ─▶ [Extension] ─▶ SizeLf ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ SizeStart …
//!                                        │ size 0
//!                                        ▼
//!                                   TrailerStart ─▶ FinalLf ─▶ Done
//!                                    ▲        │
//!                         TrailerLf ─┘        ▼
//!                             ▲          TrailerName
//!                             └─ TrailerValue ◀┘
//! ```

use std::fmt;

use super::head::{Framing, MAX_HEAD_LEN};
use crate::proxy::syntax::{TEXT, TOKEN, is};

/// Follows one body through its bytes.
#[derive(Debug)]
pub enum Body {
    /// The bytes that are still to come.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(ChunkedDecoder),
    /// The body ends when the sender closes the connection.
    UntilClose,
}

/// Decodes a chunked body (RFC 9112 section 7.1).
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// In bytes: what is left of the chunk, or the part of its size that was read.
    remaining: u64,
    /// Length of the line that is being read, in bytes.
    line_len: usize,
    /// Length of the trailer section so far, in bytes.
    trailers_len: usize,
}

/// What the next byte belongs to; see the diagram in the module's doc.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    SizeStart,
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    FinalLf,
    Done,
}

/// What the next byte of a chunk extension belongs to (RFC 9112 section 7.1.1).
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
    /// After the size, a quoted value, or blanks.
    End,
}

impl Extension {
    /// Returns the state after `byte`: still in the extensions, or [`State::SizeLf`].
    fn next(self, byte: u8) -> Result<State, ChunkError> {
        use Extension::{End, Escaped, Name, NameEnd, NameStart, Quoted, Token, ValueStart};
        Ok(State::Extension(match (self, byte) {
            // The "bad" white space of the grammar, common after a padded size.
            (NameStart | NameEnd | ValueStart | End, b' ' | b'\t') => self,
            (Name, b' ' | b'\t') => NameEnd,
            (Token, b' ' | b'\t') => End,
            (Name | NameEnd | Token | End, b';') => NameStart,
            (Name | NameEnd, b'=') => ValueStart,
            (Name | NameEnd | Token | End, b'\r') => return Ok(State::SizeLf),
            (NameStart | Name, _) if is(byte, TOKEN) => Name,
            (ValueStart | Token, _) if is(byte, TOKEN) => Token,
            (ValueStart, b'"') => Quoted,
            (Quoted, b'"') => End,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if is(byte, TEXT) => Quoted,
            (_, b'\r' | b'\n') => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Extension),
        }))
    }
}

/// Why a chunked body is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// Not hexadecimal digits: `from_str_radix` would accept "+5", and other recipients "0x5" or " 5".
    SizeNotHex,
    /// More than 15 significant digits.
    SizeTooLarge,
    /// More than [`MAX_LINE_LEN`] bytes.
    LineTooLong,
    /// A bare CR or LF.
    LineEnd,
    /// Not of the grammar of RFC 9112 section 7.1.1.
    Extension,
    /// No CRLF behind as many bytes as the size says.
    DataEnd,
    /// Not field lines, or longer than [`MAX_HEAD_LEN`].
    Trailer,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChunkError::SizeNotHex => "a chunk size that is no hexadecimal number",
            ChunkError::SizeTooLarge => "a chunk size above 2^60",
            ChunkError::LineTooLong => "a chunk line longer than 4 KiB",
            ChunkError::LineEnd => "a chunk line that does not end in CRLF",
            ChunkError::Extension => "a chunk extension that is not well-formed",
            ChunkError::DataEnd => "a chunk longer than its size",
            ChunkError::Trailer => "a trailer section that is not well-formed",
        })
    }
}

impl Body {
    /// Returns the body that `framing` announces; `None` if the message has none, or an empty one.
    pub fn new(framing: Framing) -> Option<Body> {
        match framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(length) => Some(Body::Length(length)),
            Framing::Chunked => Some(Body::Chunked(ChunkedDecoder::default())),
            Framing::UntilClose => Some(Body::UntilClose),
        }
    }

    /// Returns how many bytes of `input` belong to the body, and whether the body ends with them. `data` gets its
    /// content.
    ///
    /// # Errors
    /// The body is malformed, and so has no end: do not call this again.
    pub fn decode<'a>(&mut self, input: &'a [u8], mut data: impl FnMut(&'a [u8])) -> Result<(usize, bool), ChunkError> {
        match self {
            Body::Length(remaining) => {
                let content = split_content(remaining, input);
                data(content);
                Ok((content.len(), *remaining == 0))
            }
            Body::Chunked(decoder) => decoder.decode(input, data),
            Body::UntilClose => {
                data(input);
                Ok((input.len(), false))
            }
        }
    }
}

/// Returns the start of `input` that belongs to a content with `remaining` bytes to come, and subtracts it there.
fn split_content<'a>(remaining: &mut u64, input: &'a [u8]) -> &'a [u8] {
    let n = usize::try_from(*remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
    *remaining -= n as u64;
    &input[..n]
}

impl ChunkedDecoder {
    fn decode<'a>(&mut self, input: &'a [u8], mut data: impl FnMut(&'a [u8])) -> Result<(usize, bool), ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let content = split_content(&mut self.remaining, &input[at..]);
                data(content);
                at += content.len();
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.next(input[at])?;
            at += 1;
        }
        Ok((at, self.state == State::Done))
    }

    /// Returns the state after `byte`, which is not chunk data.
    fn next(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.line_len += 1;
        if self.line_len > MAX_LINE_LEN {
            return Err(ChunkError::LineTooLong);
        }
        match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.remaining >> 56 != 0 {
                    return Err(ChunkError::SizeTooLarge);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.remaining = self.remaining * 16 + u64::from(digit);
                Ok(State::Size)
            }
            (State::Size, b'\r' | b';' | b' ' | b'\t') => Extension::End.next(byte),
            (State::SizeStart | State::Size, _) => Err(ChunkError::SizeNotHex),
            (State::Extension(extension), _) => extension.next(byte),
            (State::SizeLf, b'\n') => {
                self.line_len = 0;
                Ok(if self.remaining == 0 { State::TrailerStart } else { State::Data })
            }
            (State::SizeLf, _) => Err(ChunkError::LineEnd),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.line_len = 0;
                Ok(State::SizeStart)
            }
            (State::DataCr | State::DataLf, _) => Err(ChunkError::DataEnd),
            (State::TrailerStart, b'\r') => Ok(State::FinalLf),
            (State::FinalLf, b'\n') => Ok(State::Done),
            (State::TrailerStart | State::TrailerName, _) if is(byte, TOKEN) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if is(byte, TEXT) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => {
                self.trailers_len += self.line_len;
                self.line_len = 0;
                if self.trailers_len > MAX_HEAD_LEN {
                    return Err(ChunkError::Trailer);
                }
                Ok(State::TrailerStart)
            }
            _ => Err(ChunkError::Trailer),
        }
    }
}

/// Bounds a chunk-size line and a trailer line, in bytes: a size takes 16, and extensions are hardly ever used; without
/// a bound a line could go on for ever.
const MAX_LINE_LEN: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in two parts: the content, the length of the body, and whether it ended.
    fn read(input: &[u8], cut: usize) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut body = Body::new(Framing::Chunked).expect("a body");
        let mut carried = Vec::new();
        let (first, done) = body.decode(&input[..cut], |data| carried.extend_from_slice(data))?;
        if done {
            return Ok((carried, first, true));
        }
        let (second, done) = body.decode(&input[cut..], |data| carried.extend_from_slice(data))?;
        Ok((carried, first + second, done))
    }

    #[test]
    fn chunked_body_is_decoded_at_every_cut() {
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
    fn malformed_chunks_are_rejected() {
        let long = format!("1;{}\r\n", "x".repeat(5000));
        for (text, want) in [
            ("+5\r\n", ChunkError::SizeNotHex),
            ("-1\r\n", ChunkError::SizeNotHex),
            ("0x5\r\n", ChunkError::SizeNotHex),
            (" 5\r\n", ChunkError::SizeNotHex),
            ("\r\n", ChunkError::SizeNotHex),
            ("5\n", ChunkError::SizeNotHex),
            ("5;a\nb", ChunkError::LineEnd),
            ("5;\r\n", ChunkError::LineEnd),
            ("5; \r\n", ChunkError::LineEnd),
            ("5;a=\r\n", ChunkError::LineEnd),
            ("5;a=\"open\r\n", ChunkError::LineEnd),
            ("5;a=\"open\\\r\n", ChunkError::LineEnd),
            ("5 5\r\n", ChunkError::Extension),
            ("5 x\r\n", ChunkError::Extension),
            ("5\t;a b\r\n", ChunkError::Extension),
            ("5;;\r\n", ChunkError::Extension),
            ("5;=a\r\n", ChunkError::Extension),
            ("5;\"a\"\r\n", ChunkError::Extension),
            ("5;a==b\r\n", ChunkError::Extension),
            ("5;a=b=c\r\n", ChunkError::Extension),
            ("5;a=\"b\"c\r\n", ChunkError::Extension),
            ("5;a=\"b\0\"\r\n", ChunkError::Extension),
            ("5;a(\r\n", ChunkError::Extension),
            ("5\rx", ChunkError::LineEnd),
            ("fffffffffffffffff\r\n", ChunkError::SizeTooLarge),
            ("1\r\nab", ChunkError::DataEnd),
            ("1\r\na\n", ChunkError::DataEnd),
            ("1\r\na\r0", ChunkError::DataEnd),
            ("0\r\n folded\r\n", ChunkError::Trailer),
            ("0\r\nno colon\r\n", ChunkError::Trailer),
            ("0\r\nA: b\n", ChunkError::Trailer),
            ("0\r\n\rx", ChunkError::Trailer),
            (&long, ChunkError::LineTooLong),
        ] {
            assert_eq!(read(text.as_bytes(), 0), Err(want), "{text:?}");
        }
    }

    #[test]
    fn lines_and_the_trailer_section_are_bounded() {
        // Each line counts from its first byte to its CR.
        for (start, end) in
            [("1;", "\r\na\r\n0\r\n\r\n"), ("1\r\na\r\n1;", "\r\na\r\n0\r\n\r\n"), ("0\r\na:b\r\nc:", "\r\n\r\n")]
        {
            let line_start = start.rsplit('\n').next().expect("a line");
            let longest = "x".repeat(MAX_LINE_LEN - line_start.len() - 2);
            let text = format!("{start}{longest}{end}");
            let (_, used, done) = read(text.as_bytes(), 0).expect(start);
            assert_eq!((used, done), (text.len(), true), "{start:?}");
            let text = format!("{start}{longest}x{end}");
            assert_eq!(read(text.as_bytes(), 0), Err(ChunkError::LineTooLong), "{start:?}");
        }
        let line = format!("a:{}\r\n", "x".repeat(MAX_LINE_LEN - 4));
        let longest = format!("0\r\n{}", line.repeat(MAX_HEAD_LEN / MAX_LINE_LEN));
        let text = format!("{longest}\r\n");
        assert!(read(text.as_bytes(), 0).is_ok_and(|(_, used, done)| (used, done) == (text.len(), true)));
        assert_eq!(read(format!("{longest}a:\r\n\r\n").as_bytes(), 0), Err(ChunkError::Trailer));
    }

    #[test]
    fn an_error_says_what_is_wrong_with_the_body() {
        for (error, want) in [
            (ChunkError::SizeNotHex, "a chunk size that is no hexadecimal number"),
            (ChunkError::LineEnd, "a chunk line that does not end in CRLF"),
            (ChunkError::Trailer, "a trailer section that is not well-formed"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn sizes_have_sixty_bits() {
        let mut body = Body::new(Framing::Chunked).expect("a body");
        assert_eq!(body.decode(b"0fffffffffffffff\r\n", |_| {}), Ok((18, false)));
        assert!(matches!(body, Body::Chunked(ChunkedDecoder { remaining: 0x0fff_ffff_ffff_ffff, .. })));
        assert_eq!(read(b"1000000000000000\r\n", 0), Err(ChunkError::SizeTooLarge));
    }

    #[test]
    fn body_with_a_length_ends_after_that_many_bytes() {
        let mut body = Body::new(Framing::Length(5)).expect("a body");
        assert_eq!(body.decode(b"hel", |_| {}), Ok((3, false)));
        assert_eq!(body.decode(b"loGET", |_| {}), Ok((2, true)));
        assert!(Body::new(Framing::Length(0)).is_none());
    }
}
