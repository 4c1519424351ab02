//! Binds the sockets that runsd serves on, and leads the application to them.
//!
//! By default DNS and HTTP have their standard ports and resolv.conf names runsd. Where any part of that is refused,
//! all of it is given up for the fallback: a proxy on any port, which the application learns from `http_proxy`. A
//! name that resolves to a port where nothing listens, or a port that no name leads to, would be of no use. What was
//! refused is one line of the log, and never keeps the application from starting.

use std::env;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use log::{debug, warn};

use crate::app::proxy_env;
use crate::cli::Args;
use crate::config::{METADATA_ADDRESS, ServeMode};
use crate::dns;
use crate::logger;
use crate::net::hosts::HostsFile;
use crate::proxy;
use crate::resolv_conf;
use crate::resolv_conf::{OpenedFile, ResolvConf, RewriteGuard};
use crate::sys;
use crate::sys::net::PollFd;

/// Sockets that are bound, but not yet served.
#[derive(Default)]
pub struct Listeners {
    /// Of the DNS server, if there is one.
    pub dns: Option<dns::Sockets>,
    /// Of the proxy, if there is one.
    pub proxy: Option<proxy::Sockets>,
    /// What resolv.conf said before it was rewritten.
    pub resolv_conf: ResolvConf,
    /// The rewritten resolv.conf, which [`restore_resolv_conf`] restores.
    pub rewritten: Option<Arc<RewriteGuard>>,
    /// What the application's environment has to say of the proxy.
    pub app_env: Vec<(OsString, OsString)>,
    /// Whether the application reaches the proxy by `http_proxy`, and so sends it requests for other hosts, too.
    pub is_forward_proxy: bool,
}

/// Binds all sockets and rewrites resolv.conf, or falls back. Makes no network request.
pub fn bind(args: &Args, mode: ServeMode) -> Listeners {
    let path = &args.resolv_conf_file;
    let file = resolv_conf::open(path);
    let resolv_conf = ResolvConf::parse(file.text.as_deref().unwrap_or_default());
    if mode == ServeMode::HttpProxy {
        let (listeners, outcome) = bind_fallback(args);
        match outcome {
            Ok(()) => logger::notice(&format!("serving through http_proxy; {FALLBACK_LIMIT}")),
            Err(why) => warn!("not on Cloud Run; {why}"),
        }
        return Listeners { resolv_conf, ..listeners };
    }
    let no_nameserver = (resolv_conf.nameservers.is_empty() && args.nameservers.is_empty()).then(|| match &file.text {
        Ok(_) => format!("no nameserver in {}", path.display()),
        Err(err) => format!("cannot read {}: {}", path.display(), reason(err)),
    });
    let listeners = match bind_default(args, mode, file, &resolv_conf) {
        Ok(listeners) => {
            if let Some(no_nameserver) = no_nameserver {
                warn!("{no_nameserver}; asking {METADATA_ADDRESS}, which Cloud Run has, instead");
            }
            listeners
        }
        Err(refused) => {
            let (listeners, outcome) = bind_fallback(args);
            match outcome {
                Ok(()) => warn!("{refused}; serving through http_proxy instead; {FALLBACK_LIMIT}"),
                Err(why) => warn!("{refused}; {why}"),
            }
            listeners
        }
    };
    Listeners { resolv_conf, ..listeners }
}

/// Binds the ports that names lead to, and rewrites resolv.conf.
///
/// # Errors
/// What was refused, as the beginning of a sentence.
fn bind_default(
    args: &Args,
    mode: ServeMode,
    file: OpenedFile<'_>,
    resolv_conf: &ResolvConf,
) -> Result<Listeners, String> {
    let &Args { dns_port, http_proxy_port, .. } = args;
    let mut listeners = Listeners::default();
    if mode == ServeMode::Dns && dns_port != DNS_PORT {
        return Err(format!("resolv.conf cannot say that DNS is on port {dns_port}"));
    }
    if !args.skip_http_proxy {
        if mode == ServeMode::Dns && http_proxy_port != HTTP_PORT {
            return Err(format!("http://NAME does not lead to port {http_proxy_port}"));
        }
        // The application would find its own port in use.
        if is_app_port(http_proxy_port) {
            return Err(format!(
                "cannot serve HTTP on port {http_proxy_port}: the application does (PORT={http_proxy_port})"
            ));
        }
        let bound = proxy::bind(http_proxy_port);
        listeners.proxy = Some(
            bound.map_err(|err| format!("cannot serve HTTP on port {http_proxy_port}{}", bind_error_clause(&err)))?,
        );
    }
    if mode == ServeMode::Dns {
        let bound = dns::bind(dns_port)
            .map_err(|err| format!("cannot serve DNS on port {dns_port}{}", bind_error_clause(&err)))?;
        let text = resolv_conf.render(bound.addresses(), &args.domain, args.ndots);
        listeners.dns = Some(bound);
        let path = args.resolv_conf_file.display();
        let guard = file.rewrite(text).map_err(|err| format!("cannot write {path}{}", error_clause(&err)))?;
        listeners.rewritten = Some(Arc::new(guard));
    }
    Ok(listeners)
}

/// Binds a proxy on the port of `-http_proxy_port`, or a free one, and no DNS. The error says why services are not
/// reached by name nevertheless.
fn bind_fallback(args: &Args) -> (Listeners, Result<(), String>) {
    let mut listeners = Listeners::default();
    if args.skip_http_proxy {
        return (listeners, Err("names of services do not resolve".to_owned()));
    }
    let chosen = match args.http_proxy_port {
        port if port == HTTP_PORT || is_app_port(port) => None,
        port => proxy::bind(port).ok(),
    };
    let bound = match chosen.map_or_else(|| proxy::bind(0), Ok) {
        Ok(bound) => bound,
        Err(err) => {
            let why = reason(&err);
            let why = format!("nor on any other port of loopback: {why}; services are not reached by name");
            return (listeners, Err(why));
        }
    };
    let port = bound.port();
    listeners.proxy = Some(bound);
    listeners.is_forward_proxy = true;
    let outcome = match proxy_env::environment(port, |name| env::var(name).ok(), &HostsFile::read()) {
        Some(env) => {
            listeners.app_env = env;
            Ok(())
        }
        None => Err(format!(
            "serving as a proxy at http://127.0.0.1:{port} instead, but http_proxy or no_proxy is set and stays: \
             services are not reached by name through it"
        )),
    };
    (listeners, outcome)
}

impl Listeners {
    /// Returns what to wait for until the first query or request comes.
    pub fn poll_fds(&self) -> Vec<PollFd> {
        let dns = self.dns.iter().flat_map(dns::Sockets::poll_fds);
        let proxy = self.proxy.iter().flat_map(proxy::Sockets::poll_fds);
        dns.chain(proxy).collect()
    }
}

/// Restores resolv.conf, unless another program has written it since.
pub fn restore_resolv_conf(rewritten: Option<&RewriteGuard>) {
    if let Some(Err(err)) = rewritten.map(RewriteGuard::restore) {
        debug!("resolv.conf stays as it is: {err}");
    }
}

/// Returns whether the platform has the application serve on this port.
fn is_app_port(port: u16) -> bool {
    env::var_os("PORT").is_some_and(|app_port| app_port == *port.to_string())
}

/// Returns the end of a sentence that says what cannot be done: the user where rights are missing, and the reason.
pub fn error_clause(err: &io::Error) -> String {
    let why = reason(err);
    match err.kind() {
        io::ErrorKind::PermissionDenied => format!(" as uid {}: {why}", sys::effective_ids().0),
        _ => format!(": {why}"),
    }
}

/// [`error_clause`] for a port that cannot be bound.
pub fn bind_error_clause(err: &io::Error) -> String {
    match (err.kind(), sys::effective_ids().0) {
        (io::ErrorKind::PermissionDenied, 0) => {
            format!(" without CAP_NET_BIND_SERVICE: {}", reason(err))
        }
        _ => error_clause(err),
    }
}

/// Returns the text of an error, without its number.
fn reason(err: &io::Error) -> String {
    // musl and glibc have different texts for it.
    if err.kind() == io::ErrorKind::AddrInUse {
        return "address already in use".to_owned();
    }
    let text = err.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_ascii_lowercase(),
        None => text,
    }
}

/// What `http_proxy` cannot do.
const FALLBACK_LIMIT: &str = "clients that ignore it do not find the names of services";
/// The port that resolvers query (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;
/// The port of `http://NAME` (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;
