//! `host[:port]`, as `Host`, `:authority`, URLs and flags have it (RFC 3986 section 3.2, RFC 9110 section 7.2): one
//! parser for all of them. Pure.

use std::fmt;
use std::net::Ipv6Addr;

/// A host and its port, without the user information that a URL may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The whole text.
    pub text: &'a str,
    /// A name or an address; an IPv6 address without its brackets.
    pub host: &'a str,
    /// `None` where there is none, also behind a colon.
    pub port: Option<u16>,
}

/// Why a text is not an [`Authority`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityError {
    /// There is no host.
    Empty,
    /// More than [`MAX_LEN`] octets.
    TooLong,
    /// `user@host`, which is a way to disguise hosts.
    UserInfo,
    /// `/`, `?`, `#`, or the backslash that some parsers take for a slash.
    Path,
    /// `%`, also that of an IPv6 zone.
    PercentEncoding,
    /// A character that no DNS name has.
    Character,
    /// Not a number from 1 to 65535.
    Port,
    /// Malformed, or not in brackets.
    Ipv6,
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthorityError::Empty => "an empty host",
            AuthorityError::TooLong => "a host longer than any DNS name",
            AuthorityError::UserInfo => "a host with a user name before it",
            AuthorityError::Path => "a host with a path after it",
            AuthorityError::PercentEncoding => "a host with percent-encoding",
            AuthorityError::Character => {
                "a host with a character other than letters, digits, dots, dashes and underscores"
            }
            AuthorityError::Port => "a port that is not a number from 1 to 65535",
            AuthorityError::Ipv6 => "an IPv6 address that is malformed or not in brackets",
        })
    }
}

impl<'a> Authority<'a> {
    /// Parses `host[:port]`.
    ///
    /// # Errors
    /// Where it is malformed, or has in its host what RFC 3986 allows and no DNS name has.
    pub fn parse(text: &'a [u8]) -> Result<Authority<'a>, AuthorityError> {
        if text.len() > MAX_LEN {
            return Err(AuthorityError::TooLong);
        }
        for &octet in text {
            match octet {
                b'@' => return Err(AuthorityError::UserInfo),
                b'/' | b'?' | b'#' | b'\\' => return Err(AuthorityError::Path),
                b'%' => return Err(AuthorityError::PercentEncoding),
                b':' | b'[' | b']' | b'.' | b'-' | b'_' => {}
                _ if octet.is_ascii_alphanumeric() => {}
                _ => return Err(AuthorityError::Character),
            }
        }
        let text = std::str::from_utf8(text).map_err(|_| AuthorityError::Character)?;
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(AuthorityError::Ipv6)?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(AuthorityError::Ipv6);
                }
                let port = match after.strip_prefix(':') {
                    Some(port) => port,
                    None if after.is_empty() => "",
                    None => return Err(AuthorityError::Port),
                };
                (host, port)
            }
            None => {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                if port.contains(':') {
                    return Err(AuthorityError::Ipv6);
                }
                if host.contains(']') || host.contains('[') {
                    return Err(AuthorityError::Character);
                }
                (host, port)
            }
        };
        if host.is_empty() {
            return Err(AuthorityError::Empty);
        }
        Ok(Authority { text, host, port: parse_port(port)? })
    }
}

fn parse_port(text: &str) -> Result<Option<u16>, AuthorityError> {
    if text.is_empty() {
        return Ok(None);
    }
    // parse() would let a "+" through.
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if is_number && port > 0 => Ok(Some(port)),
        _ => Err(AuthorityError::Port),
    }
}

/// Octets of the longest authority: a DNS name (RFC 1035 section 2.3.4) and a port.
const MAX_LEN: usize = 255 + ":65535".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_parsed_strictly() {
        for (text, want) in [
            ("hello", Ok(("hello", None))),
            ("Hello.us-east1.42.", Ok(("Hello.us-east1.42.", None))),
            ("my_db:8080", Ok(("my_db", Some(8080)))),
            ("hello:", Ok(("hello", None))),
            ("hello:0080", Ok(("hello", Some(80)))),
            ("127.0.0.1:65535", Ok(("127.0.0.1", Some(65535)))),
            ("[::1]", Ok(("::1", None))),
            ("[::ffff:127.0.0.1]:80", Ok(("::ffff:127.0.0.1", Some(80)))),
            ("", Err(AuthorityError::Empty)),
            (":80", Err(AuthorityError::Empty)),
            ("u@hello", Err(AuthorityError::UserInfo)),
            ("u:p@hello:80", Err(AuthorityError::UserInfo)),
            ("@", Err(AuthorityError::UserInfo)),
            ("hello/x", Err(AuthorityError::Path)),
            ("hello?x", Err(AuthorityError::Path)),
            ("hello#x", Err(AuthorityError::Path)),
            ("hello\\x", Err(AuthorityError::Path)),
            ("http://hello", Err(AuthorityError::Path)),
            ("hell%6f", Err(AuthorityError::PercentEncoding)),
            ("[fe80::1%25eth0]", Err(AuthorityError::PercentEncoding)),
            ("hello world", Err(AuthorityError::Character)),
            ("hello,world", Err(AuthorityError::Character)),
            ("h\u{e9}llo", Err(AuthorityError::Character)),
            ("hello\0", Err(AuthorityError::Character)),
            ("he[llo]", Err(AuthorityError::Character)),
            ("hello:80abc", Err(AuthorityError::Port)),
            ("hello:0", Err(AuthorityError::Port)),
            ("hello:65536", Err(AuthorityError::Port)),
            ("hello:-1", Err(AuthorityError::Port)),
            ("[::1]80", Err(AuthorityError::Port)),
            ("[::1]:x", Err(AuthorityError::Port)),
            ("::1", Err(AuthorityError::Ipv6)),
            ("hello:80:80", Err(AuthorityError::Ipv6)),
            ("[::1", Err(AuthorityError::Ipv6)),
            ("[1::2::3]", Err(AuthorityError::Ipv6)),
            ("[]", Err(AuthorityError::Ipv6)),
            ("[127.0.0.1]", Err(AuthorityError::Ipv6)),
            ("[v1.x]", Err(AuthorityError::Ipv6)),
        ] {
            let got = Authority::parse(text.as_bytes());
            let got = got.map(|got| (got.host, got.port));
            assert_eq!(got, want, "{text:?}");
        }
        let long = "x".repeat(MAX_LEN + 1);
        let got = Authority::parse(long.as_bytes());
        assert_eq!(got, Err(AuthorityError::TooLong));
        // "+" is among the characters that no host has.
        let got = Authority::parse(b"hello:+80");
        assert_eq!(got, Err(AuthorityError::Character));
    }
}
