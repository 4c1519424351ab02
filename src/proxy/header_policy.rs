//! One policy for HTTP/1 and HTTP/2: where a request goes, and which of its
//! headers change on the way.
//!
//! Pure. What is not ours is `None` here, and what to do about that is the
//! business of the one who asks.

use crate::cli::AuthHeader;
use crate::names::destination::Destination;
use crate::net::authority::Authority;
use crate::secret::Secret;

/// Which headers of a request change, by the flags.
#[derive(Debug, Clone, Copy)]
pub struct HeaderPolicy {
    /// Which header has the identity token.
    pub auth_header: AuthHeader,
}

impl HeaderPolicy {
    /// Whether a request gets a token of ours at all: fetching one for nothing
    /// would be a wait, and maybe a failure, for nothing.
    pub fn wants_token(self, sent: &RequestCredentials<'_>) -> bool {
        let (mine, theirs) = (sent.serverless(), sent.authorization());
        match self.auth_header {
            AuthHeader::Off => false,
            AuthHeader::Auto | AuthHeader::Serverless => mine != Credential::Own,
            AuthHeader::Authorization => mine != Credential::Own && theirs != Credential::Own,
        }
    }

    /// What becomes of the headers of a request that goes to a destination of
    /// ours; `bearer` is the whole value of the header, if there is one.
    ///
    /// What the application wrote itself is never replaced. A stripped token
    /// is nobody's: it would win at the next hop, and fail.
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
        // From here on the second holds no value of the application's own.
        let theirs = sent.authorization();
        let in_second = match self.auth_header {
            AuthHeader::Auto => theirs == Credential::Own,
            AuthHeader::Serverless => true,
            AuthHeader::Authorization | AuthHeader::Off => false,
        };
        // The application may have fetched the same token: once is enough.
        let sent_already =
            sent.authorization.is_some_and(|value| without_scheme(value) == without_scheme(token.expose().as_bytes()));
        edits.serverless = match sent.serverless {
            _ if in_second && !sent_already => HeaderEdit::Set,
            // Stripped or blank: beside it the other one would not count.
            Some(_) => HeaderEdit::Remove,
            None => HeaderEdit::Keep,
        };
        edits.authorization = match (in_second, theirs) {
            (false, _) => HeaderEdit::Set,
            (true, Credential::Stripped) => HeaderEdit::Remove,
            (true, _) => HeaderEdit::Keep,
        };
        edits
    }
}

/// The headers of a request that the policy looks at.
///
/// Of several lines with one name, a stripped one speaks for all, else the
/// first that is not blank: a change concerns all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestCredentials<'a> {
    pub authorization: Option<&'a [u8]>,
    pub serverless: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
}

impl<'a> RequestCredentials<'a> {
    /// Looks through the headers of a request, names in any case.
    pub fn of(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> RequestCredentials<'a> {
        let mut sent = RequestCredentials::default();
        for (name, value) in headers {
            let slot = if name.eq_ignore_ascii_case(AUTHORIZATION.as_bytes()) {
                &mut sent.authorization
            } else if name.eq_ignore_ascii_case(SERVERLESS.as_bytes()) {
                &mut sent.serverless
            } else if name.eq_ignore_ascii_case(USER_AGENT.as_bytes()) {
                &mut sent.user_agent
            } else {
                continue;
            };
            if slot.is_none() || Credential::of(*slot) < Credential::of(Some(value)) {
                *slot = Some(value);
            }
        }
        sent
    }

    fn authorization(&self) -> Credential {
        Credential::of(self.authorization)
    }

    fn serverless(&self) -> Credential {
        Credential::of(self.serverless)
    }
}

/// What is to be done with the headers of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Of `Authorization`.
    pub authorization: HeaderEdit,
    /// Of `X-Serverless-Authorization`.
    pub serverless: HeaderEdit,
    /// The new `User-Agent`, bytes as the old one may have any.
    pub user_agent: Vec<u8>,
    /// The value of the headers with [`HeaderEdit::Set`].
    pub token: Option<Secret>,
}

/// What is to be done with all lines of one header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderEdit {
    Keep,
    Remove,
    /// Our token, once, instead of whatever is there.
    Set,
}

/// Header names in lower case, as HTTP/2 wants them.
pub const AUTHORIZATION: &str = "authorization";
pub const SERVERLESS: &str = "x-serverless-authorization";
pub const USER_AGENT: &str = "user-agent";

/// What a credential header holds; of several lines the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Credential {
    None,
    Own,
    /// A token that the front end has taken the signature from: the
    /// application copied the headers it was called with.
    Stripped,
}

impl Credential {
    fn of(value: Option<&[u8]>) -> Credential {
        match value.map(<[u8]>::trim_ascii) {
            // A header without a value is how some clients say "none".
            None | Some(b"") => Credential::None,
            Some(value) if is_stripped(value) => Credential::Stripped,
            Some(_) => Credential::Own,
        }
    }
}

fn is_stripped(value: &[u8]) -> bool {
    value.trim_ascii().ends_with(b"SIGNATURE_REMOVED_BY_GOOGLE")
}

/// The value without `Bearer`.
fn without_scheme(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => value,
    }
}

fn user_agent(original: Option<&[u8]>) -> Vec<u8> {
    let ours = concat!("runsd version=", env!("CARGO_PKG_VERSION"));
    match original {
        None | Some(b"") => ours.as_bytes().to_vec(),
        Some(original) => [ours.as_bytes(), b"; ", original].concat(),
    }
}

/// Whether a 401 says that the token itself was wrong, and not that there was
/// none: then it is forgotten, and a request that can be repeated is.
pub fn is_invalid_token(www_authenticate: &[u8]) -> bool {
    let wanted = b"error=\"invalid_token\"";
    let mut windows = www_authenticate.windows(wanted.len());
    windows.any(|window| window.eq_ignore_ascii_case(wanted))
}

/// A `Location` that names the upstream, turned back into the name that was
/// asked (`asked` is the request's `Host`); `None` when it stays as it is.
pub fn location_back(location: &str, destination: &Destination, asked: &str) -> Option<String> {
    let (tls, rest) = match location.split_once("//")? {
        (scheme, rest) if scheme.eq_ignore_ascii_case("https:") => (true, rest),
        // An application behind the front end does not see the TLS, and often
        // builds its own URL without it.
        (scheme, rest) if scheme.eq_ignore_ascii_case("http:") => (false, rest),
        ("", rest) => (destination.tls, rest),
        _ => return None,
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let usual = if tls { 443 } else { 80 };
    let authority = Authority::parse(authority.as_bytes()).ok()?;
    let port = authority.port.unwrap_or(usual);
    let same_host = authority.host.eq_ignore_ascii_case(&destination.host);
    let same_port = match tls == destination.tls {
        true => port == destination.port,
        // The front end answers there too, and leads to the same service.
        false => destination.tls && destination.port == 443 && port == 80,
    };
    (same_host && same_port).then(|| format!("http://{asked}{path}"))
}

/// A `Set-Cookie` for a client that knows the upstream by another name, and
/// without TLS: `None` when it stays as it is.
///
/// A `Domain` that names the upstream, or what it is a part of, would make the
/// client drop the cookie (RFC 6265 section 5.3), and so would `Secure`, which
/// holds all the same: from here on the cookie travels over TLS only. What a
/// client takes with `Secure` alone goes with it.
pub fn cookie_back(value: &[u8], destination: &Destination) -> Option<Vec<u8>> {
    let mut parts = value.split(|&b| b == b';');
    // Clients end the value at the first ";", within quotes, too.
    let mut kept = parts.next()?.to_vec();
    for part in parts {
        let (name, value) = match part.iter().position(|&b| b == b'=') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &b""[..]),
        };
        let name = name.trim_ascii().to_ascii_lowercase();
        let left_out = match name.as_slice() {
            b"domain" => is_domain_of(value, destination),
            b"secure" | b"partitioned" => destination.tls,
            b"samesite" => destination.tls && value.trim_ascii().eq_ignore_ascii_case(b"none"),
            _ => false,
        };
        if !left_out {
            kept.push(b';');
            kept.extend_from_slice(part);
        }
    }
    (kept.len() < value.len()).then_some(kept)
}

/// Whether a cookie's `Domain` is the upstream's host or has it below.
fn is_domain_of(value: &[u8], destination: &Destination) -> bool {
    let domain = value.trim_ascii();
    let domain = domain.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(domain);
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    let host = destination.host.as_bytes();
    let Some(at) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    let is_below = at == 0 || host[at - 1] == b'.';
    !domain.is_empty() && is_below && host[at..].eq_ignore_ascii_case(domain)
}

#[cfg(test)]
mod tests;
