//! The proxy: listeners on loopback, a thread for each connection, HTTP/1 or
//! HTTP/2 by its first bytes.

pub mod hint;
mod hop;
pub mod http1;
pub mod http2;
mod policy;
pub mod refusal;
mod room;
pub mod route;
mod seats;
mod seen;
pub mod syntax;
mod trace;
pub mod upstream;

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use log::{debug, error, warn};

use self::hint::Hints;
use self::http2::PREFACE;
use self::policy::Policy;
use self::refusal::{Kind, Refusal};
use self::route::{Router, Sent, Target};
use self::seats::Seats;
use self::upstream::{Settings, Upstream};
use crate::config::Config;
use crate::destination::{Destination, Form, Needs, Place};
use crate::dns::nameservers::Nameservers;
use crate::dns::resolve::Resolver;
use crate::here::Here;
use crate::metadata::Metadata;
use crate::secret::Secret;
use crate::sys;
use crate::sys::net::{Wait, Waiting};
use crate::tokens::Tokens;

/// What all connections share.
pub struct Proxy {
    pub router: Router,
    pub form: Form,
    pub here: Here,
    pub metadata: Arc<Metadata>,
    pub tokens: Tokens,
    pub upstream: Upstream,
    /// For the connections of all listeners.
    seats: Arc<Seats>,
    pub hints: Hints,
    /// The port it listens on.
    pub port: u16,
    /// Serves through `http_proxy`: other plain-HTTP hosts are passed on.
    pub open: bool,
}

/// Where the requests for one `Host` go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    pub destination: Destination,
    /// The `Host` that is sent there.
    pub authority: String,
    /// None of our names: passed on untouched.
    pub foreign: bool,
}

/// An answer of 401, 403 or 404.
#[derive(Debug)]
pub struct Refused<'a> {
    pub goal: &'a Goal,
    /// The name as the application wrote it.
    pub name: &'a str,
    /// It was sent with a token of ours.
    pub ours: bool,
    pub status: u16,
    /// `WWW-Authenticate`.
    pub challenge: Option<&'a [u8]>,
    /// The beginning of the body.
    pub body: &'a [u8],
}

/// The listeners, bound but not yet served.
#[derive(Debug)]
pub struct Sockets(Vec<TcpListener>);

/// Binds 127.0.0.1 and, where it exists, ::1; nothing else happens here.
pub fn bind(port: u16) -> io::Result<Sockets> {
    let listen = |ip: IpAddr, port| sys::net::listen((ip, port).into(), Waiting::Long);
    let mut listeners = vec![listen(Ipv4Addr::LOCALHOST.into(), port)?];
    let port = match port {
        0 => listeners[0].local_addr()?.port(),
        port => port,
    };
    match listen(Ipv6Addr::LOCALHOST.into(), port) {
        Ok(listener) => listeners.push(listener),
        // No IPv6 here, which is common.
        Err(err) if sys::net::has_no_such_address(&err) => {}
        Err(err) => warn!("proxy: not on ::1: {err}"),
    }
    Ok(Sockets(listeners))
}

impl Sockets {
    /// The port all of them share.
    pub fn port(&self) -> u16 {
        self.addresses().next().map_or(0, |address| address.port())
    }

    /// Whether ::1 is among them.
    pub fn ipv6(&self) -> bool {
        self.addresses()
            .any(|address| matches!(address.ip(), IpAddr::V6(_)))
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
    }

    /// For the first connection of all.
    pub fn waits(&self) -> impl Iterator<Item = Wait> {
        self.0.iter().map(Wait::readable)
    }

    /// Serves them, each from a thread of its own.
    pub fn serve(self, proxy: &Arc<Proxy>) {
        for listener in self.0 {
            let proxy = proxy.clone();
            let accept = move || accept(&listener, &proxy);
            if let Err(err) = builder("accept").spawn(sys::held(accept)) {
                error!("proxy: cannot start: {err}");
            }
        }
    }
}

fn builder(name: &str) -> thread::Builder {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
}

fn accept(listener: &TcpListener, proxy: &Arc<Proxy>) {
    // Inherited by the threads of the connections: with many of them, woken
    // threads queue instead of pushing the running one aside.
    sys::batch();
    loop {
        match listener.accept() {
            Ok((tcp, _)) => seat(&Arc::new(tcp), proxy),
            Err(err) => {
                // Mostly: no descriptors left. They come back as connections
                // end; until then, trying at once would only burn the CPU.
                warn!("proxy: cannot accept: {err}; trying again");
                proxy.seats.pause(REST);
            }
        }
    }
}

/// Has a connection served by a thread of its own. Until there is a seat and a
/// thread for it, it waits, and those behind it in the kernel's queue.
fn seat(tcp: &Arc<TcpStream>, proxy: &Arc<Proxy>) {
    let mut seat = proxy.seats.take(|most| {
        warn!("proxy: {most} connections, which is all that there are descriptors for; more of them wait");
    });
    loop {
        // Again for each try: a thread that cannot be started takes them along.
        let (tcp, proxy) = (tcp.clone(), proxy.clone());
        let work = {
            let proxy = proxy.clone();
            move || {
                serve(&tcp, &proxy);
                drop(tcp);
                drop(seat);
            }
        };
        let Err(err) = builder("http").spawn(sys::held(work)) else {
            return;
        };
        warn!("proxy: no thread for a connection: {err}; it waits");
        proxy.seats.pause(REST);
        seat = proxy.seats.take(|_| ());
    }
}

fn serve(tcp: &TcpStream, proxy: &Arc<Proxy>) {
    let _ = tcp.set_nodelay(true);
    let (mut first, mut tunnelled) = (Vec::new(), None);
    // Inside of a CONNECT the connection begins anew: gRPC through a proxy.
    while let Some(bytes) = read_first(tcp, first) {
        if bytes.starts_with(PREFACE) {
            return serve_http2(tcp, bytes, proxy);
        }
        // Where it is not known, an idle client only keeps what it could lend.
        let _ = tcp.set_read_timeout(Some(http1::PATIENCE));
        let Some(tunnel) = http1::serve(proxy, tcp, bytes, tunnelled) else {
            return;
        };
        let _ = tcp.set_read_timeout(None);
        first = tunnel.first;
        tunnelled = Some(tunnel.authority);
    }
}

/// Reads on until the protocol shows; `None` when the client is gone.
fn read_first(mut tcp: &TcpStream, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let mut n = bytes.len();
    bytes.resize(n.max(FIRST), 0);
    // "PRI" is no method of HTTP/1, so few bytes tell (RFC 9113 section 3.4).
    while n < PREFACE.len() && PREFACE.starts_with(&bytes[..n]) {
        match tcp.read(&mut bytes[n..]) {
            Ok(0) | Err(_) => return None,
            Ok(more) => n += more,
        }
    }
    bytes.truncate(n);
    Some(bytes)
}

/// Never a part of the above: what it needs of the stack would be taken from
/// each connection of HTTP/1.
#[inline(never)]
fn serve_http2(tcp: &TcpStream, first: Vec<u8>, proxy: &Proxy) {
    if let Err(err) = http2::serve(tcp, first, &Policy::new(proxy, tcp)) {
        debug!("proxy: an HTTP/2 connection ended: {err}");
    }
}

impl Proxy {
    /// For this instance; nothing is asked of anyone yet.
    pub fn new(config: &Config, nameservers: Arc<Nameservers>, port: u16, open: bool) -> Proxy {
        let resolver = Arc::new(Resolver::new(nameservers));
        let host = config.metadata_host.clone();
        let metadata = Arc::new(Metadata::new(host, resolver.clone()));
        let asked = metadata.clone();
        let fetched = || Tokens::new(move |audience| asked.identity_token(audience));
        let tokens = match config.fixed_token.as_ref().map(Tokens::fixed) {
            Some(Ok(tokens)) => tokens,
            Some(Err(err)) => {
                error!("CLOUD_RUN_ID_TOKEN is no token: {err}; asking the metadata server");
                fetched()
            }
            None => fetched(),
        };
        let seats = Seats::new(seats::for_descriptors(sys::raise_descriptors()));
        Proxy {
            router: Router {
                names: config.names(),
                auth_header: config.args.auth_header,
            },
            form: config.form.clone(),
            here: Here::new(Place {
                region: config.args.gcp_region.clone().unwrap_or_default(),
                project: config.args.gcp_project_number.clone().unwrap_or_default(),
            }),
            metadata,
            tokens,
            upstream: Upstream::new(
                Settings {
                    trust: config.trust.clone(),
                    address: config.args.upstream_addr,
                    own_port: port,
                    seats: seats.clone(),
                },
                resolver,
            ),
            seats,
            hints: Hints::default(),
            port,
            open,
        }
    }

    /// Where the requests for a `Host` go; waits for the metadata server where
    /// the name leaves something open.
    pub fn goal(&self, host: &str) -> Result<Goal, Refusal> {
        let authority = syntax::authority(host.as_bytes())?;
        let destination = match self.router.lookup(authority, self.port) {
            Some(Target::Service(service)) => {
                let needs = Needs::of(&service, &self.form);
                let place = self.here.place(needs, &self.metadata).map_err(|err| {
                    Refusal::new(
                        Kind::ProxyConfigurationError,
                        format!("the region and project of this instance are not known: {err}"),
                    )
                })?;
                Destination::of_service(&service, place, &self.form)
                    .map_err(|err| Refusal::new(Kind::DestinationNotFound, err))?
            }
            // Without TLS a route leads to loopback, where we are, too.
            Some(Target::Route(route)) if !route.tls && route.port == self.port => {
                return Err(Refusal::new(
                    Kind::ProxyLoopDetected,
                    format!("{host:?} leads back to runsd; give the name another URL with -route"),
                ));
            }
            Some(Target::Route(route)) => Destination::of_route(route),
            Some(Target::Metadata) => return foreign(self.metadata.host(), host),
            Some(Target::OtherPort(_)) | None if self.open => return foreign(host, host),
            Some(Target::OtherPort(port)) => {
                let host = authority.host;
                return Err(Refusal::new(
                    Kind::DestinationNotFound,
                    format!("nothing is served at port {port} of {host:?}; ask for http://{host}"),
                ));
            }
            None => {
                return Err(Refusal::new(
                    Kind::DestinationNotFound,
                    format!("{host:?} is not the name of a service"),
                ));
            }
        };
        Ok(Goal {
            authority: destination.authority(),
            destination,
            foreign: false,
        })
    }

    /// The value of the header that says who calls; `None` where none is sent.
    pub fn bearer(
        &self,
        goal: &Goal,
        sent: &Sent<'_>,
        now: SystemTime,
    ) -> Result<Option<Secret>, Refusal> {
        let Some(audience) = &goal.destination.audience else {
            return Ok(None);
        };
        if !self.router.wants_token(sent) {
            return Ok(None);
        }
        let bearer = self.tokens.bearer(audience, now).map_err(|err| {
            Refusal::new(
                Kind::ProxyConfigurationError,
                format!("no identity token for {audience}: {err}"),
            )
        })?;
        Ok(Some(bearer))
    }

    /// Drops a token that was called invalid, and gets another one, if there
    /// is another one.
    pub fn another(&self, goal: &Goal, refused: &Secret) -> Option<Secret> {
        if !self.forget(goal, refused) {
            return None;
        }
        let audience = goal.destination.audience.as_ref()?;
        let other = self.tokens.bearer(audience, SystemTime::now()).ok()?;
        (other != *refused).then_some(other)
    }

    /// Drops a token that was called invalid; whether asking again is worth it.
    pub fn forget(&self, goal: &Goal, refused: &Secret) -> bool {
        let audience = goal.destination.audience.as_ref();
        audience.is_some_and(|audience| self.tokens.forget(audience, refused, SystemTime::now()))
    }

    /// Looks at an answer that says no: where the front end gave it, people
    /// are told once what to look at.
    pub fn refused(&self, to: &Refused<'_>) {
        let destination = &to.goal.destination;
        if !hint::is_front_end(to.status, to.challenge, to.body)
            || !self.hints.is_first(&destination.host, to.status)
        {
            return;
        }
        // As the token says it: to ask anyone would delay the answer.
        let account = to.ours.then(|| {
            let named = self.tokens.account();
            named.unwrap_or_else(|| "this service's account".to_owned())
        });
        let url = match &destination.audience {
            Some(audience) => audience.clone(),
            None => format!("https://{}", destination.authority()),
        };
        let name = to.name.strip_suffix(":80").unwrap_or(to.name);
        warn!(
            "{}",
            hint::sentence(to.status, name, &url, account.as_deref())
        );
    }

    /// Logs a refusal, in the same words for both protocols; `name` is what the
    /// application called.
    pub fn say(&self, name: &str, refusal: &Refusal) {
        let name = name.strip_suffix(":80").unwrap_or(name);
        warn!("proxy: {name}: {}", refusal.reason());
    }

    /// What the first request would have to wait for.
    pub fn warm(&self) {
        self.upstream.warm();
        let needs = Needs {
            region: true,
            project: matches!(self.form, Form::Deterministic { .. }),
        };
        if let Err(err) = self.here.place(needs, &self.metadata) {
            warn!(
                "the metadata server does not say where this is: {err}; asking again when needed"
            );
        }
    }
}

/// A plain-HTTP host that is none of ours; `asked` is what the client called it.
fn foreign(host: &str, asked: &str) -> Result<Goal, Refusal> {
    let host = syntax::authority(host.as_bytes())?;
    Ok(Goal {
        destination: Destination {
            host: host.host.to_ascii_lowercase(),
            port: host.port.unwrap_or(80),
            tls: false,
            audience: None,
        },
        authority: asked.to_owned(),
        foreign: true,
    })
}

/// Stack of a connection's thread, in bytes. TLS handshakes are what needs it;
/// only pages that are touched become memory.
pub const STACK: usize = 256 * 1024;
/// How long to leave alone what failed.
const REST: Duration = Duration::from_millis(50);
/// Room for the first read of a connection, in bytes.
const FIRST: usize = 4 * 1024;
