//! What runsd answers by itself: one sentence, as text, as JSON or for gRPC.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::CloudRun;

const HELLO: &str = "hello-123456789012.us-east1.run.app";

/// Asks in all ways, and looks at each answer.
#[track_caller]
fn refused(caller: &mut Caller, words: &str, kind: &str, status: u16, grpc: u8, want: &str) {
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        let text = caller.line(&format!("{http} {words}"));
        assert!(text.starts_with("runsd: "), "{http} {words}: {text}");
        assert!(text.contains(want), "{http} {words}: {text}");

        let head = caller.line(&format!("{http} -i {words} | grep -i ^proxy-status:"));
        let start = format!("proxy-status: runsd; error={kind}; details=\"");
        assert!(head.to_lowercase().starts_with(&start), "{http} {words}: {head}");

        let line = caller.line(&format!("{http} -H 'Accept: application/json' {words}"));
        let got: Value = serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line}"));
        assert_eq!(got["error"], kind, "{http} {words}");
        assert_eq!(got["status"], status, "{http} {words}");
        let message = got["message"].as_str().unwrap_or_default();
        assert!(message.contains(want), "{http} {words}: {line}");
        assert_eq!(caller.status(&format!("{http} {words}")), status.to_string());
    }
    let call = format!(
        "--http2-prior-knowledge -i -H 'content-type: application/grpc' -d x {words} \
         | tr -d '\\r' | grep -E '^(HTTP|grpc)' | tr '\\n' ' '"
    );
    let line = caller.line(&call);
    let start = format!("HTTP/2 200  grpc-status: {grpc} grpc-message: runsd: ");
    assert!(line.starts_with(&start), "{words}: {line}");
}

#[test]
fn a_name_of_no_service_has_its_sentence_in_each_format() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    refused(
        &mut caller,
        "-H 'Host: www.example.com' http://hello",
        "destination_not_found",
        500,
        13,
        "\"www.example.com\" is not the name of a service; names are NAME, NAME.REGION or \
         NAME.REGION.PROJECTNUMBER",
    );
}

#[test]
fn a_failing_upstream_has_its_sentence_in_each_format() {
    for (room, mode, kind, status, want) in [
        ("frontend", "refuse", "connection_refused", 502, "egress and firewall settings"),
        ("frontend", "bad-cert", "tls_certificate_error", 502, "SSL_CERT_FILE or -ca_file"),
        ("dns", "servfail", "dns_error", 502, "check the nameservers and the egress settings"),
    ] {
        let mut caller = Caller::new(CloudRun::new(), &[]);
        caller.running.post(room, &json!({ "mode": mode }));
        refused(&mut caller, "http://hello", kind, status, 14, want);
        let line = caller.line("http://hello");
        assert!(line.contains(HELLO), "{mode}: {line}");
    }
}

#[test]
fn an_unknown_token_or_region_has_its_sentence_in_each_format() {
    let mut caller = Caller::after("metadata", &json!({ "mode": "404" }));
    refused(
        &mut caller,
        "http://hello",
        "proxy_configuration_error",
        502,
        14,
        "the region and project of this instance are not known: the metadata server answered 404 \
         for instance/zone; check the metadata server, or give -gcp_region and \
         -gcp_project_number",
    );
    refused(
        &mut caller,
        "http://hello.us-east1.123456789012",
        "proxy_configuration_error",
        502,
        14,
        "no identity token for https://hello-123456789012.us-east1.run.app: the metadata server \
         answered 404 for instance/service-accounts/default/identity; check the metadata server and the service account",
    );
}

#[test]
fn a_redirect_leads_back_to_the_name() {
    let mut caller = Caller::new(CloudRun::new(), &[]);
    let location = "-i http://redirect | tr -d '\\r' | grep -i ^location:";
    let line = caller.line(location);
    assert_eq!(line.to_lowercase(), "location: http://redirect/landed");
    assert_eq!(caller.line("-L http://redirect"), "landed");
    let elsewhere = "-i 'http://redirect?to=https://example.com/' | tr -d '\\r' | grep -i ^location:";
    let line = caller.line(elsewhere);
    assert_eq!(line.to_lowercase(), "location: https://example.com/");
}
