use super::*;

/// Type, name, status and advice.
const TYPES: [(ErrorType, &str, u16, &str); 26] = [
    (ErrorType::DnsTimeout, "dns_timeout", 504, "check the nameservers and the egress settings"),
    (ErrorType::DnsError, "dns_error", 502, "check the name, its region and its domain"),
    (ErrorType::DnsServerError, "dns_error", 502, "check the nameservers and the egress settings"),
    (
        ErrorType::DestinationNotFound,
        "destination_not_found",
        500,
        "names are NAME, NAME.REGION or NAME.REGION.PROJECTNUMBER",
    ),
    (ErrorType::DestinationUnavailable, "destination_unavailable", 503, "try again"),
    (ErrorType::DestinationIpUnroutable, "destination_ip_unroutable", 502, "check the egress and VPC settings"),
    (ErrorType::ConnectionRefused, "connection_refused", 502, "check the egress and firewall settings"),
    (ErrorType::ConnectionTerminated, "connection_terminated", 502, "it may or may not have been carried out"),
    (ErrorType::ConnectionTimeout, "connection_timeout", 504, "check the egress and VPC settings"),
    (ErrorType::HandshakeTerminated, "connection_terminated", 502, "the request was not sent"),
    (ErrorType::HandshakeTimeout, "connection_read_timeout", 504, "the request was not sent"),
    (ErrorType::ConnectionLimitReached, "connection_limit_reached", 503, "raise the limit of processes"),
    (ErrorType::TlsProtocolError, "tls_protocol_error", 502, "check that the other side speaks TLS 1.2 or 1.3"),
    (ErrorType::TlsCertificateError, "tls_certificate_error", 502, "check the clock, and SSL_CERT_FILE or -ca_file"),
    (ErrorType::TlsAlertReceived, "tls_alert_received", 502, "check the host's name"),
    (ErrorType::HttpRequestError(421), "http_request_error", 421, ""),
    (ErrorType::HttpRequestError(505), "http_request_error", 505, ""),
    (ErrorType::HttpResponseIncomplete, "http_response_incomplete", 502, "it may or may not have been carried out"),
    (
        ErrorType::HttpResponseHeaderSectionSize,
        "http_response_header_section_size",
        502,
        "make the service send fewer headers",
    ),
    (ErrorType::HttpResponseTransferCoding, "http_response_transfer_coding", 502, "look at what the service sends"),
    (ErrorType::HttpUpgradeFailed, "http_upgrade_failed", 502, "check that the service takes this upgrade"),
    (ErrorType::HttpProtocolError, "http_protocol_error", 502, "look at what the service sends"),
    (ErrorType::ProxyInternalError, "proxy_internal_error", 500, "please report it"),
    (
        ErrorType::ProxyConfigurationError,
        "proxy_configuration_error",
        502,
        "check the metadata server and the service account",
    ),
    (
        ErrorType::IdTokenNotGiven,
        "proxy_configuration_error",
        502,
        "start with CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token)",
    ),
    (ErrorType::ProxyLoopDetected, "proxy_loop_detected", 502, ""),
];

#[test]
fn types_have_a_status_and_a_sentence() {
    for (kind, name, status, advice) in TYPES {
        let error = ProxyError::new(kind, "x");
        assert_eq!(error.status(), status, "{kind:?}");
        let want = format!("runsd; error={name}; details=\"x\"");
        assert_eq!(error.proxy_status(), want);
        assert_ne!(reason_phrase(status), "Error", "{status}");
        let want = match advice {
            "" => "runsd: x".to_owned(),
            advice => format!("runsd: x; {advice}"),
        };
        assert_eq!(error.sentence(), want, "{kind:?}");
    }
}

#[test]
fn details_are_quoted() {
    for (details, want) in [
        ("plain", "\"plain\""),
        ("say \"hi\" \\o/", "\"say \\\"hi\\\" \\\\o/\""),
        ("h\u{e9}\r\nX: y\u{7f}", "\"h???X: y?\""),
    ] {
        let got = ProxyError::new(ErrorType::DnsError, details).proxy_status();
        assert_eq!(got, format!("runsd; error=dns_error; details={want}"));
    }
}

#[test]
fn http1_response_is_complete() {
    let error = ProxyError::new(ErrorType::HttpRequestError(431), "the head is over 64 KiB");
    let want = "HTTP/1.1 431 Request Header Fields Too Large\r\n\
                Content-Type: text/plain; charset=utf-8\r\n\
                Content-Length: 31\r\n\
                Proxy-Status: runsd; error=http_request_error; \
                details=\"the head is over 64 KiB\"\r\n\
                Connection: close\r\n\
                \r\n\
                runsd: the head is over 64 KiB\n";
    let got = String::from_utf8(error.to_http1(None, false, "Connection: close\r\n")).unwrap();
    assert_eq!(got, want);
    let head = String::from_utf8(error.to_http1(None, true, "")).unwrap();
    let want = want.replace("Connection: close\r\n", "");
    assert_eq!(head, want.strip_suffix("runsd: the head is over 64 KiB\n").unwrap());
}

#[test]
fn body_is_json_where_accept_prefers_it() {
    let error = ProxyError::new(ErrorType::DnsError, "no \"such\"\tname");
    let want = "{\"error\":\"dns_error\",\"status\":502,\"message\":\"runsd: no \
                \\\"such\\\"\\tname; check the name, its region and its domain\"}\n";
    let got = error.body(Some("application/json"));
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
fn grpc_status_and_message() {
    for (kind, want) in [
        (ErrorType::ConnectionRefused, 14),
        (ErrorType::DnsTimeout, 14),
        (ErrorType::DestinationUnavailable, 14),
        (ErrorType::HttpRequestError(421), 14),
        (ErrorType::HttpRequestError(400), 13),
        (ErrorType::ProxyConfigurationError, 14),
        (ErrorType::ProxyInternalError, 13),
    ] {
        assert_eq!(ProxyError::new(kind, "").grpc_status(), want, "{kind:?}");
    }
    let error = ProxyError::new(ErrorType::HttpRequestError(400), "100 %\n\u{e9}");
    assert_eq!(error.grpc_message(), "runsd: 100 %25%0A%C3%A9");
}
