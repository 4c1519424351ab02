//! What a request may say, in HTTP/1 as in HTTP/2: method, target, authority and content length. Pure.
//!
//! Both protocols validate here, so that what one rejects the other rejects, too: what HTTP/2 forwards may become a
//! line of HTTP/1 behind the next hop.

use std::fmt;
use std::iter;

use crate::net::authority::{Authority, AuthorityError};
use crate::proxy::error::{ErrorType, ProxyError};

/// Why a request is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// The method is not a token.
    Method,
    /// The target is neither a path nor a URL.
    Target,
    /// The target has octets beyond ASCII.
    TargetNotAscii,
    /// The target has a space or a control character.
    TargetCharacter,
    /// The target has a `#`: some readers end the path there, others do not.
    Fragment,
    /// The target has more than [`MAX_TARGET_LEN`] octets.
    TargetTooLong,
    /// `*` with another method than OPTIONS.
    Asterisk,
    /// CONNECT without `host:port`.
    ConnectTarget,
    /// A URL of another scheme than `http` and `https`.
    Scheme,
    /// A malformed `Host`, `:authority` or authority of a target.
    Authority(AuthorityError),
    /// A `Content-Length` that is not a number.
    ContentLength,
    /// Lines of `Content-Length` that differ.
    ConflictingLengths,
    /// The body is shorter or longer than its `content-length` (RFC 9113 section 8.1.1).
    LengthMismatch,
    // The next ones exist in HTTP/2 only (RFC 9113 sections 8.2 and 8.3).
    /// A pseudo-header field is missing, unknown, repeated, or behind other fields.
    PseudoField,
    /// A field name has a character that is not allowed.
    FieldName,
    /// A field value has a control character, or whitespace around it.
    FieldValue,
    /// A field about the connection.
    ConnectionSpecificField,
    /// A stream that depends on itself (RFC 7540 section 5.3.1; RFC 9113 has no dependencies).
    SelfDependency,
    /// `:authority` and `host` differ.
    AuthorityMismatch,
}

impl RequestError {
    /// The status of the response in HTTP/1.
    pub fn status(self) -> u16 {
        match self {
            RequestError::TargetTooLong => 414,
            _ => 400,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestError::Method => "a method with a character that none may have",
            RequestError::Target => "a target that is neither a path nor a URL",
            RequestError::TargetNotAscii => "a path with characters outside of ASCII; percent-encode the path",
            RequestError::TargetCharacter => "a path with a space or a control character; percent-encode the path",
            RequestError::Fragment => "a path with \"#\", which is for the client alone; percent-encode it",
            RequestError::TargetTooLong => "a target longer than 64 KiB",
            RequestError::Asterisk => "the target \"*\", which only OPTIONS may have",
            RequestError::ConnectTarget => "a target of CONNECT that is not HOST:PORT",
            RequestError::Scheme => "a scheme other than http and https",
            RequestError::Authority(bad) => return bad.fmt(f),
            RequestError::ContentLength => "a Content-Length that is no number",
            RequestError::ConflictingLengths => "two different Content-Length headers",
            RequestError::LengthMismatch => "a content-length that is not the length of its body",
            RequestError::PseudoField => "a pseudo-header that is missing, unknown, twice or late",
            RequestError::FieldName => "a header name with a character that none may have",
            RequestError::FieldValue => "a header value with a control character or a space around it",
            RequestError::ConnectionSpecificField => "a header about the connection, which HTTP/2 has none of",
            RequestError::SelfDependency => "a stream that depends on itself",
            RequestError::AuthorityMismatch => "a host that is not its :authority",
        })
    }
}

impl From<AuthorityError> for RequestError {
    fn from(bad: AuthorityError) -> RequestError {
        RequestError::Authority(bad)
    }
}

impl From<RequestError> for ProxyError {
    fn from(bad: RequestError) -> ProxyError {
        ProxyError::new(ErrorType::HttpRequestError(bad.status()), format!("the request has {bad}"))
    }
}

/// Parses `Host`, `:authority` or the authority of a target.
///
/// # Errors
/// The error for the client, which shows `text`.
pub fn parse_authority(text: &[u8]) -> Result<Authority<'_>, ProxyError> {
    Authority::parse(text).map_err(|bad| {
        let shown = String::from_utf8_lossy(&text[..text.len().min(MAX_SHOWN)]);
        ProxyError::new(
            ErrorType::HttpRequestError(RequestError::from(bad).status()),
            format!("the request has {bad}: {shown:?}"),
        )
    })
}

/// Validates a method, which is a token (RFC 9110 section 9.1).
///
/// # Errors
/// [`RequestError::Method`]
pub fn validate_method(text: &[u8]) -> Result<(), RequestError> {
    match !text.is_empty() && text.iter().all(|&b| is(b, TOKEN)) {
        true => Ok(()),
        false => Err(RequestError::Method),
    }
}

/// The target of an HTTP/1 request (RFC 9112 section 3.2).
#[derive(Debug, PartialEq, Eq)]
pub enum RequestTarget<'a> {
    /// origin-form or asterisk-form, which HTTP/2 has in `:path`.
    Path(&'a [u8]),
    /// absolute-form.
    Url {
        /// `http` or `https`.
        scheme: Scheme,
        /// Host and port.
        authority: Authority<'a>,
        /// Path and query; may start with the query.
        path: &'a [u8],
    },
    /// authority-form: that of CONNECT.
    Authority(Authority<'a>),
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// Parses the target of an HTTP/1 request.
///
/// # Errors
/// Why the target is malformed.
pub fn parse_target<'a>(method: &[u8], text: &'a [u8]) -> Result<RequestTarget<'a>, RequestError> {
    if method == b"CONNECT" {
        // A port is required (RFC 9110 section 9.3.6).
        let authority = Authority::parse(text)?;
        return match authority.port {
            Some(_) => Ok(RequestTarget::Authority(authority)),
            None => Err(RequestError::ConnectTarget),
        };
    }
    if text.starts_with(b"/") || text == b"*" {
        return validate_path(method, text).map(|()| RequestTarget::Path(text));
    }
    validate_characters(text)?;
    let scheme_len = text.iter().position(|&b| b == b':');
    let (scheme, rest) = text.split_at(scheme_len.ok_or(RequestError::Target)?);
    let rest = rest.strip_prefix(b"://").ok_or(RequestError::Target)?;
    let scheme = parse_scheme(scheme)?;
    let authority_len = rest.iter().position(|&b| b == b'/' || b == b'?');
    let (authority, path) = rest.split_at(authority_len.unwrap_or(rest.len()));
    Ok(RequestTarget::Url {
        scheme,
        authority: Authority::parse(authority)?,
        path: match path {
            // The last proxy sends the asterisk (RFC 9112 section 3.2.4).
            b"" if method == b"OPTIONS" => b"*",
            b"" => b"/",
            path => path,
        },
    })
}

/// Validates a path with its query: `:path`, or origin-form and asterisk-form.
///
/// # Errors
/// Why the path is malformed.
pub fn validate_path(method: &[u8], text: &[u8]) -> Result<(), RequestError> {
    match text {
        b"*" if method == b"OPTIONS" => Ok(()),
        b"*" => Err(RequestError::Asterisk),
        [b'/', ..] => validate_characters(text),
        _ => Err(RequestError::Target),
    }
}

/// Parses `:scheme`, or the scheme of a URL, in any case.
///
/// # Errors
/// [`RequestError::Scheme`]
pub fn parse_scheme(text: &[u8]) -> Result<Scheme, RequestError> {
    if text.eq_ignore_ascii_case(b"http") {
        Ok(Scheme::Http)
    } else if text.eq_ignore_ascii_case(b"https") {
        Ok(Scheme::Https)
    } else {
        Err(RequestError::Scheme)
    }
}

/// Returns the length in the `Content-Length` lines of a message; `None` without any (RFC 9110 section 8.6).
///
/// # Errors
/// Where a line is not a number, or two of them differ.
pub fn parse_content_length<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<u64>, RequestError> {
    let mut length = None;
    for value in values {
        // `str::parse` would accept a "+".
        if value.is_empty() || value.len() > MAX_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
            return Err(RequestError::ContentLength);
        }
        let value = value.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
        if length.is_some_and(|length| length != value) {
            return Err(RequestError::ConflictingLengths);
        }
        length = Some(value);
    }
    Ok(length)
}

/// Validates that a target is visible ASCII without `#`. A fragment is never sent, and readers differ in whether it
/// belongs to the path. The other characters that RFC 3986 excludes (`"<>[]^{|}` and more) are common, and all readers
/// take them alike.
fn validate_characters(text: &[u8]) -> Result<(), RequestError> {
    if text.len() > MAX_TARGET_LEN {
        return Err(RequestError::TargetTooLong);
    }
    let is_bad = |b: &&u8| !matches!(b, 0x21..=0x7e) || **b == b'#';
    match text.iter().find(is_bad) {
        None => Ok(()),
        Some(b'#') => Err(RequestError::Fragment),
        Some(0x80..) => Err(RequestError::TargetNotAscii),
        Some(_) => Err(RequestError::TargetCharacter),
    }
}

/// Whether `name`, in any case, is `lower`, which is in lower case.
///
/// Called several times for each field of each request: the standard library, which is compiled for size, makes a call
/// for each octet in `eq_ignore_ascii_case`.
pub fn is_named(name: &[u8], lower: &str) -> bool {
    name.len() == lower.len()
        && iter::zip(name, lower.as_bytes()).all(|(octet, lower)| octet.to_ascii_lowercase() == *lower)
}

/// Whether an octet is of a class: [`TOKEN`], [`TEXT`] or [`BLANK`].
pub fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Octets of a token: of a method or a field name (RFC 9110 section 5.6.2).
pub const TOKEN: u8 = 1;
/// Octets of a field value (RFC 9110 section 5.5): no control characters but the tab.
pub const TEXT: u8 = 2;
/// Octets of optional whitespace (RFC 9110 section 5.6.3).
pub const BLANK: u8 = 4;

/// The classes of each octet.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut b = 0_u8;
    loop {
        if b.is_ascii_alphanumeric()
            || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        {
            classes[b as usize] |= TOKEN;
        }
        if b == b'\t' || (b >= 0x20 && b != 0x7f) {
            classes[b as usize] |= TEXT;
        }
        if b == b'\t' || b == b' ' {
            classes[b as usize] |= BLANK;
        }
        if b == u8::MAX {
            return classes;
        }
        b += 1;
    }
}

/// Octets of a malformed text that an error shows.
pub const MAX_SHOWN: usize = 100;

/// Octets of the longest target: as long as the largest head.
pub const MAX_TARGET_LEN: usize = 64 * 1024;

/// Digits of the longest `Content-Length`: any number of them fits into a `u64`.
const MAX_LENGTH_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_any_case() {
        for (name, is_one) in [
            ("content-length", true),
            ("Content-LENGTH", true),
            ("content-lengt", false),
            ("content-length ", false),
            ("content_length", false),
            ("content\rlength", false), // "-" but for the bit of the case
        ] {
            assert_eq!(is_named(name.as_bytes(), "content-length"), is_one, "{name}");
        }
    }

    #[test]
    fn methods_are_tokens() {
        for (text, is_one) in [
            ("GET", true),
            ("get", true),
            ("M-SEARCH", true),
            ("", false),
            ("GET ", false),
            ("GET /admin", false),
            ("G(T", false),
            ("GET\r\nX:", false),
            ("G\u{e9}T", false),
        ] {
            assert_eq!(validate_method(text.as_bytes()).is_ok(), is_one, "{text:?}");
        }
    }

    #[test]
    fn targets_are_parsed_strictly() {
        let long = format!("/{}", "x".repeat(MAX_TARGET_LEN));
        for (method, text, want) in [
            ("GET", "/", Ok("/")),
            ("GET", "/a?b=c|{\"}", Ok("/a?b=c|{\"}")),
            ("GET", "//evil/", Ok("//evil/")),
            ("OPTIONS", "*", Ok("*")),
            ("OPTIONS", "/", Ok("/")),
            ("GET", "*", Err(RequestError::Asterisk)),
            ("GET", "http://f/x", Ok("http f /x")),
            ("GET", "HTTPS://F:8080", Ok("https F:8080 /")),
            ("GET", "http://[::1]:80?x", Ok("http [::1]:80 ?x")),
            ("OPTIONS", "http://f", Ok("http f *")),
            ("OPTIONS", "http://f/", Ok("http f /")),
            ("OPTIONS", "http://f?x", Ok("http f ?x")),
            ("CONNECT", "f:80", Ok("to f:80")),
            ("CONNECT", "f", Err(RequestError::ConnectTarget)),
            ("CONNECT", "f:", Err(RequestError::ConnectTarget)),
            ("CONNECT", "/", Err(AuthorityError::Path.into())),
            ("CONNECT", "http://f/", Err(AuthorityError::Path.into())),
            ("GET", "", Err(RequestError::Target)),
            ("GET", "x", Err(RequestError::Target)),
            ("GET", "@evil/", Err(RequestError::Target)),
            ("GET", "f:80", Err(RequestError::Target)),
            ("GET", "http:/f/", Err(RequestError::Target)),
            ("GET", "ftp://f/", Err(RequestError::Scheme)),
            ("GET", "://f/", Err(RequestError::Scheme)),
            ("GET", "http://u@f/", Err(AuthorityError::UserInfo.into())),
            ("GET", "http:///x", Err(AuthorityError::Empty.into())),
            ("GET", "http://f:0/", Err(AuthorityError::Port.into())),
            ("GET", "/a b", Err(RequestError::TargetCharacter)),
            ("GET", "/a HTTP/1.1", Err(RequestError::TargetCharacter)),
            ("GET", "/a\r\nX: y", Err(RequestError::TargetCharacter)),
            ("GET", "/\x7f", Err(RequestError::TargetCharacter)),
            ("GET", "/caf\u{e9}", Err(RequestError::TargetNotAscii)),
            ("GET", "/a#b", Err(RequestError::Fragment)),
            ("GET", "http://f#b", Err(RequestError::Fragment)),
            ("GET", &long, Err(RequestError::TargetTooLong)),
        ] {
            let got = parse_target(method.as_bytes(), text.as_bytes()).map(|got| match got {
                RequestTarget::Path(path) => String::from_utf8_lossy(path).into_owned(),
                RequestTarget::Authority(authority) => format!("to {}", authority.text),
                RequestTarget::Url { scheme, authority, path } => {
                    let scheme = format!("{scheme:?}").to_lowercase();
                    let path = String::from_utf8_lossy(path);
                    format!("{scheme} {} {path}", authority.text)
                }
            });
            let shown = &text[..text.len().min(60)];
            assert_eq!(got, want.map(str::to_owned), "{method} {shown:?}");
        }
        assert_eq!(RequestError::TargetTooLong.status(), 414);
        // HTTP/2 has a path, and nothing else, where HTTP/1 has the others.
        for text in ["", "x", "@evil/", "http://evil/x", "f:80"] {
            let got = validate_path(b"GET", text.as_bytes());
            assert_eq!(got, Err(RequestError::Target), "{text:?}");
        }
    }

    #[test]
    fn content_lengths_agree_or_are_errors() {
        for (values, want) in [
            (&[][..], Ok(None)),
            (&["5"], Ok(Some(5))),
            (&["5", "05"], Ok(Some(5))),
            (&["5", "6"], Err(RequestError::ConflictingLengths)),
            (&["5, 5"], Err(RequestError::ContentLength)),
            (&["+5"], Err(RequestError::ContentLength)),
            (&["-5"], Err(RequestError::ContentLength)),
            (&["0x5"], Err(RequestError::ContentLength)),
            (&[""], Err(RequestError::ContentLength)),
            (&["9999999999999999999"], Err(RequestError::ContentLength)),
        ] {
            let got = parse_content_length(values.iter().map(|value| value.as_bytes()));
            assert_eq!(got, want, "{values:?}");
        }
    }

    #[test]
    fn classes_are_those_of_the_rfc() {
        for b in 0..=255_u8 {
            let token = b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            assert_eq!(is(b, TOKEN), token, "{b:#x}");
            let text = b == b'\t' || (0x20..0x7f).contains(&b) || b >= 0x80;
            assert_eq!(is(b, TEXT), text, "{b:#x}");
            assert_eq!(is(b, BLANK), b == b' ' || b == b'\t', "{b:#x}");
        }
    }
}
