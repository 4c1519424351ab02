//! One request to the metadata server: GET on a connection of its own, and the
//! whole response within a time and a size. The only file that knows ureq.
//!
//! Cleartext only; a redirect is a response like others, and no proxy of the
//! environment is ever asked. The name is looked up by the proxy's own resolver,
//! because the system's would ask runsd.

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
use crate::net::hosts::HostsFile;

/// What came back.
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Whether it has `Metadata-Flavor: Google`.
    pub flavored: bool,
    /// At most [`MAX_BODY_LEN`] bytes.
    pub body: Vec<u8>,
}

/// Why nothing came back. None of these has a byte of the response in it, which
/// could be the token itself.
#[derive(Debug)]
pub enum Error {
    /// What was configured is not `host[:port]`.
    NotAHost(String),
    /// The name has no address.
    Unresolved(ResolveError),
    /// The time was over.
    TimedOut,
    /// It could not be connected to, or the connection broke.
    Unreachable(io::Error),
    /// It closed before the response was whole.
    Incomplete,
    /// ureq's word for what is wrong, without what came.
    NotHttp(String),
    /// The body has more than this many bytes.
    TooLarge(u64),
}

/// Asks one `host[:port]`.
pub struct Client {
    host: String,
    agent: Agent,
}

impl Client {
    /// Nothing is resolved or connected to before [`Client::get`].
    pub fn new(host: String, resolver: Arc<Resolver>) -> Client {
        let config = Config::builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .no_delay(false) // one write; and a kernel may not have the option
            .max_idle_connections(0) // it would be stale when the CPU comes back
            .max_response_header_size(MAX_HEAD_LEN)
            .input_buffer_size(MAX_HEAD_LEN + 4 * 1024) // more than that, so that "too large" is seen
            .output_buffer_size(16 * 1024) // a request has no body
            .user_agent(USER_AGENT)
            .accept_encoding("")
            .build();
        let agent = Agent::with_parts(config, TcpConnector::default(), Addresses(resolver));
        Client { host, agent }
    }

    /// Where it is: `host[:port]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Asks for `path`, which begins with a slash.
    ///
    /// Blocks: until the whole response is there, `timeout` at most.
    ///
    /// # Errors
    /// [`Error`] says which step failed.
    pub fn get(&self, path: &str, timeout: Duration) -> Result<Response, Error> {
        // A path or a scheme in it would make another URL of this one.
        Authority::parse(self.host.as_bytes()).map_err(|_| self.not_a_host())?;
        let uri = format!("http://{}{path}", self.host);
        let uri: Uri = uri.parse().map_err(|_| self.not_a_host())?;
        let request = self
            .agent
            .get(uri)
            .header("Metadata-Flavor", FLAVOR)
            .header("Connection", "close")
            .config()
            .timeout_global(Some(timeout))
            .build();
        let mut response = request.call().map_err(|err| self.error(err))?;
        let headers = response.headers();
        if headers.contains_key("content-length") && headers.contains_key("transfer-encoding") {
            let what = "Content-Length and Transfer-Encoding at once";
            return Err(Error::NotHttp(what.to_owned()));
        }
        let flavor = headers.get("metadata-flavor");
        let flavored = flavor.is_some_and(|flavor| flavor.as_bytes().eq_ignore_ascii_case(FLAVOR.as_bytes()));
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_BODY_LEN);
        Ok(Response { status, flavored, body: body.read_to_vec().map_err(|err| self.error(err))? })
    }

    fn not_a_host(&self) -> Error {
        Error::NotAHost(self.host.clone())
    }

    fn error(&self, err: ureq::Error) -> Error {
        match err {
            ureq::Error::Timeout(_) => Error::TimedOut,
            ureq::Error::Other(other) => match other.downcast::<Unresolved>() {
                Ok(unresolved) => match unresolved.0 {
                    ResolveError::NotAName(_) => self.not_a_host(),
                    err => Error::Unresolved(err),
                },
                Err(_) => Error::NotHttp("an error without a name".to_owned()),
            },
            ureq::Error::Io(err) => match err.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::TimedOut,
                io::ErrorKind::UnexpectedEof => Error::Incomplete,
                _ => Error::Unreachable(err),
            },
            ureq::Error::BodyStalled => Error::Incomplete, // an end inside a chunk-size line
            ureq::Error::BodyExceedsLimit(limit) => Error::TooLarge(limit),
            ureq::Error::LargeResponseHeader(..) => Error::NotHttp("a head larger than 64 KiB".to_owned()),
            ureq::Error::BadUri(_) => self.not_a_host(),
            ureq::Error::Http(_) => Error::NotHttp("a head that cannot be read".to_owned()),
            other => Error::NotHttp(without_data(&other.to_string())),
        }
    }
}

/// ureq says `protocol: WHAT` or `protocol: WHAT: BYTES`, where the bytes may
/// be those of the response; only httparse's are a fixed phrase.
fn without_data(text: &str) -> String {
    let mut parts = text.trim_start_matches("protocol: ").splitn(2, ": ");
    let what = parts.next().unwrap_or_default();
    match parts.next() {
        Some(why) if what == "http parse fail" => why.to_owned(),
        _ => what.to_owned(),
    }
}

/// ureq's way to our resolver.
struct Addresses(Arc<Resolver>);

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Addresses")
    }
}

impl UreqResolver for Addresses {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let unresolved = |err| ureq::Error::Other(Box::new(Unresolved(err)));
        let text = uri.authority().map_or("", |authority| authority.as_str());
        let authority =
            Authority::parse(text.as_bytes()).map_err(|_| unresolved(ResolveError::NotAName(text.to_owned())))?;
        let found = lookup(&self.0, authority.host, authority.port.unwrap_or(80));
        let mut addresses = self.empty();
        for address in found.map_err(unresolved)?.into_iter().take(MAX_ADDRESSES) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn lookup(resolver: &Resolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    if host.parse::<IpAddr>().is_err()
        && let Some(ip) = HostsFile::read().lookup(host)
    {
        return Ok(vec![(ip, port).into()]);
    }
    resolver.resolve(host, port)
}

/// A [`ResolveError`] on its way through ureq.
#[derive(Debug)]
struct Unresolved(ResolveError);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for Unresolved {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotAHost(host) => {
                write!(f, "the metadata server is said to be at {host:?}, which is no host[:port]")
            }
            Error::Unresolved(err) => {
                write!(f, "the metadata server's name has no address: {err}")
            }
            Error::TimedOut => f.write_str("the metadata server did not answer in time"),
            Error::Unreachable(err) => write!(f, "cannot reach the metadata server: {err}"),
            Error::Incomplete => f.write_str("the metadata server closed before its answer was whole"),
            Error::NotHttp(what) => write!(f, "the metadata server's answer is not HTTP: {what}"),
            Error::TooLarge(limit) => {
                write!(f, "the metadata server's answer is over {limit} bytes")
            }
        }
    }
}

const FLAVOR: &str = "Google";
const USER_AGENT: &str = concat!("runsd/", env!("CARGO_PKG_VERSION"));
/// Bytes; a token has some 1,000, other answers fewer.
const MAX_BODY_LEN: u64 = 64 * 1024;
/// Bytes, as for the heads that the proxy reads.
const MAX_HEAD_LEN: usize = 64 * 1024;
/// As many as ureq has room for.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests;
