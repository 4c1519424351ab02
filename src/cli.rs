//! The command line: argv and `RUNSD_*` become [`Args`], or a text to print.
//!
//! The only file that knows the names of flags. They are read by hand, as Go's
//! `flag` package reads them: one dash or two, `-flag=x` or `-flag x`, switches
//! bare or with `=true`, and everything from the first word that is no flag on
//! belongs to the application. Argument parsers in GNU style see `-v=5` as a
//! row of short options, and an old Dockerfile must work as it is.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::config::Route;
use crate::logger::Format;
use crate::service;

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cli {
    /// Run the application.
    Run(Args),
    /// `-check[=NAME]`: say what would happen, for one name or in general.
    Check(Args, Option<String>),
    /// `-help`, `-version`: this text, and nothing else.
    Print(String),
}

/// What was typed or stood in the environment, and the defaults for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    pub resolv_conf_file: PathBuf,
    /// Lower case, no outer dots.
    pub domain: String,
    /// 1 to 15.
    pub ndots: u8,
    /// Instead of those in resolv.conf, where any are given.
    pub nameservers: Vec<SocketAddr>,
    pub gcp_region: Option<String>,
    pub gcp_project_hash: Option<String>,
    pub gcp_project_number: Option<String>,
    /// Lower case, no outer dots.
    pub run_domain: String,
    /// Their names in lower case, without the zone.
    pub routes: Vec<Route>,
    /// In lower case, without the zone.
    pub only: Option<Vec<String>>,
    pub auth_header: AuthHeader,
    pub skip_dns_hijack: bool,
    pub skip_http_proxy: bool,
    pub http_proxy_port: u16,
    pub dns_port: u16,
    /// `user[:group]`, as typed.
    pub user: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub upstream_addr: Option<SocketAddr>,
    pub log_format: Format,
    pub verbosity: u8,
    /// The application and its arguments; empty with `-check` only.
    pub command: Vec<OsString>,
}

/// `-auth_header`: which header carries runsd's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthHeader {
    /// `Authorization`, unless the application has one of its own.
    Auto,
    /// Always `Authorization`.
    Authorization,
    /// Always `X-Serverless-Authorization`.
    Serverless,
    /// None: requests go without a token.
    Off,
}

impl Default for Args {
    fn default() -> Args {
        Args {
            resolv_conf_file: "/etc/resolv.conf".into(),
            domain: "run.internal".to_owned(),
            ndots: 3,
            nameservers: Vec::new(),
            gcp_region: None,
            gcp_project_hash: None,
            gcp_project_number: None,
            run_domain: "run.app".to_owned(),
            routes: Vec::new(),
            only: None,
            auth_header: AuthHeader::Auto,
            skip_dns_hijack: false,
            skip_http_proxy: false,
            http_proxy_port: 80,
            dns_port: 53,
            user: None,
            ca_file: None,
            upstream_addr: None,
            log_format: Format::Text,
            verbosity: 0,
            command: Vec::new(),
        }
    }
}

/// Reads the arguments after the program's name, and the environment for the
/// flags that are not among them. An error is one sentence for the user.
pub fn parse(
    args: impl Iterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Cli, String> {
    let mut words = args.peekable();
    let mut typed: Vec<(&'static Flag, String)> = Vec::new();
    let mut check = None;
    while let Some(word) = words.next_if(|word| is_flag(word)) {
        if word == "--" {
            break;
        }
        let word = word
            .into_string()
            .map_err(|word| format!("the flag {word:?} is not UTF-8"))?;
        let bare = word.strip_prefix("--").unwrap_or(&word[1..]);
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let flag = FLAGS
            .iter()
            .find(|flag| flag.name == name)
            .or_else(|| ignored(name))
            .or((name == "h").then_some(&HELP)) // as Go has it
            .ok_or_else(|| format!("there is no flag -{name}; `runsd -help` lists them all"))?;
        let value = match (&flag.kind, value) {
            (Kind::Help, _) => return Ok(Cli::Print(help())),
            (Kind::Version, _) => return Ok(Cli::Print(version())),
            (Kind::Check, name) => {
                check = Some(name.filter(|name| !name.is_empty()));
                continue;
            }
            (_, Some(value)) => value,
            (Kind::Switch(_) | Kind::Ignored, None) => "true".to_owned(),
            (Kind::Value(wanted, _), None) => match words.next() {
                Some(value) => value
                    .into_string()
                    .map_err(|value| format!("-{name}: {value:?} is not UTF-8"))?,
                None => return Err(format!("-{name} needs a value: {wanted}")),
            },
        };
        typed.push((flag, value));
    }

    let mut parsed = Args::default();
    for flag in &FLAGS {
        // Not even read where a flag was typed: a flag also mends a bad variable.
        if typed.iter().any(|(given, _)| given.name == flag.name) {
            continue;
        }
        let variable = format!("RUNSD_{}", flag.name.to_ascii_uppercase());
        let Some(value) = env(&variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        let value = value
            .to_str()
            .ok_or_else(|| format!("{variable}: {value:?} is not UTF-8"))?;
        flag.apply(&mut parsed, value)
            .map_err(|err| format!("{variable}={value:?}: {err}"))?;
    }
    for (flag, value) in &typed {
        flag.apply(&mut parsed, value)
            .map_err(|err| format!("-{}={value:?}: {err}", flag.name))?;
    }
    // Only now is it known which zone the names may end in.
    let zone = parsed.domain.clone();
    for route in &mut parsed.routes {
        route.name = service::relative(&route.name, &zone);
    }
    for name in parsed.only.iter_mut().flatten() {
        *name = service::relative(name, &zone);
    }
    parsed.command = words.collect();
    match check {
        Some(name) => Ok(Cli::Check(parsed, name)),
        None if parsed.command.is_empty() => Err(NO_COMMAND.to_owned()),
        None => Ok(Cli::Run(parsed)),
    }
}

/// A lone dash is a word, as it is in Go.
fn is_flag(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes()[0] == b'-'
}

const NO_COMMAND: &str =
    "no command given; put the application after runsd, as in: /runsd -- /app --its-own-flags";

/// One flag: what it is called, reads and does.
struct Flag {
    name: &'static str,
    kind: Kind,
    /// For `-help`; empty where there is none.
    default: &'static str,
    about: &'static str,
}

/// What follows the flag's name.
enum Kind {
    /// A value: what it looks like, and how it is kept.
    Value(&'static str, fn(&mut Args, &str) -> Result<(), String>),
    /// A switch, and where it is kept.
    Switch(fn(&mut Args) -> &mut bool),
    Check,
    Version,
    Help,
    /// A switch of old, without effect.
    Ignored,
}

impl Flag {
    fn apply(&self, args: &mut Args, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Value(_, keep) => keep(args, value),
            Kind::Switch(place) => {
                *place(args) = switch(value)?;
                Ok(())
            }
            // Things to do instead of running, which no variable may ask for.
            Kind::Check | Kind::Version | Kind::Help | Kind::Ignored => Ok(()),
        }
    }
}

const HELP: Flag = Flag {
    name: "help",
    kind: Kind::Help,
    default: "",
    about: "print this and exit",
};

/// All flags, in the order of `-help`.
static FLAGS: [Flag; 23] = [
    Flag {
        name: "route",
        kind: Kind::Value("NAME=URL[,audience=AUD]", |args, text| {
            for text in text.split_ascii_whitespace() {
                let route = route(text)?;
                args.routes.retain(|other| other.name != route.name);
                args.routes.push(route);
            }
            Ok(())
        }),
        default: "",
        about: "a name for a URL of your choice; audience=none sends no token; may be repeated",
    },
    Flag {
        name: "only",
        kind: Kind::Value("NAME,NAME…", |args, text| {
            let mut names = Vec::new();
            for text in list(text) {
                names.push(dns_name(text)?);
            }
            args.only = (!names.is_empty()).then_some(names);
            Ok(())
        }),
        default: "",
        about: "the services reached by name, and no other; without it, all",
    },
    Flag {
        name: "user",
        kind: Kind::Value("USER[:GROUP]", |args, text| {
            args.user = some(text);
            Ok(())
        }),
        default: "",
        about: "run the application as this user, by name or number",
    },
    Flag {
        name: "auth_header",
        kind: Kind::Value("auto|authorization|serverless|off", |args, text| {
            args.auth_header = match text {
                "auto" => AuthHeader::Auto,
                "authorization" => AuthHeader::Authorization,
                "serverless" => AuthHeader::Serverless,
                "off" => AuthHeader::Off,
                _ => return Err("expected auto, authorization, serverless or off".to_owned()),
            };
            Ok(())
        }),
        default: "auto",
        about: "the header that carries the identity token",
    },
    Flag {
        name: "ca_file",
        kind: Kind::Value("FILE", |args, text| {
            args.ca_file = some(text).map(PathBuf::from);
            Ok(())
        }),
        default: "",
        about: "trust these certificates (PEM) instead of Mozilla's",
    },
    Flag {
        name: "v",
        kind: Kind::Value("N", |args, text| {
            let level: u32 = number(text)?;
            args.verbosity = u8::try_from(level).unwrap_or(u8::MAX);
            Ok(())
        }),
        default: "0",
        about: "what to log: 0 warnings, 1 life cycle, 3 decisions, 5 every query and request",
    },
    Flag {
        name: "log_format",
        kind: Kind::Value("text|json", |args, text| {
            args.log_format = match text {
                "text" => Format::Text,
                "json" => Format::Json,
                _ => return Err("expected text or json".to_owned()),
            };
            Ok(())
        }),
        default: "text",
        about: "json is what Cloud Logging reads",
    },
    Flag {
        name: "check",
        kind: Kind::Check,
        default: "",
        about: "say what runsd would do here, or with the name of -check=NAME, and exit",
    },
    Flag {
        name: "gcp_region",
        kind: Kind::Value("REGION", |args, text| {
            args.gcp_region = checked(text, service::is_region, "a region such as europe-west1")?;
            Ok(())
        }),
        default: "",
        about: "the region of names without one; without it, the metadata server's answer",
    },
    Flag {
        name: "gcp_project_number",
        kind: Kind::Value("NUMBER", |args, text| {
            args.gcp_project_number =
                checked(text, service::is_project_number, "a project's number")?;
            Ok(())
        }),
        default: "",
        about: "the project of names without one; without it, the metadata server's answer",
    },
    Flag {
        name: "gcp_project_hash",
        kind: Kind::Value("HASH", |args, text| {
            args.gcp_project_hash = checked(text, is_hash, "a hash such as dpyb4duzqq")?;
            Ok(())
        }),
        default: "",
        about: "use URLs of the older form, SERVICE-HASH-CODE.a.run.app",
    },
    Flag {
        name: "run_domain",
        kind: Kind::Value("DOMAIN", |args, text| {
            args.run_domain = dns_name(text)?;
            Ok(())
        }),
        default: "run.app",
        about: "what service URLs end in; sovereign clouds have another",
    },
    Flag {
        name: "domain",
        kind: Kind::Value("DOMAIN", |args, text| {
            args.domain = dns_name(text)?;
            Ok(())
        }),
        default: "run.internal",
        about: "the zone services live in inside the container",
    },
    Flag {
        name: "ndots",
        kind: Kind::Value("N", |args, text| {
            args.ndots = number(text)
                .ok()
                .filter(|ndots| (1..=15).contains(ndots))
                .ok_or("expected a number from 1 to 15")?;
            Ok(())
        }),
        default: "3",
        about: "ndots in resolv.conf; at least 3 is written",
    },
    Flag {
        name: "nameserver",
        kind: Kind::Value("IP[:PORT],…", |args, text| {
            for text in list(text) {
                args.nameservers.push(nameserver(text)?);
            }
            Ok(())
        }),
        default: "",
        about: "where other names are asked; without it, the nameservers of resolv.conf",
    },
    Flag {
        name: "resolv_conf_file",
        kind: Kind::Value("FILE", |args, text| {
            args.resolv_conf_file = some(text).ok_or("expected a path")?.into();
            Ok(())
        }),
        default: "/etc/resolv.conf",
        about: "the file that tells resolvers where to ask",
    },
    Flag {
        name: "dns_port",
        kind: Kind::Value("PORT", |args, text| {
            args.dns_port = number(text)?;
            Ok(())
        }),
        default: "53",
        about: "port of the DNS server",
    },
    Flag {
        name: "http_proxy_port",
        kind: Kind::Value("PORT", |args, text| {
            args.http_proxy_port = number(text)?;
            Ok(())
        }),
        default: "80",
        about: "port of the proxy",
    },
    Flag {
        name: "skip_dns_hijack",
        kind: Kind::Switch(|args| &mut args.skip_dns_hijack),
        default: "false",
        about: "no DNS server, and resolv.conf stays as it is",
    },
    Flag {
        name: "skip_http_proxy",
        kind: Kind::Switch(|args| &mut args.skip_http_proxy),
        default: "false",
        about: "no proxy",
    },
    Flag {
        name: "upstream_addr",
        kind: Kind::Value("IP:PORT", |args, text| {
            args.upstream_addr = match some(text) {
                Some(text) => Some(text.parse().map_err(|_| "expected IP:PORT")?),
                None => None,
            };
            Ok(())
        }),
        default: "",
        about: "for tests: every service is at this address",
    },
    Flag {
        name: "version",
        kind: Kind::Version,
        default: "",
        about: "print version and commit and exit",
    },
    HELP,
];

/// The Go program's logging flags: taken, so that its Dockerfiles work.
fn ignored(name: &str) -> Option<&'static Flag> {
    static SWITCH: Flag = Flag {
        name: "",
        kind: Kind::Ignored,
        default: "",
        about: "",
    };
    static VALUE: Flag = Flag {
        name: "",
        kind: Kind::Value("anything", |_, _| Ok(())),
        default: "",
        about: "",
    };
    if IGNORED_SWITCHES.contains(&name) {
        Some(&SWITCH)
    } else if IGNORED_VALUES.contains(&name) {
        Some(&VALUE)
    } else {
        None
    }
}

const IGNORED_SWITCHES: [&str; 6] = [
    "logtostderr",
    "alsologtostderr",
    "skip_headers",
    "skip_log_headers",
    "add_dir_header",
    "one_output",
];
const IGNORED_VALUES: [&str; 6] = [
    "stderrthreshold",
    "vmodule",
    "log_dir",
    "log_file",
    "log_file_max_size",
    "log_backtrace_at",
];

fn help() -> String {
    let mut text = String::from(
        "runsd: reach every Cloud Run service of your project as http://NAME, authenticated\n\n\
         usage: runsd [FLAGS] [--] COMMAND [ARGUMENTS]\n\n",
    );
    for flag in &FLAGS {
        let value = match flag.kind {
            Kind::Value(wanted, _) => format!("={wanted}"),
            Kind::Check => "[=NAME]".to_owned(),
            _ => String::new(),
        };
        let default = match flag.default {
            "" => String::new(),
            default => format!(" (default {default})"),
        };
        let Flag { name, about, .. } = flag;
        text.push_str(&format!("  -{name}{value}\n        {about}{default}\n"));
    }
    text.push_str(
        "\nEach setting is also read from the environment, as RUNSD_ and its name in upper case\n\
         (RUNSD_GCP_REGION); flags win. RUNSD_DISABLE=1 runs the command as if runsd were not there.\n",
    );
    text.push_str(&format!(
        "accepted and ignored: -{} -{}\n",
        IGNORED_SWITCHES.join(" -"),
        IGNORED_VALUES.join(" -"),
    ));
    text
}

fn version() -> String {
    format!(
        "runsd {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("RUNSD_COMMIT").unwrap_or("unknown commit"),
    )
}

/// The spellings Go's `strconv.ParseBool` takes.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// `-flag=` is what `-flag=$VARIABLE` leaves of an empty variable: not given.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// The largest values are the types' own: 255, 65535.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let wanted = || {
        let largest = u64::MAX >> (64 - 8 * size_of::<T>());
        format!("expected a number from 0 to {largest}")
    };
    // FromStr would let a "+" through.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wanted());
    }
    text.parse().map_err(|_| wanted())
}

fn checked(text: &str, fits: fn(&str) -> bool, wanted: &str) -> Result<Option<String>, String> {
    let text = text.to_ascii_lowercase();
    if text.is_empty() {
        Ok(None)
    } else if fits(&text) {
        Ok(Some(text))
    } else {
        Err(format!("expected {wanted}"))
    }
}

fn is_hash(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A name as DNS has it, in lower case and without its trailing dot.
fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let fits = name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    fits.then_some(name)
        .ok_or_else(|| format!("{text:?} is no DNS name"))
}

/// `10.0.0.1`, `10.0.0.1:5353`, `fd00::1`, `[fd00::1]:5353`.
fn nameserver(text: &str) -> Result<SocketAddr, String> {
    text.parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 53))
        .or_else(|_| text.parse())
        .map_err(|_| format!("{text:?} is neither IP nor IP:PORT"))
}

/// `NAME=URL[,audience=AUD]`.
fn route(text: &str) -> Result<Route, String> {
    let (name, target) = text
        .split_once('=')
        .ok_or("expected NAME=URL[,audience=AUD]")?;
    let name = dns_name(name)?;
    if service::RESERVED.contains(&name.as_str()) {
        return Err(format!("the name {name:?} has a meaning of its own"));
    }
    let (url, audience) = match target.split_once(",audience=") {
        Some((_, "")) => return Err("the audience is empty".to_owned()),
        Some((url, audience)) => (url, Some(audience)),
        None => (target, None),
    };
    let (tls, authority) = if let Some(rest) = strip_scheme(url, "https://") {
        (true, rest)
    } else if let Some(rest) = strip_scheme(url, "http://") {
        (false, rest)
    } else {
        return Err(format!("{url:?} does not begin with https://"));
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "{url:?} has a path; a route names a host, the request brings the path"
        ));
    }
    let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })
        .ok_or_else(|| format!("{url:?} holds no HOST or HOST:PORT"))?;
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if !tls && !loopback {
        return Err(format!(
            "{url:?} is not encrypted, which only loopback may be; write https://"
        ));
    }
    let audience = match audience {
        Some("none") => None,
        Some(audience) => Some(audience.to_owned()),
        // A neighbour on loopback, as a sidecar is, has no use for a token.
        None => tls.then(|| format!("https://{host}")),
    };
    Ok(Route {
        name,
        tls,
        host,
        port,
        audience,
    })
}

fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = url.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The host in lower case, an IPv6 address in its brackets, and the port.
fn host_and_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let bracketed = authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !bracketed => (host, number(port).ok().filter(|port| *port > 0)?),
        _ => (authority, default),
    };
    if let Some(ip) = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        let ip: std::net::Ipv6Addr = ip.parse().ok()?;
        return Some((format!("[{ip}]"), port));
    }
    Some((dns_name(host).ok()?, port))
}

#[cfg(test)]
mod tests;
