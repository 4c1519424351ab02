//! Who may ask what. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::{Method, StatusCode};
use ring::hmac;

use super::settings::Access;

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied(pub StatusCode, pub &'static str);

/// Lets in whoever may open the page.
pub fn admit(access: &Access, headers: &HeaderMap) -> Result<(), Denied> {
    match access {
        Access::Open => Ok(()),
        Access::Password(password) => match given(headers) {
            Some(given) if is_same(given.as_bytes(), password.0.as_bytes()) => Ok(()),
            _ => Err(Denied(
                StatusCode::UNAUTHORIZED,
                "the password is that of PLAYGROUND_PASSWORD; any user name will do",
            )),
        },
        // A name that somebody else resolves to loopback would make a page of
        // theirs this page's origin (DNS rebinding).
        Access::Loopback => match host(headers).map(without_port) {
            Some("127.0.0.1" | "localhost" | "[::1]") => Ok(()),
            _ => Err(Denied(StatusCode::FORBIDDEN, "open it as http://127.0.0.1 or http://localhost")),
        },
    }
}

/// Lets a call of the page's own script through, and not those of other sites,
/// in whose pages a browser sends our password along.
pub fn same_site(method: &Method, headers: &HeaderMap) -> Result<(), Denied> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // "none": typed into the address bar.
    let by_site = !matches!(text("sec-fetch-site"), Some(site) if site != "same-origin" && site != "none");
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
    let by_origin = origin.is_none_or(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some() && authority == host(headers)
    });
    if !by_site || !by_origin {
        return Err(Denied(StatusCode::FORBIDDEN, "this is for the page itself, not for other sites"));
    }
    // A form of another site cannot send this type without being asked for.
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if method == Method::POST && kind != Some("application/json") {
        return Err(Denied(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json"));
    }
    Ok(())
}

/// The password of `Basic` credentials (RFC 7617).
fn given(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// Compares in a time that says nothing of either: what differs is hashed first.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"runsd playground");
    let given = hmac::sign(&key, given);
    hmac::verify(&key, wanted, given.as_ref()).is_ok()
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::super::settings::Password;
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn passwords() {
        let access = Access::Password(Password("correct: horse".to_owned()));
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (value, want) in [
            (basic("me:correct: horse"), true),
            (basic(":correct: horse"), true),
            (basic("me:correct: hors"), false),
            (basic("me:correct: horse!"), false),
            (basic("me:"), false),
            (basic("correct: horse"), false),
            ("Bearer correct: horse".to_owned(), false),
            ("Basic !".to_owned(), false),
        ] {
            let got = admit(&access, &headers(&[("authorization", &value)]));
            assert_eq!(got.is_ok(), want, "{value}");
        }
        assert_eq!(admit(&access, &headers(&[])).map_err(|denied| denied.0), Err(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn a_name_that_leads_here_is_not_this_machine() {
        for (host, want) in [
            ("127.0.0.1:8080", true),
            ("localhost", true),
            ("[::1]:8080", true),
            ("rebound.example:8080", false),
            ("127.0.0.1.example", false),
        ] {
            let got = admit(&Access::Loopback, &headers(&[("host", host)]));
            assert_eq!(got.is_ok(), want, "{host}");
        }
    }

    #[test]
    fn other_sites_cannot_ask() {
        let json = ("content-type", "application/json");
        let host = ("host", "a.example:81");
        for (more, want) in [
            (vec![json], true),
            (vec![json, ("origin", "https://a.example:81")], true),
            (vec![json, ("sec-fetch-site", "same-origin")], true),
            (vec![json, ("sec-fetch-site", "cross-site")], false),
            (vec![json, ("sec-fetch-site", "same-site")], false),
            (vec![json, ("origin", "https://b.example")], false),
            (vec![json, ("origin", "null")], false),
            (vec![("content-type", "text/plain")], false),
            (vec![], false),
        ] {
            let all = headers(&[&[host], &more[..]].concat());
            assert_eq!(same_site(&Method::POST, &all).is_ok(), want, "{more:?}");
        }
        assert_eq!(same_site(&Method::GET, &headers(&[host])), Ok(()));
    }
}
