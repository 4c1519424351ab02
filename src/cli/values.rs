//! The values of flags: reads each from its text.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::names::destination::Destination;
use crate::names::policy::{self, Route};
use crate::net::authority::Authority;
use crate::resolv_conf::Nameserver;

/// Reads what Go's `strconv.ParseBool` reads.
///
/// # Errors
/// What was expected.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Reads one of a few words.
///
/// # Errors
/// What was expected.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(word, _)| *word == text);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let (last, others) = words.split_last().expect("choices");
        format!("expected {} or {last}", others.join(", "))
    })
}

/// Reads a text; `-flag=`, which `-flag=$VARIABLE` leaves of an empty variable, counts as not given.
pub fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Splits `a,b`; an empty text has no entries. Empty entries are returned, so that they are an error: a variable in the
/// list may not have been set.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    let text = Some(text).filter(|text| !text.trim().is_empty());
    text.into_iter().flat_map(|text| text.split(',')).map(str::trim)
}

/// Reads each entry.
///
/// # Errors
/// That of the first entry with one.
pub fn parse_all<'a, T>(
    entries: impl Iterator<Item = &'a str>,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    entries.map(parse).collect()
}

/// Reads the host of `-check`'s argument, a name or a URL; `None` for an empty one, a variable that was not set.
///
/// # Errors
/// What was expected.
pub fn host(text: &str) -> Result<Option<String>, String> {
    let stripped = strip_scheme(text, "http://").or_else(|| strip_scheme(text, "https://"));
    let is_url = stripped.is_some();
    let host = stripped.unwrap_or(text);
    let host = match host.split_once(['/', '?', '#']) {
        None => host,
        Some((host, _)) if is_url => host,
        Some(("", _)) => "",
        Some((host, _)) => {
            return Err(format!("-check takes a name, which {text:?} is not; try -check {host}"));
        }
    };
    match host {
        "" if text.is_empty() => Ok(None),
        "" => Err(format!("-check takes a name, which {text:?} is not")),
        host => Ok(Some(host.to_owned())),
    }
}

/// Reads a number, up to the largest of its type: 255, 65535.
///
/// # Errors
/// What was expected.
pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    // FromStr would accept a "+".
    let digits = text.bytes().all(|b| b.is_ascii_digit()).then_some(text);
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let max = u64::MAX >> (64 - 8 * size_of::<T>());
        format!("expected a number from 0 to {max}")
    })
}

/// Reads a text in lower case that `is_valid`; an empty one counts as not given.
///
/// # Errors
/// What was expected.
pub fn checked(text: &str, is_valid: fn(&str) -> bool, expected: &str) -> Result<Option<String>, String> {
    match text.to_ascii_lowercase() {
        text if text.is_empty() => Ok(None),
        text if is_valid(&text) => Ok(Some(text)),
        _ => Err(format!("expected {expected}")),
    }
}

/// Reads the hash of a project, as in `SERVICE-HASH-CODE.a.run.app`.
///
/// # Errors
/// What was expected.
pub fn hash(text: &str) -> Result<Option<String>, String> {
    let is_hash = |text: &str| text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    checked(text, is_hash, "a hash such as dpyb4duzqq")
}

/// Reads a DNS name; returns it in lower case and without its trailing dot. A label of a host neither begins nor ends
/// with a hyphen (RFC 952; RFC 1123, section 2.1).
///
/// # Errors
/// What was expected.
pub fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_valid = name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    is_valid.then_some(name).ok_or_else(|| format!("{text:?} is no DNS name"))
}

/// Reads `10.0.0.1`, `10.0.0.1:5353`, `fd00::1`, `fe80::1%eth0`, `[fe80::1%eth0]:5353`.
///
/// # Errors
/// What was expected.
pub fn nameserver(text: &str) -> Result<SocketAddr, String> {
    let invalid = || format!("{text:?} is neither IP nor IP:PORT");
    let bracketed = text.strip_prefix('[').and_then(|text| text.rsplit_once("]:"));
    let (ip, port) = match (bracketed, text.split_once(':')) {
        (Some((ip, port)), _) if ip.contains(':') => (ip, port),
        (None, Some((ip, port))) if ip.contains('.') => (ip, port),
        (Some(_), _) => return Err(invalid()),
        _ => (text, "53"),
    };
    // No datagram can be sent to port 0.
    let port = number(port).ok().filter(|&port| port != 0);
    // In a file a comment may follow.
    let nameserver = Nameserver::parse(ip).filter(|_| !ip.contains(['#', ';']));
    let (port, nameserver) = port.zip(nameserver).ok_or_else(invalid)?;
    let mut address = nameserver.address().map_err(|why| format!("{text:?}: {why}"))?;
    address.set_port(port);
    Ok(address)
}

/// Reads `NAME=URL[,audience=AUD]`.
///
/// # Errors
/// What was expected, or what a route may not be.
pub fn route(text: &str) -> Result<Route, String> {
    let (name, target) = text.split_once('=').ok_or("expected NAME=URL[,audience=AUD]")?;
    let name = dns_name(name)?;
    if policy::is_reserved(&name) {
        return Err(format!("the name {name:?} has a meaning of its own"));
    }
    // Only the first comma counts: an audience may have others.
    let (url, audience) = match target.split_once(',') {
        Some((url, option)) => match option.strip_prefix("audience=") {
            Some("") => return Err("the audience is empty".to_owned()),
            Some(audience) => (url, Some(audience)),
            None => {
                return Err(format!("got {option:?} after the URL; expected audience=AUD"));
            }
        },
        None => (target, None),
    };
    let (tls, authority) = if let Some(rest) = strip_scheme(url, "https://") {
        (true, rest)
    } else if let Some(rest) = strip_scheme(url, "http://") {
        (false, rest)
    } else {
        return Err(format!("{url:?} does not begin with https://"));
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(format!("{url:?} has a path; a route names a host, the request brings the path"));
    }
    let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })
        .ok_or_else(|| format!("{url:?} holds no HOST or HOST:PORT"))?;
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !tls && !loopback {
        return Err(format!("{url:?} is not encrypted, which only loopback may be; write https://"));
    }
    let mut destination = Destination { host, port, tls, audience: None };
    destination.audience = match audience {
        Some("none") => None,
        Some(audience) => Some(audience.to_owned()),
        // A neighbour on loopback, as a sidecar is, has no use for a token.
        None => tls.then(|| format!("https://{}", destination.uri_host())),
    };
    Ok(Route { name, destination })
}

fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = url.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The host in lower case, an IPv6 address without its brackets, and the port.
fn host_and_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let authority = Authority::parse(authority.as_bytes()).ok()?;
    let port = authority.port.unwrap_or(default);
    if let Ok(ip) = authority.host.parse::<Ipv6Addr>() {
        return Some((ip.to_string(), port));
    }
    Some((dns_name(authority.host).ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::net::interface_index;

    #[test]
    fn nameserver_with_zone_and_port() {
        let lo = interface_index("lo").expect("a loopback interface");
        for (text, want) in [
            ("fe80::53%lo", Some(format!("[fe80::53%{lo}]:53"))),
            ("[fe80::53%lo]:54", Some(format!("[fe80::53%{lo}]:54"))),
            ("fe80::53%7", Some("[fe80::53%7]:53".to_owned())),
            ("fd00::1%none", Some("[fd00::1]:53".to_owned())),
            ("::ffff:1.2.3.4", Some("1.2.3.4:53".to_owned())),
            ("[::ffff:127.0.0.1]:54", Some("127.0.0.1:54".to_owned())),
            ("1.2.3.4:65535", Some("1.2.3.4:65535".to_owned())),
            // A link-local address needs an interface.
            ("fe80::53", None),
            ("fe80::53%", None),
            ("[fe80::53%none]:53", None),
            ("1.2.3.4#x", None),
            ("1.2.3.4:", None),
            ("1.2.3.4:+1", None),
            ("1.2.3.4:65536", None),
            ("[1.2.3.4]:53", None),
            ("[::1]", None),
            ("[::1]:", None),
            ("::1]:53", None),
            ("", None),
        ] {
            let got = nameserver(text).ok().map(|address| address.to_string());
            assert_eq!(got, want, "{text}");
        }
    }
}
