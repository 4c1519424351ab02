//! Names on the wire (RFC 1035, section 4.1.4): read as text, or skipped.

use super::read_u16;

/// Reads the name at `offset`. Returns its text, in lower case without the trailing dot, and where it ends.
///
/// A byte that would be mistaken in text (a dot within a label, a backslash, anything not visible) is written as a
/// backslash and three decimal digits: such a name equals no other, and is never a service. A question has no
/// compression; where `compressed` allows it, pointers lead only backwards, so that reading ends.
pub fn read_name(wire: &[u8], mut offset: usize, compressed: bool) -> Option<(String, usize)> {
    let mut text = String::with_capacity(64);
    let mut wire_len = 1;
    let mut end = None;
    let mut lowest = offset;
    loop {
        let len = usize::from(*wire.get(offset)?);
        match len {
            0 => {
                text.make_ascii_lowercase();
                return Some((text, end.unwrap_or(offset + 1)));
            }
            1..=MAX_LABEL_LEN => {
                wire_len += len + 1;
                if wire_len > MAX_NAME_LEN {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                push_label(wire.get(offset + 1..offset + 1 + len)?, &mut text);
                offset += len + 1;
            }
            0xc0.. if compressed => {
                let target = usize::from(read_u16(wire, offset)? & 0x3fff);
                end.get_or_insert(offset + 2);
                if target >= lowest {
                    return None;
                }
                lowest = target;
                offset = target;
            }
            _ => return None,
        }
    }
}

fn push_label(label: &[u8], text: &mut String) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'.' && byte != b'\\';
    match str::from_utf8(label) {
        // Nearly every label is, and is copied in one piece.
        Ok(plain) if plain.bytes().all(is_plain) => text.push_str(plain),
        _ => {
            for &byte in label {
                match is_plain(byte) {
                    true => text.push(char::from(byte)),
                    false => *text += &format!("\\{byte:03}"),
                }
            }
        }
    }
}

/// Returns where the name at `offset` ends, without reading what it points to.
pub fn skip_name(wire: &[u8], mut offset: usize) -> Option<usize> {
    loop {
        match usize::from(*wire.get(offset)?) {
            0 => return Some(offset + 1),
            len @ 1..=MAX_LABEL_LEN => offset += len + 1,
            0xc0.. => return Some(offset + 2),
            _ => return None,
        }
    }
}

/// RFC 1035, section 2.3.4: bytes of a label without its length, and of a name with all lengths.
const MAX_LABEL_LEN: usize = 63;
const MAX_NAME_LEN: usize = 255;
