//! Header blocks as frames carry them: put together from HEADERS and
//! CONTINUATION, and cut up again (RFC 9113, sections 4.3, 6.2 and 6.10); and
//! what a request's fields must look like (section 8).

use super::frame::{Fatal, Frame, Header, flag, kind};
use super::hpack::Field;

/// A header block that is on its way.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
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

impl Block {
    /// Where it belongs, and what its frame says beside the block.
    pub fn head(&self) -> Head {
        Head {
            stream: self.stream,
            end_stream: self.end_stream,
            priority: self.priority,
        }
    }

    /// Begins with a HEADERS frame.
    pub fn begin(frame: &Frame<'_>) -> Result<Block, Fatal> {
        if frame.header.stream == 0 {
            return Err(Fatal::protocol("HEADERS on stream 0"));
        }
        let mut fragment = frame.unpadded()?;
        let mut priority = None;
        if frame.header.has(flag::PRIORITY) {
            let short = Fatal::protocol("HEADERS too short for its priority");
            let (fields, rest) = fragment.split_first_chunk().ok_or(short)?;
            (priority, fragment) = (Some(*fields), rest);
        }
        Ok(Block {
            stream: frame.header.stream,
            end_stream: frame.header.has(flag::END_STREAM),
            priority,
            fragment: fragment.to_vec(),
            whole: frame.header.has(flag::END_HEADERS),
            wire: frame.len(),
        })
    }

    /// Goes on with the next frame, which must be its CONTINUATION.
    pub fn extend(&mut self, frame: &Frame<'_>) -> Result<(), Fatal> {
        if frame.header.kind != kind::CONTINUATION || frame.header.stream != self.stream {
            let reason = "another frame where CONTINUATION was expected";
            return Err(Fatal::protocol(reason));
        }
        // The headers of the frames count too, so that empty ones come to an
        // end as well.
        self.wire += frame.len();
        if self.wire > MAX_BLOCK {
            return Err(Fatal::too_much("a header block over 64 KiB"));
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
    Header {
        len,
        kind: kind::HEADERS,
        flags,
        stream: head.stream,
    }
    .write(out);
    out.extend_from_slice(priority);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (next, after) = rest.split_at(rest.len().min(max_frame));
        let flags = if after.is_empty() {
            flag::END_HEADERS
        } else {
            0
        };
        let header = Header {
            len: next.len(),
            kind: kind::CONTINUATION,
            flags,
            stream: head.stream,
        };
        header.write(out);
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

/// Whether these may be the fields of a request: what is needed is there once,
/// pseudo-fields come first, and nothing belongs to HTTP/1 (section 8.3.1).
pub fn is_request(fields: &[Field]) -> bool {
    let pseudo = fields
        .iter()
        .take_while(|field| field.name.starts_with(b":"));
    let pseudo: Vec<&[u8]> = pseudo.map(|field| field.name.as_slice()).collect();
    let known: [&[u8]; 5] = [
        b":method",
        b":scheme",
        b":authority",
        b":path",
        b":protocol",
    ];
    let once = |name: &[u8]| pseudo.iter().filter(|&&other| other == name).count() == 1;
    // CONNECT alone has neither scheme nor path, and the front end knows no
    // CONNECT; it may say so itself.
    once(b":method")
        && pseudo.iter().all(|name| known.contains(name) && once(name))
        && is_trailer(&fields[pseudo.len()..])
        && fields.iter().all(has_clean_value)
}

/// Whether these may be the trailers of a request (section 8.1).
pub fn is_trailer(fields: &[Field]) -> bool {
    fields.iter().all(|field| {
        let name = field.name.as_slice();
        !name.is_empty()
            && name
                .iter()
                .all(|&octet| octet.is_ascii_graphic() && !octet.is_ascii_uppercase())
            && !name.contains(&b':')
            && !HTTP1_ONLY.contains(&name)
            && (name != b"te" || field.value == b"trailers")
            && has_clean_value(field)
    })
}

fn has_clean_value(field: &Field) -> bool {
    !field
        .value
        .iter()
        .any(|octet| matches!(octet, b'\0' | b'\r' | b'\n'))
}

const HTTP1_ONLY: [&[u8]; 5] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

/// The longest header block, frames and all.
pub const MAX_BLOCK: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::super::frame::{self, ErrorCode};
    use super::*;

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
        let block = Block::begin(&frame(&wire)).unwrap();
        assert_eq!(block.fragment, b"abc");
        assert_eq!(block.priority, Some([0x80, 0, 0, 1, 200]));
        assert!(block.end_stream && block.whole);
        let mut short = wire[..9 + 3].to_vec();
        short[2] = 3;
        assert_eq!(
            Block::begin(&frame(&short)).unwrap_err().code,
            ErrorCode::Protocol
        );
    }

    #[test]
    fn cut_up_and_put_together() {
        let text: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for max_frame in [6, 7, 100, 999, 1000, 1004, 1005, 16_384] {
            for priority in [None, Some([1, 2, 3, 4, 5])] {
                let mut wire = Vec::new();
                let head = Head {
                    stream: 7,
                    end_stream: true,
                    priority,
                };
                write(&mut wire, head, &text, max_frame);
                let first = frame(&wire);
                assert!(first.header.len <= max_frame);
                let mut block = Block::begin(&first).unwrap();
                let mut rest = first.rest;
                while !block.whole {
                    let next = frame(rest);
                    assert!(next.header.len <= max_frame);
                    block.extend(&next).unwrap();
                    rest = next.rest;
                }
                assert_eq!(
                    (block.fragment, block.priority, rest),
                    (text.clone(), priority, &b""[..])
                );
            }
        }
    }

    #[test]
    fn an_endless_block_ends() {
        let begin = [0, 0, 0, 1, 0, 0, 0, 0, 1];
        let more = [0, 0, 0, 9, 0, 0, 0, 0, 1];
        let mut block = Block::begin(&frame(&begin)).unwrap();
        let mut frames = 1;
        let error = loop {
            match block.extend(&frame(&more)) {
                Ok(()) => frames += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(
            (error.code, frames),
            (ErrorCode::EnhanceYourCalm, 65_536 / 9)
        );
    }

    #[test]
    fn only_its_continuation_may_follow() {
        for next in [[0, 0, 0, 9, 4, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 0, 1]] {
            let mut block = Block::begin(&frame(&[0, 0, 0, 1, 0, 0, 0, 0, 1])).unwrap();
            assert_eq!(
                block.extend(&frame(&next)).unwrap_err().code,
                ErrorCode::Protocol
            );
        }
    }

    #[test]
    fn requests() {
        let get = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ];
        for (more, want) in [
            (&[("accept", "*/*"), ("te", "trailers")][..], true),
            (&[("te", "gzip")], false),
            (&[(":path", "/again")], false),
            (&[("accept", "*/*"), (":late", "")], false),
            (&[(":status", "200")], false),
            (&[("Accept", "*/*")], false),
            (&[("", "x")], false),
            (&[("a b", "x")], false),
            (&[("x", "a\r\nb: c")], false),
            (&[("connection", "close")], false),
            (&[("transfer-encoding", "chunked")], false),
        ] {
            let fields = get
                .iter()
                .chain(more)
                .map(|&(name, value)| Field::new(name, value));
            assert_eq!(is_request(&fields.collect::<Vec<_>>()), want, "{more:?}");
        }
        assert!(!is_request(&[Field::new("accept", "*/*")]));
        assert!(is_trailer(&[Field::new("grpc-status", "0")]));
        assert!(!is_trailer(&[Field::new(":path", "/")]));
    }
}
