//! One question to an HTTP server, on a connection of its own: GET, and the
//! whole answer within a time and a size.
//!
//! Redirects are answers like others, and no proxy is ever asked.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::dns::resolve::{ResolveError, Resolver};
use crate::proxy::http1::body::{BadChunk, Body};
use crate::proxy::http1::head::{BadHead, Head};
use crate::resolv_conf;

/// What came back.
pub struct Answer {
    pub status: u16,
    /// Whether it has `Metadata-Flavor: Google`.
    pub flavored: bool,
    pub body: Vec<u8>,
}

/// Why nothing came back. None of these has a byte of the answer in it, which
/// could be the token itself.
#[derive(Debug)]
pub enum NoAnswer {
    NotAHost(String),
    NoAddress(ResolveError),
    TimedOut,
    Unreachable(io::Error),
    /// It closed before the answer was whole.
    CutShort,
    BadHead(BadHead),
    BadBody(BadChunk),
    /// The body has more than this many bytes.
    TooLarge(usize),
}

/// Asks `host[:port]` for `path`, and waits no longer than `time`.
pub fn get(
    resolver: &Resolver,
    host: &str,
    path: &str,
    time: Duration,
) -> Result<Answer, NoAnswer> {
    let deadline = Instant::now() + time;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
         Metadata-Flavor: Google\r\nConnection: close\r\n\r\n"
    );
    let mut last = NoAnswer::TimedOut;
    for address in addresses(resolver, host)? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(tcp) => return converse(&tcp, request.as_bytes(), deadline),
            Err(err) => last = no_answer(err),
        }
    }
    Err(last)
}

fn addresses(resolver: &Resolver, host: &str) -> Result<Vec<SocketAddr>, NoAnswer> {
    let not_a_host = || NoAnswer::NotAHost(host.to_owned());
    let authority = Authority::parse(host.as_bytes()).map_err(|_| not_a_host())?;
    let (name, port) = (authority.host, authority.port.unwrap_or(HTTP));
    if name.parse::<IpAddr>().is_err() {
        // The system's resolver would ask us, so its file is read here.
        let hosts = resolv_conf::read(Path::new("/etc/hosts")).unwrap_or_default();
        if let Some(ip) = listed(&String::from_utf8_lossy(&hosts), name) {
            return Ok(vec![(ip, port).into()]);
        }
    }
    match resolver.resolve(name, port) {
        Err(ResolveError::NotAName(_)) => Err(not_a_host()),
        asked => asked.map_err(NoAnswer::NoAddress),
    }
}

/// The address that an /etc/hosts has for a name.
fn listed(hosts: &str, name: &str) -> Option<IpAddr> {
    hosts.lines().find_map(|line| {
        let (line, _) = line.split_once('#').unwrap_or((line, ""));
        let mut words = line.split_ascii_whitespace();
        let ip = words.next()?.parse().ok()?;
        words
            .any(|word| word.eq_ignore_ascii_case(name))
            .then_some(ip)
    })
}

fn converse(mut tcp: &TcpStream, request: &[u8], deadline: Instant) -> Result<Answer, NoAnswer> {
    tcp.set_write_timeout(Some(left(deadline)?))
        .map_err(no_answer)?;
    tcp.write_all(request).map_err(no_answer)?;
    let mut head = Head::default();
    let mut input = Vec::new();
    let end = loop {
        match head.read_response(&input).map_err(NoAnswer::BadHead)? {
            // Word that an answer is coming, and no more.
            Some(end) if head.status(&input) < 200 => {
                input.drain(..end);
            }
            Some(end) => break end,
            None if more(tcp, &mut input, deadline)? == 0 => return Err(NoAnswer::CutShort),
            None => {}
        }
    };
    let framing = head.response_framing(&input, false);
    let framing = framing.map_err(NoAnswer::BadHead)?;
    let flavor = head.get(&input, "metadata-flavor");
    let mut answer = Answer {
        status: head.status(&input),
        flavored: flavor.is_some_and(|flavor| flavor.eq_ignore_ascii_case(b"google")),
        body: Vec::new(),
    };
    input.drain(..end);
    let Some(mut body) = Body::new(framing) else {
        return Ok(answer);
    };
    loop {
        let carried = |data: &[u8]| answer.body.extend_from_slice(data);
        let (_, done) = body.take(&input, carried).map_err(NoAnswer::BadBody)?;
        if answer.body.len() > LARGEST_BODY {
            return Err(NoAnswer::TooLarge(LARGEST_BODY));
        }
        input.clear();
        if done {
            return Ok(answer);
        }
        if more(tcp, &mut input, deadline)? == 0 {
            return match body {
                Body::Close => Ok(answer),
                Body::Length(_) | Body::Chunked(_) => Err(NoAnswer::CutShort),
            };
        }
    }
}

/// One read, added to `input`; 0 at the end.
fn more(mut tcp: &TcpStream, input: &mut Vec<u8>, deadline: Instant) -> Result<usize, NoAnswer> {
    let held = input.len();
    input.resize(held + READ, 0);
    let n = loop {
        tcp.set_read_timeout(Some(left(deadline)?))
            .map_err(no_answer)?;
        match tcp.read(&mut input[held..]) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            done => break done.map_err(no_answer)?,
        }
    };
    input.truncate(held + n);
    Ok(n)
}

/// Never zero, which sockets would not take for a time.
fn left(deadline: Instant) -> Result<Duration, NoAnswer> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(NoAnswer::TimedOut),
        false => Ok(left),
    }
}

fn no_answer(err: io::Error) -> NoAnswer {
    match err.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => NoAnswer::TimedOut,
        _ => NoAnswer::Unreachable(err),
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NotAHost(host) => write!(
                f,
                "the metadata server is said to be at {host:?}, which is no host[:port]"
            ),
            NoAnswer::NoAddress(err) => {
                write!(f, "the metadata server's name has no address: {err}")
            }
            NoAnswer::TimedOut => f.write_str("the metadata server did not answer in time"),
            NoAnswer::Unreachable(err) => write!(f, "cannot reach the metadata server: {err}"),
            NoAnswer::CutShort => {
                f.write_str("the metadata server closed before its answer was whole")
            }
            NoAnswer::BadHead(bad) => not_http(f, bad),
            NoAnswer::BadBody(bad) => not_http(f, bad),
            NoAnswer::TooLarge(limit) => {
                write!(f, "the metadata server's answer is over {limit} bytes")
            }
        }
    }
}

fn not_http(f: &mut fmt::Formatter<'_>, bad: &dyn fmt::Display) -> fmt::Result {
    write!(f, "the metadata server's answer is not HTTP: {bad}")
}

const USER_AGENT: &str = concat!("runsd/", env!("CARGO_PKG_VERSION"));
const HTTP: u16 = 80;
const LARGEST_BODY: usize = 64 * 1024;
const READ: usize = 4 * 1024;

#[cfg(test)]
mod tests;
