//! Where runsd is reached: the usual ports and resolv.conf, or a proxy of its
//! own where one of them is refused.
//!
//! All or nothing: a name that resolves to a port nobody serves, and a port
//! that no name leads to, are of no use. What is refused is said once, in one
//! sentence with what is done instead; it never keeps the application from
//! starting.

use crate::app::proxy_env;
use std::env;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::thread;

use log::{debug, warn};

use crate::cli::Args;
use crate::config::{Config, METADATA_ADDRESS, Way};
use crate::dns;
use crate::dns::nameservers::{Nameservers, Patience};
use crate::logger;
use crate::net::hosts::HostsFile;
use crate::proxy;
use crate::proxy::Proxy;
use crate::resolv_conf;
use crate::resolv_conf::{OpenedFile, ResolvConf, RewriteGuard};
use crate::sys;
use crate::sys::net::PollFd;

/// All that is bound, not yet served.
pub struct Listeners {
    dns: Option<dns::Sockets>,
    proxy: Option<proxy::Sockets>,
    /// What resolv.conf said.
    found: ResolvConf,
    /// The proxy is on a port of its own, and the application is told.
    told: Vec<(OsString, OsString)>,
    open: bool,
}

/// Binds all sockets and sends resolvers to them. Nothing is asked of the
/// network, and nothing that goes wrong is the end.
pub fn bind(args: &Args, way: Way) -> (Listeners, Option<RewriteGuard>) {
    let path = &args.resolv_conf_file;
    let file = resolv_conf::find(path);
    let found = ResolvConf::parse(file.text.as_deref().unwrap_or_default());
    let mut ports = Listeners { dns: None, proxy: None, found: ResolvConf::default(), told: Vec::new(), open: false };
    if way == Way::HttpProxy {
        ports.found = found;
        match ports.fall_back(args) {
            Ok(()) => logger::notice(&format!("serving through http_proxy; {UNREACHED}")),
            Err(why) => warn!("not on Cloud Run; {why}"),
        }
        return (ports, None);
    }
    let blind = found.nameservers.is_empty() && args.nameservers.is_empty();
    let unread = file.text.as_ref().err().map(reason);
    let bound = ports.usual(args, way, file, &found);
    ports.found = found;
    match bound {
        Err(refused) => {
            match ports.fall_back(args) {
                Ok(()) => warn!("{refused}; serving through http_proxy instead; {UNREACHED}"),
                Err(why) => warn!("{refused}; {why}"),
            }
            (ports, None)
        }
        Ok(rewritten) => {
            if blind {
                let path = path.display();
                let what = unread
                    .map_or_else(|| format!("no nameserver in {path}"), |err| format!("cannot read {path}: {err}"));
                warn!("{what}; asking {METADATA_ADDRESS}, which Cloud Run has, instead");
            }
            (ports, rewritten)
        }
    }
}

impl Listeners {
    /// Everything where applications expect it; or what was refused.
    fn usual(
        &mut self,
        args: &Args,
        way: Way,
        file: OpenedFile<'_>,
        found: &ResolvConf,
    ) -> Result<Option<RewriteGuard>, String> {
        if way == Way::Dns
            && let Some(unusual) = unusual_port(args)
        {
            return Err(unusual);
        }
        if !args.skip_http_proxy {
            let port = args.http_proxy_port;
            // The application would find its own port taken.
            if is_of_application(port) {
                return Err(format!("cannot serve HTTP on port {port}: the application does (PORT={port})"));
            }
            let bound = proxy::bind(port);
            self.proxy =
                Some(bound.map_err(|err| format!("cannot serve HTTP on port {port}{}", because_unbound(&err)))?);
        }
        if way != Way::Dns {
            return Ok(None);
        }
        let port = args.dns_port;
        let bound =
            dns::bind(port).map_err(|err| format!("cannot serve DNS on port {port}{}", because_unbound(&err)))?;
        let ours = found.render(bound.addresses(), &args.domain, args.ndots);
        self.dns = Some(bound);
        let path = &args.resolv_conf_file;
        file.rewrite(ours).map(Some).map_err(|err| format!("cannot write {}{}", path.display(), because(&err)))
    }

    /// A proxy on a port that was asked for, or a free one, and no DNS.
    ///
    /// # Errors
    /// What the application is not told, as a sentence.
    fn fall_back(&mut self, args: &Args) -> Result<(), String> {
        (self.dns, self.proxy) = (None, None);
        if args.skip_http_proxy {
            return Err("names of services do not resolve".to_owned());
        }
        let chosen = match args.http_proxy_port {
            port if port == HTTP_PORT || is_of_application(port) => None,
            port => proxy::bind(port).ok(),
        };
        let bound = chosen.map_or_else(|| proxy::bind(0), Ok).map_err(|err| {
            let why = reason(&err);
            format!("nor on any other port of loopback: {why}; services are not reached by name")
        })?;
        let port = bound.port();
        self.proxy = Some(bound);
        self.open = true;
        self.told = proxy_env::environment(port, |name| env::var(name).ok(), &HostsFile::read()).ok_or_else(|| {
            format!(
                "serving as a proxy at http://127.0.0.1:{port} instead, but http_proxy or \
                     no_proxy is set and stays: services are not reached by name through it"
            )
        })?;
        Ok(())
    }

    /// What the application has to be told.
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.told
    }

    /// Serves everything, from this thread and one more, and does not come back.
    /// `proxy` is asked for one with these nameservers, on this port, that is
    /// open to other hosts or not.
    ///
    /// # Errors
    /// Where there is no thread for a part: then everything is closed again.
    pub fn serve(self, config: &Config, proxy: impl FnOnce(Arc<Nameservers>, u16, bool) -> Proxy) -> io::Result<()> {
        let own = self.dns.as_ref().map(dns::Sockets::own).unwrap_or_default();
        let dns_config = config.dns(&self.found, &own);
        let nameservers = Arc::new(Nameservers::new(&dns_config.nameservers, &own));
        let house = dns::ServerContext {
            names: config.names(),
            patience: Patience::within(dns_config.timeout),
            config: Arc::new(dns_config),
            ipv6: self.proxy.as_ref().is_some_and(proxy::Sockets::ipv6),
            nameservers: Arc::clone(&nameservers),
        };
        let serve_dns = self.dns.map(|sockets| move || sockets.serve(house));
        let Some(sockets) = self.proxy else {
            serve_dns.into_iter().for_each(|serve| serve());
            return Ok(());
        };
        if let Some(serve) = serve_dns {
            spawn("dns", serve)?;
        }
        let proxy = Arc::new(proxy(nameservers, sockets.port(), self.open));
        let warm = Arc::clone(&proxy);
        let warm = move || {
            warm.warm();
            // After what the first request waits for.
            warm.limit_memory();
        };
        if let Err(err) = spawn("warm", warm) {
            // The first request does it, then.
            debug!("no thread to warm up: {err}");
            proxy.limit_memory();
        }
        sockets.serve(proxy);
        Ok(())
    }

    /// Where the first question comes.
    pub fn waits(&self) -> Vec<PollFd> {
        let dns = self.dns.iter().flat_map(dns::Sockets::waits);
        let proxy = self.proxy.iter().flat_map(proxy::Sockets::waits);
        dns.chain(proxy).collect()
    }
}

/// Whether the platform has the application serve on this port.
fn is_of_application(port: u16) -> bool {
    env::var_os("PORT").is_some_and(|own| own == *port.to_string())
}

/// Why names may not lead here: resolv.conf has no place for a port, and a URL
/// without one means 80.
fn unusual_port(args: &Args) -> Option<String> {
    let Args { dns_port, http_proxy_port, .. } = args;
    if *dns_port != DNS_PORT {
        return Some(format!("resolv.conf cannot say that DNS is on port {dns_port}"));
    }
    let is_another = !args.skip_http_proxy && *http_proxy_port != HTTP_PORT;
    is_another.then(|| format!("http://NAME does not lead to port {http_proxy_port}"))
}

/// What `http_proxy` cannot do.
pub const UNREACHED: &str = "clients that ignore it do not find the names of services";
/// Where resolvers ask, RFC 1035 section 4.2.
const DNS_PORT: u16 = 53;
/// Where a URL `http://NAME` leads, RFC 9110 section 4.2.1.
const HTTP_PORT: u16 = 80;

/// Starts a thread that serves, beside the calling one.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(name.to_owned());
    // As the others: the thread that accepts may have to serve a connection.
    let builder = builder.stack_size(proxy::STACK);
    builder.spawn(work).map(drop)
}

/// Puts resolv.conf back as it was.
pub fn give_back(rewritten: Option<&RewriteGuard>) {
    if let Some(Err(err)) = rewritten.map(RewriteGuard::restore) {
        debug!("resolv.conf stays as it is: {err}");
    }
}

/// As the end of a sentence that says what cannot be done.
pub fn because(err: &io::Error) -> String {
    let why = reason(err);
    match err.kind() {
        io::ErrorKind::PermissionDenied => format!(" as uid {}: {why}", sys::effective_ids().0),
        _ => format!(": {why}"),
    }
}

/// The same for a port that cannot be bound.
pub fn because_unbound(err: &io::Error) -> String {
    match (err.kind(), sys::effective_ids().0) {
        (io::ErrorKind::PermissionDenied, 0) => {
            format!(" without CAP_NET_BIND_SERVICE: {}", reason(err))
        }
        _ => because(err),
    }
}

/// What went wrong, without the kernel's number for it.
fn reason(err: &io::Error) -> String {
    // The libraries of C do not agree on this one.
    if err.kind() == io::ErrorKind::AddrInUse {
        return "address already in use".to_owned();
    }
    let text = err.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_ascii_lowercase(),
        None => text,
    }
}
