//! The heads that are sent on: what they were, less what is for one hop, and
//! with what [`HeaderEdits`] says. Pure.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::head::{Framing, Head, members};
use crate::names::destination::Destination;
use crate::proxy::header_policy::{
    AUTHORIZATION, HeaderEdit, HeaderEdits, SERVERLESS, USER_AGENT, cookie_back, location_back,
};
use crate::proxy::hop_by_hop::is_hop_by_hop;
use crate::proxy::syntax::is_named;
use crate::secret::Secret;

/// How a request's head is written for the upstream.
pub struct Request<'a> {
    pub head: &'a Head,
    pub input: &'a [u8],
    pub path: &'a [u8],
    /// Its `Host`.
    pub authority: &'a str,
    pub framing: Framing,
    pub upgrade: bool,
    /// The token, where `changes` sets one.
    pub bearer: Option<&'a Secret>,
    /// `None` for one that is passed on untouched.
    pub changes: Option<&'a HeaderEdits>,
}

impl Request<'_> {
    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (head, input) = (self.head, self.input);
        out.extend_from_slice(head.method(input));
        out.push(b' ');
        if self.path.starts_with(b"?") {
            out.push(b'/');
        }
        out.extend_from_slice(self.path);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        line(out, b"Host", self.authority.as_bytes());
        let hop = HopHeaders::of(head, input);
        head.copy_fields(input, out, |name| {
            if hop.has(name) {
                return false;
            }
            if is_named(name, "host") || is_named(name, "content-length") {
                return false;
            }
            let Some(changes) = self.changes else {
                return true;
            };
            let change = if is_named(name, AUTHORIZATION) {
                changes.authorization
            } else if is_named(name, SERVERLESS) {
                changes.serverless
            } else if is_named(name, USER_AGENT) {
                HeaderEdit::Remove
            } else {
                HeaderEdit::Keep
            };
            change == HeaderEdit::Keep
        });
        if let Some(changes) = self.changes {
            line(out, b"User-Agent", &changes.user_agent);
            if let Some(bearer) = self.bearer {
                let bearer = bearer.expose().as_bytes();
                if changes.authorization == HeaderEdit::Set {
                    line(out, b"Authorization", bearer);
                }
                if changes.serverless == HeaderEdit::Set {
                    line(out, b"X-Serverless-Authorization", bearer);
                }
            }
        }
        framing(out, self.framing);
        if self.upgrade {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            // One line, for many read no other.
            let protocols: Vec<&[u8]> = protocols(head, input).collect();
            line(out, b"Upgrade", &protocols.join(&b", "[..]));
        } else if head.list_contains(input, "te", "trailers") {
            out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The protocols a client would switch to, but for those that end here:
/// HTTP/2, which is spoken without asking first, and TLS, which begins in
/// runsd (RFC 9110 section 7.8, RFC 2817). An answer in HTTP/1.1 is correct.
pub fn protocols<'a>(head: &Head, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    head.get_all(input, "upgrade").flat_map(members).filter(|protocol| {
        let name = protocol.split(|&b| b == b'/').next().unwrap_or_default();
        !is_named(name, "h2c") && !is_named(name, "tls")
    })
}

/// The same head with another token.
pub fn with_another(request: &[u8], old: &Secret, new: &Secret) -> Vec<u8> {
    let (old, new) = (old.expose().as_bytes(), new.expose().as_bytes());
    // The last place is ours: what the application sends of its own stands before.
    let at = request.windows(old.len()).rposition(|window| window == old);
    match at.map(|at| request.split_at(at)) {
        Some((before, rest)) => [before, new, &rest[old.len()..]].concat(),
        None => request.to_vec(),
    }
}

/// How a response's head is written for the client.
pub struct Response<'a> {
    pub head: &'a Head,
    pub input: &'a [u8],
    pub framing: Framing,
    /// HTTP/1.0 clients have to be told what HTTP/1.1 takes for granted, and
    /// know no chunks.
    pub minor: u8,
    pub keep: bool,
    /// What the client knows by another name: the upstream, and that name.
    /// `None` for one that is passed on untouched.
    pub renamed: Option<(&'a Destination, &'a str)>,
}

impl Response<'_> {
    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let status = self.head.status(self.input);
        start(out, self.head, self.input);
        let switches = status == 101;
        // RFC 9110 section 8.6.
        let has_no_length = status < 200 || status == 204;
        let hop = HopHeaders::of(self.head, self.input);
        let location = self.location();
        let cookies = self.cookies();
        self.head.copy_fields(self.input, out, |name| {
            let left_out = hop.has(name)
                // What a response to HEAD, or a 304, says of a length is about
                // another response.
                || is_named(name, "content-length") && (self.framing != Framing::None || has_no_length)
                || is_named(name, "location") && location.is_some()
                || is_named(name, "set-cookie") && !cookies.is_empty();
            !left_out
        });
        if let Some(location) = &location {
            line(out, b"Location", location.as_bytes());
        }
        for cookie in &cookies {
            line(out, b"Set-Cookie", cookie);
        }
        match (self.framing, self.minor) {
            (Framing::Chunked, 0) => {}
            (other, _) => framing(out, other),
        }
        if switches {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            for value in self.head.get_all(self.input, "upgrade") {
                line(out, b"Upgrade", value);
            }
        } else if status >= 200 && !self.keep {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if status >= 200 && self.minor == 0 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Response<'_> {
    /// The `Location` instead of the one it has.
    fn location(&self) -> Option<String> {
        let (upstream, asked) = self.renamed?;
        let location = self.head.get(self.input, "location")?;
        location_back(std::str::from_utf8(location).ok()?, upstream, asked)
    }

    /// All cookies, in their order, where one of them is not as it was.
    fn cookies(&self) -> Vec<Cow<'_, [u8]>> {
        let Some((upstream, _)) = self.renamed else {
            return Vec::new();
        };
        let all = self.head.get_all(self.input, "set-cookie");
        let cookies: Vec<_> =
            all.map(|cookie| cookie_back(cookie, upstream).map_or(Cow::Borrowed(cookie), Cow::Owned)).collect();
        match cookies.iter().any(|cookie| matches!(cookie, Cow::Owned(_))) {
            true => cookies,
            false => Vec::new(),
        }
    }
}

/// An answer of our own, for an HTTP/1.0 client that keeps its connection.
pub fn kept_alive(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
    let (start, rest) = answer.split_at(end);
    [start, b"\r\nConnection: keep-alive", rest].concat()
}

fn start(out: &mut Vec<u8>, head: &Head, input: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    let [status, reason] = head.status_and_reason(input);
    out.extend_from_slice(status);
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => line(out, b"Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The headers of a message that do not pass: those that are always for one
/// hop, and those that its `Connection` lists (RFC 9110 section 7.6.1).
///
/// Sorted, because both the list and the headers may be thousands.
struct HopHeaders<'a>(Vec<&'a [u8]>);

impl<'a> HopHeaders<'a> {
    fn of(head: &Head, input: &'a [u8]) -> HopHeaders<'a> {
        let members = head.get_all(input, "connection").flat_map(members);
        // Nearly always none is left, and nothing is allocated.
        let mut listed: Vec<_> =
            members.filter(|member| !is_hop_by_hop(member) && !is_named(member, "close")).collect();
        listed.sort_unstable_by(|a, b| by_name(a, b));
        HopHeaders(listed)
    }

    fn has(&self, name: &[u8]) -> bool {
        let is_listed = || self.0.binary_search_by(|member| by_name(member, name)).is_ok();
        is_hop_by_hop(name) || !self.0.is_empty() && is_listed()
    }
}

/// The order of names, in any case.
fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::super::head::Progress;
    use super::*;
    use std::time::{Duration, Instant};

    fn passed(input: &[u8]) -> String {
        let mut head = Head::default();
        assert!(head.read_response(input, &mut Progress::default()).is_ok_and(|end| end.is_some()));
        let mut out = Vec::new();
        let response =
            Response { head: &head, input, framing: Framing::Length(0), minor: 1, keep: true, renamed: None };
        response.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_connection_lists_does_not_pass() {
        let text = "HTTP/1.1 200 OK\r\nA: 1\r\nConnection: close, b,X-Hop\r\nB: 2\r\n\
                    connection: KEEP-ALIVE , c\r\nx-hop: 3\r\nC: 4\r\nBc: 5\r\nClose: 6\r\n\r\n";
        let want = "HTTP/1.1 200 OK\r\nA: 1\r\nBc: 5\r\nClose: 6\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(passed(text.as_bytes()), want);
    }

    #[test]
    fn a_length_is_not_passed_on_where_none_may_be() {
        for (status, framing, want) in
            [(204, Framing::None, false), (103, Framing::None, false), (304, Framing::None, true)]
        {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n");
            let mut head = Head::default();
            assert!(head.read_response(text.as_bytes(), &mut Progress::default()).is_ok_and(|end| end.is_some()));
            let mut out = Vec::new();
            let response =
                Response { head: &head, input: text.as_bytes(), framing, minor: 1, keep: true, renamed: None };
            response.write(&mut out);
            let passes = out.windows(7).any(|window| window == b"Length:");
            assert_eq!(passes, want, "{status}");
        }
    }

    #[test]
    fn thousands_of_members_and_headers_take_no_time() {
        let members = "ab,".repeat(10_000);
        let text = format!("HTTP/1.1 200 OK\r\nConnection: {members}\r\n{}\r\n", "aa:\r\n".repeat(6_500));
        let begun = Instant::now();
        assert_eq!(passed(text.as_bytes()).matches("aa:").count(), 6_500);
        // Each with each took some seconds here.
        assert!(begun.elapsed() < Duration::from_millis(500));
    }
}
