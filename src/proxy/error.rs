//! The responses that runsd sends in the upstream's place: a status, `Proxy-Status` (RFC 9209), and one sentence that
//! says what to do. Pure.

mod error_type;

pub use crate::proxy::error::error_type::ErrorType;

use crate::net::json;
use crate::net::percent;
use crate::upstream::{DialError, DialErrorKind};

/// Why a request got no response from its upstream. It ends the request, and not always the client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError {
    /// The error type, which has the status.
    pub kind: ErrorType,
    /// What failed, and of which host. Clients get it and the log has it, so it contains no secret.
    pub details: String,
}

impl ProxyError {
    /// An error of a type.
    pub fn new(kind: ErrorType, details: impl Into<String>) -> ProxyError {
        let details = details.into();
        ProxyError { kind, details }
    }

    /// The status that RFC 9209 section 2.3 recommends for the type.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }

    /// The value of `Proxy-Status` (RFC 9209 section 2).
    pub fn proxy_status(&self) -> String {
        let name = self.kind.name();
        format!("runsd; error={name}; details={}", sf_string(&self.details))
    }

    /// What failed, and what to do about it, for the log.
    pub fn reason(&self) -> String {
        let advice = self.kind.advice();
        match advice.is_empty() {
            true => self.details.clone(),
            false => format!("{}; {advice}", self.details),
        }
    }

    /// The reason, for clients, which do not know that runsd sends the response.
    pub fn sentence(&self) -> String {
        format!("runsd: {}", self.reason())
    }

    /// The value of `grpc-status`, as gRPC maps HTTP statuses (its http-grpc-status-mapping.md).
    pub fn grpc_status(&self) -> u8 {
        match self.status() {
            401 => 16,                   // UNAUTHENTICATED
            403 => 7,                    // PERMISSION_DENIED
            404 => 12,                   // UNIMPLEMENTED
            413 | 431 => 8,              // RESOURCE_EXHAUSTED
            421 | 429 | 502..=504 => 14, // UNAVAILABLE, which is worth a retry
            _ => 13,                     // INTERNAL
        }
    }

    /// The value of `grpc-message`: the sentence, percent-encoded as gRPC over HTTP/2 has it.
    pub fn grpc_message(&self) -> String {
        percent::encode(&self.sentence(), |b| matches!(b, b' '..=b'~') && b != b'%')
    }

    /// Returns `Content-Type` and the body: text, or JSON where `accept` prefers that.
    pub fn body(&self, accept: Option<&str>) -> (&'static str, String) {
        if !accept.is_some_and(wants_json) {
            return ("text/plain; charset=utf-8", self.sentence() + "\n");
        }
        let (name, status) = (self.kind.name(), self.kind.status());
        let message = json::quote(&self.sentence());
        let body = format!("{{\"error\":\"{name}\",\"status\":{status},\"message\":{message}}}\n");
        ("application/json", body)
    }

    /// Returns the whole HTTP/1.1 response (RFC 9112 section 4). `connection` is a field line or empty; the response
    /// to HEAD has no body.
    pub fn to_http1(&self, accept: Option<&str>, is_head: bool, connection: &str) -> Vec<u8> {
        let (content_type, body) = self.body(accept);
        let status = self.status();
        let mut response = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Proxy-Status: {}\r\n{connection}\r\n",
            reason_phrase(status),
            body.len(),
            self.proxy_status(),
        );
        if !is_head {
            response.push_str(&body);
        }
        response.into_bytes()
    }
}

impl From<DialError> for ProxyError {
    fn from(err: DialError) -> ProxyError {
        let kind = match err.kind {
            // The client does not read it: 499 is the status that nginx logs.
            DialErrorKind::Cancelled => {
                return ProxyError::new(
                    ErrorType::HttpRequestError(499),
                    "the client left while its upstream was dialled",
                );
            }
            DialErrorKind::DnsTimeout => ErrorType::DnsTimeout,
            DialErrorKind::DnsServer => ErrorType::DnsServerError,
            DialErrorKind::DnsName => ErrorType::DnsError,
            DialErrorKind::Loop => ErrorType::ProxyLoopDetected,
            DialErrorKind::ConnectionRefused => ErrorType::ConnectionRefused,
            DialErrorKind::ConnectionTimeout => ErrorType::ConnectionTimeout,
            DialErrorKind::Unroutable => ErrorType::DestinationIpUnroutable,
            DialErrorKind::Unavailable => ErrorType::DestinationUnavailable,
            DialErrorKind::HandshakeTerminated => ErrorType::HandshakeTerminated,
            DialErrorKind::HandshakeTimeout => ErrorType::HandshakeTimeout,
            DialErrorKind::TlsProtocol => ErrorType::TlsProtocolError,
            DialErrorKind::TlsCertificate => ErrorType::TlsCertificateError,
            DialErrorKind::TlsAlert => ErrorType::TlsAlertReceived,
            DialErrorKind::Http1Only => ErrorType::Http1Only,
            DialErrorKind::UnsolicitedBytes => ErrorType::HttpProtocolError,
            DialErrorKind::Internal => ErrorType::ProxyInternalError,
        };
        ProxyError::new(kind, err.details)
    }
}

/// Quotes a String of structured fields (RFC 9651 section 3.3.3): printable ASCII; other characters become `?`.
fn sf_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars().take(MAX_DETAILS_LEN) {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// Characters of details in `Proxy-Status`. All sentences of runsd are shorter; what a client sent may be longer.
const MAX_DETAILS_LEN: usize = 1000;

/// Whether an `Accept` names JSON with at least the weight of plain text (RFC 9110 section 12.5.1).
///
/// `*/*` does not name JSON: curl sends it, and a person reads the response.
pub fn wants_json(accept: &str) -> bool {
    let mut json = 0;
    let mut text = 0;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim_ascii);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let q = parts.find_map(quality).unwrap_or(1000);
        if name == "application/json" || name.starts_with("application/") && name.ends_with("+json") {
            json = json.max(q);
        } else if name == "text/plain" {
            text = text.max(q);
        }
    }
    json > 0 && json >= text
}

/// Returns the weight `q=0.5` in thousandths (RFC 9110 section 12.4.2), 0 for a malformed one; `None` for other
/// parameters.
fn quality(parameter: &str) -> Option<u16> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    let thousandths: u16 = match part.len() {
        0..=3 => format!("{part:0<3}").parse().unwrap_or(0),
        _ => 0,
    };
    Some(match whole {
        "1" => 1000,
        "0" => thousandths,
        _ => 0,
    })
}

/// Returns the reason phrase of a status (RFC 9110 section 15).
fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests;
