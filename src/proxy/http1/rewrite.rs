//! The heads that are sent on: what they were, less what is for one hop, and
//! with what [`Changes`] says. Pure.

use super::head::{Framing, Head};
use crate::proxy::hop::is_hop_by_hop;
use crate::proxy::route::{AUTHORIZATION, Change, Changes, SERVERLESS, USER_AGENT};
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
    pub changes: Option<&'a Changes>,
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
        let listed = head.get(input, "connection").is_some();
        head.copy(input, out, |name| {
            if is_hop_by_hop(name) || listed && is_listed(head, input, name) {
                return false;
            }
            if is(name, "host") || is(name, "content-length") {
                return false;
            }
            let Some(changes) = self.changes else {
                return true;
            };
            let change = if is(name, AUTHORIZATION) {
                changes.authorization
            } else if is(name, SERVERLESS) {
                changes.serverless
            } else if is(name, USER_AGENT) {
                Change::Remove
            } else {
                Change::Keep
            };
            change == Change::Keep
        });
        if let Some(changes) = self.changes {
            line(out, b"User-Agent", &changes.user_agent);
            if let Some(bearer) = self.bearer {
                let bearer = bearer.expose().as_bytes();
                if changes.authorization == Change::Set {
                    line(out, b"Authorization", bearer);
                }
                if changes.serverless == Change::Set {
                    line(out, b"X-Serverless-Authorization", bearer);
                }
            }
        }
        framing(out, self.framing);
        if self.upgrade {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            for value in head.all(input, "upgrade") {
                line(out, b"Upgrade", value);
            }
        } else if head.lists(input, "te", "trailers") {
            out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The same head with another token.
pub fn with_another(request: &[u8], old: &Secret, new: &Secret) -> Vec<u8> {
    let (old, new) = (old.expose().as_bytes(), new.expose().as_bytes());
    let at = request.windows(old.len()).position(|window| window == old);
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
    /// Instead of the one it has.
    pub location: Option<String>,
}

impl Response<'_> {
    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let status = self.head.status(self.input);
        start(out, self.head, self.input);
        let switches = status == 101;
        let listed = self.head.get(self.input, "connection").is_some();
        self.head.copy(self.input, out, |name| {
            let left_out = is_hop_by_hop(name)
                || listed && is_listed(self.head, self.input, name)
                // What a response to HEAD, or a 304, says of a length is about
                // another response.
                || is(name, "content-length") && self.framing != Framing::None
                || is(name, "location") && self.location.is_some();
            !left_out
        });
        if let Some(location) = &self.location {
            line(out, b"Location", location.as_bytes());
        }
        match (self.framing, self.minor) {
            (Framing::Chunked, 0) => {}
            (other, _) => framing(out, other),
        }
        if switches {
            out.extend_from_slice(b"Connection: Upgrade\r\n");
            for value in self.head.all(self.input, "upgrade") {
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

/// An answer of our own, for an HTTP/1.0 client that keeps its connection.
pub fn kept_alive(answer: &[u8]) -> Vec<u8> {
    let end = answer
        .windows(2)
        .position(|two| two == b"\r\n")
        .unwrap_or(0);
    let (start, rest) = answer.split_at(end);
    [start, b"\r\nConnection: keep-alive", rest].concat()
}

fn start(out: &mut Vec<u8>, head: &Head, input: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.code(input));
    out.push(b' ');
    out.extend_from_slice(head.reason(input));
    out.extend_from_slice(b"\r\n");
}

fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::Close => {}
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

fn is(name: &[u8], wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted.as_bytes())
}

fn is_listed(head: &Head, input: &[u8], name: &[u8]) -> bool {
    head.all(input, "connection")
        .flat_map(super::head::members)
        .any(|member| member.eq_ignore_ascii_case(name))
}
