//! Header blocks in frames: joined from HEADERS and CONTINUATION, and split again (RFC 9113 sections 4.3, 6.2 and 6.10).

use crate::proxy::http2::frame::{self, ConnectionError, Frame, flag, frame_type};

/// A HEADERS frame beside its fragment of the header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadersFrame {
    /// The stream.
    pub stream_id: u32,
    /// END_STREAM is set.
    pub end_stream: bool,
    /// The priority fields that RFC 9113 section 5.3.2 deprecates, forwarded as they came.
    pub priority: Option<[u8; 5]>,
}

impl HeadersFrame {
    /// Whether the priority fields make the stream depend on itself (RFC 7540 section 5.3.1).
    pub fn depends_on_itself(&self) -> bool {
        let dependency = |[a, b, c, d, _]: [u8; 5]| u32::from_be_bytes([a & 0x7f, b, c, d]);
        self.priority.is_some_and(|fields| dependency(fields) == self.stream_id)
    }
}

/// A header block of which CONTINUATION may be missing.
#[derive(Debug, PartialEq, Eq)]
pub struct HeaderBlock {
    /// The HEADERS frame.
    pub headers: HeadersFrame,
    /// The fragments so far.
    pub block: Vec<u8>,
    /// END_HEADERS is set in the last frame: the block is complete.
    pub end_headers: bool,
    /// Octets of all its frames.
    wire_len: usize,
}

impl HeaderBlock {
    /// Starts with a HEADERS frame.
    ///
    /// # Errors
    /// PROTOCOL_ERROR for stream 0, and for a frame that is too short for its padding or priority.
    pub fn new(frame: &Frame<'_>) -> Result<HeaderBlock, ConnectionError> {
        if frame.header.stream_id == 0 {
            return Err(ConnectionError::protocol("HEADERS on stream 0"));
        }
        let mut block = frame.unpadded()?;
        let mut priority = None;
        if frame.header.has(flag::PRIORITY) {
            let too_short = ConnectionError::protocol("HEADERS too short for its priority");
            let (fields, rest) = block.split_first_chunk().ok_or(too_short)?;
            (priority, block) = (Some(*fields), rest);
        }
        let end_stream = frame.header.has(flag::END_STREAM);
        Ok(HeaderBlock {
            headers: HeadersFrame { stream_id: frame.header.stream_id, end_stream, priority },
            block: block.to_vec(),
            end_headers: frame.header.has(flag::END_HEADERS),
            wire_len: frame.len(),
        })
    }

    /// Appends the next frame.
    ///
    /// # Errors
    /// PROTOCOL_ERROR unless it is CONTINUATION of the same stream; ENHANCE_YOUR_CALM when the block is longer than
    /// [`MAX_WIRE_LEN`].
    pub fn extend(&mut self, frame: &Frame<'_>) -> Result<(), ConnectionError> {
        if frame.header.frame_type != frame_type::CONTINUATION || frame.header.stream_id != self.headers.stream_id {
            let reason = "another frame where CONTINUATION was expected";
            return Err(ConnectionError::protocol(reason));
        }
        // The headers of the frames count as well, so that empty frames have an end.
        self.wire_len += frame.len();
        if self.wire_len > MAX_WIRE_LEN {
            return Err(ConnectionError::calm("a header block over 1 MiB"));
        }
        self.block.extend_from_slice(frame.payload);
        self.end_headers = frame.header.has(flag::END_HEADERS);
        Ok(())
    }
}

/// Appends a header block as HEADERS and as many CONTINUATION as frames of `max_frame` octets need.
pub fn write(out: &mut Vec<u8>, headers: HeadersFrame, block: &[u8], max_frame: usize) {
    let priority = headers.priority.as_ref().map_or(&[][..], |fields| fields);
    let (first, mut rest) = block.split_at(block.len().min(max_frame - priority.len()));
    let mut flags = 0;
    for (is_set, flag) in [
        (headers.end_stream, flag::END_STREAM),
        (!priority.is_empty(), flag::PRIORITY),
        (rest.is_empty(), flag::END_HEADERS),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    frame::write_header(out, priority.len() + first.len(), frame_type::HEADERS, flags, headers.stream_id);
    out.extend_from_slice(priority);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (next, after) = rest.split_at(rest.len().min(max_frame));
        let flags = if after.is_empty() { flag::END_HEADERS } else { 0 };
        frame::write_header(out, next.len(), frame_type::CONTINUATION, flags, headers.stream_id);
        out.extend_from_slice(next);
        rest = after;
    }
}

/// Octets of the fields of a request that runsd forwards, counted as SETTINGS_MAX_HEADER_LIST_SIZE does (RFC 9113
/// section 6.5.2): as many as a head of HTTP/1 may have.
pub const MAX_FIELDS_LEN: usize = 65_536;

/// Octets of all frames of one header block. What is longer than [`MAX_FIELDS_LEN`] must be decoded to keep the table in
/// step; a client beyond this limit only keeps runsd busy.
const MAX_WIRE_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http2::frame::ErrorCode;

    fn frame(bytes: &[u8]) -> Frame<'_> {
        frame::parse(bytes, 16_384).unwrap().unwrap()
    }

    #[test]
    fn padding_and_priority_are_removed() {
        let wire = [
            0, 0, 11, 1, 0x2d, 0, 0, 0, 3, // HEADERS, END_STREAM END_HEADERS PADDED PRIORITY
            2, // padding
            0x80, 0, 0, 1, 200, // exclusive, depends on 1, weight 201
            b'a', b'b', b'c', 0, 0,
        ];
        let block = HeaderBlock::new(&frame(&wire)).unwrap();
        assert_eq!(block.block, b"abc");
        assert_eq!(block.headers.priority, Some([0x80, 0, 0, 1, 200]));
        assert!(block.headers.end_stream && block.end_headers);
        let mut short = wire[..9 + 3].to_vec();
        short[2] = 3;
        assert_eq!(HeaderBlock::new(&frame(&short)).unwrap_err().code, ErrorCode::PROTOCOL_ERROR);
    }

    #[test]
    fn a_block_is_split_and_joined() {
        let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for max_frame in [6, 7, 100, 999, 1000, 1004, 1005, 16_384] {
            for priority in [None, Some([1, 2, 3, 4, 5])] {
                let mut wire = Vec::new();
                let headers = HeadersFrame { stream_id: 7, end_stream: true, priority };
                write(&mut wire, headers, &text, max_frame);
                let first = frame(&wire);
                assert!(first.header.len <= max_frame);
                let mut block = HeaderBlock::new(&first).unwrap();
                let mut rest = first.rest;
                while !block.end_headers {
                    let next = frame(rest);
                    assert!(next.header.len <= max_frame);
                    block.extend(&next).unwrap();
                    rest = next.rest;
                }
                assert_eq!((block.block, block.headers.priority, rest), (text.clone(), priority, &b""[..]));
            }
        }
    }

    #[test]
    fn an_endless_block_ends() {
        let begin = [0, 0, 0, 1, 0, 0, 0, 0, 1];
        let more = [0, 0, 0, 9, 0, 0, 0, 0, 1];
        let mut block = HeaderBlock::new(&frame(&begin)).unwrap();
        let mut frames = 1;
        let error = loop {
            match block.extend(&frame(&more)) {
                Ok(()) => frames += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, frames), (ErrorCode::ENHANCE_YOUR_CALM, MAX_WIRE_LEN / 9));
    }

    #[test]
    fn only_continuation_of_its_stream_may_follow() {
        for next in [[0, 0, 0, 9, 4, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            let mut block = HeaderBlock::new(&frame(&[0, 0, 0, 1, 0, 0, 0, 0, 1])).unwrap();
            assert_eq!(block.extend(&frame(&next)).unwrap_err().code, ErrorCode::PROTOCOL_ERROR);
        }
    }
}
