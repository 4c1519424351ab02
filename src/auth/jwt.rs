//! What is read in a token: when it ends, and whom it names. Its signature is
//! the business of the front end.
//!
//! Errors complete the sentence "the token …", and never show any of it.

/// The `exp` of a token, in seconds since 1970.
pub fn end(token: &str) -> Result<u64, &'static str> {
    let payload = check(token)?;
    let payload = base64url(payload).ok_or("is not base64url inside")?;
    exp(&payload).ok_or("has no end in it (no \"exp\")")
}

/// Whom a token names, for people: by email, or else by the number every
/// account has.
pub fn account(token: &str) -> Option<String> {
    let payload = base64url(check(token).ok()?)?;
    let text = |key| {
        let (text, _) = string(value(&payload, key)?.strip_prefix(b"\"")?)?;
        let plain = |b: &u8| b.is_ascii_graphic() && !b"\"\\".contains(b);
        let fits = (1..=320).contains(&text.len()) && text.iter().all(plain);
        String::from_utf8(text.to_vec()).ok().filter(|_| fits)
    };
    text(b"email").or_else(|| Some(format!("account {}", text(b"sub")?)))
}

/// Whether a text can be a token, and fit to be sent; answers its payload.
pub fn check(token: &str) -> Result<&str, &'static str> {
    if token.is_empty() {
        return Err("is empty");
    }
    if token.len() > LARGEST {
        return Err("is too large for a header");
    }
    // Whatever else it is, it must not end our header and begin another.
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'.');
    if !token.bytes().all(fits) {
        return Err("has characters that no token has");
    }
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(head), Some(payload), Some(signature), None)
            if !head.is_empty() && !payload.is_empty() && !signature.is_empty() =>
        {
            Ok(payload)
        }
        _ => Err("is not three parts with dots between them"),
    }
}

/// The front end takes no larger heads than twice this; real ones have 1 KB.
const LARGEST: usize = 16 * 1024;

fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let mut bits = 0_u32;
    let mut count = 0;
    for b in text.trim_end_matches('=').bytes() {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

fn exp(json: &[u8]) -> Option<u64> {
    number(value(json, b"exp")?)
}

/// What stands at a key of the outermost object, and all that comes after it.
///
/// Counts brackets and steps over strings, and so never recurses, however
/// deep the nesting.
fn value<'a>(json: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut depth = 0_u32;
    let mut key = true; // a string here, at depth 1, would be a key
    let mut rest = json;
    loop {
        let (&b, after) = rest.split_first()?;
        rest = after;
        match b {
            b'{' | b'[' => depth = depth.checked_add(1)?,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 1 => key = true,
            b':' if depth == 1 => key = false,
            b'"' => {
                let (text, after) = string(rest)?;
                rest = after;
                if key && depth == 1 && text == wanted {
                    let value = rest.trim_ascii_start().strip_prefix(b":")?;
                    return Some(value.trim_ascii_start());
                }
            }
            _ => {}
        }
    }
}

/// What is before the closing quote, and what is after it.
fn string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        match input.get(at)? {
            b'"' => return Some((&input[..at], &input[at + 1..])),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A whole number, or the whole part of one with a fraction.
fn number(input: &[u8]) -> Option<u64> {
    let digits = input.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = input.split_at(digits);
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            &fraction[length..]
        }
        None => rest,
    };
    // "1e9" ends here: no server writes it, and half of it would be wrong.
    if !matches!(rest.trim_ascii_start().first(), Some(b',' | b'}')) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        for (json, want) in [
            (r#"{"exp":1700000000}"#, Some(1_700_000_000)),
            (r#"{"aud":"x","exp" : 17 ,"iat":1}"#, Some(17)),
            (r#"{"exp":17.5}"#, Some(17)),
            (r#"{"a":{"exp":1},"b":[{"exp":2}],"exp":3}"#, Some(3)),
            (r#"{"a":"exp","exp":3}"#, Some(3)),
            (r#"{"a":"\",\"exp\":9","exp":3}"#, Some(3)),
            (r#"{"a":"\\","exp":3}"#, Some(3)),
            (r#"{"exp":"3"}"#, None),
            (r#"{"exp":-3}"#, None),
            (r#"{"exp":1e9}"#, None),
            (r#"{"exp":3"#, None),
            (r#"{"exp":99999999999999999999999}"#, None),
            (r#"{"exp"}"#, None),
            (r#"{"a":{"exp":3}}"#, None),
            (r#"["exp",3]"#, None),
            (r#"{"a":"unended"#, None),
            (r#"{"a":"\"#, None),
            ("}}}", None),
            ("{}", None),
            ("", None),
            ("\u{0}\u{1}", None),
        ] {
            assert_eq!(exp(json.as_bytes()), want, "{json:?}");
        }
        // However deep: no stack is used.
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let json = format!("{{\"a\":{deep},\"exp\":3}}");
        assert_eq!(exp(json.as_bytes()), Some(3));
    }

    #[test]
    fn accounts() {
        for (payload, want) in [
            // {"email":"a@b.c","sub":"1"}
            ("eyJlbWFpbCI6ImFAYi5jIiwic3ViIjoiMSJ9", Some("a@b.c")),
            // {"sub":"123"}
            ("eyJzdWIiOiIxMjMifQ", Some("account 123")),
            // {"email":"a\nb","sub":"9"}
            ("eyJlbWFpbCI6ImFcbmIiLCJzdWIiOiI5In0", Some("account 9")),
            // {"email":7}
            ("eyJlbWFpbCI6N30", None),
            ("e30", None),
            ("e=0", None),
        ] {
            let got = account(&format!("a.{payload}.c"));
            assert_eq!(got.as_deref(), want, "{payload}");
        }
    }

    #[test]
    fn base64url_of_rfc_4648() {
        for (text, want) in [
            ("", Some("")),
            ("Zg", Some("f")),
            ("Zg==", Some("f")),
            ("Zm8", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg", Some("foob")),
            ("Zm9vYmE", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("Pj4_Pz8-", Some(">>???>")),
            ("Zm9v+g", None),
            ("Zg=a", None),
        ] {
            let want = want.map(|text| text.as_bytes().to_vec());
            assert_eq!(base64url(text), want, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_token() {
        let huge = format!("a.{}.c", "e30".repeat(10_000));
        for (token, want) in [
            ("", Err("is empty")),
            ("a.b", Err("is not three parts with dots between them")),
            ("a.b.c.d", Err("is not three parts with dots between them")),
            ("a..c", Err("is not three parts with dots between them")),
            ("<html>", Err("has characters that no token has")),
            ("a.b.c\r\nX: y", Err("has characters that no token has")),
            ("a.b.c d", Err("has characters that no token has")),
            ("ä.b.c", Err("has characters that no token has")),
            (&huge, Err("is too large for a header")),
            ("a.e=0.c", Err("is not base64url inside")),
            ("a.e30.c", Err("has no end in it (no \"exp\")")),
            ("a.eyJleHAiOjE3fQ.c", Ok(17)),
        ] {
            assert_eq!(end(token), want, "{token:.20?}");
        }
    }
}
