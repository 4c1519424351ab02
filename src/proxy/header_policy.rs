//! Which header fields change on their way to the upstream and back. Pure.

use std::iter;

use crate::cli::AuthHeader;
use crate::names::destination::Destination;
use crate::net::authority::Authority;
use crate::proxy::syntax::is_named;
use crate::secret::Secret;

/// Which fields of a request change, by the flags.
#[derive(Debug, Clone, Copy)]
pub struct HeaderPolicy {
    /// Which field has the identity token (`-auth_header`).
    pub auth_header: AuthHeader,
}

impl HeaderPolicy {
    /// Whether a request gets a token of runsd's. Asked first, as a fetch takes time and may fail.
    pub fn wants_token(self, sent: &RequestCredentials<'_>) -> bool {
        let has_serverless = Credential::of(sent.serverless) == Credential::Application;
        let has_authorization = Credential::of(sent.authorization) == Credential::Application;
        match self.auth_header {
            AuthHeader::Off => false,
            AuthHeader::Auto | AuthHeader::Serverless => !has_serverless,
            AuthHeader::Authorization => !has_serverless && !has_authorization,
        }
    }

    /// Returns what changes in a request; `token` is a whole field value.
    ///
    /// A credential of the application is never replaced. One whose signature the front end removed goes: the next
    /// front end would read it instead of runsd's, and reject it.
    pub fn edits(self, sent: &RequestCredentials<'_>, token: Option<Secret>) -> HeaderEdits {
        let mut edits = HeaderEdits {
            authorization: HeaderEdit::Keep,
            serverless: HeaderEdit::Keep,
            user_agent: user_agent(sent.user_agent),
            token: token.filter(|_| self.wants_token(sent)),
        };
        let Some(token) = &edits.token else {
            return edits;
        };
        // `wants_token` excludes a credential of the application in X-Serverless-Authorization.
        let authorization = Credential::of(sent.authorization);
        let uses_serverless = match self.auth_header {
            AuthHeader::Auto => authorization == Credential::Application,
            AuthHeader::Serverless => true,
            AuthHeader::Authorization | AuthHeader::Off => false,
        };
        // The application may have fetched the same token.
        let is_sent_already =
            sent.authorization.is_some_and(|value| without_scheme(value) == without_scheme(token.expose().as_bytes()));
        edits.serverless = match sent.serverless {
            _ if uses_serverless && !is_sent_already => HeaderEdit::Set,
            // The front end reads this field first, and would not look at the token in the other one.
            Some(_) => HeaderEdit::Remove,
            None => HeaderEdit::Keep,
        };
        edits.authorization = match (uses_serverless, authorization) {
            (false, _) => HeaderEdit::Set,
            (true, Credential::SignatureRemoved) => HeaderEdit::Remove,
            (true, _) => HeaderEdit::Keep,
        };
        edits
    }
}

/// The fields of a request that the policy looks at.
///
/// Of several lines with one name, one whose signature was removed takes precedence, then the first that is not
/// blank: an edit concerns all lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestCredentials<'a> {
    /// `Authorization`
    pub authorization: Option<&'a [u8]>,
    /// `X-Serverless-Authorization`, which the front end reads before `Authorization`, and removes.
    pub serverless: Option<&'a [u8]>,
    /// `User-Agent`
    pub user_agent: Option<&'a [u8]>,
}

impl<'a> RequestCredentials<'a> {
    /// Looks through the fields of a request, names in any case.
    pub fn from_fields(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> RequestCredentials<'a> {
        let mut sent = RequestCredentials::default();
        for (name, value) in fields {
            let slot = match () {
                () if is_named(name, AUTHORIZATION) => &mut sent.authorization,
                () if is_named(name, SERVERLESS) => &mut sent.serverless,
                () if is_named(name, USER_AGENT) => &mut sent.user_agent,
                () => continue,
            };
            if slot.is_none() || Credential::of(*slot) < Credential::of(Some(value)) {
                *slot = Some(value);
            }
        }
        sent
    }
}

/// What changes in the fields of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Of `Authorization`.
    pub authorization: HeaderEdit,
    /// Of `X-Serverless-Authorization`.
    pub serverless: HeaderEdit,
    /// The new `User-Agent`; bytes, as the client may send any.
    pub user_agent: Vec<u8>,
    /// The value of the fields with [`HeaderEdit::Set`].
    pub token: Option<Secret>,
}

impl HeaderEdits {
    /// Whether a field that the client sent is forwarded; `name` in any case.
    pub fn keeps(&self, name: &[u8]) -> bool {
        if is_named(name, AUTHORIZATION) {
            self.authorization == HeaderEdit::Keep
        } else if is_named(name, SERVERLESS) {
            self.serverless == HeaderEdit::Keep
        } else {
            !is_named(name, USER_AGENT)
        }
    }

    /// The fields that are added, with their names as HTTP/1 mostly writes them.
    pub fn added(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        iter::once(("User-Agent", self.user_agent.as_slice())).chain(self.token_field())
    }

    /// The field that has runsd's token; `None` if runsd sends none, or the application sent the same one itself.
    pub fn token_field(&self) -> Option<(&'static str, &[u8])> {
        let name = match (self.authorization, self.serverless) {
            (HeaderEdit::Set, _) => "Authorization",
            (_, HeaderEdit::Set) => "X-Serverless-Authorization",
            _ => return None,
        };
        Some((name, self.token.as_ref()?.expose().as_bytes()))
    }

    /// Has the request sent with `token` after the front end rejected the one before. Where the application sent that
    /// one itself, its field stays, and runsd's is the one that the front end reads first.
    pub fn replace_token(&mut self, token: Secret) {
        if self.token_field().is_none() {
            self.serverless = HeaderEdit::Set;
        }
        self.token = Some(token);
    }
}

/// What changes in all lines of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderEdit {
    /// They pass as they are.
    Keep,
    /// None is sent.
    Remove,
    /// One line with [`HeaderEdits::token`] is sent instead of them.
    Set,
}

/// Field names in lower case, as HTTP/2 has them (RFC 9113 section 8.2).
pub const AUTHORIZATION: &str = "authorization";
/// As [`AUTHORIZATION`].
pub const SERVERLESS: &str = "x-serverless-authorization";
/// As [`AUTHORIZATION`].
pub const USER_AGENT: &str = "user-agent";

/// What a credential field has; of several lines the greatest takes precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Credential {
    /// Nothing, or a blank value, which some clients send for "none".
    None,
    /// A credential of the application's own.
    Application,
    /// A token whose signature the front end removed: the application copied the fields of a request that it received.
    SignatureRemoved,
}

impl Credential {
    fn of(value: Option<&[u8]>) -> Credential {
        match value.map(<[u8]>::trim_ascii) {
            None | Some(b"") => Credential::None,
            Some(value) if value.ends_with(b"SIGNATURE_REMOVED_BY_GOOGLE") => Credential::SignatureRemoved,
            Some(_) => Credential::Application,
        }
    }
}

/// Returns a field value without `Bearer` (RFC 6750 section 2.1).
fn without_scheme(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => value,
    }
}

fn user_agent(original: Option<&[u8]>) -> Vec<u8> {
    let runsd = concat!("runsd version=", env!("CARGO_PKG_VERSION"));
    match original {
        None | Some(b"") => runsd.as_bytes().to_vec(),
        Some(original) => [runsd.as_bytes(), b"; ", original].concat(),
    }
}

/// Whether the `WWW-Authenticate` of a 401 says that the token is invalid, and not that there is none (RFC 6750
/// section 3.1).
pub fn is_invalid_token(www_authenticate: &[u8]) -> bool {
    let expected = b"error=\"invalid_token\"";
    www_authenticate.windows(expected.len()).any(|window| window.eq_ignore_ascii_case(expected))
}

/// Returns the `Location` for the client, where `location` names the upstream, which the client knows as `host`;
/// `None` where it passes as it is.
pub fn rewrite_location(location: &str, upstream: &Destination, host: &str) -> Option<String> {
    let (tls, rest) = match location.split_once("//")? {
        (scheme, rest) if scheme.eq_ignore_ascii_case("https:") => (true, rest),
        // An application behind the front end sees no TLS, and often builds its own URL without.
        (scheme, rest) if scheme.eq_ignore_ascii_case("http:") => (false, rest),
        ("", rest) => (upstream.tls, rest),
        _ => return None,
    };
    let authority_len = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    let authority = Authority::parse(authority.as_bytes()).ok()?;
    let port = authority.port.unwrap_or(if tls { 443 } else { 80 });
    let same_host = authority.host.eq_ignore_ascii_case(&upstream.host);
    let same_port = match tls == upstream.tls {
        true => port == upstream.port,
        // The front end listens on port 80, too, and redirects to 443.
        false => upstream.tls && upstream.port == 443 && port == 80,
    };
    (same_host && same_port).then(|| format!("http://{host}{path}"))
}

/// Returns the `Set-Cookie` for a client that knows the upstream by another name and without TLS; `None` where
/// `value` passes as it is.
///
/// The client would drop a cookie whose `Domain` names the upstream or a domain above it (RFC 6265 section 5.3), or
/// one with `Secure`; beyond runsd the cookie travels over TLS all the same. `Partitioned` and `SameSite=None` are
/// accepted with `Secure` only.
pub fn rewrite_set_cookie(value: &[u8], upstream: &Destination) -> Option<Vec<u8>> {
    let mut attributes = value.split(|&b| b == b';');
    // Clients end the cookie's value at the first ";", within quotes, too.
    let mut rewritten = attributes.next()?.to_vec();
    for attribute in attributes {
        let equals = attribute.iter().position(|&b| b == b'=').unwrap_or(attribute.len());
        let (name, value) = (attribute[..equals].trim_ascii(), attribute.get(equals + 1..).unwrap_or_default());
        let is_dropped = match name.to_ascii_lowercase().as_slice() {
            b"domain" => is_domain_of(value, upstream),
            b"secure" | b"partitioned" => upstream.tls,
            b"samesite" => upstream.tls && value.trim_ascii().eq_ignore_ascii_case(b"none"),
            _ => false,
        };
        if !is_dropped {
            rewritten.push(b';');
            rewritten.extend_from_slice(attribute);
        }
    }
    (rewritten.len() < value.len()).then_some(rewritten)
}

/// Whether a cookie's `Domain` is the upstream's host or a domain above it.
fn is_domain_of(value: &[u8], upstream: &Destination) -> bool {
    let domain = value.trim_ascii();
    let domain = domain.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(domain);
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    let host = upstream.host.as_bytes();
    let Some(at) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    let is_whole_label = at == 0 || host[at - 1] == b'.';
    !domain.is_empty() && is_whole_label && host[at..].eq_ignore_ascii_case(domain)
}

#[cfg(test)]
mod tests;
