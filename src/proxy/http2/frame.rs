//! Frames of HTTP/2 (RFC 9113 sections 4 and 6): parses and writes them, without state.
//!
//! Most frames are forwarded as they came, so nothing here copies a payload. Which frame is allowed when is decided by
//! the callers: `client_to_upstream` and `upstream_to_client`.

use std::fmt;

/// The header of a frame (RFC 9113 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Octets of the payload.
    pub len: usize,
    /// One of [`frame_type`], or a type that runsd does not know.
    pub frame_type: u8,
    /// A sum of [`flag`]s.
    pub flags: u8,
    /// The stream, or 0 for the connection.
    pub stream_id: u32,
}

impl FrameHeader {
    /// Reads the nine octets of a header. The reserved bit before the stream's id is ignored.
    pub fn parse(octets: [u8; HEADER_LEN]) -> FrameHeader {
        let [a, b, c, frame_type, flags, w, x, y, z] = octets;
        FrameHeader {
            len: to_usize(u32::from_be_bytes([0, a, b, c])),
            frame_type,
            flags,
            stream_id: u32::from_be_bytes([w & 0x7f, x, y, z]),
        }
    }

    /// Appends the nine octets of this header.
    pub fn write(self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes()[1..]);
        out.extend_from_slice(&[self.frame_type, self.flags]);
        out.extend_from_slice(&self.stream_id.to_be_bytes());
    }

    /// Whether `flag` is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A frame, and the input behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its first nine octets.
    pub header: FrameHeader,
    /// Its other octets, padding included.
    pub payload: &'a [u8],
    /// What follows the frame.
    pub rest: &'a [u8],
}

/// Parses the frame at the start of `input`; `Ok(None)` means that the frame is incomplete.
///
/// # Errors
/// FRAME_SIZE_ERROR for a frame of more than `max` octets of payload, as soon as its header is complete
/// (RFC 9113 section 4.2).
pub fn parse(input: &[u8], max: usize) -> Result<Option<Frame<'_>>, ConnectionError> {
    let Some((octets, rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let header = FrameHeader::parse(*octets);
    if header.len > max {
        return Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "a frame is longer than was allowed"));
    }
    Ok(rest.split_at_checked(header.len).map(|(payload, rest)| Frame { header, payload, rest }))
}

impl<'a> Frame<'a> {
    /// Octets on the wire.
    pub fn len(&self) -> usize {
        HEADER_LEN + self.header.len
    }

    /// Returns the payload of DATA or HEADERS without its padding.
    ///
    /// # Errors
    /// PROTOCOL_ERROR where the padding is longer than the payload (RFC 9113 section 6.1).
    pub fn unpadded(&self) -> Result<&'a [u8], ConnectionError> {
        if !self.header.has(flag::PADDED) {
            return Ok(self.payload);
        }
        let invalid = ConnectionError::protocol("padding is longer than its frame");
        let (&padding, rest) = self.payload.split_first().ok_or(invalid)?;
        let len = rest.len().checked_sub(usize::from(padding)).ok_or(invalid)?;
        Ok(&rest[..len])
    }

    /// Reads the payload of WINDOW_UPDATE or RST_STREAM: an increment, or an error code.
    ///
    /// # Errors
    /// FRAME_SIZE_ERROR unless the payload has four octets (RFC 9113 sections 6.4 and 6.9).
    pub fn read_u32(&self) -> Result<u32, ConnectionError> {
        let invalid = ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "a frame of four octets has another length");
        self.payload.try_into().map(u32::from_be_bytes).map_err(|_| invalid)
    }

    /// Reads the payload of SETTINGS: pairs of id and value.
    ///
    /// # Errors
    /// FRAME_SIZE_ERROR unless the payload is of whole pairs, and empty in an acknowledgement (RFC 9113 section 6.5).
    pub fn settings(&self) -> Result<impl Iterator<Item = (u16, u32)> + 'a, ConnectionError> {
        let (pairs, rest) = self.payload.as_chunks::<6>();
        if !rest.is_empty() || (self.header.has(flag::ACK) && !pairs.is_empty()) {
            return Err(ConnectionError::new(ErrorCode::FRAME_SIZE_ERROR, "SETTINGS of a wrong length"));
        }
        Ok(pairs.iter().map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))))
    }
}

/// Checks the value of a setting.
///
/// # Errors
/// The error of RFC 9113 section 6.5.2 for a value out of range.
pub fn validate_setting(id: u16, value: u32) -> Result<(), ConnectionError> {
    match id {
        setting::ENABLE_PUSH if value > 1 => Err(ConnectionError::protocol("SETTINGS_ENABLE_PUSH is no flag")),
        setting::INITIAL_WINDOW_SIZE if value > MAX_WINDOW_SIZE => {
            let reason = "SETTINGS_INITIAL_WINDOW_SIZE is too large";
            Err(ConnectionError::new(ErrorCode::FLOW_CONTROL_ERROR, reason))
        }
        setting::MAX_FRAME_SIZE if !(DEFAULT_MAX_FRAME_SIZE..=MAX_MAX_FRAME_SIZE).contains(&to_usize(value)) => {
            Err(ConnectionError::protocol("SETTINGS_MAX_FRAME_SIZE is out of range"))
        }
        _ => Ok(()),
    }
}

/// Converts a length of the wire; it fits wherever runsd is built for.
pub fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Appends SETTINGS (RFC 9113 section 6.5).
pub fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_header(out, settings.len() * 6, frame_type::SETTINGS, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of SETTINGS (RFC 9113 section 6.5.3).
pub fn write_settings_ack(out: &mut Vec<u8>) {
    write_header(out, 0, frame_type::SETTINGS, flag::ACK, 0);
}

/// Appends the response to a PING (RFC 9113 section 6.7).
pub fn write_ping_ack(out: &mut Vec<u8>, payload: &[u8]) {
    write_header(out, payload.len(), frame_type::PING, flag::ACK, 0);
    out.extend_from_slice(payload);
}

/// Appends WINDOW_UPDATE, or nothing for an increment of 0, which would be an error (RFC 9113 section 6.9).
pub fn write_window_update(out: &mut Vec<u8>, stream_id: u32, increment: u32) {
    if increment > 0 {
        write_header(out, 4, frame_type::WINDOW_UPDATE, 0, stream_id);
        out.extend_from_slice(&increment.to_be_bytes());
    }
}

/// Appends RST_STREAM (RFC 9113 section 6.4).
pub fn write_rst_stream(out: &mut Vec<u8>, stream_id: u32, code: ErrorCode) {
    write_header(out, 4, frame_type::RST_STREAM, 0, stream_id);
    out.extend_from_slice(&code.code().to_be_bytes());
}

/// Appends GOAWAY, with the reason of `error` as debug data (RFC 9113 section 6.8).
pub fn write_goaway(out: &mut Vec<u8>, last_stream_id: u32, error: ConnectionError) {
    write_header(out, 8 + error.reason.len(), frame_type::GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream_id.to_be_bytes());
    out.extend_from_slice(&error.code.code().to_be_bytes());
    out.extend_from_slice(error.reason.as_bytes());
}

/// Appends the header of a frame (RFC 9113 section 4.1).
pub fn write_header(out: &mut Vec<u8>, len: usize, frame_type: u8, flags: u8, stream_id: u32) {
    FrameHeader { len, frame_type, flags, stream_id }.write(out);
}

/// An error that ends the connection (RFC 9113 section 5.4.1): code and debug data of the GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionError {
    /// The error code.
    pub code: ErrorCode,
    /// For people.
    pub reason: &'static str,
}

impl ConnectionError {
    /// An error with this code.
    pub fn new(code: ErrorCode, reason: &'static str) -> ConnectionError {
        ConnectionError { code, reason }
    }

    /// PROTOCOL_ERROR: the peer sent what RFC 9113 forbids.
    pub fn protocol(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    /// ENHANCE_YOUR_CALM: the peer sent too much of what RFC 9113 allows.
    pub fn calm(reason: &'static str) -> ConnectionError {
        ConnectionError::new(ErrorCode::ENHANCE_YOUR_CALM, reason)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code.name())
    }
}

/// An error code of RST_STREAM and GOAWAY, and its name (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(u32, &'static str);

#[allow(missing_docs, reason = "the names of RFC 9113")]
impl ErrorCode {
    pub const NO_ERROR: ErrorCode = ErrorCode(0x0, "NO_ERROR");
    pub const PROTOCOL_ERROR: ErrorCode = ErrorCode(0x1, "PROTOCOL_ERROR");
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(0x2, "INTERNAL_ERROR");
    pub const FLOW_CONTROL_ERROR: ErrorCode = ErrorCode(0x3, "FLOW_CONTROL_ERROR");
    pub const STREAM_CLOSED: ErrorCode = ErrorCode(0x5, "STREAM_CLOSED");
    pub const FRAME_SIZE_ERROR: ErrorCode = ErrorCode(0x6, "FRAME_SIZE_ERROR");
    pub const REFUSED_STREAM: ErrorCode = ErrorCode(0x7, "REFUSED_STREAM");
    pub const COMPRESSION_ERROR: ErrorCode = ErrorCode(0x9, "COMPRESSION_ERROR");
    pub const ENHANCE_YOUR_CALM: ErrorCode = ErrorCode(0xb, "ENHANCE_YOUR_CALM");
    pub const HTTP_1_1_REQUIRED: ErrorCode = ErrorCode(0xd, "HTTP_1_1_REQUIRED");
}

impl ErrorCode {
    /// The code on the wire.
    pub fn code(self) -> u32 {
        self.0
    }

    /// The name in RFC 9113.
    pub fn name(self) -> &'static str {
        self.1
    }
}

/// Frame types (RFC 9113 section 6).
#[allow(missing_docs, reason = "the names of RFC 9113")]
pub mod frame_type {
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

/// Flags (RFC 9113 section 6).
#[allow(missing_docs, reason = "the names of RFC 9113")]
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings (RFC 9113 section 6.5.2).
#[allow(missing_docs, reason = "the names of RFC 9113")]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
}

/// The first octets of a client (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Octets of payload that SETTINGS_MAX_FRAME_SIZE starts with, and the least it may be (RFC 9113 section 6.5.2).
pub const DEFAULT_MAX_FRAME_SIZE: usize = 16_384;

/// Octets of payload that SETTINGS_MAX_FRAME_SIZE may be at most (RFC 9113 section 6.5.2): a length has 24 bits.
const MAX_MAX_FRAME_SIZE: usize = 16_777_215;

/// Octets of the largest flow-control window (RFC 9113 section 6.9.1).
pub const MAX_WINDOW_SIZE: u32 = 0x7fff_ffff;

/// Octets of a connection's window, and of each stream's until SETTINGS say otherwise (RFC 9113 section 6.9.2).
pub const DEFAULT_WINDOW_SIZE: u32 = 65_535;

/// Octets of a frame's header (RFC 9113 section 4.1).
const HEADER_LEN: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_round_trips() {
        let wire = [
            0x00, 0x01, 0x2c, // length 300
            0x01, // HEADERS
            0x05, // END_STREAM | END_HEADERS
            0x80, 0x00, 0x00, 0x03, // stream 3, reserved bit set and ignored
        ];
        let want = FrameHeader { len: 300, frame_type: frame_type::HEADERS, flags: 0x05, stream_id: 3 };
        assert_eq!(FrameHeader::parse(wire), want);
        let mut out = Vec::new();
        want.write(&mut out);
        assert_eq!(out, [0x00, 0x01, 0x2c, 0x01, 0x05, 0x00, 0x00, 0x00, 0x03]);
    }

    #[test]
    fn a_truncated_frame_is_incomplete() {
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
    fn a_header_alone_shows_that_a_frame_is_too_long() {
        let wire = [0x00, 0x40, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01];
        assert_eq!(parse(&wire, 16_384).unwrap_err().code, ErrorCode::FRAME_SIZE_ERROR);
        assert_eq!(parse(&wire, 16_385), Ok(None));
    }

    #[test]
    fn padding_is_removed() {
        for (payload, want) in [
            (&b""[..], None),
            (b"\x00", Some(&b""[..])),
            (b"\x02ab\0\0", Some(b"ab")),
            (b"\x04ab\0\0", Some(b"")),
            (b"\x05ab\0\0", None),
        ] {
            let header =
                FrameHeader { len: payload.len(), frame_type: frame_type::DATA, flags: flag::PADDED, stream_id: 1 };
            let frame = Frame { header, payload, rest: b"" };
            assert_eq!(frame.unpadded().ok(), want, "{payload:?}");
        }
    }

    #[test]
    fn settings_round_trip() {
        let mut wire = Vec::new();
        let want = [(setting::HEADER_TABLE_SIZE, 0), (setting::MAX_FRAME_SIZE, 0x00ff_ffff)];
        write_settings(&mut wire, &want);
        let frame = parse(&wire, 16_384).unwrap().unwrap();
        assert_eq!(frame.settings().unwrap().collect::<Vec<_>>(), want);
        let short = Frame { payload: &frame.payload[..7], ..frame };
        assert_eq!(short.settings().err().unwrap().code, ErrorCode::FRAME_SIZE_ERROR);
    }

    #[test]
    fn goaway_has_its_reason_as_debug_data() {
        let mut wire = Vec::new();
        write_goaway(&mut wire, 5, ConnectionError::new(ErrorCode::PROTOCOL_ERROR, "why"));
        assert_eq!(wire, b"\0\0\x0b\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x01why");
    }

    #[test]
    fn settings_acknowledgement_is_empty() {
        let mut wire = Vec::new();
        write_settings(&mut wire, &[(setting::ENABLE_PUSH, 0)]);
        wire[4] = flag::ACK;
        let frame = parse(&wire, 16_384).unwrap().unwrap();
        assert_eq!(frame.settings().err().unwrap().code, ErrorCode::FRAME_SIZE_ERROR);
        wire.clear();
        write_settings_ack(&mut wire);
        assert_eq!(wire, b"\0\0\0\x04\x01\0\0\0\0");
        assert_eq!(parse(&wire, 0).unwrap().unwrap().settings().unwrap().count(), 0);
    }

    #[test]
    fn settings_have_ranges() {
        use setting::{ENABLE_PUSH, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE};
        for (id, value, want) in [
            (HEADER_TABLE_SIZE, u32::MAX, None),
            (ENABLE_PUSH, 0, None),
            (ENABLE_PUSH, 1, None),
            (ENABLE_PUSH, 2, Some(ErrorCode::PROTOCOL_ERROR)),
            (MAX_CONCURRENT_STREAMS, u32::MAX, None),
            (INITIAL_WINDOW_SIZE, 0x7fff_ffff, None),
            (INITIAL_WINDOW_SIZE, 0x8000_0000, Some(ErrorCode::FLOW_CONTROL_ERROR)),
            (MAX_FRAME_SIZE, 16_383, Some(ErrorCode::PROTOCOL_ERROR)),
            (MAX_FRAME_SIZE, 16_384, None),
            (MAX_FRAME_SIZE, 16_777_215, None),
            (MAX_FRAME_SIZE, 16_777_216, Some(ErrorCode::PROTOCOL_ERROR)),
            (0x99, u32::MAX, None),
        ] {
            assert_eq!(validate_setting(id, value).err().map(|err| err.code), want, "{id} {value}");
        }
    }

    #[test]
    fn frames_without_state_are_written_as_rfc_9113_has_them() {
        let mut wire = Vec::new();
        write_window_update(&mut wire, 3, 0);
        assert_eq!(wire, b"");
        write_window_update(&mut wire, 3, 1);
        assert_eq!(wire, b"\0\0\x04\x08\0\0\0\0\x03\0\0\0\x01");
        wire.clear();
        write_rst_stream(&mut wire, 5, ErrorCode::REFUSED_STREAM);
        assert_eq!(wire, b"\0\0\x04\x03\0\0\0\0\x05\0\0\0\x07");
        let frame = parse(&wire, 4).unwrap().unwrap();
        assert_eq!(frame.read_u32(), Ok(7));
        let long = Frame { payload: b"12345", ..frame };
        assert_eq!(long.read_u32().unwrap_err().code, ErrorCode::FRAME_SIZE_ERROR);
        wire.clear();
        write_ping_ack(&mut wire, b"abcdefgh");
        assert_eq!(wire, b"\0\0\x08\x06\x01\0\0\0\0abcdefgh");
    }

    #[test]
    fn an_error_shows_its_reason_and_the_name_of_its_code() {
        let text = |error: ConnectionError| error.to_string();
        assert_eq!(text(ConnectionError::protocol("why")), "why (PROTOCOL_ERROR)");
        assert_eq!(text(ConnectionError::calm("why")), "why (ENHANCE_YOUR_CALM)");
    }

    #[test]
    fn a_payload_without_the_flag_has_no_padding() {
        let header = FrameHeader { len: 2, frame_type: frame_type::DATA, flags: flag::END_STREAM, stream_id: 1 };
        assert_eq!(Frame { header, payload: b"\x01a", rest: b"" }.unpadded(), Ok(&b"\x01a"[..]));
    }
}
