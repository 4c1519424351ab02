//! Reads JSON Web Tokens (RFC 7519): the expiry and the account. The front end verifies the signature.
//!
//! Errors complete the sentence "the token …", and never show a part of the token.

/// Returns the `exp` claim, in seconds since 1970 (RFC 7519 section 4.1.4).
///
/// # Errors
/// What is wrong with the token.
pub fn expires_at(token: &str) -> Result<u64, &'static str> {
    let payload = decode_base64url(validate(token)?).ok_or("is not base64url inside")?;
    exp(&payload).ok_or("has no end in it (no \"exp\")")
}

/// Returns whom a token names, for people: the `email` claim, or the account's number, the `sub` claim.
pub fn account(token: &str) -> Option<String> {
    let payload = decode_base64url(validate(token).ok()?)?;
    let claim = |key| {
        let (text, _) = split_string(find_value(&payload, key)?.strip_prefix(b"\"")?)?;
        let is_plain = |b: &u8| b.is_ascii_graphic() && !b"\"\\".contains(b);
        let is_valid = (1..=MAX_ACCOUNT_LEN).contains(&text.len()) && text.iter().all(is_plain);
        String::from_utf8(text.to_vec()).ok().filter(|_| is_valid)
    };
    claim(b"email").or_else(|| Some(format!("account {}", claim(b"sub")?)))
}

/// Checks that a text has the form of a token (RFC 7515 section 3.1) and can be sent in a header. Returns its payload,
/// in base64url.
///
/// # Errors
/// What is wrong with the text.
pub fn validate(token: &str) -> Result<&str, &'static str> {
    if token.is_empty() {
        return Err("is empty");
    }
    if token.len() > MAX_TOKEN_LEN {
        return Err("is too large for a header");
    }
    // Above all no CR or LF, which would end the header and start another one.
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'.');
    if !token.bytes().all(is_valid) {
        return Err("has characters that no token has");
    }
    let parts: Vec<&str> = token.split('.').collect();
    match parts[..] {
        [header, payload, signature] if ![header, payload, signature].contains(&"") => Ok(payload),
        _ => Err("is not three parts with dots between them"),
    }
}

/// Decodes base64url (RFC 4648 section 5), with padding or without.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
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
    read_number(find_value(json, b"exp")?)
}

/// Returns what follows a key of the outermost JSON object (RFC 8259): its value, and the rest of the text.
///
/// Counts brackets and skips strings instead of recursing, so that deep nesting uses no stack.
fn find_value<'a>(json: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut depth = 0_u32;
    let mut is_key = true; // whether a string at depth 1 is a key here
    let mut rest = json;
    loop {
        let (&b, after) = rest.split_first()?;
        rest = after;
        match b {
            b'{' | b'[' => depth = depth.checked_add(1)?,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 1 => is_key = true,
            b':' => is_key = false,
            b'"' => {
                let (text, after) = split_string(rest)?;
                rest = after;
                if is_key && depth == 1 && text == wanted {
                    return Some(rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start());
                }
            }
            _ => {}
        }
    }
}

/// Splits behind an opening quote: the string, still escaped, and what follows the closing quote.
fn split_string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut offset = 0;
    loop {
        match input.get(offset)? {
            b'"' => return Some((&input[..offset], &input[offset + 1..])),
            b'\\' => offset += 2,
            _ => offset += 1,
        }
    }
}

/// Reads a number, without its fraction, at the start of `input`. `None` for one with an exponent: no issuer writes it.
fn read_number(input: &[u8]) -> Option<u64> {
    let count_digits = |input: &[u8]| input.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = input.split_at(count_digits(input));
    let rest = rest.strip_prefix(b".").map_or(rest, |fraction| &fraction[count_digits(fraction)..]);
    if !matches!(rest.trim_ascii_start().first(), Some(b',' | b'}')) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Bytes of a token at most: half of the head that the front end accepts. Google's have about 1,000.
const MAX_TOKEN_LEN: usize = 16 * 1024;

/// Bytes of an account at most: the longest email address (RFC 5321 section 4.5.3.1: 64 + 1 + 255).
const MAX_ACCOUNT_LEN: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_read_from_the_outermost_object() {
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
            (r#"{"a":[1,2]"exp":3}"#, None),
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
        // Deep nesting uses no stack.
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let json = format!("{{\"a\":{deep},\"exp\":3}}");
        assert_eq!(exp(json.as_bytes()), Some(3));
    }

    #[test]
    fn account_is_the_email_or_the_number() {
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
    fn lengths_are_bounded() {
        let payload = |len| "A".repeat(len - "a..c".len());
        assert!(validate(&format!("a.{}.c", payload(10_000))).is_ok());
        assert!(validate(&format!("a.{}.c", payload(MAX_TOKEN_LEN))).is_ok());
        assert_eq!(validate(&format!("a.{}.c", payload(MAX_TOKEN_LEN + 1))), Err("is too large for a header"));
        // {"sub":"aaa…"}: a letter "a" three times is "YWFh".
        let named = |letters: usize| account(&format!("a.eyJzdWIiOiJh{}In0.c", "YWFh".repeat(letters / 3)));
        assert_eq!(named(318), Some(format!("account {}", "a".repeat(319))));
        assert_eq!(named(321), None);
        // 320 letters with the email, {"email":"aa…"}.
        let email = |thirds: usize, end: &str| account(&format!("a.eyJlbWFpbCI6ImFh{}{end}.c", "YWFh".repeat(thirds)));
        assert_eq!(email(106, "In0"), Some("a".repeat(320)));
        assert_eq!(email(106, "YSJ9"), None);
    }

    #[test]
    fn base64url_is_that_of_rfc_4648() {
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
            assert_eq!(decode_base64url(text), want, "{text:?}");
        }
    }

    #[test]
    fn invalid_tokens_are_described() {
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
            assert_eq!(expires_at(token), want, "{token:.20?}");
        }
    }
}
