//! The HTTP proxy: what all its connections share. `server.rs` accepts them, `http1` and `http2` serve them, and
//! `exchange.rs` decides what both do.

mod access_log;
pub mod denial;
pub mod error;
mod exchange;
pub mod header_policy;
mod hop_by_hop;
pub mod http1;
pub mod http2;
mod router;
mod server;
pub mod syntax;
mod trace_context;

use std::sync::Arc;

use log::{error, warn};

pub use self::exchange::Exchange;
pub use self::server::{STACK_SIZE, Sockets, bind};

use crate::auth::tokens::Tokens;
use crate::config::Config;
use crate::dns::nameservers::Nameservers;
use crate::dns::resolver::Resolver;
use crate::metadata::Metadata;
use crate::names::location::{InstanceLocation, Location};
use crate::net::conn_limit::ConnLimiter;
use crate::proxy::header_policy::HeaderPolicy;
use crate::proxy::router::Router;
use crate::sys;
use crate::sys::cgroup_memory::CgroupMemory;
use crate::upstream::{Connector, Settings};

/// What all connections share.
pub struct Proxy {
    /// What HTTP/1 and HTTP/2 both decide.
    pub exchange: Exchange,
    /// Dials upstreams, and has their idle connections.
    pub upstream: Connector,
    metadata: Arc<Metadata>,
    limiter: Arc<ConnLimiter>,
}

impl Proxy {
    /// Puts the parts together; sends nothing to the network. `port` is where it listens; as `is_forward_proxy` it
    /// serves other plain-HTTP hosts, too.
    pub fn new(config: &Config, nameservers: Arc<Nameservers>, port: u16, is_forward_proxy: bool) -> Proxy {
        let resolver = Arc::new(Resolver::new(nameservers));
        let metadata = Arc::new(Metadata::new(config.metadata_host.clone(), Arc::clone(&resolver)));
        let limiter = ConnLimiter::new(sys::raise_nofile_limit(), sys::address_space_limit());
        let configured = Location {
            region: config.args.gcp_region.clone().unwrap_or_default(),
            project: config.args.gcp_project_number.clone().unwrap_or_default(),
        };
        let shared_metadata = Arc::clone(&metadata);
        let router = Router {
            policy: config.name_policy(),
            url_format: config.url_format.clone(),
            location: InstanceLocation::new(configured, move || shared_metadata.location()),
            metadata_host: config.metadata_host.clone(),
            own_port: port,
            is_forward_proxy,
        };
        Proxy {
            exchange: Exchange::new(
                router,
                HeaderPolicy { auth_header: config.args.auth_header },
                tokens(config, &metadata),
                config.on_cloud_run(),
            ),
            upstream: Connector::new(
                Settings {
                    roots: config.roots.clone(),
                    address: config.args.upstream_addr,
                    own_port: port,
                    limiter: Arc::clone(&limiter),
                },
                resolver,
            ),
            metadata,
            limiter,
        }
    }

    /// Returns the service account of the tokens: as they name it, or else as the metadata server does.
    ///
    /// Blocks: until the metadata server answered, where no token names it.
    ///
    /// # Errors
    /// The sentence of the failed lookup.
    pub fn account(&self) -> Result<String, String> {
        self.exchange.account().map_or_else(|| self.metadata.email(), Ok)
    }

    /// Bounds the connections by the memory of the control group, where that is limited.
    pub fn limit_memory(&self) {
        if let Some(memory) = CgroupMemory::of_process() {
            self.limiter.limit_memory(memory);
        }
    }

    /// Prepares what the first request would have to wait for: trusted roots, region and project.
    ///
    /// Blocks: until the metadata server answered.
    pub fn prefetch(&self) {
        self.upstream.init_tls();
        if let Some(expired) = self.exchange.expiry_notice() {
            warn!("{expired}");
        }
        if let Err(err) = self.exchange.location() {
            warn!("the metadata server does not say where this is: {err}; asking again when needed");
        }
    }
}

/// The tokens of `CLOUD_RUN_ID_TOKEN`, or else of the metadata server.
fn tokens(config: &Config, metadata: &Arc<Metadata>) -> Tokens {
    match config.fixed_token.as_ref().map(Tokens::fixed) {
        Some(Ok(tokens)) => return tokens,
        Some(Err(err)) => error!("CLOUD_RUN_ID_TOKEN is no token: {err}; asking the metadata server"),
        None => {}
    }
    let metadata = Arc::clone(metadata);
    Tokens::new(move |audience| metadata.identity_token(audience))
}
