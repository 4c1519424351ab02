//! The proxy: what all connections share. `server` has the listeners and the
//! threads.

mod access_log;
pub mod denial;
pub mod error;
pub mod header_policy;
mod hop_by_hop;
pub mod http1;
pub mod http2;
mod server;
pub mod syntax;
mod trace_context;

use std::sync::Arc;
use std::time::SystemTime;

use log::{error, warn};

pub use self::server::{STACK, Sockets, bind};

use crate::auth::tokens::Tokens;
use crate::config::Config;
use crate::dns::nameservers::Nameservers;
use crate::dns::resolver::Resolver;
use crate::metadata::Metadata;
use crate::names::destination::{Destination, Location, LocationNeeds, UrlFormat};
use crate::names::location::InstanceLocation;
use crate::net::authority::Authority;
use crate::net::conn_limit::ConnLimiter;
use crate::proxy::denial::DenialLog;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::header_policy::{RequestCredentials, Router, Target};
use crate::secret::Secret;
use crate::sys;
use crate::sys::cgroup_memory::CgroupMemory;
use crate::upstream::{Connector, Settings};

/// What all connections share.
pub struct Proxy {
    pub router: Router,
    pub form: UrlFormat,
    pub here: InstanceLocation,
    pub metadata: Arc<Metadata>,
    pub tokens: Tokens,
    on_cloud_run: bool,
    pub upstream: Connector,
    /// For the connections of all listeners.
    limiter: Arc<ConnLimiter>,
    pub hints: DenialLog,
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
pub struct Denial<'a> {
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
        let limiter = ConnLimiter::new(sys::raise_nofile_limit(), sys::address_space_limit());
        Proxy {
            router: Router { names: config.names(), auth_header: config.args.auth_header },
            form: config.url_format.clone(),
            here: InstanceLocation::new(Location {
                region: config.args.gcp_region.clone().unwrap_or_default(),
                project: config.args.gcp_project_number.clone().unwrap_or_default(),
            }),
            metadata,
            tokens,
            on_cloud_run: config.on_cloud_run(),
            upstream: Connector::new(
                Settings {
                    roots: config.roots.clone(),
                    address: config.args.upstream_addr,
                    own_port: port,
                    limiter: limiter.clone(),
                },
                resolver,
            ),
            limiter,
            hints: DenialLog::default(),
            port,
            open,
        }
    }

    /// Where the requests for a `Host` go; waits for the metadata server where
    /// the name leaves something open.
    pub fn goal(&self, host: &str) -> Result<Goal, ProxyError> {
        let authority = syntax::authority(host.as_bytes())?;
        let destination = match self.router.lookup(authority, self.port) {
            Some(Target::Service(service)) => {
                let needs = LocationNeeds::of(&service, &self.form);
                let place = self.here.place(needs, &self.metadata).map_err(|err| {
                    ProxyError::new(
                        ErrorType::PlaceUnknown,
                        format!("the region and project of this instance are not known: {err}"),
                    )
                })?;
                Destination::of_service(&service, place, &self.form)
                    .map_err(|err| ProxyError::new(ErrorType::DestinationNotFound, err))?
            }
            // Without TLS a route leads to loopback, where we are, too.
            Some(Target::Route(route)) if !route.tls && route.port == self.port => {
                return Err(ProxyError::new(
                    ErrorType::ProxyLoopDetected,
                    format!("{host:?} leads back to runsd; give the name another URL with -route"),
                ));
            }
            Some(Target::Route(route)) => Destination::of_route(route),
            Some(Target::Metadata) => return foreign(self.metadata.host(), host),
            Some(Target::OtherPort(_)) | None if self.open => return foreign(host, host),
            Some(Target::OtherPort(port)) => {
                let host = authority.host;
                return Err(ProxyError::new(
                    ErrorType::DestinationNotFound,
                    format!("nothing is served at port {port} of {host:?}; ask for http://{host}"),
                ));
            }
            None => {
                return Err(ProxyError::new(
                    ErrorType::DestinationNotFound,
                    format!("{host:?} is not the name of a service"),
                ));
            }
        };
        Ok(Goal { authority: destination.authority(), destination, foreign: false })
    }

    /// The value of the header that says who calls; `None` where none is sent.
    pub fn bearer(
        &self,
        goal: &Goal,
        sent: &RequestCredentials<'_>,
        now: SystemTime,
    ) -> Result<Option<Secret>, ProxyError> {
        let Some(audience) = &goal.destination.audience else {
            return Ok(None);
        };
        if !self.router.wants_token(sent) {
            return Ok(None);
        }
        let bearer = self.tokens.bearer(audience, now).map_err(|err| {
            let kind = match self.on_cloud_run {
                true => ErrorType::ProxyConfigurationError,
                false => ErrorType::IdTokenNotGiven,
            };
            ProxyError::new(kind, format!("no identity token for {audience}: {err}"))
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
        audience.is_some_and(|audience| self.tokens.invalidate(audience, refused, SystemTime::now()))
    }

    /// Looks at an answer that says no: where the front end gave it, people
    /// are told once what to look at.
    pub fn refused(&self, to: &Denial<'_>) {
        let destination = &to.goal.destination;
        if !denial::is_front_end(to.status, to.challenge, to.body) || !self.hints.is_first(&destination.host, to.status)
        {
            return;
        }
        warn!("{}", self.hint(to.goal, to.name, to.status, to.ours));
    }

    /// What to look at when the front end answers a request with this status;
    /// `ours`: the request had a token of ours.
    pub fn hint(&self, goal: &Goal, name: &str, status: u16, ours: bool) -> String {
        let name = name.strip_suffix(":80").unwrap_or(name);
        if let (401, true, Some(ended)) = (status, ours, self.tokens.expiry_notice(SystemTime::now())) {
            return format!("{name}: 401: {ended}");
        }
        // As the token says it: to ask anyone would delay the answer.
        let account = ours.then(|| {
            let named = self.tokens.account();
            named.unwrap_or_else(|| "this service's account".to_owned())
        });
        let destination = &goal.destination;
        let url = match &destination.audience {
            Some(audience) => audience.clone(),
            None => format!("https://{}", destination.authority()),
        };
        denial::sentence(status, name, &url, account.as_deref())
    }

    /// Whom the tokens name: by themselves, or as the metadata server says it.
    pub fn account(&self) -> Result<String, String> {
        match self.tokens.account() {
            Some(account) => Ok(account),
            None => self.metadata.email(),
        }
    }

    /// Bounds the connections by the control group's memory, where it is limited.
    pub fn limit_memory(&self) {
        if let Some(memory) = CgroupMemory::of_process() {
            self.limiter.limit_memory(memory);
        }
    }

    /// What the first request would have to wait for.
    pub fn warm(&self) {
        self.upstream.init_tls();
        if let Some(ended) = self.tokens.expiry_notice(SystemTime::now()) {
            warn!("{ended}");
        }
        let needs = LocationNeeds { region: true, project: matches!(self.form, UrlFormat::Deterministic { .. }) };
        if let Err(err) = self.here.place(needs, &self.metadata) {
            warn!("the metadata server does not say where this is: {err}; asking again when needed");
        }
    }
}

/// Logs a refusal, in the same words for both protocols; `name` is what the
/// application called.
pub fn say(name: &str, refusal: &ProxyError) {
    let name = name.strip_suffix(":80").unwrap_or(name);
    warn!("proxy: {name}: {}", refusal.reason());
}

/// Whom a request is for that cannot be carried out, for people.
pub fn name_of(host: Option<&[u8]>) -> String {
    let host = host.map(Authority::parse).and_then(Result::ok);
    host.map_or("a request", |host| host.text).to_owned()
}

/// A plain-HTTP host that is none of ours; `asked` is what the client called it.
fn foreign(host: &str, asked: &str) -> Result<Goal, ProxyError> {
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
