//! What runsd works with: flags and environment put together once, and not changed from then on.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use log::warn;

use crate::cli::Args;
use crate::names::destination::UrlFormat;
use crate::names::policy::NamePolicy;
use crate::resolv_conf::ResolvConf;
use crate::secret::Secret;

/// Flags, environment, and what follows from both.
#[derive(Debug)]
pub struct Config {
    /// The flags.
    pub args: Args,
    /// The metadata server, `host[:port]`, of `GCE_METADATA_HOST`.
    pub metadata_host: String,
    /// The token of `CLOUD_RUN_ID_TOKEN`, for use off Cloud Run.
    pub fixed_token: Option<Secret>,
    /// Whether this is Cloud Run, and what says so.
    pub platform: Platform,
    /// How the URLs of services look.
    pub url_format: UrlFormat,
    /// Which certificates upstreams may present.
    pub roots: TrustedRoots,
}

/// The root certificates that may have signed an upstream's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedRoots {
    /// Mozilla's, which are built in.
    BuiltIn,
    /// Those of this PEM file and no others (`-ca_file`).
    File(PathBuf),
    /// Those of this PEM file, or the built-in ones where it has none (`SSL_CERT_FILE`, which may be set for other
    /// programs of the image).
    FileOrBuiltIn(PathBuf),
}

/// Whether this is Cloud Run, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// Cloud Run, as this variable is set.
    CloudRun(&'static str),
    /// Another machine, where `-gcp_region` says that services are wanted.
    Remote,
    /// Another machine, or `-disable`, for this reason: runsd becomes the application.
    Elsewhere(&'static str),
}

/// How the application's requests reach runsd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServeMode {
    /// By name: resolv.conf leads queries to runsd, and its responses lead requests to it.
    Dns,
    /// By the proxy's port; resolv.conf stays as it is.
    Port,
    /// By `http_proxy` in the application's environment.
    HttpProxy,
}

impl Config {
    /// Puts flags and environment together; `env` returns the value of a variable.
    pub fn new(args: Args, env: impl Fn(&str) -> Option<OsString>) -> Config {
        let text = |name: &str| env(name)?.into_string().ok().filter(|value| !value.is_empty());
        let domain = args.run_domain.clone();
        let hash = args.gcp_project_hash.clone();
        Config {
            metadata_host: text("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_ADDRESS.to_string()),
            fixed_token: text("CLOUD_RUN_ID_TOKEN").map(|token| Secret::new(token.trim())),
            platform: Platform::detect(&args, |name| text(name).is_some()),
            url_format: match hash.or_else(|| text("CLOUD_RUN_PROJECT_HASH")) {
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

    /// Returns whether this is Cloud Run.
    pub fn on_cloud_run(&self) -> bool {
        matches!(self.platform, Platform::CloudRun(_))
    }

    /// Decides how requests reach runsd. Off Cloud Run it takes resolv.conf and the standard ports, which other
    /// programs of the machine use, only where `-skip_dns_hijack=false` says so.
    pub fn serve_mode(&self) -> ServeMode {
        match (self.args.skip_dns_hijack, &self.platform) {
            (Some(false), _) => ServeMode::Dns,
            (_, Platform::Remote) => ServeMode::HttpProxy,
            (Some(true), _) => ServeMode::Port,
            (None, _) => ServeMode::Dns,
        }
    }

    /// Returns which names runsd answers itself.
    pub fn name_policy(&self) -> NamePolicy {
        NamePolicy {
            zone: self.args.domain.clone(),
            routes: self.args.routes.clone(),
            allowlist: self.args.only.clone(),
        }
    }

    /// Returns the nameservers for other names. `-nameserver` goes before resolv.conf; where neither has one but runsd
    /// itself, which `is_own` tells, it is the platform's.
    pub fn nameservers(&self, resolv_conf: &ResolvConf, is_own: impl Fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
        let mut nameservers = self.args.nameservers.clone();
        if nameservers.is_empty() {
            for nameserver in &resolv_conf.nameservers {
                match nameserver.address() {
                    Ok(address) => nameservers.push(address),
                    Err(why) => warn!("nameserver {nameserver} is not asked: {why}"),
                }
            }
        }
        if nameservers.iter().all(|&address| is_own(address)) {
            if !nameservers.is_empty() {
                warn!("runsd is the only nameserver named; asking {METADATA_ADDRESS} instead");
            }
            nameservers.push((METADATA_ADDRESS, 53).into());
        }
        nameservers
    }
}

impl Platform {
    /// `is_set` returns whether a variable is set, and not empty.
    fn detect(args: &Args, is_set: impl Fn(&str) -> bool) -> Platform {
        if args.disable {
            return Platform::Elsewhere("RUNSD_DISABLE says so");
        }
        // Knative and Cloud Run for Anthos set the same variables.
        let is_kubernetes = is_set("KUBERNETES_SERVICE_HOST");
        let mut signs = ["K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"].into_iter();
        match signs.find(|name| is_set(name)) {
            Some(sign) if !is_kubernetes => Platform::CloudRun(sign),
            _ if args.gcp_region.is_some() => Platform::Remote,
            _ if is_kubernetes => Platform::Elsewhere("KUBERNETES_SERVICE_HOST is set"),
            _ => Platform::Elsewhere("none of K_SERVICE, CLOUD_RUN_JOB and CLOUD_RUN_WORKER_POOL is set"),
        }
    }
}

/// The address of the metadata server, and of the platform's nameserver.
pub const METADATA_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
