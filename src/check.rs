//! `-check`: what runsd would do here, a line for each thing with ok or what
//! is wrong. For people who look into a container; a token is never shown.

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

/// Looks at everything, or at one name, and prints what it finds; what to exit
/// with: 0 if all is well, else 1.
pub fn run(config: &Config, name: Option<&str>) -> i32 {
    let found = file::read_file(&config.args.resolv_conf_file);
    let parsed = ResolvConf::parse(found.as_deref().unwrap_or_default());
    let nameservers = config.dns(&parsed, |_| false).nameservers;
    let asked = Arc::new(Nameservers::new(&nameservers, &[]));
    let proxy = Proxy::new(config, asked, config.args.http_proxy_port, false);
    let mut report = Report { failed: false, written: Ok(()) };
    match name {
        Some(name) => check_name(&mut report, &proxy, name),
        None => {
            check_place(&mut report, config, &proxy);
            check_nameservers(&mut report, config, &nameservers);
            match config.serve_mode() {
                ServeMode::HttpProxy => report.note("ports", THROUGH),
                ServeMode::Dns | ServeMode::Port => check_ports(&mut report, config),
            }
            report.line("TLS roots", proxy.upstream.describe_roots());
        }
    }
    let code = i32::from(report.failed);
    crate::printed(report.written, config.args.log_format, code)
}

fn check_place(report: &mut Report, config: &Config, proxy: &Proxy) {
    report.line(
        "platform",
        match &config.platform {
            Platform::CloudRun(sign) => Ok(format!("Cloud Run, by {sign}")),
            Platform::Remote => Ok("not Cloud Run; services are wanted, by -gcp_region".to_owned()),
            Platform::Elsewhere(why) => Err(format!("not Cloud Run: {why}; runsd would become the application")),
        },
    );
    let place = proxy.exchange.router.location();
    report.line("region", place.as_ref().map(|place| place.region.clone()));
    let project = match &config.url_format {
        UrlFormat::Deterministic { .. } => place.as_ref().map(|place| place.project.clone()),
        UrlFormat::Hash { hash, .. } => Ok(format!("the one of hash {hash}")),
    };
    report.line("project", project);
    report.line("account", proxy.account());
}

fn check_nameservers(report: &mut Report, config: &Config, nameservers: &[SocketAddr]) {
    for &nameserver in nameservers {
        let started = Instant::now();
        let alone = Arc::new(Nameservers::new(&[nameserver], &[]));
        let asked = Resolver::new(alone).resolve(&config.args.run_domain, 443);
        let took = ms(started);
        let outcome = match asked {
            // That there is no such name is an answer too.
            Ok(_) | Err(ResolveError::NxDomain(_)) => Ok(format!("{nameserver} answers, {took}")),
            Err(err) => Err(format!("{nameserver}: {err}")),
        };
        report.line("nameserver", outcome);
    }
}

fn check_ports(report: &mut Report, config: &Config) {
    let args = &config.args;
    let dns = UdpSocket::bind((Ipv4Addr::LOCALHOST, args.dns_port)).map(drop);
    report.port(args.dns_port, "DNS", dns);
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, args.http_proxy_port)).map(drop);
    report.port(args.http_proxy_port, "HTTP", http);
    let path = &args.resolv_conf_file;
    let shown = path.display();
    // Opened and closed; nothing is written.
    match File::options().write(true).open(path) {
        Ok(_) => report.line("resolv.conf", ok(format!("{shown} can be written"))),
        Err(err) => report.note("resolv.conf", &format!("{shown} cannot be written{}; {INSTEAD}", error_clause(&err))),
    }
}

fn check_name(report: &mut Report, proxy: &Proxy, name: &str) {
    let started = Instant::now();
    let host = match proxy.exchange.router.resolve(name.as_bytes()) {
        Ok(host) => host,
        Err(refusal) => return report.line("name", Err::<String, _>(refusal.reason())),
    };
    report.line("name", ok(name));
    let to = &host.destination;
    let scheme = if to.tls { "https" } else { "http" };
    report.line("URL", ok(format!("{scheme}://{}, {}", host.authority, ms(started))));
    let audience = to.audience.as_deref();
    report.line("audience", ok(audience.unwrap_or("none: no token is sent")));
    let started = Instant::now();
    let addresses = proxy.upstream.addresses(to);
    let outcome = addresses.map_err(|err| ProxyError::from(err).reason()).map(|found| {
        let found: Vec<String> = found.iter().map(|found| found.ip().to_string()).collect();
        format!("{}, {}", found.join(" "), ms(started))
    });
    let resolved = outcome.is_ok();
    report.line("address", outcome);
    if !resolved {
        return;
    }
    let started = Instant::now();
    let bearer = proxy.exchange.token(&host, &RequestCredentials::default(), SystemTime::now());
    let bearer = match bearer {
        Ok(bearer) => bearer,
        Err(refusal) => return report.line("token", Err::<String, _>(refusal.reason())),
    };
    match proxy.exchange.tokens.expiry_notice(SystemTime::now()) {
        Some(ended) => return report.line("token", Err::<String, _>(ended)),
        None if bearer.is_some() => report.line("token", ok(format!("fetched, {}", ms(started)))),
        None => {}
    }
    let started = Instant::now();
    let mut connection = match proxy.upstream.connect(to, &mut Background) {
        Ok(connection) => connection,
        Err(err) => return report.line("TLS", Err::<String, _>(ProxyError::from(err).reason())),
    };
    let version = connection.reader.tls_version().unwrap_or("none");
    report.line("TLS", ok(format!("{version}, {}", ms(started))));
    let started = Instant::now();
    let _ = connection.reader.set_read_timeout(Some(ANSWER));
    let asked = http1::probe(&mut connection, &host.authority, bearer.as_ref());
    let took = ms(started);
    report.line(
        "status",
        asked.map_err(|err| format!("no answer to GET /: {err}")).and_then(|(status, body)| {
            // The service's own word is all right, whatever it says.
            match denial::is_front_end(status, None, &body) {
                true => Err(proxy.exchange.denial_hint(&host, status, bearer.is_some())),
                false => Ok(format!("{status} to GET /, {took}")),
            }
        }),
    );
}

struct Report {
    failed: bool,
    /// Whether all lines could be written.
    written: io::Result<()>,
}

impl Report {
    fn line(&mut self, what: &str, outcome: Result<impl AsRef<str>, impl AsRef<str>>) {
        match &outcome {
            Ok(text) => self.print("ok", what, text.as_ref()),
            Err(text) => self.print("WRONG", what, text.as_ref()),
        }
        self.failed |= outcome.is_err();
    }

    /// What is refused here, and works another way.
    fn note(&mut self, what: &str, text: &str) {
        self.print("note", what, text);
    }

    fn print(&mut self, mark: &str, what: &str, text: &str) {
        if self.written.is_ok() {
            self.written = crate::print(&format!("{mark:<6}{what:<12}{text}\n"));
        }
    }

    /// A port in use is all right when runsd runs here already, and that is
    /// what people look at most.
    fn port(&mut self, port: u16, protocol: &str, bound: io::Result<()>) {
        match bound {
            Ok(()) => self.line("port", ok(format!("{port} is free for {protocol}"))),
            Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
                let text = format!("{port} is in use: by runsd, where it runs here already");
                self.line("port", ok(text));
            }
            Err(err) => self
                .note("port", &format!("{port} cannot be bound for {protocol}{}; {INSTEAD}", bind_error_clause(&err))),
        }
    }
}

fn ok<T>(text: T) -> Result<T, String> {
    Ok(text)
}

fn ms(since: Instant) -> String {
    // Without a float, for nothing else here needs the 8 kB that print one.
    let micros = since.elapsed().as_micros();
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// What there is to say of ports that nobody wants.
const THROUGH: &str = "runsd serves through http_proxy, and leaves resolv.conf, 53 and 80 alone";
/// What runsd does where ports or resolv.conf are refused.
const INSTEAD: &str = "runsd serves through http_proxy instead";
/// How long a service may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
