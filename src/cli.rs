//! The command line: argv and `RUNSD_*` become [`Args`], or a text to print.
//!
//! The only place that knows the names of flags. They are read by hand, as Go's
//! `flag` package reads them: one dash or two, `-flag=x` or `-flag x`, switches
//! bare or with `=true`, and everything from the first word that is no flag on
//! belongs to the application. Argument parsers in GNU style see `-v=5` as a
//! row of short options, and an old Dockerfile must work as it is.

mod flags;
mod unknown;
mod values;

use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::destination::Route;
use crate::logger::Format;
use crate::service;
use flags::{FLAGS, Flag, HELP, IGNORED_SWITCHES, IGNORED_VALUES, Kind, ignored};

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
    /// Becomes the application wherever it runs.
    pub disable: bool,
    /// What is odd but no reason to end: sentences for the log.
    pub warnings: Vec<String>,
    /// The application and its arguments; empty with `-check` only.
    pub command: Vec<OsString>,
}

/// Which header our tokens go into: `-auth_header`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthHeader {
    /// `Authorization`, or the other one when the application uses it.
    #[default]
    Auto,
    /// `Authorization` and nowhere else.
    Authorization,
    /// `X-Serverless-Authorization` and nowhere else.
    Serverless,
    /// None: no tokens are sent.
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
            disable: false,
            warnings: Vec::new(),
            command: Vec::new(),
        }
    }
}

/// What the names of variables that stand for flags begin with.
pub const VARIABLES: &str = "RUNSD_";

/// Why a command line cannot be followed, and how to say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommandLine {
    /// One sentence for the user.
    pub sentence: String,
    /// What the other flags, also those behind the bad one, ask for.
    pub log_format: Format,
}

/// Reads the arguments after the program's name, and [`VARIABLES`], named
/// without that beginning, for the flags that are not among them.
pub fn parse(
    args: impl Iterator<Item = OsString>,
    variables: &[(OsString, OsString)],
) -> Result<Cli, BadCommandLine> {
    let mut words = args.peekable();
    let mut typed = Typed::default();
    let outcome = match typed.read(&mut words) {
        Ok(Some(text)) => return Ok(Cli::Print(text)),
        Ok(None) => understand(&typed, variables, words.collect()),
        Err(sentence) => {
            while typed.read(&mut words).is_err() {}
            Err(sentence)
        }
    };
    outcome.map_err(|sentence| BadCommandLine {
        sentence,
        log_format: typed.log_format(variables),
    })
}

/// The flags of a command line.
#[derive(Default)]
struct Typed {
    /// With their values, in their order.
    flags: Vec<(&'static Flag, String)>,
    /// `-check`, and its name.
    check: Option<Option<String>>,
}

impl Typed {
    /// Reads up to the application's words; or to what has only to be printed.
    fn read(
        &mut self,
        words: &mut Peekable<impl Iterator<Item = OsString>>,
    ) -> Result<Option<String>, String> {
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
                (Kind::Help, _) => return Ok(Some(help())),
                (Kind::Version, _) => return Ok(Some(version())),
                (Kind::Check, name) => {
                    self.check = Some(name.filter(|name| !name.is_empty()));
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
            self.flags.push((flag, value));
        }
        Ok(None)
    }

    /// The format of the log, where something else is wrong.
    fn log_format(&self, variables: &[(OsString, OsString)]) -> Format {
        const NAME: &str = "log_format";
        let mut args = Args::default();
        let variable = variables
            .iter()
            .find(|(name, _)| *name == *NAME.to_ascii_uppercase())
            .and_then(|(_, value)| value.to_str());
        let flag = FLAGS.iter().find(|flag| flag.name == NAME);
        let from_variable = flag.zip(variable);
        let typed = self.flags.iter().map(|(flag, value)| (*flag, &**value));
        for (flag, value) in from_variable.into_iter().chain(typed) {
            if flag.name == NAME {
                // One that is none changes nothing.
                let _ = flag.apply(&mut args, value);
            }
        }
        args.log_format
    }
}

/// Puts flags and variables together.
fn understand(
    Typed {
        flags: typed,
        check,
    }: &Typed,
    variables: &[(OsString, OsString)],
    command: Vec<OsString>,
) -> Result<Cli, String> {
    let mut parsed = Args::default();
    apply_variables(&mut parsed, typed, variables)?;
    for (flag, value) in typed {
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
    parsed.command = command;
    parsed.warnings = unknown::variables(variables);
    // `-check hello`, too: nobody asks what an application's name is to them.
    let mut check = check.clone();
    let named = match &check {
        Some(None) if parsed.command.len() == 1 => parsed.command[0].to_str(),
        _ => None,
    };
    if let Some(name) = named.filter(|name| !name.contains('/')) {
        check = Some(Some(name.to_owned()));
        parsed.command.clear();
    }
    match check {
        Some(name) => Ok(Cli::Check(parsed, name)),
        None if parsed.command.is_empty() => Err(NO_COMMAND.to_owned()),
        None => Ok(Cli::Run(parsed)),
    }
}

/// Keeps the variables of the flags that were not typed.
fn apply_variables(
    args: &mut Args,
    typed: &[(&'static Flag, String)],
    variables: &[(OsString, OsString)],
) -> Result<(), String> {
    // Mostly there are none, and their names need not be made.
    let flags = match variables {
        [] => &[],
        _ => &FLAGS[..],
    };
    for flag in flags {
        // Not even read where a flag was typed: a flag also mends a bad variable.
        if typed.iter().any(|(given, _)| given.name == flag.name) {
            continue;
        }
        let name = flag.name.to_ascii_uppercase();
        // Of two the first counts, as in C.
        let given = variables.iter().find(|(given, _)| *given == *name);
        let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) else {
            continue;
        };
        let value = value
            .to_str()
            .ok_or_else(|| format!("{VARIABLES}{name}: {value:?} is not UTF-8"))?;
        flag.apply(args, value)
            .map_err(|err| format!("{VARIABLES}{name}={value:?}: {err}"))?;
    }
    Ok(())
}

/// A lone dash is a word, as it is in Go.
fn is_flag(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes()[0] == b'-'
}

const NO_COMMAND: &str =
    "no command given; put the application after runsd, as in: /runsd -- /app --its-own-flags";

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
         (RUNSD_GCP_REGION); flags win.\n",
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

#[cfg(test)]
mod tests;
