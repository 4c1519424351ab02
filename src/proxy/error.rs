//! What runsd answers by itself: a status, `Proxy-Status`, and one sentence
//! that says what to do.
//!
//! Pure: it says how an answer looks, not when there is one.

mod error_type;

pub use crate::proxy::error::error_type::ErrorType;

use crate::net::json;
use crate::net::percent;
use crate::upstream::{DialError, DialErrorKind};

/// Why a request got no answer from the service: this request dies, its
/// connection may live on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError {
    pub kind: ErrorType,
    /// What happened, to whom: never anything secret, for it is sent and logged.
    pub details: String,
}

impl ProxyError {
    pub fn new(kind: ErrorType, details: impl Into<String>) -> ProxyError {
        let details = details.into();
        ProxyError { kind, details }
    }

    /// The status RFC 9209 recommends for the kind.
    pub fn status(&self) -> u16 {
        self.kind.row().1
    }

    /// The value of `Proxy-Status`.
    pub fn proxy_status(&self) -> String {
        let name = self.kind.row().0;
        format!("runsd; error={name}; details={}", sf_string(&self.details))
    }

    /// For people: what happened, and what to do about it.
    pub fn reason(&self) -> String {
        let advice = self.kind.row().2;
        match advice.is_empty() {
            true => self.details.clone(),
            false => format!("{}; {advice}", self.details),
        }
    }

    /// The same for those who do not know yet who says so.
    pub fn sentence(&self) -> String {
        format!("runsd: {}", self.reason())
    }

    /// `grpc-status` for a gRPC call, as gRPC maps statuses of HTTP.
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

    /// `grpc-message`: the sentence, percent-encoded as gRPC wants it.
    pub fn grpc_message(&self) -> String {
        percent::encode(&self.sentence(), |b| matches!(b, b' '..=b'~') && b != b'%')
    }

    /// `Content-Type` and the body: text, or JSON for those who ask for it.
    pub fn body(&self, accept: Option<&str>) -> (&'static str, String) {
        if !accept.is_some_and(wants_json) {
            return ("text/plain; charset=utf-8", self.sentence() + "\n");
        }
        let (name, status, _) = self.kind.row();
        let message = json::quote(&self.sentence());
        let body = format!("{{\"error\":\"{name}\",\"status\":{status},\"message\":{message}}}\n");
        ("application/json", body)
    }

    /// The whole answer, for HTTP/1.
    pub fn to_http1(&self, accept: Option<&str>, head_request: bool, connection: &str) -> Vec<u8> {
        let (kind, body) = self.body(accept);
        let status = self.status();
        let mut answer = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Proxy-Status: {}\r\n{connection}\r\n",
            reason(status),
            body.len(),
            self.proxy_status(),
        );
        if !head_request {
            answer.push_str(&body);
        }
        answer.into_bytes()
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

/// RFC 8941, section 3.3.3: printable ASCII between quotes, two characters
/// escaped. Others have no place in it.
fn sf_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars().take(LONGEST_DETAILS) {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// Enough for any sentence of ours; the rest could only be what came in.
const LONGEST_DETAILS: usize = 1000;

/// Whether JSON is named, and no less than plain text.
///
/// `*/*` names nothing: it is what curl sends, and people read that.
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

/// `q=0.5` in thousandths; what is not understood counts as nothing.
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

fn reason(status: u16) -> &'static str {
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
