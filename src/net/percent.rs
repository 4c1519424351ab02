//! Percent-encoding (RFC 3986 section 2.1).

/// Encodes all bytes of `text` but those that `is_plain` accepts.
pub fn encode(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for b in text.bytes() {
        match is_plain(b) {
            true => encoded.push(char::from(b)),
            false => encoded.push_str(&format!("%{b:02X}")),
        }
    }
    encoded
}

/// Whether a byte is unreserved (RFC 3986 section 2.3), and so is not encoded in a query.
pub fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}
