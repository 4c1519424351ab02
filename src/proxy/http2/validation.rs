//! Whether the fields of a message are valid (RFC 9113 section 8).

use crate::net::authority::Authority;
use crate::proxy::hop_by_hop::is_connection_specific;
use crate::proxy::http2::hpack::Field;
use crate::proxy::syntax::{self, BLANK, RequestError, TEXT, TOKEN, is};

/// Checks the fields of a request (RFC 9113 sections 8.2 and 8.3); returns its `content-length`, where there is one.
///
/// # Errors
/// What makes the request malformed (RFC 9113 section 8.1.1). The syntax of HTTP/1 applies as well, checked by the same
/// functions, since a field may become a line of HTTP/1 behind the next hop.
pub fn validate_request(fields: &[Field]) -> Result<Option<u64>, RequestError> {
    let pseudo_count = fields.iter().take_while(|field| field.name.starts_with(b":")).count();
    let (pseudo_fields, fields) = fields.split_at(pseudo_count);
    let mut values = [None; PSEUDO_NAMES.len()];
    for field in pseudo_fields {
        let index = PSEUDO_NAMES.iter().position(|name| *name == field.name).ok_or(RequestError::PseudoField)?;
        if values[index].replace(field.value.as_slice()).is_some() {
            return Err(RequestError::PseudoField);
        }
    }
    let [method, scheme, authority, path, protocol] = values;
    let method = method.ok_or(RequestError::PseudoField)?;
    syntax::validate_method(method)?;
    if let Some(authority) = authority {
        Authority::parse(authority)?;
    }
    match (method, protocol) {
        // RFC 9113 section 8.5: neither scheme nor path.
        (b"CONNECT", None) if scheme.is_some() || path.is_some() || authority.is_none() => {
            return Err(RequestError::ConnectTarget);
        }
        (b"CONNECT", None) => {}
        // RFC 8441 section 4: only an extended CONNECT has a protocol.
        (b"CONNECT", Some(protocol)) => syntax::validate_method(protocol)?,
        (_, Some(_)) => return Err(RequestError::PseudoField),
        (_, None) => {}
    }
    if method != b"CONNECT" || protocol.is_some() {
        syntax::parse_scheme(scheme.ok_or(RequestError::PseudoField)?)?;
        syntax::validate_path(method, path.ok_or(RequestError::PseudoField)?)?;
    }
    validate_fields(fields)?;
    let values_of = |name: &'static [u8]| {
        let fields = fields.iter().filter(move |field| field.name == name);
        fields.map(|field| field.value.as_slice())
    };
    let mut hosts = values_of(b"host");
    match (hosts.next(), authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            return Err(RequestError::AuthorityMismatch);
        }
        (Some(host), _) => drop(Authority::parse(host)?),
        (None, _) => {}
    }
    if hosts.next().is_some() {
        return Err(RequestError::AuthorityMismatch);
    }
    if values_of(b"content-length").nth(1).is_some() {
        return Err(RequestError::ConflictingLengths);
    }
    syntax::parse_content_length(values_of(b"content-length"))
}

/// Whether a request may have these trailers (RFC 9113 section 8.1).
pub fn is_valid_trailers(fields: &[Field]) -> bool {
    validate_fields(fields).is_ok()
}

/// Checks fields other than pseudo-header fields (RFC 9113 sections 8.2.1 and 8.2.2).
fn validate_fields(fields: &[Field]) -> Result<(), RequestError> {
    for Field { name, value, .. } in fields {
        validate_field(name, value)?;
        let is_blank = |end: Option<&u8>| end.is_some_and(|&b| is(b, BLANK));
        if is_blank(value.first()) || is_blank(value.last()) {
            return Err(RequestError::FieldValue);
        }
        if name == b"te" && value != b"trailers" {
            return Err(RequestError::ConnectionSpecificField);
        }
    }
    Ok(())
}

/// Checks what holds for a field of a request and of a response, other than a pseudo-header field.
///
/// # Errors
/// What makes the message malformed.
pub fn validate_field(name: &[u8], value: &[u8]) -> Result<(), RequestError> {
    if name.starts_with(b":") {
        return Err(RequestError::PseudoField);
    }
    let is_name_octet = |&b: &u8| is(b, TOKEN) && !b.is_ascii_uppercase();
    if name.is_empty() || !name.iter().all(is_name_octet) {
        return Err(RequestError::FieldName);
    }
    if !value.iter().all(|&b| is(b, TEXT)) {
        return Err(RequestError::FieldValue);
    }
    if is_connection_specific(name) {
        return Err(RequestError::ConnectionSpecificField);
    }
    Ok(())
}

/// The pseudo-header fields of requests (RFC 9113 section 8.3.1, RFC 8441 section 4).
const PSEUDO_NAMES: [&[u8]; 5] = [b":method", b":scheme", b":authority", b":path", b":protocol"];

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(fields: &[(&str, &str)]) -> Result<Option<u64>, RequestError> {
        let fields = fields.iter().map(|&(name, value)| Field::new(name, value));
        validate_request(&fields.collect::<Vec<_>>())
    }

    #[test]
    fn fields_of_a_request_are_validated() {
        let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        for (more, want) in [
            (&[("accept", "*/*"), ("te", "trailers")][..], Ok(None)),
            (&[("te", "gzip")], Err(RequestError::ConnectionSpecificField)),
            (&[("te", "trailers, gzip")], Err(RequestError::ConnectionSpecificField)),
            (&[(":path", "/again")], Err(RequestError::PseudoField)),
            (&[("accept", "*/*"), (":late", "")], Err(RequestError::PseudoField)),
            (&[("accept", "*/*"), (":path", "/")], Err(RequestError::PseudoField)),
            (&[(":status", "200")], Err(RequestError::PseudoField)),
            (&[(":unknown", "")], Err(RequestError::PseudoField)),
            (&[(":protocol", "websocket")], Err(RequestError::PseudoField)),
            (&[("Accept", "*/*")], Err(RequestError::FieldName)),
            (&[("", "x")], Err(RequestError::FieldName)),
            (&[("a b", "x")], Err(RequestError::FieldName)),
            (&[("a:b", "x")], Err(RequestError::FieldName)),
            (&[("x", "a\r\nb: c")], Err(RequestError::FieldValue)),
            (&[("x", "a\nb")], Err(RequestError::FieldValue)),
            (&[("x", "a\0b")], Err(RequestError::FieldValue)),
            (&[("x", " a")], Err(RequestError::FieldValue)),
            (&[("x", "a\t")], Err(RequestError::FieldValue)),
            (&[("x", "a \t b"), ("y", "")], Ok(None)),
            (&[("connection", "close")], Err(RequestError::ConnectionSpecificField)),
            (&[("keep-alive", "5")], Err(RequestError::ConnectionSpecificField)),
            (&[("proxy-connection", "close")], Err(RequestError::ConnectionSpecificField)),
            (&[("upgrade", "h2c")], Err(RequestError::ConnectionSpecificField)),
            (&[("transfer-encoding", "chunked")], Err(RequestError::ConnectionSpecificField)),
            (&[("content-length", "3")], Ok(Some(3))),
            (&[("content-length", "+3")], Err(RequestError::ContentLength)),
            (&[("content-length", "")], Err(RequestError::ContentLength)),
            (&[("content-length", "3, 3")], Err(RequestError::ContentLength)),
            (&[("content-length", "3"), ("content-length", "4")], Err(RequestError::ConflictingLengths)),
            (&[("content-length", "3"), ("content-length", "3")], Err(RequestError::ConflictingLengths)),
            (&[("host", "A")], Ok(None)),
            (&[("host", "b")], Err(RequestError::AuthorityMismatch)),
            (&[("host", "a"), ("host", "a")], Err(RequestError::AuthorityMismatch)),
        ] {
            assert_eq!(validate(&[&get, more].concat()), want, "{more:?}");
        }
    }

    #[test]
    fn pseudo_header_fields_are_validated() {
        for (method, scheme, authority, path, want) in [
            ("OPTIONS", "https", "a", "*", true),
            ("M-SEARCH", "HTTP", "a:80", "/?x={y}|", true),
            ("GET /admin", "http", "a", "/", false),
            ("GET\r\n", "http", "a", "/", false),
            ("", "http", "a", "/", false),
            ("GET", "http", "a", "", false),
            ("GET", "http", "a", "admin", false),
            ("GET", "http", "a", "@evil/", false),
            ("GET", "http", "a", "http://evil/x", false),
            ("GET", "http", "a", "/a HTTP/1.1", false),
            ("GET", "http", "a", "/a\r\nx: y", false),
            ("GET", "http", "a", "/\u{e9}", false),
            ("GET", "http", "a", "/#x", false),
            ("GET", "http", "a", "*", false),
            ("GET", "ftp", "a", "/", false),
            ("GET", "", "a", "/", false),
            ("GET", "http", "", "/", false),
            ("GET", "http", "u@a", "/", false),
            ("GET", "http", "a/b", "/", false),
            ("GET", "http", "a:80abc", "/", false),
            ("GET", "http", "a b", "/", false),
            ("CONNECT", "http", "a:80", "/", false),
        ] {
            let fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
            assert_eq!(validate(&fields).is_ok(), want, "{fields:?}");
        }
        let (get, http, path) = ((":method", "GET"), (":scheme", "http"), (":path", "/"));
        let (connect, to) = ((":method", "CONNECT"), (":authority", "a:80"));
        let websocket = (":protocol", "websocket");
        for (fields, want) in [
            (&[get, http, path][..], true),
            (&[get, http], false),
            (&[get, path], false),
            (&[http, path], false),
            (&[("accept", "*/*")], false),
            (&[], false),
            (&[connect, to], true),
            (&[connect], false),
            (&[connect, to, path], false),
            (&[connect, to, http, path, websocket], true),
            (&[connect, to, websocket], false),
        ] {
            assert_eq!(validate(fields).is_ok(), want, "{fields:?}");
        }
        assert!(is_valid_trailers(&[Field::new("grpc-status", "0")]));
        assert!(!is_valid_trailers(&[Field::new(":path", "/")]));
    }
}
