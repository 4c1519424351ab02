//! What runsd answers by itself: a status, `Proxy-Status`, and one sentence
//! that says what to do.
//!
//! Pure: it says how an answer looks, not when there is one.

/// Why a request got no answer from the service: this request dies, its
/// connection may live on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: Kind,
    /// What happened, to whom: never anything secret, for it is sent and logged.
    pub details: String,
}

/// The proxy error types of RFC 9209, section 2.3, that can happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    DnsTimeout,
    DnsError,
    DestinationNotFound,
    DestinationUnavailable,
    DestinationIpUnroutable,
    ConnectionRefused,
    ConnectionTerminated,
    ConnectionTimeout,
    ConnectionReadTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    TlsAlertReceived,
    /// With its status: the client's fault comes in several kinds.
    HttpRequestError(u16),
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize,
    HttpResponseTransferCoding,
    HttpUpgradeFailed,
    HttpProtocolError,
    ProxyInternalError,
    ProxyConfigurationError,
    ProxyLoopDetected,
}

impl Refusal {
    pub fn new(kind: Kind, details: impl Into<String>) -> Refusal {
        let details = details.into();
        Refusal { kind, details }
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
        let mut encoded = String::new();
        for b in self.sentence().bytes() {
            match b {
                b' '..=b'~' if b != b'%' => encoded.push(char::from(b)),
                _ => encoded.push_str(&format!("%{b:02X}")),
            }
        }
        encoded
    }

    /// `Content-Type` and the body: text, or JSON for those who ask for it.
    pub fn body(&self, accept: Option<&str>) -> (&'static str, String) {
        if !accept.is_some_and(wants_json) {
            return ("text/plain; charset=utf-8", self.sentence() + "\n");
        }
        let (name, status, _) = self.kind.row();
        let message = json_string(&self.sentence());
        let body = format!("{{\"error\":\"{name}\",\"status\":{status},\"message\":{message}}}\n");
        ("application/json", body)
    }

    /// The whole answer, for HTTP/1.
    pub fn to_http1(&self, accept: Option<&str>, head_request: bool, close: bool) -> Vec<u8> {
        let (kind, body) = self.body(accept);
        let status = self.status();
        let mut answer = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Proxy-Status: {}\r\n",
            reason(status),
            body.len(),
            self.proxy_status(),
        );
        if close {
            answer.push_str("Connection: close\r\n");
        }
        answer.push_str("\r\n");
        if !head_request {
            answer.push_str(&body);
        }
        answer.into_bytes()
    }
}

impl Kind {
    /// Name and status of RFC 9209, and our advice.
    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Kind::DnsTimeout => (
                "dns_timeout",
                504,
                "check the nameservers and the egress settings",
            ),
            Kind::DnsError => (
                "dns_error",
                502,
                "check the name, its region and its domain",
            ),
            Kind::DestinationNotFound => (
                "destination_not_found",
                500,
                "names are NAME, NAME.REGION or NAME.REGION.PROJECTNUMBER",
            ),
            Kind::DestinationUnavailable => ("destination_unavailable", 503, "try again"),
            Kind::DestinationIpUnroutable => (
                "destination_ip_unroutable",
                502,
                "check the egress and VPC settings",
            ),
            Kind::ConnectionRefused => (
                "connection_refused",
                502,
                "check the egress and firewall settings",
            ),
            Kind::ConnectionTerminated => (
                "connection_terminated",
                502,
                "it may or may not have been carried out",
            ),
            Kind::ConnectionTimeout => (
                "connection_timeout",
                504,
                "check the egress and VPC settings",
            ),
            Kind::ConnectionReadTimeout => (
                "connection_read_timeout",
                504,
                "it may or may not have been carried out",
            ),
            Kind::ConnectionLimitReached => (
                "connection_limit_reached",
                503,
                "keep connections open and use them again",
            ),
            Kind::TlsProtocolError => (
                "tls_protocol_error",
                502,
                "check that the other side speaks TLS 1.2 or 1.3",
            ),
            Kind::TlsCertificateError => (
                "tls_certificate_error",
                502,
                "check the clock, and SSL_CERT_FILE or -ca_file",
            ),
            Kind::TlsAlertReceived => ("tls_alert_received", 502, "check the host's name"),
            Kind::HttpRequestError(status) => ("http_request_error", client_error(status), ""),
            Kind::HttpResponseIncomplete => (
                "http_response_incomplete",
                502,
                "it may or may not have been carried out",
            ),
            Kind::HttpResponseHeaderSectionSize => (
                "http_response_header_section_size",
                502,
                "make the service send fewer headers",
            ),
            Kind::HttpResponseTransferCoding => (
                "http_response_transfer_coding",
                502,
                "look at what the service sends",
            ),
            Kind::HttpUpgradeFailed => (
                "http_upgrade_failed",
                502,
                "check that the service takes this upgrade",
            ),
            Kind::HttpProtocolError => {
                ("http_protocol_error", 502, "look at what the service sends")
            }
            Kind::ProxyInternalError => ("proxy_internal_error", 500, "please report it"),
            // No token, or no place: it is the metadata server that failed us,
            // and it may be back soon. RFC 9209 has 500 for a proxy that was
            // set up wrongly.
            Kind::ProxyConfigurationError => ("proxy_configuration_error", 502, "see runsd -check"),
            Kind::ProxyLoopDetected => (
                "proxy_loop_detected",
                502,
                "give the name another URL with -route",
            ),
        }
    }
}

/// A client's error is a 4xx, whatever the caller says.
fn client_error(status: u16) -> u16 {
    match status {
        400..=499 => status,
        _ => 400,
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

fn json_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{0}'..='\u{1f}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

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
        if name == "application/json" || name.starts_with("application/") && name.ends_with("+json")
        {
            json = json.max(q);
        } else if name == "text/plain" {
            text = text.max(q);
        }
    }
    json > 0 && json >= text
}

/// `q=0.5` in thousandths; what is not understood counts as nothing.
fn quality(parameter: &str) -> Option<u16> {
    let value = parameter
        .strip_prefix("q=")
        .or_else(|| parameter.strip_prefix("Q="))?;
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
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_statuses_of_rfc_9209() {
        for (kind, name, status) in [
            (Kind::DnsTimeout, "dns_timeout", 504),
            (Kind::DnsError, "dns_error", 502),
            (Kind::DestinationNotFound, "destination_not_found", 500),
            (Kind::DestinationUnavailable, "destination_unavailable", 503),
            (
                Kind::DestinationIpUnroutable,
                "destination_ip_unroutable",
                502,
            ),
            (Kind::ConnectionRefused, "connection_refused", 502),
            (Kind::ConnectionTerminated, "connection_terminated", 502),
            (Kind::ConnectionTimeout, "connection_timeout", 504),
            (Kind::ConnectionReadTimeout, "connection_read_timeout", 504),
            (
                Kind::ConnectionLimitReached,
                "connection_limit_reached",
                503,
            ),
            (Kind::TlsProtocolError, "tls_protocol_error", 502),
            (Kind::TlsCertificateError, "tls_certificate_error", 502),
            (Kind::TlsAlertReceived, "tls_alert_received", 502),
            (Kind::HttpRequestError(421), "http_request_error", 421),
            (Kind::HttpRequestError(200), "http_request_error", 400),
            (
                Kind::HttpResponseIncomplete,
                "http_response_incomplete",
                502,
            ),
            (
                Kind::HttpResponseHeaderSectionSize,
                "http_response_header_section_size",
                502,
            ),
            (
                Kind::HttpResponseTransferCoding,
                "http_response_transfer_coding",
                502,
            ),
            (Kind::HttpUpgradeFailed, "http_upgrade_failed", 502),
            (Kind::HttpProtocolError, "http_protocol_error", 502),
            (Kind::ProxyInternalError, "proxy_internal_error", 500),
            (
                Kind::ProxyConfigurationError,
                "proxy_configuration_error",
                502,
            ),
            (Kind::ProxyLoopDetected, "proxy_loop_detected", 502),
        ] {
            let refusal = Refusal::new(kind, "x");
            assert_eq!(refusal.status(), status, "{kind:?}");
            let want = format!("runsd; error={name}; details=\"x\"");
            assert_eq!(refusal.proxy_status(), want);
            assert_ne!(reason(status), "Error", "{status}");
        }
    }

    #[test]
    fn details_are_quoted() {
        for (details, want) in [
            ("plain", "\"plain\""),
            ("say \"hi\" \\o/", "\"say \\\"hi\\\" \\\\o/\""),
            ("h\u{e9}\r\nX: y\u{7f}", "\"h???X: y?\""),
        ] {
            let got = Refusal::new(Kind::DnsError, details).proxy_status();
            assert_eq!(got, format!("runsd; error=dns_error; details={want}"));
        }
    }

    #[test]
    fn answers() {
        let refusal = Refusal::new(Kind::HttpRequestError(431), "the head is over 64 KiB");
        let want = "HTTP/1.1 431 Request Header Fields Too Large\r\n\
                    Content-Type: text/plain; charset=utf-8\r\n\
                    Content-Length: 31\r\n\
                    Proxy-Status: runsd; error=http_request_error; \
                    details=\"the head is over 64 KiB\"\r\n\
                    Connection: close\r\n\
                    \r\n\
                    runsd: the head is over 64 KiB\n";
        let got = String::from_utf8(refusal.to_http1(None, false, true)).unwrap();
        assert_eq!(got, want);
        let head = String::from_utf8(refusal.to_http1(None, true, false)).unwrap();
        let want = want.replace("Connection: close\r\n", "");
        assert_eq!(
            head,
            want.strip_suffix("runsd: the head is over 64 KiB\n")
                .unwrap()
        );
    }

    #[test]
    fn json_for_those_who_ask() {
        let refusal = Refusal::new(Kind::DnsError, "no \"such\"\tname");
        let want = "{\"error\":\"dns_error\",\"status\":502,\"message\":\"runsd: no \
                    \\\"such\\\"\\u0009name; check the name, its region and its domain\"}\n";
        let got = refusal.body(Some("application/json"));
        assert_eq!(got, ("application/json", want.to_owned()));
        for (accept, want) in [
            ("application/json, text/plain, */*", true),
            ("Application/JSON;charset=utf-8", true),
            ("application/problem+json", true),
            ("text/html, application/json;q=0.9", true),
            ("text/plain, application/json;q=0.9", false),
            ("text/plain;q=0.5, application/json;q=0.75", true),
            ("application/json;q=0", false),
            ("application/json;q=0.000", false),
            ("application/json;q=x", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(wants_json(accept), want, "{accept:?}");
        }
    }

    #[test]
    fn grpc() {
        for (kind, want) in [
            (Kind::ConnectionRefused, 14),
            (Kind::DnsTimeout, 14),
            (Kind::DestinationUnavailable, 14),
            (Kind::HttpRequestError(421), 14),
            (Kind::HttpRequestError(400), 13),
            (Kind::ProxyConfigurationError, 14),
            (Kind::ProxyInternalError, 13),
        ] {
            assert_eq!(Refusal::new(kind, "").grpc_status(), want, "{kind:?}");
        }
        let refusal = Refusal::new(Kind::HttpRequestError(400), "100 %\n\u{e9}");
        assert_eq!(refusal.grpc_message(), "runsd: 100 %25%0A%C3%A9");
    }
}
