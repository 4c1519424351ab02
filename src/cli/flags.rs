//! All flags: one table for reading them, for their variables, and for `-help`.

use std::path::PathBuf;

use super::values::{checked, dns_name, is_hash, list, nameserver, number, route, some, switch};
use super::{Args, AuthHeader};
use crate::logger::Format;
use crate::names::service;

/// One flag: what it is called, reads and does.
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// For `-help`; empty where there is none.
    pub default: &'static str,
    pub about: &'static str,
}

/// What follows the flag's name.
pub enum Kind {
    /// A value: what it looks like, and how it is kept.
    Value(&'static str, fn(&mut Args, &str) -> Result<(), String>),
    /// A switch, and how it is kept.
    Switch(fn(&mut Args, bool)),
    Check,
    Version,
    Help,
    /// A switch of old, without effect.
    Ignored,
}

impl Flag {
    pub fn apply(&self, args: &mut Args, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Value(_, keep) => keep(args, value),
            Kind::Switch(keep) => {
                keep(args, switch(value)?);
                Ok(())
            }
            // Things to do instead of running, which no variable may ask for.
            Kind::Check | Kind::Version | Kind::Help | Kind::Ignored => Ok(()),
        }
    }
}

pub const HELP: Flag = Flag { name: "help", kind: Kind::Help, default: "", about: "print this and exit" };

/// All flags, in the order of `-help`.
pub static FLAGS: [Flag; 24] = [
    Flag {
        name: "route",
        kind: Kind::Value("NAME=URL[,audience=AUD]", |args, text| {
            if text.trim_ascii().is_empty() {
                return Err("expected NAME=URL[,audience=AUD]".to_owned());
            }
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
            let names: Vec<_> = list(text).map(dns_name).collect::<Result<_, _>>()?;
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
        about: "say what runsd would do here, or with a name (also -check NAME), and exit",
    },
    Flag {
        name: "gcp_region",
        kind: Kind::Value("REGION", |args, text| {
            args.gcp_region = checked(text, service::is_region, "a region such as europe-west1")?;
            Ok(())
        }),
        default: "",
        about: "the region of names without one; without it, the metadata server's answer; off Cloud \
                Run it has services reached through http_proxy",
    },
    Flag {
        name: "gcp_project_number",
        kind: Kind::Value("NUMBER", |args, text| {
            args.gcp_project_number = checked(text, service::is_project_number, "a project's number")?;
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
            args.ndots =
                number(text).ok().filter(|ndots| (1..=15).contains(ndots)).ok_or("expected a number from 1 to 15")?;
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
        kind: Kind::Switch(|args, on| args.skip_dns_hijack = Some(on)),
        default: "false",
        about: "no DNS server, and resolv.conf stays as it is; off Cloud Run only =false takes them",
    },
    Flag {
        name: "skip_http_proxy",
        kind: Kind::Switch(|args, on| args.skip_http_proxy = on),
        default: "false",
        about: "no proxy",
    },
    Flag {
        name: "disable",
        kind: Kind::Switch(|args, on| args.disable = on),
        default: "false",
        about: "no services: become the application, as off Cloud Run",
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
    Flag { name: "version", kind: Kind::Version, default: "", about: "print version and commit and exit" },
    HELP,
];

/// The Go program's logging flags: taken, so that its Dockerfiles work.
pub fn ignored(name: &str) -> Option<&'static Flag> {
    static SWITCH: Flag = Flag { name: "", kind: Kind::Ignored, default: "", about: "" };
    static VALUE: Flag = Flag { name: "", kind: Kind::Value("anything", |_, _| Ok(())), default: "", about: "" };
    if IGNORED_SWITCHES.contains(&name) {
        Some(&SWITCH)
    } else if IGNORED_VALUES.contains(&name) {
        Some(&VALUE)
    } else {
        None
    }
}

/// The flag whose name is nearest to `name`, if any is near: one slip of the
/// finger in a short name, two in a longer one, `-` for `_` free.
pub fn closest(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('-').replace('-', "_");
    let name = name.to_ascii_lowercase();
    let distance = |flag: &&'static str| strsim::osa_distance(&name, flag);
    let nearest = FLAGS.iter().map(|flag| flag.name).min_by_key(distance)?;
    let most = match nearest.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    (distance(&nearest) <= most).then_some(nearest)
}

pub const IGNORED_SWITCHES: [&str; 6] =
    ["logtostderr", "alsologtostderr", "skip_headers", "skip_log_headers", "add_dir_header", "one_output"];
pub const IGNORED_VALUES: [&str; 6] =
    ["stderrthreshold", "vmodule", "log_dir", "log_file", "log_file_max_size", "log_backtrace_at"];
