//! `-check`: says what runsd would do here, a line for each part, with `ok`, `note`, or `WRONG` and what is wrong.
//!
//! For people who look into a container. It serves nothing, writes no file, and never prints a token.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{Config, Platform, ServeMode};
use crate::dns::nameservers::Nameservers;
use crate::dns::resolver::{ResolveError, Resolver};
use crate::listeners::{bind_error_clause, error_clause};
use crate::names::destination::UrlFormat;
use crate::net::context::Background;
use crate::proxy::error::ProxyError;
use crate::proxy::header_policy::RequestCredentials;
use crate::proxy::{Proxy, denial, http1};
use crate::resolv_conf::ResolvConf;
use crate::sys::file;

/// Checks everything, or the steps of a request to `name`, and prints a line for each. Returns whether all are well.
///
/// Blocks: for the network, some seconds for each line at most.
///
/// # Errors
/// That of `print`.
pub fn run(config: &Config, name: Option<&str>, print: fn(&str) -> io::Result<()>) -> io::Result<bool> {
    let text = file::read_file(&config.args.resolv_conf_file);
    let resolv_conf = ResolvConf::parse(text.as_deref().unwrap_or_default());
    let nameservers = config.nameservers(&resolv_conf, |_| false);
    let shared = Arc::new(Nameservers::new(&nameservers, &[]));
    let proxy = Proxy::new(config, shared, config.args.http_proxy_port, false);
    let mut report = Report { print, all_well: true, printed: Ok(()) };
    match name {
        Some(name) => {
            check_name(&mut report, &proxy, name);
        }
        None => {
            check_location(&mut report, config, &proxy);
            check_nameservers(&mut report, config, &nameservers);
            match config.serve_mode() {
                ServeMode::HttpProxy => {
                    report.note("ports", "runsd serves through http_proxy, and leaves resolv.conf, 53 and 80 alone");
                }
                ServeMode::Dns | ServeMode::Port => check_ports(&mut report, config),
            }
            report.line("TLS roots", proxy.upstream.describe_roots());
        }
    }
    report.printed.map(|()| report.all_well)
}

fn check_location(report: &mut Report, config: &Config, proxy: &Proxy) {
    match &config.platform {
        Platform::CloudRun(sign) => report.ok("platform", &format!("Cloud Run, by {sign}")),
        Platform::Remote => report.ok("platform", "not Cloud Run; services are wanted, by -gcp_region"),
        Platform::Elsewhere(why) => {
            report.wrong("platform", &format!("not Cloud Run: {why}; runsd would become the application"));
        }
    }
    let location = proxy.exchange.location();
    report.line("region", location.as_ref().map(|location| &location.region));
    match &config.url_format {
        UrlFormat::Deterministic { .. } => report.line("project", location.as_ref().map(|location| &location.project)),
        UrlFormat::Hash { hash, .. } => report.ok("project", &format!("the one of hash {hash}")),
    }
    report.line("account", proxy.account());
}

/// Resolves a name by each nameserver alone.
fn check_nameservers(report: &mut Report, config: &Config, nameservers: &[SocketAddr]) {
    for &nameserver in nameservers {
        let started = Instant::now();
        let alone = Arc::new(Nameservers::new(&[nameserver], &[]));
        match Resolver::new(alone).resolve(&config.args.run_domain, 443, &mut Background) {
            Ok(_) | Err(ResolveError::NoAddress(_)) => {
                report.ok("nameserver", &format!("{nameserver} answers, {}", ms(started)));
            }
            Err(err) => report.wrong("nameserver", &format!("{nameserver}: {err}")),
        }
    }
}

/// Binds the ports, and opens resolv.conf for writing, but writes nothing.
fn check_ports(report: &mut Report, config: &Config) {
    let args = &config.args;
    let dns = UdpSocket::bind((Ipv4Addr::LOCALHOST, args.dns_port)).map(drop);
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, args.http_proxy_port)).map(drop);
    for (port, protocol, bound) in [(args.dns_port, "DNS", dns), (args.http_proxy_port, "HTTP", http)] {
        match bound {
            Ok(()) => report.ok("port", &format!("{port} is free for {protocol}")),
            // People mostly look into a container where runsd runs.
            Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
                report.ok("port", &format!("{port} is in use: by runsd, where it runs here already"));
            }
            Err(err) => {
                let why = bind_error_clause(&err);
                report.note("port", &format!("{port} cannot be bound for {protocol}{why}; {FALLBACK}"));
            }
        }
    }
    let path = args.resolv_conf_file.display();
    match File::options().write(true).open(&args.resolv_conf_file) {
        Ok(_) => report.ok("resolv.conf", &format!("{path} can be written")),
        Err(err) => {
            report.note("resolv.conf", &format!("{path} cannot be written{}; {FALLBACK}", error_clause(&err)));
        }
    }
}

/// Takes each step of a request to `name`, to the first that is wrong.
fn check_name(report: &mut Report, proxy: &Proxy, name: &str) -> Option<()> {
    let exchange = &proxy.exchange;
    let reason = |err: ProxyError| err.reason();
    let started = Instant::now();
    let host = report.step("name", exchange.resolve(name.as_bytes(), None).map_err(reason))?;
    report.ok("name", name);
    let destination = &host.destination;
    let scheme = if destination.tls { "https" } else { "http" };
    report.ok("URL", &format!("{scheme}://{}, {}", host.authority, ms(started)));
    report.ok("audience", destination.audience.as_deref().unwrap_or("none: no token is sent"));

    let started = Instant::now();
    let addresses = proxy.upstream.addresses(destination).map_err(ProxyError::from);
    let addresses = report.step("address", addresses.map_err(reason))?;
    let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    report.ok("address", &format!("{}, {}", addresses.join(" "), ms(started)));

    let started = Instant::now();
    let token = exchange.token(&host, &RequestCredentials::default(), SystemTime::now());
    let token = report.step("token", token.map_err(reason))?;
    if let Some(expired) = exchange.expiry_notice() {
        report.wrong("token", &expired);
        return None;
    }
    if token.is_some() {
        report.ok("token", &format!("fetched, {}", ms(started)));
    }

    let started = Instant::now();
    let connection = proxy.upstream.connect(destination, &mut Background).map_err(ProxyError::from);
    let mut connection = report.step("TLS", connection.map_err(reason))?;
    let version = connection.reader.tls_version().unwrap_or("none");
    report.ok("TLS", &format!("{version}, {}", ms(started)));

    let started = Instant::now();
    let _ = connection.reader.set_read_timeout(Some(RESPONSE_TIMEOUT));
    let response = http1::probe(&mut connection, &host.authority, token.as_ref());
    let (status, body) = report.step("status", response.map_err(|err| format!("no response to GET /: {err}")))?;
    // Any status of the service itself is well.
    match denial::is_front_end(status, None, &body) {
        true => report.wrong("status", &exchange.denial_hint(&host, status, token.is_some())),
        false => report.ok("status", &format!("{status} to GET /, {}", ms(started))),
    }
    Some(())
}

struct Report {
    print: fn(&str) -> io::Result<()>,
    /// Whether no line was WRONG.
    all_well: bool,
    /// The first error of `print`; no line is printed after it.
    printed: io::Result<()>,
}

impl Report {
    fn ok(&mut self, part: &str, text: &str) {
        self.print("ok", part, text);
    }

    /// Prints what is refused here, and done in another way.
    fn note(&mut self, part: &str, text: &str) {
        self.print("note", part, text);
    }

    fn wrong(&mut self, part: &str, text: &str) {
        self.all_well = false;
        self.print("WRONG", part, text);
    }

    fn line(&mut self, part: &str, outcome: Result<impl Display, impl Display>) {
        match outcome {
            Ok(text) => self.ok(part, &text.to_string()),
            Err(err) => self.wrong(part, &err.to_string()),
        }
    }

    /// Prints an error, or returns the value.
    fn step<T>(&mut self, part: &str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|err| self.wrong(part, &err)).ok()
    }

    fn print(&mut self, mark: &str, part: &str, text: &str) {
        if self.printed.is_ok() {
            self.printed = (self.print)(&format!("{mark:<6}{part:<12}{text}\n"));
        }
    }
}

/// Returns the milliseconds since then. Without a float, as no other code needs the 8 kB that print one.
fn ms(started: Instant) -> String {
    let micros = started.elapsed().as_micros();
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// What runsd does where ports or resolv.conf are refused.
const FALLBACK: &str = "runsd serves through http_proxy instead";
/// How long a service may take to respond: some start only now.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
