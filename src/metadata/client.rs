//! One request to the metadata server, on a connection of its own. The only file that knows ureq.
//!
//! Cleartext HTTP/1.1. A redirect is returned as any other response, and the proxies of the environment are not used.
//! The proxy's own resolver looks the server's name up: the system's would ask runsd.

use std::error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::{NextTimeout, TcpConnector};

use crate::dns::resolver::{ResolveError, Resolver};
use crate::net::authority::Authority;
use crate::net::context::Background;
use crate::net::hosts::HostsFile;

/// A response that was received to its end.
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Whether it has `Metadata-Flavor: Google`, as all responses of a metadata server.
    pub has_flavor: bool,
    /// At most [`MAX_BODY_LEN`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no response: a sentence for people. It never contains bytes of the response, which could be a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Another attempt may succeed.
    Transient(String),
    /// Another attempt would fail, too.
    Permanent(String),
}

impl Error {
    /// The sentence.
    pub fn into_sentence(self) -> String {
        match self {
            Error::Transient(sentence) | Error::Permanent(sentence) => sentence,
        }
    }

    fn not_a_host(host: &str) -> Error {
        Error::Permanent(format!("the metadata server is said to be at {host:?}, which is no host[:port]"))
    }

    fn timed_out() -> Error {
        Error::Transient("the metadata server did not answer in time".to_owned())
    }

    fn incomplete() -> Error {
        Error::Transient("the metadata server closed before its response was complete".to_owned())
    }

    fn not_http(what: &str) -> Error {
        Error::Permanent(format!("the metadata server's response is not HTTP: {what}"))
    }

    fn unresolved(host: &str, err: &ResolveError) -> Error {
        match err {
            ResolveError::InvalidName(_) => Error::not_a_host(host),
            err => Error::Transient(format!("the metadata server's name has no address: {err}")),
        }
    }
}

/// For ureq, which carries the errors of [`AddressLookup`].
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::Transient(sentence) | Error::Permanent(sentence)) = self;
        f.write_str(sentence)
    }
}

impl error::Error for Error {}

/// Sends requests to one `host[:port]`.
pub struct Client {
    host: String,
    agent: Agent,
}

impl Client {
    /// Neither resolves nor connects; [`Client::round_trip`] does.
    pub fn new(host: String, resolver: Arc<Resolver>) -> Client {
        let config = Config::builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .no_delay(false) // a request is one write; and a sandbox may not have the option
            .max_idle_connections(0) // one would be stale by the next request, minutes later
            .max_response_header_size(MAX_HEAD_LEN)
            .input_buffer_size(MAX_HEAD_LEN + 4 * 1024) // more than that, so that a head that is too large is seen to be
            .output_buffer_size(16 * 1024) // requests have no body
            .user_agent(USER_AGENT)
            .accept_encoding("")
            .build();
        let agent = Agent::with_parts(config, TcpConnector::default(), AddressLookup(resolver));
        Client { host, agent }
    }

    /// Sends a GET for `path`, which starts with a slash, and receives the response.
    ///
    /// Blocks: until the response is complete, for `timeout` at most.
    ///
    /// # Errors
    /// Why there is no response.
    pub fn round_trip(&self, path: &str, timeout: Duration) -> Result<Response, Error> {
        // A host with a path or a scheme in it would lead to another URL.
        Authority::parse(self.host.as_bytes()).map_err(|_| Error::not_a_host(&self.host))?;
        let uri = format!("http://{}{path}", self.host).parse::<Uri>();
        let request = self
            .agent
            .get(uri.map_err(|_| Error::not_a_host(&self.host))?)
            .header("Metadata-Flavor", FLAVOR)
            .header("Connection", "close")
            .config()
            .timeout_global(Some(timeout))
            .build();
        let mut response = request.call().map_err(|err| self.error(err))?;
        let headers = response.headers();
        // RFC 9112 section 6.1: such a message may be an attempt to smuggle another one.
        if headers.contains_key("content-length") && headers.contains_key("transfer-encoding") {
            return Err(Error::not_http("Content-Length and Transfer-Encoding at once"));
        }
        let flavor = headers.get("metadata-flavor");
        let has_flavor = flavor.is_some_and(|flavor| flavor.as_bytes().eq_ignore_ascii_case(FLAVOR.as_bytes()));
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_BODY_LEN);
        Ok(Response { status, has_flavor, body: body.read_to_vec().map_err(|err| self.error(err))? })
    }

    fn error(&self, err: ureq::Error) -> Error {
        match err {
            ureq::Error::Timeout(_) => Error::timed_out(),
            ureq::Error::Other(other) => match other.downcast::<Error>() {
                Ok(err) => *err,
                Err(_) => Error::not_http("an error without a name"),
            },
            ureq::Error::Io(err) => match err.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::timed_out(),
                io::ErrorKind::UnexpectedEof => Error::incomplete(),
                _ => Error::Transient(format!("cannot reach the metadata server: {err}")),
            },
            ureq::Error::BodyStalled => Error::incomplete(), // the connection ended inside a chunk-size line
            ureq::Error::BodyExceedsLimit(limit) => {
                Error::Permanent(format!("the metadata server's response is over {limit} bytes"))
            }
            ureq::Error::LargeResponseHeader(..) => Error::not_http("a head larger than 64 KiB"),
            ureq::Error::BadUri(_) => Error::not_a_host(&self.host),
            ureq::Error::Http(_) => Error::not_http("a head that cannot be read"),
            other => Error::not_http(without_data(&other.to_string())),
        }
    }
}

/// Shortens an error of ureq, `protocol: WHAT` or `protocol: WHAT: DETAILS`: the details may be bytes of the response,
/// except those of httparse, which are fixed phrases.
fn without_data(text: &str) -> &str {
    let text = text.trim_start_matches("protocol: ");
    match text.split_once(": ") {
        Some(("http parse fail", details)) => details.split(": ").next().unwrap_or_default(),
        Some((what, _)) => what,
        None => text,
    }
}

/// Has ureq use the proxy's resolver.
struct AddressLookup(Arc<Resolver>);

impl fmt::Debug for AddressLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressLookup")
    }
}

impl UreqResolver for AddressLookup {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let text = uri.authority().map_or("", |authority| authority.as_str());
        let found = match Authority::parse(text.as_bytes()) {
            Ok(authority) => lookup(&self.0, authority.host, authority.port.unwrap_or(80))
                .map_err(|err| Error::unresolved(text, &err)),
            Err(_) => Err(Error::not_a_host(text)),
        };
        let mut addresses = self.empty();
        for address in found.map_err(|err| ureq::Error::Other(Box::new(err)))?.into_iter().take(MAX_ADDRESSES) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Looks `host` up in `/etc/hosts`, and then by DNS.
fn lookup(resolver: &Resolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    if host.parse::<IpAddr>().is_err()
        && let Some(ip) = HostsFile::read().lookup(host)
    {
        return Ok(vec![(ip, port).into()]);
    }
    resolver.resolve(host, port, &mut Background)
}

const FLAVOR: &str = "Google";
const USER_AGENT: &str = concat!("runsd/", env!("CARGO_PKG_VERSION"));

/// Bytes of a body at most. A token has about 1,000, other bodies fewer.
const MAX_BODY_LEN: u64 = 64 * 1024;

/// Bytes of a response's head at most, as of the heads that the proxy reads.
const MAX_HEAD_LEN: usize = 64 * 1024;

/// The capacity of [`ResolvedSocketAddrs`].
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests;
