//! Takes the signatures of tokens out of what is shown: an echo of a request's
//! headers would show the container's own. Pure.
//!
//! A token is a JWT in its compact form (RFC 7519): three parts of base64url
//! with dots between them, of which the first begins with `eyJ`, the encoding
//! of `{"`. What remains without the third is worth nothing.

/// Reads text in pieces; a token may be cut anywhere.
#[derive(Debug, Default)]
pub struct Elider(State);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// So many bytes of `eyJ` were seen, in the middle of anything.
    Begun(usize),
    /// In a part of what may be a token: the first or the second.
    Part(u8),
    Signature,
}

impl Elider {
    /// The next piece, without signatures.
    pub fn next(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        for &byte in piece {
            let next = self.0.after(byte);
            if next != State::Signature {
                out.push(byte);
            } else if self.0 != State::Signature {
                // The dot before it.
                out.push(byte);
                out.extend_from_slice(ELIDED);
            }
            self.0 = next;
        }
        out
    }
}

impl State {
    fn after(self, byte: u8) -> State {
        let is_base64url = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match self {
            State::Signature if is_base64url || byte == b'.' || byte == b'=' => self,
            State::Part(_) if is_base64url => self,
            State::Part(1) if byte == b'.' => State::Part(2),
            State::Part(_) if byte == b'.' => State::Signature,
            State::Begun(seen) if START[seen] == byte => match seen + 1 {
                whole if whole == START.len() => State::Part(1),
                more => State::Begun(more),
            },
            _ if byte == START[0] => State::Begun(1),
            _ => State::Outside,
        }
    }
}

/// The same for text that is whole.
pub fn elide(text: &str) -> String {
    String::from_utf8_lossy(&Elider::default().next(text.as_bytes())).into_owned()
}

/// Turns pieces of bytes into text; a character may be cut.
#[derive(Debug, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// What can be read so far; what is no UTF-8 becomes U+FFFD.
    pub fn next(&mut self, piece: &[u8]) -> String {
        self.0.extend_from_slice(piece);
        let cut = match std::str::from_utf8(&self.0) {
            Err(err) if err.error_len().is_none() => err.valid_up_to(),
            // Behind what is wrong there may be a character that is cut; it is
            // wrong, too, and no more than three bytes of it.
            _ => self.0.len(),
        };
        let rest = self.0.split_off(cut);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }
}

const START: &[u8] = b"eyJ";
const ELIDED: &[u8] = b"[signature elided]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        for (text, want) in [
            ("Bearer eyJhbGciOi.eyJpc3M.c2lnbmF0dXJl", "Bearer eyJhbGciOi.eyJpc3M.[signature elided]"),
            ("{\"a\":\"eyJh-_.e30.x-_y\",\"b\":1}", "{\"a\":\"eyJh-_.e30.[signature elided]\",\"b\":1}"),
            ("eyJh.e30.one eyJh.e30.two", "eyJh.e30.[signature elided] eyJh.e30.[signature elided]"),
            ("xeeyeyJh.e30.one", "xeeyeyJh.e30.[signature elided]"),
            ("eyJh.e30.one.two=", "eyJh.e30.[signature elided]"),
            ("a hey, Joe. 1.2.3", "a hey, Joe. 1.2.3"),
            ("eyJh.e30", "eyJh.e30"),
            ("eyJh e30.x.y", "eyJh e30.x.y"),
            ("", ""),
        ] {
            assert_eq!(elide(text), want, "{text}");
            for cut in 0..text.len() {
                let mut elider = Elider::default();
                let (one, two) = text.as_bytes().split_at(cut);
                let got = [elider.next(one), elider.next(two)].concat();
                assert_eq!(String::from_utf8_lossy(&got), want, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn characters_that_are_cut() {
        let whole = "größe 🦀";
        for cut in 0..whole.len() {
            let mut text = Text::default();
            let (one, two) = whole.as_bytes().split_at(cut);
            assert_eq!(text.next(one) + &text.next(two), whole, "cut at {cut}");
        }
        assert_eq!(Text::default().next(b"a\xffb"), "a\u{fffd}b");
    }
}
