//! What runsd works with: flags, environment and resolv.conf, put together
//! once and immutable from then on.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use log::warn;

use crate::cli::Args;
use crate::dns::nameservers::is_own;
use crate::names::destination::{Route, UrlFormat};
use crate::names::service;
use crate::names::service::Service;
use crate::resolv_conf::ResolvConf;
use crate::secret::Secret;
use crate::tls::TrustedRoots;

/// All of it.
#[derive(Debug)]
pub struct Config {
    /// As it was typed, for what needs no thought.
    pub args: Args,
    /// The metadata server: `host[:port]`.
    pub metadata_host: String,
    /// `CLOUD_RUN_ID_TOKEN`
    pub fixed_token: Option<Secret>,
    pub on_cloud_run: bool,
    pub form: UrlFormat,
    pub roots: TrustedRoots,
}

/// Whether this is Cloud Run, and how that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// By this variable.
    CloudRun(&'static str),
    /// Another machine, where `-gcp_region` says that services are wanted.
    Remote,
    /// For this reason.
    Elsewhere(&'static str),
}

impl Config {
    /// Puts flags and environment together; `env` answers for one variable.
    pub fn new(args: Args, env: impl Fn(&str) -> Option<OsString>) -> Config {
        let text = |name| text(&env, name);
        let domain = args.run_domain.clone();
        let hash = args.gcp_project_hash.clone();
        Config {
            metadata_host: text("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_ADDRESS.to_string()),
            fixed_token: text("CLOUD_RUN_ID_TOKEN").map(|token| Secret::new(token.trim())),
            on_cloud_run: matches!(platform(&args, &env), Platform::CloudRun(_)),
            form: match hash.or_else(|| text("CLOUD_RUN_PROJECT_HASH")) {
                Some(hash) => UrlFormat::Hash { hash, domain },
                None => UrlFormat::Deterministic { domain },
            },
            roots: match (args.ca_file.clone(), text("SSL_CERT_FILE")) {
                (Some(path), _) => TrustedRoots::File(path),
                (None, Some(path)) => TrustedRoots::FileOrBuiltIn(path.into()),
                (None, None) => TrustedRoots::BuiltIn,
            },
            args,
        }
    }

    /// Which names are ours.
    pub fn names(&self) -> Names {
        Names { zone: self.args.domain.clone(), routes: self.args.routes.clone(), only: self.args.only.clone() }
    }

    /// What the DNS server works with, once resolv.conf was read; where that
    /// names no nameserver but `own`, the platform's is asked.
    pub fn dns(&self, resolv_conf: &ResolvConf, own: &[SocketAddr]) -> DnsConfig {
        let mut nameservers = self.args.nameservers.clone();
        if nameservers.is_empty() {
            for nameserver in &resolv_conf.nameservers {
                match nameserver.address() {
                    Ok(address) => nameservers.push(address),
                    Err(why) => warn!("nameserver {nameserver} is not asked: {why}"),
                }
            }
        }
        if nameservers.iter().all(|&address| is_own(address, own)) {
            if !nameservers.is_empty() {
                warn!("runsd is the only nameserver named; asking {METADATA_ADDRESS} instead");
            }
            nameservers.push((METADATA_ADDRESS, 53).into());
        }
        DnsConfig { nameservers, search: resolv_conf.search.clone(), timeout: resolv_conf.timeout() }
    }
}

/// The metadata server's address, which is also the usual nameserver's.
pub const METADATA_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// How the application's requests come to runsd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServeMode {
    /// Names of services lead to it, by DNS.
    Dns,
    /// On its port; resolv.conf stays as it is.
    Port,
    /// The application is told of it by `http_proxy`.
    HttpProxy,
}

impl Platform {
    /// On a machine that is somebody's own resolv.conf and the usual ports are
    /// taken only where that was said.
    pub fn serve_mode(&self, args: &Args) -> ServeMode {
        match (args.skip_dns_hijack, self) {
            (Some(false), _) => ServeMode::Dns,
            (_, Platform::Remote) => ServeMode::HttpProxy,
            (Some(true), _) => ServeMode::Port,
            (None, _) => ServeMode::Dns,
        }
    }
}

/// The one question that comes before all others; `env` answers for one variable.
pub fn platform(args: &Args, env: impl Fn(&str) -> Option<OsString>) -> Platform {
    let env = |name| text(&env, name);
    if args.disable {
        return Platform::Elsewhere("RUNSD_DISABLE says so");
    }
    // Knative and Cloud Run for Anthos set the same variables.
    let is_kubernetes = env("KUBERNETES_SERVICE_HOST").is_some();
    let mut signs = ["K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"].into_iter();
    match signs.find(|name| env(name).is_some()) {
        Some(sign) if !is_kubernetes => Platform::CloudRun(sign),
        _ if args.gcp_region.is_some() => Platform::Remote,
        _ if is_kubernetes => Platform::Elsewhere("KUBERNETES_SERVICE_HOST is set"),
        _ => Platform::Elsewhere("none of K_SERVICE, CLOUD_RUN_JOB and CLOUD_RUN_WORKER_POOL is set"),
    }
}

/// The text of a variable; an empty one is none.
fn text(env: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<String> {
    let value = env(name)?.into_string().ok()?;
    (!value.is_empty()).then_some(value)
}

/// Which names are ours, for the DNS server and the proxy alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The zone services live in, lower case, without outer dots: `run.internal`.
    pub zone: String,
    /// Names given with `-route`, lower case, without the zone.
    pub routes: Vec<Route>,
    /// With `-only`: the names that are ours, and no other; lower case, without
    /// the zone.
    pub only: Option<Vec<String>>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedTarget<'a> {
    /// A service, by the grammar of names.
    Service(Service),
    /// What the user said with `-route`.
    Route(&'a Route),
}

impl Names {
    /// What a name stands for, in any spelling; `None` when it is not ours.
    ///
    /// A route goes before a service of the same name. `-only hello` leaves
    /// every spelling of the service `hello`, in all regions and with all
    /// tags; `-only hello.us-east1` leaves just that one.
    pub fn find(&self, text: &str) -> Option<NamedTarget<'_>> {
        let name = service::relative(text, &self.zone);
        let named = match self.routes.iter().find(|route| route.name == name) {
            Some(route) => NamedTarget::Route(route),
            None => NamedTarget::Service(Service::parse(&name)?),
        };
        let Some(only) = &self.only else {
            return Some(named);
        };
        let listed = |entry: &String| match &named {
            NamedTarget::Service(service) => *entry == service.name || *entry == name,
            NamedTarget::Route(_) => *entry == name,
        };
        only.iter().any(listed).then_some(named)
    }
}

/// What the DNS server needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// The nameservers of the original resolv.conf, in its order.
    pub nameservers: Vec<SocketAddr>,
    /// The search domains of the original resolv.conf, lower case, no outer dots.
    pub search: Vec<String>,
    /// How long a resolver waits for one nameserver, by its options.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> Route {
        Route { name: name.to_owned(), tls: true, host: format!("{name}.example.com"), port: 443, audience: None }
    }

    #[test]
    fn what_names_stand_for() {
        let routes = vec![route("billing"), route("hello.us-east1"), route("my_db")];
        let names = |only: Option<&str>| Names {
            zone: "run.internal".to_owned(),
            routes: routes.clone(),
            only: only.map(|only| only.split(',').map(str::to_owned).collect()),
        };
        for (only, text, want) in [
            (None, "hello", Some("service hello")),
            (None, "HELLO.Run.Internal.", Some("service hello")),
            (None, "billing", Some("route billing")),
            (None, "Billing.run.internal", Some("route billing")),
            (None, "billing.us-east1", Some("service billing")),
            (None, "hello.us-east1", Some("route hello.us-east1")),
            (None, "my_db", Some("route my_db")),
            (None, "other_db", None),
            (None, "metadata", None),
            (None, "example.com", None),
            (Some("hello"), "hello", Some("service hello")),
            (Some("hello"), "Hello.us-west1", Some("service hello")),
            (Some("hello"), "hello.us-west1.42", Some("service hello")),
            (Some("hello"), "canary---hello", Some("service hello")),
            (Some("hello"), "hello2", None),
            (Some("hello"), "canary---other", None),
            (Some("hello"), "billing", None),
            (Some("hello"), "hello.us-east1", None),
            (Some("hello,billing"), "billing", Some("route billing")),
            (Some("hello.us-west1"), "hello.us-west1", Some("service hello")),
            (Some("hello.us-west1"), "hello", None),
            (Some("canary---hello"), "hello", None),
            (Some("canary---hello"), "canary---hello", Some("service hello")),
            (Some(""), "hello", None),
        ] {
            let names = names(only);
            let got = names.find(text).map(|named| match named {
                NamedTarget::Service(service) => format!("service {}", service.name),
                NamedTarget::Route(route) => format!("route {}", route.name),
            });
            assert_eq!(got.as_deref(), want, "{text:?} with -only {only:?}");
        }
    }
}
