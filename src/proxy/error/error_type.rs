//! Why runsd answers in a service's place: the proxy error types of RFC 9209,
//! each with its status and what to do about it.

/// The proxy error types of RFC 9209, section 2.3, that can happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    DnsTimeout,
    DnsError,
    /// A dns_error, too, but of the nameservers and not of the name.
    DnsServerError,
    DestinationNotFound,
    DestinationUnavailable,
    DestinationIpUnroutable,
    ConnectionRefused,
    /// After the request was sent, or a part of it.
    ConnectionTerminated,
    /// The same before it.
    HandshakeTerminated,
    /// No answer in the TLS handshake, before anything was sent.
    HandshakeTimeout,
    ConnectionTimeout,
    ConnectionLimitReached,
    TlsProtocolError,
    TlsCertificateError,
    TlsAlertReceived,
    /// With its status: a 4xx, or a 5xx that says what runsd does not take
    /// (501, 505).
    HttpRequestError(u16),
    HttpResponseIncomplete,
    HttpResponseHeaderSectionSize,
    HttpResponseTransferCoding,
    HttpUpgradeFailed,
    HttpProtocolError,
    /// A client spoke HTTP/2, and the other side cannot.
    Http1Only,
    ProxyInternalError,
    ProxyConfigurationError,
    /// The same, where the details say what to do.
    LocationUnknown,
    /// The same off Cloud Run, where there need be no metadata server.
    IdTokenNotGiven,
    ProxyLoopDetected,
}

impl ErrorType {
    /// Name and status of RFC 9209, and our advice.
    pub fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            ErrorType::DnsTimeout => ("dns_timeout", 504, "check the nameservers and the egress settings"),
            ErrorType::DnsError => ("dns_error", 502, "check the name, its region and its domain"),
            ErrorType::DnsServerError => ("dns_error", 502, "check the nameservers and the egress settings"),
            ErrorType::DestinationNotFound => {
                ("destination_not_found", 500, "names are NAME, NAME.REGION or NAME.REGION.PROJECTNUMBER")
            }
            ErrorType::DestinationUnavailable => ("destination_unavailable", 503, "try again"),
            ErrorType::DestinationIpUnroutable => {
                ("destination_ip_unroutable", 502, "check the egress and VPC settings")
            }
            ErrorType::ConnectionRefused => ("connection_refused", 502, "check the egress and firewall settings"),
            ErrorType::ConnectionTerminated => {
                ("connection_terminated", 502, "it may or may not have been carried out")
            }
            ErrorType::ConnectionTimeout => ("connection_timeout", 504, "check the egress and VPC settings"),
            ErrorType::HandshakeTerminated => ("connection_terminated", 502, "the request was not sent"),
            ErrorType::HandshakeTimeout => ("connection_read_timeout", 504, "the request was not sent"),
            ErrorType::ConnectionLimitReached => ("connection_limit_reached", 503, "raise the limit of processes"),
            ErrorType::TlsProtocolError => {
                ("tls_protocol_error", 502, "check that the other side speaks TLS 1.2 or 1.3")
            }
            ErrorType::TlsCertificateError => {
                ("tls_certificate_error", 502, "check the clock, and SSL_CERT_FILE or -ca_file")
            }
            ErrorType::TlsAlertReceived => ("tls_alert_received", 502, "check the host's name"),
            ErrorType::HttpRequestError(status) => ("http_request_error", status, ""),
            ErrorType::HttpResponseIncomplete => {
                ("http_response_incomplete", 502, "it may or may not have been carried out")
            }
            ErrorType::HttpResponseHeaderSectionSize => {
                ("http_response_header_section_size", 502, "make the service send fewer headers")
            }
            ErrorType::HttpResponseTransferCoding => {
                ("http_response_transfer_coding", 502, "look at what the service sends")
            }
            ErrorType::HttpUpgradeFailed => ("http_upgrade_failed", 502, "check that the service takes this upgrade"),
            ErrorType::HttpProtocolError => ("http_protocol_error", 502, "look at what the service sends"),
            ErrorType::Http1Only => ("http_protocol_error", 502, "use HTTP/1.1 for this name"),
            ErrorType::ProxyInternalError => ("proxy_internal_error", 500, "please report it"),
            // No token, or no place: it is the metadata server that failed us,
            // and it may be back soon. RFC 9209 has 500, for a proxy that was
            // set up wrongly.
            ErrorType::ProxyConfigurationError => {
                ("proxy_configuration_error", 502, "check the metadata server and the service account")
            }
            ErrorType::IdTokenNotGiven => {
                ("proxy_configuration_error", 502, "start with CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token)")
            }
            ErrorType::LocationUnknown => ("proxy_configuration_error", 502, ""),
            ErrorType::ProxyLoopDetected => ("proxy_loop_detected", 502, ""),
        }
    }
}
