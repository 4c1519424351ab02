//! A header block of the upstream, as the passive decoder reads it.

use std::borrow::Cow;

use crate::proxy::http2::frame::{self, ConnectionError, ErrorCode, Frame, flag, frame_type};
use crate::proxy::http2::hpack::{DecodeError, Decoder};
use crate::proxy::http2::request::ResponseHead;

/// A complete header block.
pub struct ResponseBlock<'a> {
    /// HEADERS or PUSH_PROMISE.
    pub frame: Frame<'a>,
    /// The stream that PUSH_PROMISE promises.
    pub promised_id: Option<u32>,
    /// Octets of all its frames.
    pub wire_len: usize,
    block: Cow<'a, [u8]>,
}

impl<'a> ResponseBlock<'a> {
    /// Joins the frames of a block, in place where it is one frame; `None` where more must come. `max`: octets of the
    /// longest frame that the upstream may send.
    ///
    /// # Errors
    /// Where the upstream breaks RFC 9113 section 4.3 or 6.10, or sends more than [`MAX_RESPONSE_BLOCK_LEN`].
    pub fn join(frame: Frame<'a>, max: usize) -> Result<Option<ResponseBlock<'a>>, ConnectionError> {
        let invalid = |reason| ConnectionError::new(ErrorCode::INTERNAL_ERROR, reason);
        let torn = invalid("the upstream's header block is torn");
        let is_promise = frame.header.frame_type == frame_type::PUSH_PROMISE;
        let prefix_len = match frame.header.has(flag::PRIORITY) {
            _ if is_promise => 4, // the promised stream
            true => 5,
            false => 0,
        };
        let (prefix, block) = frame.unpadded()?.split_at_checked(prefix_len).ok_or(torn)?;
        let promised_id = prefix.try_into().ok().map(u32::from_be_bytes);
        let mut block = Cow::Borrowed(block);
        let mut wire_len = frame.len();
        let mut last = frame;
        while !last.header.has(flag::END_HEADERS) {
            if wire_len > MAX_RESPONSE_BLOCK_LEN {
                return Err(invalid("the upstream's header block is endless"));
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
        Ok(Some(ResponseBlock { frame, promised_id, wire_len, block }))
    }

    /// Decodes the block; `None` for one without `:status`, as trailers are.
    ///
    /// # Errors
    /// A [`DecodeError`]; the decoder is of no use after it.
    pub fn decode(&self, decoder: &mut Decoder) -> Result<Option<ResponseHead>, DecodeError> {
        let (mut status, mut challenge) = (None, None);
        decoder.visit(&self.block, |name, value, _| {
            if name == b":status" {
                status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            } else if status == Some(401) && name == b"www-authenticate" {
                challenge.get_or_insert_with(|| value.to_vec());
            }
        })?;
        Ok(status.map(|status| ResponseHead { status, challenge }))
    }
}

/// Octets of all frames of one header block, which runsd buffers: as much as of a client's.
const MAX_RESPONSE_BLOCK_LEN: usize = 1 << 20;
