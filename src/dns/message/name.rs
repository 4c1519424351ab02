//! Names on the wire (RFC 1035, section 4.1.4), as text and as something to
//! step over.

use super::number;

/// Reads the name at `at`: its text in lower case without the trailing dot,
/// and where it ends.
///
/// A byte that would be mistaken in text (a dot within a label, a backslash,
/// anything not visible) is written as three decimal digits after a backslash:
/// such a name is like no other, and never a service. Queries have no
/// compression; where it is allowed, pointers only lead backwards.
pub fn read_name(wire: &[u8], at: usize, compressed: bool) -> Option<(String, usize)> {
    let mut text = String::with_capacity(64);
    let mut octets = 1;
    let mut at = at;
    let mut end = None;
    let mut lowest = at;
    loop {
        let len = usize::from(*wire.get(at)?);
        match len {
            0 => {
                text.make_ascii_lowercase();
                return Some((text, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                octets += len + 1;
                if octets > 255 {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                push_label(wire.get(at + 1..at + 1 + len)?, &mut text);
                at += len + 1;
            }
            0xc0.. if compressed => {
                let target = usize::from(number(wire, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                if target >= lowest {
                    return None;
                }
                lowest = target;
                at = target;
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

/// Where the name at `at` ends; what it says is not looked at.
pub fn skip_name(wire: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*wire.get(at)?) {
            0 => return Some(at + 1),
            len @ 1..=63 => at += len + 1,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}
