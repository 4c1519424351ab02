//! Fields that are about one connection, in HTTP/1 and HTTP/2 alike. Pure.

use crate::proxy::syntax::is_named;

/// Whether a field is for the next hop alone (RFC 9110 sections 7.6.1 and
/// 11.7); `name` in any case. What such fields announce (body, upgrade,
/// trailers) is written anew where it holds.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |wanted: &str| is_named(name, wanted);
    // Most names differ by their length already.
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

/// Whether HTTP/2 has no such field at all: who sends one means HTTP/1
/// (RFC 9113 section 8.2.2).
pub fn is_connection_specific(name: &[u8]) -> bool {
    let known = [&b"connection"[..], b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"];
    known.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_hop() {
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
