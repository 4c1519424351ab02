//! Header fields that are about one connection. Pure.

use crate::proxy::syntax::is_named;

/// Whether a field is for the next hop alone (RFC 9110 sections 7.6.1 and 11.7); `name` in any case. runsd writes anew
/// what such fields announce (body, upgrade, trailers), where it is so on the next hop, too.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |lower: &str| is_named(name, lower);
    // Most names differ in their length already.
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        14 => is("http2-settings"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        _ => false,
    }
}

/// Whether a field makes an HTTP/2 message malformed (RFC 9113 section 8.2.2); `name` in lower case.
pub fn is_connection_specific(name: &[u8]) -> bool {
    let names = [&b"connection"[..], b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
    names.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_and_connection_specific_fields() {
        for (name, hop, connection) in [
            ("proxy-authorization", true, false),
            ("Proxy-Authorization", true, false),
            ("connection", true, true),
            ("te", true, false),
            ("upgrade", true, true),
            ("authorization", false, false),
            ("trailer", false, false),
        ] {
            assert_eq!(is_hop_by_hop(name.as_bytes()), hop, "{name}");
            assert_eq!(is_connection_specific(name.as_bytes()), connection, "{name}");
        }
    }
}
