//! All flags: one table for reading them, for their variables, and for `-help`.

use std::path::PathBuf;

use super::values::{checked, choice, dns_name, hash, list, nameserver, non_empty, number, parse_all, route, switch};
use super::{Args, AuthHeader};
use crate::logger::Format;
use crate::names::service;

/// A flag: its name, its help, and what it sets.
pub struct Flag {
    /// Without a dash.
    pub name: &'static str,
    /// What it takes.
    pub kind: FlagKind,
    /// The default, for `-help`; or empty.
    pub default: &'static str,
    /// What it is for, for `-help`.
    pub about: &'static str,
}

/// What a flag takes, and how it sets [`Args`].
pub enum FlagKind {
    /// A value, which looks like this placeholder.
    Value(&'static str, fn(&mut Args, &str) -> Result<(), String>),
    /// true or false; true without a value.
    Switch(fn(&mut Args, bool)),
    /// `-check`, which takes a name or none.
    Check,
    /// `-version`.
    Version,
    /// `-help`.
    Help,
    /// A switch of the Go program, without effect.
    Ignored,
}

impl Flag {
    /// Sets what the flag is for.
    ///
    /// # Errors
    /// What was expected instead of `value`.
    pub fn apply(&self, args: &mut Args, value: &str) -> Result<(), String> {
        match self.kind {
            FlagKind::Value(_, set) => set(args, value),
            FlagKind::Switch(set) => {
                set(args, switch(value)?);
                Ok(())
            }
            // Of these a variable has no effect, and a flag does not come here.
            FlagKind::Check | FlagKind::Version | FlagKind::Help | FlagKind::Ignored => Ok(()),
        }
    }
}

const fn value(
    name: &'static str,
    placeholder: &'static str,
    default: &'static str,
    about: &'static str,
    set: fn(&mut Args, &str) -> Result<(), String>,
) -> Flag {
    Flag { name, kind: FlagKind::Value(placeholder, set), default, about }
}

const fn switch_flag(name: &'static str, about: &'static str, set: fn(&mut Args, bool)) -> Flag {
    Flag { name, kind: FlagKind::Switch(set), default: "false", about }
}

/// Stores a value that was read.
fn store<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

/// `-help`.
pub const HELP: Flag = Flag { name: "help", kind: FlagKind::Help, default: "", about: "print this and exit" };

/// Reads the value of `-log_format`, which an error on the command line looks for, too.
///
/// # Errors
/// What was expected.
pub fn log_format(text: &str) -> Result<Format, String> {
    choice(text, &[("text", Format::Text), ("json", Format::Json)])
}

/// All flags, in the order of `-help`.
pub static FLAGS: [Flag; 24] = [
    value(
        "route",
        "NAME=URL[,audience=AUD]",
        "",
        "a name for a URL of your choice; audience=none sends no token; may be repeated",
        |args, text| {
            if text.trim_ascii().is_empty() {
                return Err("expected NAME=URL[,audience=AUD]".to_owned());
            }
            for text in text.split_ascii_whitespace() {
                let route = route(text)?;
                args.routes.retain(|other| other.name != route.name);
                args.routes.push(route);
            }
            Ok(())
        },
    ),
    value("only", "NAME,NAME…", "", "the services reached by name, and no other; without it, all", |args, text| {
        let names = parse_all(list(text), dns_name)?;
        args.only = (!names.is_empty()).then_some(names);
        Ok(())
    }),
    value("user", "USER[:GROUP]", "", "run the application as this user, by name or number", |args, text| {
        args.user = non_empty(text);
        Ok(())
    }),
    value(
        "auth_header",
        "auto|authorization|serverless|off",
        "auto",
        "the header that carries the identity token",
        |args, text| {
            let headers = [
                ("auto", AuthHeader::Auto),
                ("authorization", AuthHeader::Authorization),
                ("serverless", AuthHeader::Serverless),
                ("off", AuthHeader::Off),
            ];
            store(&mut args.auth_header, choice(text, &headers))
        },
    ),
    value("ca_file", "FILE", "", "trust these certificates (PEM) instead of Mozilla's", |args, text| {
        args.ca_file = non_empty(text).map(PathBuf::from);
        Ok(())
    }),
    value(
        "v",
        "N",
        "0",
        "what to log: 0 warnings, 1 life cycle, 3 decisions, 5 every query and request",
        |args, text| {
            let level: u32 = number(text)?;
            args.verbosity = u8::try_from(level).unwrap_or(u8::MAX);
            Ok(())
        },
    ),
    value("log_format", "text|json", "text", "json is what Cloud Logging reads", |args, text| {
        store(&mut args.log_format, log_format(text))
    }),
    Flag {
        name: "check",
        kind: FlagKind::Check,
        default: "",
        about: "say what runsd would do here, or with a name (also -check NAME), and exit",
    },
    value(
        "gcp_region",
        "REGION",
        "",
        "the region of names without one; without it, the metadata server's answer; off Cloud Run it has services \
         reached through http_proxy",
        |args, text| store(&mut args.gcp_region, checked(text, service::is_region, "a region such as europe-west1")),
    ),
    value(
        "gcp_project_number",
        "NUMBER",
        "",
        "the project of names without one; without it, the metadata server's answer",
        |args, text| {
            store(&mut args.gcp_project_number, checked(text, service::is_project_number, "a project's number"))
        },
    ),
    value("gcp_project_hash", "HASH", "", "use URLs of the older form, SERVICE-HASH-CODE.a.run.app", |args, text| {
        store(&mut args.gcp_project_hash, hash(text))
    }),
    value(
        "run_domain",
        "DOMAIN",
        "run.app",
        "what service URLs end in; sovereign clouds have another",
        |args, text| store(&mut args.run_domain, dns_name(text)),
    ),
    value("domain", "DOMAIN", "run.internal", "the zone services live in inside the container", |args, text| {
        store(&mut args.domain, dns_name(text))
    }),
    value("ndots", "N", "3", "ndots in resolv.conf; at least 3 is written", |args, text| {
        let ndots = number(text).ok().filter(|ndots| (1..=15).contains(ndots));
        store(&mut args.ndots, ndots.ok_or_else(|| "expected a number from 1 to 15".to_owned()))
    }),
    value(
        "nameserver",
        "IP[:PORT],…",
        "",
        "where other names are asked; without it, the nameservers of resolv.conf",
        |args, text| {
            args.nameservers.extend(parse_all(list(text), nameserver)?);
            Ok(())
        },
    ),
    value(
        "resolv_conf_file",
        "FILE",
        "/etc/resolv.conf",
        "the file that tells resolvers where to ask",
        |args, text| {
            args.resolv_conf_file = non_empty(text).ok_or("expected a path")?.into();
            Ok(())
        },
    ),
    value("dns_port", "PORT", "53", "port of the DNS server", |args, text| store(&mut args.dns_port, number(text))),
    value("http_proxy_port", "PORT", "80", "port of the proxy", |args, text| {
        store(&mut args.http_proxy_port, number(text))
    }),
    switch_flag(
        "skip_dns_hijack",
        "no DNS server, and resolv.conf stays as it is; off Cloud Run only =false takes them",
        |args, on| args.skip_dns_hijack = Some(on),
    ),
    switch_flag("skip_http_proxy", "no proxy", |args, on| args.skip_http_proxy = on),
    switch_flag("disable", "no services: become the application, as off Cloud Run", |args, on| args.disable = on),
    value("upstream_addr", "IP:PORT", "", "for tests: every service is at this address", |args, text| {
        let addr = non_empty(text).map(|text| text.parse().map_err(|_| "expected IP:PORT".to_owned()));
        store(&mut args.upstream_addr, addr.transpose())
    }),
    Flag { name: "version", kind: FlagKind::Version, default: "", about: "print version and commit and exit" },
    HELP,
];

/// Returns a flag for the Go program's logging flags, which old Dockerfiles may have.
pub fn ignored(name: &str) -> Option<&'static Flag> {
    static SWITCH: Flag = Flag { name: "", kind: FlagKind::Ignored, default: "", about: "" };
    static VALUE: Flag = value("", "anything", "", "", |_, _| Ok(()));
    if IGNORED_SWITCHES.contains(&name) {
        Some(&SWITCH)
    } else if IGNORED_VALUES.contains(&name) {
        Some(&VALUE)
    } else {
        None
    }
}

/// Returns the flag that a mistyped name may mean: one edit away where it is short, two where it is longer; `-` for `_`
/// and upper case count as none.
pub fn closest(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('-').replace('-', "_").to_ascii_lowercase();
    let distance = |flag: &&'static str| strsim::osa_distance(&name, flag);
    let nearest = FLAGS.iter().map(|flag| flag.name).min_by_key(distance)?;
    let max_distance = match nearest.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    (distance(&nearest) <= max_distance).then_some(nearest)
}

/// Switches of the Go program's logging library.
pub const IGNORED_SWITCHES: [&str; 6] =
    ["logtostderr", "alsologtostderr", "skip_headers", "skip_log_headers", "add_dir_header", "one_output"];
/// Its flags with a value.
pub const IGNORED_VALUES: [&str; 6] =
    ["stderrthreshold", "vmodule", "log_dir", "log_file", "log_file_max_size", "log_backtrace_at"];
