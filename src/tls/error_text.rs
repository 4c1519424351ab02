//! What TLS reports, in words for people. Pure.

use std::fmt;

use rustls::CertificateError;

/// Why a certificate is not valid.
pub fn certificate(err: &CertificateError) -> String {
    match err {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "by the clock of this machine it is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => "no trusted root has signed it".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for other names".to_owned()
        }
        CertificateError::Other(other) => match &*other.to_string() {
            "CaUsedAsEndEntity" => "it is that of an authority, which may not be a server's own".to_owned(),
            other => spaced(other),
        },
        other => name(other),
    }
}

/// The name of a variant in words: `HandshakeFailure` is "handshake failure".
pub fn name(variant: &impl fmt::Debug) -> String {
    spaced(&format!("{variant:?}"))
}

/// Words that are told apart by capitals, up to what is no letter.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use rustls::{AlertDescription, OtherError};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn for_people() {
        let time = UnixTime::since_unix_epoch(Duration::ZERO);
        let expired = CertificateError::ExpiredContext { time, not_after: time };
        let other = |name: &str| {
            let err = std::io::Error::other(name.to_owned());
            CertificateError::Other(OtherError(Arc::new(err)))
        };
        for (err, want) in [
            (expired, "it has expired"),
            (CertificateError::UnknownIssuer, "no trusted root has signed it"),
            (CertificateError::BadSignature, "bad signature"),
            (other("CaUsedAsEndEntity"), "it is that of an authority, which may not be a server's own"),
            (other("PathLenExceeded(3)"), "path len exceeded"),
        ] {
            assert_eq!(certificate(&err), want);
        }
        assert_eq!(name(&AlertDescription::HandshakeFailure), "handshake failure");
    }
}
