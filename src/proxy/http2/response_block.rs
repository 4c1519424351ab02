//! A header block of the upstream: a response, an interim one, or trailers.
//!
//! Blocks are forwarded as they came. One that must not reach the client ends the connection to the upstream, because the
//! blocks behind it could not be decoded without it (RFC 9113 section 5.4.1 allows that for any error of a stream).

use std::borrow::Cow;

use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode, Frame, flag, frame_type};
use crate::proxy::http2::hpack::Decoder;
use crate::proxy::http2::validation::validate_field;
use crate::proxy::syntax;

/// A complete header block.
pub struct ResponseBlock<'a> {
    /// Its HEADERS frame.
    pub frame: Frame<'a>,
    /// Octets of all its frames.
    pub wire_len: usize,
    block: Cow<'a, [u8]>,
}

/// What runsd reads of the fields of a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResponseFields {
    /// `:status`; `None` in trailers.
    pub status: Option<u16>,
    /// `content-length`.
    pub content_length: Option<u64>,
    /// `www-authenticate` of a 401.
    pub challenge: Option<Vec<u8>>,
}

impl<'a> ResponseBlock<'a> {
    /// Joins the frames of a block, in place where it is one frame; `None` where more must come. `max`: octets of the
    /// longest frame that the upstream may send.
    ///
    /// # Errors
    /// Where the upstream breaks RFC 9113 section 4.3 or 6.10, or sends more than [`MAX_RESPONSE_BLOCK_LEN`].
    pub fn join(frame: Frame<'a>, max: usize) -> Result<Option<ResponseBlock<'a>>, ConnectionError> {
        let torn = ConnectionError::protocol("its header block is torn");
        let priority_len = if frame.header.has(flag::PRIORITY) { 5 } else { 0 };
        let (_, block) = frame.unpadded()?.split_at_checked(priority_len).ok_or(torn)?;
        let mut block = Cow::Borrowed(block);
        let mut wire_len = frame.len();
        let mut last = frame;
        while !last.header.has(flag::END_HEADERS) {
            if wire_len > MAX_RESPONSE_BLOCK_LEN {
                return Err(ConnectionError::calm("its header block is endless"));
            }
            let Some(next) = frame::parse(last.rest, max)? else {
                return Ok(None);
            };
            if next.header.frame_type != frame_type::CONTINUATION || next.header.stream_id != frame.header.stream_id {
                return Err(torn);
            }
            wire_len += next.len();
            block.to_mut().extend_from_slice(next.payload);
            last = next;
        }
        Ok(Some(ResponseBlock { frame, wire_len, block }))
    }

    /// Decodes the block, and checks its fields (RFC 9113 sections 8.2 and 8.3.2). Whitespace around a value is
    /// tolerated, since some servers send it and no reader is misled by it.
    ///
    /// # Errors
    /// COMPRESSION_ERROR for a block that cannot be decoded, PROTOCOL_ERROR for a malformed one.
    pub fn decode(&self, decoder: &mut Decoder) -> Result<ResponseFields, ConnectionError> {
        let mut fields = ResponseFields::default();
        let mut has_regular = false;
        let mut result = Ok(());
        let decoded = decoder.visit(&self.block, |name, value, _| {
            if result.is_ok() {
                result = fields.read(name, value, has_regular);
            }
            has_regular |= !name.starts_with(b":");
        });
        let undecodable = "its header block cannot be decompressed";
        decoded.map_err(|_| ConnectionError::new(ErrorCode::COMPRESSION_ERROR, undecodable))?;
        result.map(|()| fields)
    }
}

impl ResponseFields {
    /// Reads one field; `has_regular`: one that is no pseudo-header field came before.
    fn read(&mut self, name: &[u8], value: &[u8], has_regular: bool) -> Result<(), ConnectionError> {
        if name == b":status" && self.status.is_none() && !has_regular {
            self.status = Some(parse_status(value)?);
            return Ok(());
        }
        validate_field(name, value).map_err(|_| ConnectionError::protocol("a field of its response is malformed"))?;
        if name == b"content-length" && self.status.is_some() {
            let len = syntax::parse_content_length([value]).ok().flatten();
            let len = len.filter(|_| self.content_length.is_none());
            self.content_length = Some(len.ok_or(ConnectionError::protocol("its content-length is malformed"))?);
        } else if name == b"www-authenticate" && self.status == Some(401) {
            self.challenge.get_or_insert_with(|| value.to_vec());
        }
        Ok(())
    }
}

/// Parses `:status` (RFC 9110 section 15); 101 is none of HTTP/2 (RFC 9113 section 8.6).
fn parse_status(value: &[u8]) -> Result<u16, ConnectionError> {
    let malformed = ConnectionError::protocol("its :status is malformed");
    match value {
        b"101" => Err(malformed),
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            Ok(value.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')))
        }
        _ => Err(malformed),
    }
}

/// Octets of all frames of one header block, which runsd buffers: as much as of a client's.
const MAX_RESPONSE_BLOCK_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http2::hpack::{Encoder, Field};

    fn decode(fields: &[(&str, &str)]) -> Result<ResponseFields, ConnectionError> {
        let fields: Vec<_> = fields.iter().map(|&(name, value)| Field::new(name, value)).collect();
        let mut block = Vec::new();
        Encoder::new().encode(&fields, &mut block);
        let mut bytes = Vec::new();
        frame::write_header(&mut bytes, block.len(), frame_type::HEADERS, flag::END_HEADERS, 1);
        bytes.extend_from_slice(&block);
        let frame = frame::parse(&bytes, 16_384).unwrap().unwrap();
        ResponseBlock::join(frame, 16_384).unwrap().unwrap().decode(&mut Decoder::passive())
    }

    #[test]
    fn fields_of_a_response_are_read() {
        let read = |fields: &[(&str, &str)]| decode(fields).unwrap();
        let want = ResponseFields { status: Some(204), ..ResponseFields::default() };
        assert_eq!(read(&[(":status", "204"), ("x", " spaced\t"), ("y", "")]), want);
        let want = ResponseFields { status: Some(401), content_length: Some(7), challenge: Some(b"one".to_vec()) };
        let challenges = [("www-authenticate", "one"), ("www-authenticate", "two")];
        assert_eq!(read(&[&[(":status", "401"), ("content-length", "7")], &challenges[..]].concat()), want);
        // Trailers: whatever they say of lengths, the body has come.
        let trailers = [("grpc-status", "0"), ("content-length", "9"), challenges[0]];
        assert_eq!(read(&trailers), ResponseFields::default());
    }

    #[test]
    fn a_malformed_response_is_an_error_of_the_connection() {
        let status = (":status", "200");
        for fields in [
            &[(":status", "")][..],
            &[(":status", "20")],
            &[(":status", "2000")],
            &[(":status", "+20")],
            &[(":status", "099")],
            &[(":status", "101")],
            &[status, status],
            &[("x", "y"), status],
            &[(":path", "/"), status],
            &[status, (":path", "/")],
            &[status, ("x", "y"), (":status", "200")],
            &[status, ("", "x")],
            &[status, ("X", "x")],
            &[status, ("a b", "x")],
            &[status, ("x:", "x")],
            &[status, ("x\r\ny", "x")],
            &[status, ("x", "a\r\nset-cookie: b")],
            &[status, ("x", "a\rb")],
            &[status, ("x", "a\0b")],
            &[status, ("connection", "close")],
            &[status, ("transfer-encoding", "chunked")],
            &[status, ("content-length", "-1")],
            &[status, ("content-length", "1, 1")],
            &[status, ("content-length", "1"), ("content-length", "1")],
            &[("grpc-status", "0\n")],
        ] {
            assert_eq!(decode(fields).map_err(|error| error.code), Err(ErrorCode::PROTOCOL_ERROR), "{fields:?}");
        }
    }
}
