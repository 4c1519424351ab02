//! The proxy error types of RFC 9209, each with its status and what to do about it.

/// The proxy error types (RFC 9209 section 2.3) that runsd sends. Some stand for one type of the RFC, and differ in
/// their advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// No nameserver answered in time.
    DnsTimeout,
    /// The name has no address.
    DnsError,
    /// `dns_error`: the nameservers failed, and the name may exist.
    DnsServerError,
    /// The host of the request is not served.
    DestinationNotFound,
    /// The upstream closed the connection before a request, or connecting failed in another way than the next ones.
    DestinationUnavailable,
    /// There is no route to the upstream.
    DestinationIpUnroutable,
    /// The upstream refused or reset the connection.
    ConnectionRefused,
    /// The upstream closed the connection after the request, or a part of it, was sent.
    ConnectionTerminated,
    /// `connection_terminated`: in the TLS handshake, before the request was sent.
    HandshakeTerminated,
    /// `connection_read_timeout`: in the TLS handshake, before the request was sent.
    HandshakeTimeout,
    /// Connecting took too long.
    ConnectionTimeout,
    /// The process may not have another thread.
    ConnectionLimitReached,
    /// The TLS handshake failed.
    TlsProtocolError,
    /// The upstream's certificate is not valid.
    TlsCertificateError,
    /// The upstream ended the TLS handshake with an alert.
    TlsAlertReceived,
    /// The request is malformed or not served, with its status: a 4xx, 501 or 505.
    HttpRequestError(u16),
    /// The connection was closed within the response's head.
    HttpResponseIncomplete,
    /// The response's head is too large.
    HttpResponseHeaderSectionSize,
    /// The response has a transfer coding other than chunked.
    HttpResponseTransferCoding,
    /// The upstream switched protocols unasked.
    HttpUpgradeFailed,
    /// The response is malformed.
    HttpProtocolError,
    /// `http_protocol_error`: the client speaks HTTP/2, and the upstream HTTP/1.1 only.
    Http1Only,
    /// A bug, or a system call that failed and never should.
    ProxyInternalError,
    /// The metadata server has no token.
    ProxyConfigurationError,
    /// `proxy_configuration_error`: region or project are not known; the details say what to do.
    LocationUnknown,
    /// `proxy_configuration_error`: no token off Cloud Run, where there need be no metadata server.
    IdTokenNotGiven,
    /// The host of the request leads to runsd.
    ProxyLoopDetected,
}

impl ErrorType {
    /// The name in `Proxy-Status`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The status of the response.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// What a person may do about it; empty where the details say that.
    pub fn advice(self) -> &'static str {
        self.row().2
    }

    /// Name and status of RFC 9209, and the advice.
    fn row(self) -> (&'static str, u16, &'static str) {
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
            // Not the 500 of RFC 9209, which is for a proxy that was set up wrongly: here the metadata server failed,
            // and may be back soon.
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
