//! Frames of HTTP/2 (RFC 9113, sections 4 and 6): their nine-octet header, the
//! few payloads runsd reads, and the frames it writes itself.
//!
//! Most frames only pass through, so nothing here copies a payload or keeps
//! state; whoever calls says what is allowed when.

use std::fmt;

/// What stands before each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Octets of payload.
    pub len: usize,
    /// One of [`kind`], or a type nobody here knows.
    pub kind: u8,
    /// A sum of [`flag`]s.
    pub flags: u8,
    /// The stream, or 0 for the connection.
    pub stream: u32,
}

impl Header {
    /// Reads the nine octets of a header.
    pub fn parse(octets: [u8; HEADER_LEN]) -> Header {
        let [a, b, c, kind, flags, w, x, y, z] = octets;
        Header {
            len: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            // The top bit is reserved and ignored (section 4.1).
            stream: u32::from_be_bytes([w & 0x7f, x, y, z]),
        }
    }

    /// Appends the nine octets of this header.
    pub fn write(self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }

    /// Whether `flag` is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Reads one frame from the beginning of `input`: its header, its payload, and
/// the rest.
///
/// `Ok(None)` means the frame is not all here yet; one longer than `max` is an
/// error as soon as its header is here.
pub fn parse(input: &[u8], max: usize) -> Result<Option<Frame<'_>>, ConnectionError> {
    let Some((octets, rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let header = Header::parse(*octets);
    if header.len > max {
        return Err(ConnectionError::new(ErrorCode::FrameSize, "a frame is longer than was allowed"));
    }
    Ok(rest.split_at_checked(header.len).map(|(payload, rest)| Frame { header, payload, rest }))
}

/// A frame, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: Header,
    pub payload: &'a [u8],
    pub rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Octets on the wire.
    pub fn len(&self) -> usize {
        HEADER_LEN + self.header.len
    }

    /// The payload of DATA or HEADERS without its padding (section 6.1).
    pub fn unpadded(&self) -> Result<&'a [u8], ConnectionError> {
        if !self.header.has(flag::PADDED) {
            return Ok(self.payload);
        }
        let bad = ConnectionError::new(ErrorCode::Protocol, "padding is longer than its frame");
        let (&padding, rest) = self.payload.split_first().ok_or(bad)?;
        let len = rest.len().checked_sub(usize::from(padding)).ok_or(bad)?;
        Ok(&rest[..len])
    }

    /// The payload as one number: an increment, or an error code.
    pub fn number(&self) -> Result<u32, ConnectionError> {
        let wrong = ConnectionError::new(ErrorCode::FrameSize, "a frame of four octets has another length");
        self.payload.try_into().map(u32::from_be_bytes).map_err(|_| wrong)
    }

    /// The pairs of a SETTINGS payload (section 6.5.1).
    pub fn settings(&self) -> Result<impl Iterator<Item = (u16, u32)> + 'a, ConnectionError> {
        let (pairs, rest) = self.payload.as_chunks::<6>();
        if !rest.is_empty() || (self.header.has(flag::ACK) && !pairs.is_empty()) {
            return Err(ConnectionError::new(ErrorCode::FrameSize, "SETTINGS of a wrong length"));
        }
        Ok(pairs.iter().map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))))
    }
}

/// Whether somebody may set this to that (section 6.5.2).
pub fn check_setting(id: u16, value: u32) -> Result<(), ConnectionError> {
    let max_frames = DEFAULT_MAX_FRAME_SIZE..=LARGEST_MAX_FRAME_SIZE;
    match id {
        setting::ENABLE_PUSH if value > 1 => Err(ConnectionError::protocol("SETTINGS_ENABLE_PUSH is no flag")),
        setting::INITIAL_WINDOW_SIZE if value > LARGEST_WINDOW => {
            let reason = "SETTINGS_INITIAL_WINDOW_SIZE is too large";
            Err(ConnectionError::new(ErrorCode::FlowControl, reason))
        }
        setting::MAX_FRAME_SIZE if !max_frames.contains(&octets(value)) => {
            Err(ConnectionError::protocol("SETTINGS_MAX_FRAME_SIZE is out of range"))
        }
        _ => Ok(()),
    }
}

/// A number from the wire, as a length.
pub fn octets(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Appends a SETTINGS frame.
pub fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    Header { len: settings.len() * 6, kind: kind::SETTINGS, flags: 0, stream: 0 }.write(out);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of a SETTINGS frame.
pub fn write_settings_ack(out: &mut Vec<u8>) {
    Header { len: 0, kind: kind::SETTINGS, flags: flag::ACK, stream: 0 }.write(out);
}

/// Appends the answer to a PING.
pub fn write_ping_ack(out: &mut Vec<u8>, payload: &[u8]) {
    Header { len: payload.len(), kind: kind::PING, flags: flag::ACK, stream: 0 }.write(out);
    out.extend_from_slice(payload);
}

/// Appends a WINDOW_UPDATE; an increment of 0 would be an error, so it is none.
pub fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    if increment > 0 {
        Header { len: 4, kind: kind::WINDOW_UPDATE, flags: 0, stream }.write(out);
        out.extend_from_slice(&increment.to_be_bytes());
    }
}

/// Appends an RST_STREAM.
pub fn write_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    Header { len: 4, kind: kind::RST_STREAM, flags: 0, stream }.write(out);
    out.extend_from_slice(&code.number().to_be_bytes());
}

/// Appends a GOAWAY with its reason as debug data.
pub fn write_goaway(out: &mut Vec<u8>, last_stream: u32, why: ConnectionError) {
    let len = 8 + why.reason.len();
    Header { len, kind: kind::GOAWAY, flags: 0, stream: 0 }.write(out);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&why.code.number().to_be_bytes());
    out.extend_from_slice(why.reason.as_bytes());
}

/// What ends a connection: the code and the sentence of its GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionError {
    pub code: ErrorCode,
    pub reason: &'static str,
}

impl ConnectionError {
    /// An error of the whole connection.
    pub fn new(code: ErrorCode, reason: &'static str) -> ConnectionError {
        ConnectionError { code, reason }
    }

    /// What the specification does not allow.
    pub fn protocol(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::Protocol, reason)
    }

    /// What is allowed, but not so much of it.
    pub fn too_much(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::EnhanceYourCalm, reason)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code.name())
    }
}

/// The codes of RST_STREAM and GOAWAY that runsd sends (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    NoError,
    Protocol,
    Internal,
    FlowControl,
    StreamClosed,
    FrameSize,
    RefusedStream,
    Compression,
    EnhanceYourCalm,
    Http11Required,
}

impl ErrorCode {
    /// The name in RFC 9113 section 7.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::NoError => "NO_ERROR",
            ErrorCode::Protocol => "PROTOCOL_ERROR",
            ErrorCode::Internal => "INTERNAL_ERROR",
            ErrorCode::FlowControl => "FLOW_CONTROL_ERROR",
            ErrorCode::StreamClosed => "STREAM_CLOSED",
            ErrorCode::FrameSize => "FRAME_SIZE_ERROR",
            ErrorCode::RefusedStream => "REFUSED_STREAM",
            ErrorCode::Compression => "COMPRESSION_ERROR",
            ErrorCode::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
            ErrorCode::Http11Required => "HTTP_1_1_REQUIRED",
        }
    }

    /// The code on the wire.
    pub fn number(self) -> u32 {
        match self {
            ErrorCode::NoError => 0x0,
            ErrorCode::Protocol => 0x1,
            ErrorCode::Internal => 0x2,
            ErrorCode::FlowControl => 0x3,
            ErrorCode::StreamClosed => 0x5,
            ErrorCode::FrameSize => 0x6,
            ErrorCode::RefusedStream => 0x7,
            ErrorCode::Compression => 0x9,
            ErrorCode::EnhanceYourCalm => 0xb,
            ErrorCode::Http11Required => 0xd,
        }
    }
}

/// Frame types.
pub mod kind {
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
}

/// Flags.
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings (section 6.5.2).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
}

/// What a client says first (section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest frame before anybody allowed a longer one.
pub const DEFAULT_MAX_FRAME_SIZE: usize = 16_384;

/// The longest frame anybody can allow.
pub const LARGEST_MAX_FRAME_SIZE: usize = 16_777_215;

/// The widest a window may be.
pub const LARGEST_WINDOW: u32 = 0x7fff_ffff;

/// Octets of a frame's header.
pub const HEADER_LEN: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_read_and_written() {
        let wire = [
            0x00, 0x01, 0x2c, // length 300
            0x01, // HEADERS
            0x05, // END_STREAM | END_HEADERS
            0x80, 0x00, 0x00, 0x03, // stream 3, reserved bit set and ignored
        ];
        let want = Header { len: 300, kind: kind::HEADERS, flags: 0x05, stream: 3 };
        assert_eq!(Header::parse(wire), want);
        let mut out = Vec::new();
        want.write(&mut out);
        assert_eq!(out, [0x00, 0x01, 0x2c, 0x01, 0x05, 0x00, 0x00, 0x00, 0x03]);
    }

    #[test]
    fn every_cut_asks_for_more() {
        let mut wire = Vec::new();
        write_ping_ack(&mut wire, b"12345678");
        wire.extend_from_slice(b"rest");
        for cut in 0..17 {
            assert_eq!(parse(&wire[..cut], 16_384), Ok(None), "cut at {cut}");
        }
        let frame = parse(&wire, 16_384).unwrap().unwrap();
        assert_eq!((frame.payload, frame.rest), (&b"12345678"[..], &b"rest"[..]));
        assert_eq!(frame.len(), 17);
    }

    #[test]
    fn too_long_is_known_from_the_header() {
        let wire = [0x00, 0x40, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01];
        assert_eq!(parse(&wire, 16_384).unwrap_err().code, ErrorCode::FrameSize);
        assert_eq!(parse(&wire, 16_385), Ok(None));
    }

    #[test]
    fn padding() {
        for (payload, want) in [
            (&b""[..], None),
            (b"\x00", Some(&b""[..])),
            (b"\x02ab\0\0", Some(b"ab")),
            (b"\x04ab\0\0", Some(b"")),
            (b"\x05ab\0\0", None),
        ] {
            let header = Header { len: payload.len(), kind: kind::DATA, flags: flag::PADDED, stream: 1 };
            let frame = Frame { header, payload, rest: b"" };
            assert_eq!(frame.unpadded().ok(), want, "{payload:?}");
        }
    }

    #[test]
    fn settings_read_and_written() {
        let mut wire = Vec::new();
        let want = [(setting::HEADER_TABLE_SIZE, 0), (setting::MAX_FRAME_SIZE, 0x00ff_ffff)];
        write_settings(&mut wire, &want);
        let frame = parse(&wire, 16_384).unwrap().unwrap();
        assert_eq!(frame.settings().unwrap().collect::<Vec<_>>(), want);
        let short = Frame { payload: &frame.payload[..7], ..frame };
        assert_eq!(short.settings().err().unwrap().code, ErrorCode::FrameSize);
    }

    #[test]
    fn goaway_says_why() {
        let mut wire = Vec::new();
        write_goaway(&mut wire, 5, ConnectionError::new(ErrorCode::Protocol, "why"));
        assert_eq!(wire, b"\0\0\x0b\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x01why");
    }
}
