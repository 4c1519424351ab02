//! Writes the heads that are sent on: the header lines as they came, without the hop-by-hop fields, and with the edits
//! that [`HeaderEdits`] says. Bytes in, bytes out.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::head::{Framing, Head, members};
use super::request::RequestContext;
use crate::names::destination::Destination;
use crate::proxy::header_policy::{HeaderEdits, rewrite_location, rewrite_set_cookie};
use crate::proxy::hop_by_hop::is_hop_by_hop;
use crate::proxy::syntax::is_named;
use crate::secret::Secret;

/// A request's head, for the upstream.
pub struct Request<'a> {
    /// The client's head.
    pub head: &'a Head,
    /// The bytes that `head` was read from.
    pub input: &'a [u8],
    /// The path and query of the target.
    pub path: &'a [u8],
    /// Where the request goes, and what changes.
    pub context: &'a RequestContext,
}

impl Request<'_> {
    /// Appends the head to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (head, input, context) = (self.head, self.input, self.context);
        out.extend_from_slice(head.method(input));
        // absolute-form may have a query without a path (RFC 9112 section 3.2.2).
        let slash: &[u8] = if self.path.starts_with(b"?") { b"/" } else { b"" };
        for part in [b" ", slash, self.path, b" HTTP/1.1\r\n"] {
            out.extend_from_slice(part);
        }
        write_field(out, b"Host", context.target.authority.as_bytes());
        let hop = HopByHop::of(head, input);
        head.copy_fields(input, out, |name| {
            !hop.contains(name)
                && !is_named(name, "host")
                && !is_named(name, "content-length")
                && context.edits.as_ref().is_none_or(|edits| edits.keeps(name))
        });
        for (name, value) in context.edits.iter().flat_map(HeaderEdits::added) {
            write_field(out, name.as_bytes(), value);
        }
        write_framing(out, context.framing);
        if context.upgrade {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            // One line: many servers read the first only.
            let protocols: Vec<&[u8]> = upgrade_protocols(head, input).collect();
            write_field(out, b"Upgrade", &protocols.join(&b", "[..]));
        } else if head.list_contains(input, "te", "trailers") {
            out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The protocols that a client asks for (RFC 9110 section 7.8), without those that end in runsd: HTTP/2, which starts
/// by prior knowledge, and TLS (RFC 2817). Responding in HTTP/1.1 to these is correct.
pub fn upgrade_protocols<'a>(head: &Head, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    head.get_all(input, "upgrade").flat_map(members).filter(|protocol| {
        let name = protocol.split(|&b| b == b'/').next().unwrap_or_default();
        !is_named(name, "h2c") && !is_named(name, "tls")
    })
}

/// Replaces the token in a head that was written with `edits`.
pub fn replace_token(head: &mut Vec<u8>, edits: &mut HeaderEdits, new: Secret) {
    let token_line = |edits: &HeaderEdits| {
        edits.token_field().map_or_else(Vec::new, |(name, token)| [b"\r\n", name.as_bytes(), b": ", token].concat())
    };
    let old = token_line(edits);
    edits.replace_token(new);
    let at = match old.as_slice() {
        [] => head.len().checked_sub(b"\r\n\r\n".len()),
        // The application may send the same token elsewhere, but its lines with this name were not copied.
        old => head.windows(old.len()).position(|window| window == old),
    };
    if let Some(at) = at {
        head.splice(at..at + old.len(), token_line(edits));
    }
}

/// A response's head, for the client.
pub struct Response<'a> {
    /// The upstream's head.
    pub head: &'a Head,
    /// The bytes that `head` was read from.
    pub input: &'a [u8],
    /// That of the response's body.
    pub framing: Framing,
    /// That of the request: HTTP/1.0 has no chunks, and keeps a connection only if told so.
    pub minor_version: u8,
    /// The client may send another request.
    pub keep_alive: bool,
    /// The upstream, and the name by which the client knows it. `None` leaves all fields as they are.
    pub renamed: Option<(&'a Destination, &'a str)>,
}

impl Response<'_> {
    /// Appends the head to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (head, input) = (self.head, self.input);
        let status = head.status(input);
        let [code, reason] = head.status_and_reason(input);
        for part in [b"HTTP/1.1 ", code, b" ", reason, b"\r\n"] {
            out.extend_from_slice(part);
        }
        // Of a response to HEAD, or a 304, the length is that of another response (RFC 9110 section 8.6).
        let keeps_length = self.framing == Framing::None && status >= 200 && status != 204;
        let hop = HopByHop::of(head, input);
        let location = self.location();
        let cookies = self.cookies();
        head.copy_fields(input, out, |name| {
            !(hop.contains(name)
                || is_named(name, "content-length") && !keeps_length
                || is_named(name, "location") && location.is_some()
                || is_named(name, "set-cookie") && !cookies.is_empty())
        });
        if let Some(location) = &location {
            write_field(out, b"Location", location.as_bytes());
        }
        for cookie in &cookies {
            write_field(out, b"Set-Cookie", cookie);
        }
        if self.framing != Framing::Chunked || self.minor_version > 0 {
            write_framing(out, self.framing);
        }
        if status == 101 {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            for value in head.get_all(input, "upgrade") {
                write_field(out, b"Upgrade", value);
            }
        } else if status >= 200 && !self.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if status >= 200 && self.minor_version == 0 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The new `Location`, if it names the upstream.
    fn location(&self) -> Option<String> {
        let (upstream, host) = self.renamed?;
        let location = self.head.get(self.input, "location")?;
        rewrite_location(std::str::from_utf8(location).ok()?, upstream, host)
    }

    /// All cookies, in their order, if one of them has to be changed.
    fn cookies(&self) -> Vec<Cow<'_, [u8]>> {
        let Some((upstream, _)) = self.renamed else {
            return Vec::new();
        };
        let cookies = self.head.get_all(self.input, "set-cookie");
        let mut cookies: Vec<_> = cookies
            .map(|cookie| rewrite_set_cookie(cookie, upstream).map_or(Cow::Borrowed(cookie), Cow::Owned))
            .collect();
        if cookies.iter().all(|cookie| matches!(cookie, Cow::Borrowed(_))) {
            cookies.clear();
        }
        cookies
    }
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => write_field(out, b"Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// The fields of a message that are not forwarded: those that are always hop-by-hop, and those that its `Connection`
/// lists (RFC 9110 section 7.6.1).
///
/// Sorted, because a hostile message has thousands of both.
struct HopByHop<'a>(Vec<&'a [u8]>);

impl<'a> HopByHop<'a> {
    fn of(head: &Head, input: &'a [u8]) -> HopByHop<'a> {
        let members = head.get_all(input, "connection").flat_map(members);
        // Nearly always nothing is left, and nothing is allocated.
        let mut listed: Vec<_> =
            members.filter(|member| !is_hop_by_hop(member) && !is_named(member, "close")).collect();
        listed.sort_unstable_by(|a, b| cmp_names(a, b));
        HopByHop(listed)
    }

    fn contains(&self, name: &[u8]) -> bool {
        let is_listed = || self.0.binary_search_by(|member| cmp_names(member, name)).is_ok();
        is_hop_by_hop(name) || !self.0.is_empty() && is_listed()
    }
}

/// Compares names without regard to case.
fn cmp_names(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::super::head::Progress;
    use super::*;
    use crate::cli::AuthHeader;
    use crate::proxy::header_policy::{HeaderPolicy, RequestCredentials};
    use std::time::{Duration, Instant};

    fn rewritten(input: &[u8]) -> String {
        let mut head = Head::default();
        assert!(head.read_response(input, &mut Progress::default()).is_ok_and(|end| end.is_some()));
        let mut out = Vec::new();
        let response = Response {
            head: &head,
            input,
            framing: Framing::Length(0),
            minor_version: 1,
            keep_alive: true,
            renamed: None,
        };
        response.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn fields_that_connection_lists_are_not_forwarded() {
        let text = "HTTP/1.1 200 OK\r\nA: 1\r\nConnection: close, b,X-Hop\r\nB: 2\r\n\
                    connection: KEEP-ALIVE , c\r\nx-hop: 3\r\nC: 4\r\nBc: 5\r\nClose: 6\r\n\r\n";
        let want = "HTTP/1.1 200 OK\r\nA: 1\r\nBc: 5\r\nClose: 6\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(rewritten(text.as_bytes()), want);
    }

    #[test]
    fn another_token_replaces_the_one_of_runsd_and_no_credential_of_the_application() {
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let serverless = |token: &str| format!("X-Serverless-{}", bearer(token));
        let own = "x-authorization: Bearer o.l.d\r\nX-Note: Authorization: Bearer o.l.d\r\n";
        let upgrade = "Upgrade: a, Authorization: Bearer o.l.d, Bearer o.l.d\r\n";
        let basic = "Authorization: Basic eDp5\r\n";
        for (mode, authorization, before, after, appended) in [
            (AuthHeader::Auto, None, bearer("o.l.d"), bearer("n.e.w"), None),
            (
                AuthHeader::Auto,
                Some("Basic eDp5"),
                format!("{basic}{}", serverless("o.l.d")),
                format!("{basic}{}", serverless("n.e.w")),
                None,
            ),
            // The application's alone: it stays, and the front end reads the other field first.
            (AuthHeader::Auto, Some("Bearer o.l.d"), bearer("o.l.d"), bearer("o.l.d"), Some(serverless("n.e.w"))),
            (AuthHeader::Serverless, Some("bearer o.l.d"), String::new(), String::new(), Some(serverless("n.e.w"))),
        ] {
            let sent = RequestCredentials { authorization: authorization.map(str::as_bytes), ..Default::default() };
            let mut edits = HeaderPolicy { auth_header: mode }.edits(&sent, Some(Secret::new("Bearer o.l.d")));
            let start = format!("GET /?Authorization:%20Bearer HTTP/1.1\r\nHost: a\r\n{own}");
            let mut head = format!("{start}{before}{upgrade}\r\n").into_bytes();
            replace_token(&mut head, &mut edits, Secret::new("Bearer n.e.w"));
            let want = format!("{start}{after}{upgrade}{}\r\n", appended.unwrap_or_default());
            assert_eq!(String::from_utf8_lossy(&head), want, "{mode:?} {authorization:?}");
            assert_eq!(edits.token, Some(Secret::new("Bearer n.e.w")));
        }
    }

    #[test]
    fn content_length_is_removed_where_a_response_may_not_have_it() {
        for (status, framing, want) in
            [(204, Framing::None, false), (103, Framing::None, false), (304, Framing::None, true)]
        {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n");
            let mut head = Head::default();
            assert!(head.read_response(text.as_bytes(), &mut Progress::default()).is_ok_and(|end| end.is_some()));
            let mut out = Vec::new();
            let response = Response {
                head: &head,
                input: text.as_bytes(),
                framing,
                minor_version: 1,
                keep_alive: true,
                renamed: None,
            };
            response.write(&mut out);
            let passes = out.windows(7).any(|window| window == b"Length:");
            assert_eq!(passes, want, "{status}");
        }
    }

    #[test]
    fn thousands_of_members_and_fields_take_linear_time() {
        let members = "ab,".repeat(10_000);
        let text = format!("HTTP/1.1 200 OK\r\nConnection: {members}\r\n{}\r\n", "aa:\r\n".repeat(6_500));
        let started = Instant::now();
        assert_eq!(rewritten(text.as_bytes()).matches("aa:").count(), 6_500);
        // Comparing each with each took seconds.
        assert!(started.elapsed() < Duration::from_millis(500));
    }
}
