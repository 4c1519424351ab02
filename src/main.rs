//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.
//!
//! `main` is the life of the process, in order. The rooms it leads to:
//! `cli`, `config` and `logger` are the front; `supervisor`, `user` and `sys`
//! look after the application; `dns` answers for our names and passes on the
//! others; `proxy` takes the requests to where `service` and `destination`
//! say, with what `tokens` has from `metadata`.

mod cli;
mod config;
mod destination;
mod dns;
mod here;
mod logger;
mod metadata;
mod proxy;
mod resolv_conf;
mod secret;
mod service;
mod supervisor;
mod sys;
mod tokens;
mod user;

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::exit;
use std::sync::Arc;
use std::thread;

use log::{debug, error, info, warn};

use crate::cli::Cli;
use crate::config::{Config, DnsConfig, Platform};
use crate::destination::Place;
use crate::dns::resolve::Resolver;
use crate::here::Here;
use crate::metadata::Metadata;
use crate::proxy::Proxy;
use crate::proxy::route::Router;
use crate::proxy::upstream::{Settings, Upstream};
use crate::resolv_conf::{ResolvConf, Rewritten};
use crate::supervisor::{Launch, SpawnError};
use crate::tokens::Tokens;
use crate::user::User;

fn main() {
    exit(run());
}

fn run() -> i32 {
    // First, so that a SIGTERM in our first millisecond still reaches the app.
    let signals = supervisor::catch();
    let args = match cli::parse(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Cli::Run(args)) => args,
        Ok(Cli::Check(..)) => return fail(2, "-check is not there yet"),
        Ok(Cli::Print(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            return 0;
        }
        Err(sentence) => return fail(2, &sentence),
    };
    logger::init(args.verbosity, args.log_format);
    let config = Config::new(args, |name| env::var_os(name));
    let command = &config.args.command;
    match &config.platform {
        Platform::CloudRun(sign) => info!("on Cloud Run, by {sign}"),
        Platform::Elsewhere(why) => {
            info!("not on Cloud Run ({why}): becoming {:?}", command[0]);
            return not_started(&supervisor::become_app(command));
        }
    }
    let user = match config.args.user.as_deref().map(User::lookup).transpose() {
        Ok(user) => user,
        Err(sentence) => return fail(2, &sentence),
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(err) => return fail(1, &format!("cannot catch signals: {err}")),
    };

    // All sockets are bound before the application starts, so that it never
    // meets a closed port; nothing is asked of the network before.
    let (original, found) = config::read_resolv_conf(&config.args.resolv_conf_file);
    let dns_config = Arc::new(config.dns(&found));
    let sockets = Sockets::bind(&config, &dns_config);
    let hijack = sockets.hijack(&config, original, &found);
    let launch = Launch {
        command,
        user: user.as_ref(),
        env: &sockets.environment(),
    };
    let app = match supervisor::spawn(&launch) {
        Ok(app) => app,
        Err(err) => {
            give_back(hijack.as_ref());
            return not_started(&err);
        }
    };

    // From here on we only log: if we exit, the container does.
    sockets.serve(&config, &dns_config);
    let code = app.wait(signals);
    give_back(hijack.as_ref());
    info!("the application ended; exit code {code}");
    code
}

/// What runsd listens on: the usual ports, or what is left where it may not.
struct Sockets {
    dns: Option<dns::Sockets>,
    proxy: Option<proxy::Sockets>,
    /// The proxy is on a port of its own, and has to be told to applications.
    open: bool,
}

impl Sockets {
    /// Binds; where a port is refused, says so and how it goes on.
    fn bind(config: &Config, dns_config: &DnsConfig) -> Sockets {
        let mut sockets = Sockets {
            dns: None,
            proxy: None,
            open: false,
        };
        let args = &config.args;
        if !args.skip_dns_hijack {
            match dns::bind(dns_config) {
                Ok(bound) => sockets.dns = Some(bound),
                Err(err) => {
                    sockets.open = true;
                    warn!(
                        "cannot serve DNS on port {}: {err}; serving through http_proxy instead",
                        args.dns_port
                    );
                }
            }
        }
        if args.skip_http_proxy {
            return sockets;
        }
        // The application would find its own port taken.
        let port = args.http_proxy_port;
        let taken = env::var_os("PORT").is_some_and(|own| own == *port.to_string());
        match (taken, proxy::bind(port)) {
            (false, Ok(bound)) if !sockets.open => sockets.proxy = Some(bound),
            (false, Ok(_)) => {}
            (true, _) => {
                sockets.open = true;
                warn!(
                    "the application listens on port {port} (PORT); serving through http_proxy instead"
                );
            }
            (false, Err(err)) => {
                sockets.open = true;
                warn!(
                    "cannot serve HTTP on port {port}: {err}; serving through http_proxy instead"
                );
            }
        }
        if sockets.open {
            sockets.fall_back();
        }
        sockets
    }

    /// Without the usual ports: a proxy on a free one, and no DNS.
    fn fall_back(&mut self) {
        self.open = true;
        self.dns = None;
        self.proxy = match proxy::bind(0) {
            Ok(bound) => Some(bound),
            Err(err) => {
                error!("cannot listen on loopback: {err}; services cannot be reached by name");
                None
            }
        };
    }

    /// Sends resolvers to our DNS server.
    fn hijack(
        &self,
        config: &Config,
        original: Option<Vec<u8>>,
        found: &ResolvConf,
    ) -> Option<Rewritten> {
        let dns = self.dns.as_ref()?;
        let args = &config.args;
        let ours = found.render(&dns.addresses(), &args.domain, args.ndots);
        let path = &args.resolv_conf_file;
        match resolv_conf::rewrite(path, original, ours) {
            Ok(rewritten) => Some(rewritten),
            Err(err) => {
                warn!("cannot write {}: {err}", path.display());
                None
            }
        }
    }

    /// What the application has to be told.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        Vec::new()
    }

    /// Starts all that serves.
    fn serve(self, config: &Config, dns_config: &Arc<DnsConfig>) {
        let Some(sockets) = self.proxy else {
            if let Some(dns) = self.dns {
                dns.serve(Arc::new(config.names()), dns_config.clone(), false);
            }
            return;
        };
        if let Some(dns) = self.dns {
            dns.serve(Arc::new(config.names()), dns_config.clone(), sockets.ipv6());
        }
        let proxy = Arc::new(proxy(
            config,
            &dns_config.nameservers,
            sockets.port(),
            self.open,
        ));
        sockets.serve(&proxy);
        let warm = move || proxy.warm();
        if let Err(err) = thread::Builder::new().name("warm".to_owned()).spawn(warm) {
            debug!("nothing is warmed up: {err}");
        }
    }
}

fn proxy(config: &Config, nameservers: &[SocketAddr], port: u16, open: bool) -> Proxy {
    let metadata = Arc::new(Metadata::new(config.metadata_host.clone()));
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
                ca_file: config.ca_file.clone(),
                address: config.args.upstream_addr,
            },
            Arc::new(Resolver::new(nameservers)),
        ),
        hints: proxy::hint::Hints::default(),
        port,
        open,
    }
}

/// Puts resolv.conf back as it was.
fn give_back(hijack: Option<&Rewritten>) {
    if let Some(Err(err)) = hijack.map(Rewritten::restore) {
        debug!("resolv.conf stays as it is: {err}");
    }
}

fn not_started(err: &SpawnError) -> i32 {
    fail(err.code, &err.to_string())
}

fn fail(code: i32, sentence: &str) -> i32 {
    eprintln!("runsd: {sentence}");
    code
}
