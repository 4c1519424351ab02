//! What a request may say of itself, in HTTP/1 as in HTTP/2: its method, its
//! target, its authority and the length of its body. Pure.
//!
//! Both protocols read these here, so that what one refuses the other refuses,
//! too: what HTTP/2 passes on may become a line of HTTP/1 behind the next hop.

use std::fmt;
use std::iter;

use crate::net::authority::{Authority, AuthorityError};
use crate::proxy::error::{ErrorType, ProxyError};

/// Why a request is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    Method,
    /// Neither a path nor a URL.
    Target,
    TargetNotAscii,
    /// A space or a control character.
    TargetCharacter,
    /// `#`: some readers end the path there, others do not.
    Fragment,
    TargetTooLong,
    /// `*` with another method than OPTIONS.
    Asterisk,
    /// CONNECT without `host:port`.
    ConnectTarget,
    Scheme,
    Authority(AuthorityError),
    Length,
    TwoLengths,
    /// The length is not that of the body (RFC 9113 section 8.1.1).
    WrongLength,
    // What follows only HTTP/2 can say (RFC 9113 sections 8.2 and 8.3).
    /// One is missing, unknown, twice, or behind other fields.
    PseudoField,
    FieldName,
    FieldValue,
    /// A field about the connection, which HTTP/2 has none of.
    ConnectionField,
    /// A stream that depends on itself (RFC 7540 section 5.3.1).
    Dependency,
    /// `:authority` and `host` differ.
    TwoAuthorities,
}

impl RequestError {
    /// The status that answers it in HTTP/1.
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
            RequestError::Length => "a Content-Length that is no number",
            RequestError::TwoLengths => "two different Content-Length headers",
            RequestError::WrongLength => "a content-length that is not the length of its body",
            RequestError::PseudoField => "a pseudo-header that is missing, unknown, twice or late",
            RequestError::FieldName => "a header name with a character that none may have",
            RequestError::FieldValue => "a header value with a control character or a space around it",
            RequestError::ConnectionField => "a header about the connection, which HTTP/2 has none of",
            RequestError::Dependency => "a stream that depends on itself",
            RequestError::TwoAuthorities => "a host that is not its :authority",
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

/// Reads `Host`, `:authority` or the authority of a target.
///
/// # Errors
///
/// A refusal that shows it.
pub fn authority(text: &[u8]) -> Result<Authority<'_>, ProxyError> {
    Authority::parse(text).map_err(|bad| {
        let shown = String::from_utf8_lossy(&text[..text.len().min(MAX_SHOWN)]);
        ProxyError::new(
            ErrorType::HttpRequestError(RequestError::from(bad).status()),
            format!("the request has {bad}: {shown:?}"),
        )
    })
}

/// Checks a method, which is a token (RFC 9110 section 9.1).
pub fn method(text: &[u8]) -> Result<(), RequestError> {
    match !text.is_empty() && text.iter().all(|&b| is(b, TOKEN)) {
        true => Ok(()),
        false => Err(RequestError::Method),
    }
}

/// What an HTTP/1 request is for (RFC 9112 section 3.2).
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// origin-form or asterisk-form: what `:path` is in HTTP/2.
    Path(&'a [u8]),
    /// absolute-form; `path` may begin with its query.
    Url { scheme: Scheme, authority: Authority<'a>, path: &'a [u8] },
    /// authority-form: CONNECT.
    Authority(Authority<'a>),
}

/// The scheme of a URL; names of others are not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// Reads the target of an HTTP/1 request.
pub fn target<'a>(method: &[u8], text: &'a [u8]) -> Result<Target<'a>, RequestError> {
    if method == b"CONNECT" {
        // Without a port, or with an empty one: RFC 9110 section 9.3.6.
        let authority = Authority::parse(text)?;
        return match authority.port {
            Some(_) => Ok(Target::Authority(authority)),
            None => Err(RequestError::ConnectTarget),
        };
    }
    if text.starts_with(b"/") || text == b"*" {
        return path(method, text).map(|()| Target::Path(text));
    }
    characters(text)?;
    let colon = text.iter().position(|&b| b == b':');
    let (named, rest) = text.split_at(colon.ok_or(RequestError::Target)?);
    let rest = rest.strip_prefix(b"://").ok_or(RequestError::Target)?;
    let scheme = scheme(named)?;
    let end = rest.iter().position(|&b| b == b'/' || b == b'?');
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    Ok(Target::Url {
        scheme,
        authority: Authority::parse(authority)?,
        path: match path {
            // RFC 9112 section 3.2.4: the last proxy sends the asterisk.
            b"" if method == b"OPTIONS" => b"*",
            b"" => b"/",
            path => path,
        },
    })
}

/// Checks a path with its query: `:path`, or origin-form and asterisk-form.
pub fn path(method: &[u8], text: &[u8]) -> Result<(), RequestError> {
    match text {
        b"*" if method == b"OPTIONS" => Ok(()),
        b"*" => Err(RequestError::Asterisk),
        [b'/', ..] => characters(text),
        _ => Err(RequestError::Target),
    }
}

/// Reads `:scheme`, or what a URL begins with, in any case.
pub fn scheme(text: &[u8]) -> Result<Scheme, RequestError> {
    if text.eq_ignore_ascii_case(b"http") {
        Ok(Scheme::Http)
    } else if text.eq_ignore_ascii_case(b"https") {
        Ok(Scheme::Https)
    } else {
        Err(RequestError::Scheme)
    }
}

/// The length that all `Content-Length` values of a message agree on; `None`
/// without any (RFC 9110 section 8.6).
pub fn content_length<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<u64>, RequestError> {
    let mut length = None;
    for value in values {
        // Not str::parse, which would let a "+" through.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(RequestError::Length);
        }
        let found = value.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
        if length.is_some_and(|length| length != found) {
            return Err(RequestError::TwoLengths);
        }
        length = Some(found);
    }
    Ok(length)
}

/// Visible ASCII, but for "#": a fragment is never sent, and readers differ in
/// whether it belongs to the path. What else RFC 3986 leaves out of a path
/// (`"<>[]^{|}` and others) is common, and read alike by all.
fn characters(text: &[u8]) -> Result<(), RequestError> {
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

/// Whether `name` is `lower`, in any case; `lower` itself has no capital letters.
///
/// Each header of each request comes by here, a few times. std's function is
/// compiled for size into a call for each octet.
pub fn is_named(name: &[u8], lower: &str) -> bool {
    name.len() == lower.len()
        && iter::zip(name, lower.as_bytes()).all(|(octet, wanted)| octet.to_ascii_lowercase() == *wanted)
}

/// Whether an octet is of a class.
pub fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// What may be in a token: a method, a header's name (RFC 9110 section 5.6.2).
pub const TOKEN: u8 = 1;
/// What may be in a value (section 5.5): no controls but the tab; others as
/// they come.
pub const TEXT: u8 = 2;
/// What may be around a value.
pub const BLANK: u8 = 4;

/// The classes of each byte.
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

/// How much of what came in a sentence shows, in octets.
pub const MAX_SHOWN: usize = 100;

/// The longest target, in octets: all of what a head may have.
pub const MAX_TARGET_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
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
    fn methods() {
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
            assert_eq!(method(text.as_bytes()).is_ok(), is_one, "{text:?}");
        }
    }

    #[test]
    fn targets() {
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
            let got = target(method.as_bytes(), text.as_bytes()).map(|got| match got {
                Target::Path(path) => String::from_utf8_lossy(path).into_owned(),
                Target::Authority(authority) => format!("to {}", authority.text),
                Target::Url { scheme, authority, path } => {
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
            let got = path(b"GET", text.as_bytes());
            assert_eq!(got, Err(RequestError::Target), "{text:?}");
        }
    }

    #[test]
    fn lengths() {
        for (values, want) in [
            (&[][..], Ok(None)),
            (&["5"], Ok(Some(5))),
            (&["5", "05"], Ok(Some(5))),
            (&["5", "6"], Err(RequestError::TwoLengths)),
            (&["5, 5"], Err(RequestError::Length)),
            (&["+5"], Err(RequestError::Length)),
            (&["-5"], Err(RequestError::Length)),
            (&["0x5"], Err(RequestError::Length)),
            (&[""], Err(RequestError::Length)),
            (&["9999999999999999999"], Err(RequestError::Length)),
        ] {
            let got = content_length(values.iter().map(|value| value.as_bytes()));
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
