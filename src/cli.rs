//! The command line: argv and `RUNSD_*` become [`Args`], or a text to print.
//!
//! The only folder that knows the names of flags, and lexopt. Flags are spelled as Go's `flag` package spells them, as
//! old Dockerfiles have to work: one dash or two, `-flag=x` or `-flag x`, switches bare or with `=true`; everything from
//! the first argument that is not a flag on is the application's. lexopt reads `-flag=x` as the short option `f` with
//! the value `lag=x`; both are joined again here.

mod flags;
mod help;
mod unknown;
mod values;

use std::ffi::{OsStr, OsString};
use std::mem;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::logger::Format;
use crate::names::policy::{self, Route};
use crate::names::service;
use flags::{FLAGS, Flag, FlagKind, HELP, closest, ignored};
use help::{help, version};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cli {
    /// Run the application.
    Run(Args),
    /// `-check[=NAME]`: say what would happen, for one name or in general.
    Check(Args, Option<String>),
    /// `-help`, `-version`: print this text.
    Print(String),
}

/// The settings: of flags, of variables, and the defaults for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// The file to rewrite.
    pub resolv_conf_file: PathBuf,
    /// The zone of service names, in lower case, without outer dots.
    pub domain: String,
    /// 1 to 15.
    pub ndots: u8,
    /// Nameservers in place of those in resolv.conf, where any are given.
    pub nameservers: Vec<SocketAddr>,
    /// The region of names without one.
    pub gcp_region: Option<String>,
    /// The project's hash, for URLs of the older form.
    pub gcp_project_hash: Option<String>,
    /// The project of names without one.
    pub gcp_project_number: Option<String>,
    /// The end of service URLs, in lower case, without outer dots.
    pub run_domain: String,
    /// Names for URLs; the names in lower case, without the zone.
    pub routes: Vec<Route>,
    /// The names that are services, if not all are; in lower case, without the zone.
    pub only: Option<Vec<String>>,
    /// The header for identity tokens.
    pub auth_header: AuthHeader,
    /// `None` leaves it to the platform.
    pub skip_dns_hijack: Option<bool>,
    /// Whether there is no proxy.
    pub skip_http_proxy: bool,
    /// The proxy's port.
    pub http_proxy_port: u16,
    /// The DNS server's port.
    pub dns_port: u16,
    /// `USER[:GROUP]`, as typed.
    pub user: Option<String>,
    /// Certificates to trust in place of Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// The address of all services, for tests.
    pub upstream_addr: Option<SocketAddr>,
    /// The log's format.
    pub log_format: Format,
    /// The N of `-v=N`; 255 for all that are larger.
    pub verbosity: u8,
    /// Whether runsd becomes the application wherever it runs.
    pub disable: bool,
    /// Sentences for the log, about variables that no flag reads.
    pub warnings: Vec<String>,
    /// The application and its arguments; may be empty with `-check` alone.
    pub command: Vec<OsString>,
}

/// The header for identity tokens: `-auth_header`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthHeader {
    /// `Authorization`, or `X-Serverless-Authorization` where the application sends an `Authorization` of its own.
    #[default]
    Auto,
    /// `Authorization` alone.
    Authorization,
    /// `X-Serverless-Authorization` alone.
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
            skip_dns_hijack: None,
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

/// The beginning of variables that stand for flags.
pub const VARIABLE_PREFIX: &str = "RUNSD_";

/// What is wrong with a command line, and how to log it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// One sentence for the user.
    pub sentence: String,
    /// What the other flags, also those after the wrong one, ask for.
    pub log_format: Format,
}

/// Returns the variables that begin with [`VARIABLE_PREFIX`], named without it.
pub fn variables(env: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    env.filter_map(|(name, value)| {
        let name = name.as_bytes().strip_prefix(VARIABLE_PREFIX.as_bytes())?;
        Some((OsStr::from_bytes(name).to_owned(), value))
    })
    .collect()
}

/// Reads the arguments after the program's name, and the variables of [`variables`] for flags that are not among them.
///
/// # Errors
/// A sentence for the user, and how to log it.
pub fn parse(args: impl Iterator<Item = OsString>, variables: &[(OsString, OsString)]) -> Result<Cli, CliError> {
    let mut parser = Parser::from_args(args);
    // The `=` of `-v=5` stays in the value, so that `-v=5` and `-va=5` differ.
    parser.set_short_equals(false);
    let mut typed = Typed::default();
    let outcome = match typed.read(&mut parser) {
        Ok(Some(text)) => return Ok(Cli::Print(text)),
        Ok(None) => resolve(&mut typed, variables),
        Err(sentence) => {
            // A flag after the wrong one may say how to log it.
            while typed.read(&mut parser).is_err() {}
            Err(sentence)
        }
    };
    outcome.map_err(|sentence| CliError { sentence, log_format: typed.log_format(variables) })
}

/// Puts flags and variables together.
fn resolve(typed: &mut Typed, variables: &[(OsString, OsString)]) -> Result<Cli, String> {
    let mut args = Args::default();
    apply_variables(&mut args, variables, &typed.flags)?;
    for (flag, value) in &typed.flags {
        flag.apply(&mut args, value).map_err(|err| format!("-{}={value:?}: {err}", flag.name))?;
    }
    // Once all flags are read, as a later one may set the zone.
    let zone = args.domain.clone();
    for name in args.only.iter_mut().flatten() {
        *name = service::strip_zone(name, &zone);
    }
    for route in &mut args.routes {
        let name = service::strip_zone(&route.name, &zone);
        if policy::is_reserved(&name) {
            return Err(format!("-route: the name {:?} has a meaning of its own", route.name));
        }
        route.name = name;
    }
    let check = typed.check_name()?;
    args.command = mem::take(&mut typed.command);
    args.warnings = unknown::unknown_variables(variables);
    match check {
        Some(name) => Ok(Cli::Check(args, name)),
        None if args.command.is_empty() => Err(NO_COMMAND.to_owned()),
        None => Ok(Cli::Run(args)),
    }
}

/// What was typed.
#[derive(Default)]
struct Typed {
    /// Flags and their values, in order.
    flags: Vec<(&'static Flag, String)>,
    /// `-check`, and its name.
    check: Option<Option<String>>,
    /// The application and its arguments.
    command: Vec<OsString>,
}

impl Typed {
    /// Reads to the end, or to a flag that prints: then returns the text.
    fn read(&mut self, parser: &mut Parser) -> Result<Option<String>, String> {
        loop {
            let (name, value) = match next_argument(parser)? {
                Argument::Flag(name, value) => (name, value),
                Argument::Command(command) => {
                    self.command = command;
                    return Ok(None);
                }
            };
            let flag = find_flag(&name)?;
            let value = match (&flag.kind, value) {
                (FlagKind::Help, _) => return Ok(Some(help())),
                (FlagKind::Version, _) => return Ok(Some(version())),
                (FlagKind::Check, name) => {
                    let name = match name {
                        Some(name) => Some(name),
                        None => next_name(parser)?,
                    };
                    self.check = Some(name.map(|name| values::host(&name)).transpose()?.flatten());
                    continue;
                }
                (_, Some(value)) => value,
                (FlagKind::Switch(_) | FlagKind::Ignored, None) => "true".to_owned(),
                (FlagKind::Value(placeholder, _), None) => parser
                    .value()
                    .map_err(|_| format!("-{name} needs a value: {placeholder}"))?
                    .into_string()
                    .map_err(|value| format!("-{name}: {value:?} is not UTF-8"))?,
            };
            self.flags.push((flag, value));
        }
    }

    /// Returns the name for `-check`, which may follow other flags. A path is the application of the Dockerfile, which
    /// `-check` does not run.
    fn check_name(&mut self) -> Result<Option<Option<String>>, String> {
        let is_name = !self.command.first().is_some_and(|word| word.as_bytes().starts_with(b"/"));
        match (&self.check, &self.command[..]) {
            (Some(Some(_)), [word, ..]) if is_name => Err(format!("-check takes one name; got {word:?}, too")),
            // `-check -v=5 hello`
            (Some(None), [word]) if is_name => {
                let name = values::host(word.to_str().ok_or_else(|| not_a_name(word))?)?;
                self.command.clear();
                Ok(Some(name))
            }
            _ => Ok(self.check.take()),
        }
    }

    /// Returns the log's format, whatever else is wrong: that of the last flag that has a valid one, or of the variable.
    fn log_format(&self, variables: &[(OsString, OsString)]) -> Format {
        let typed = self.flags.iter().rev().filter(|(flag, _)| flag.name == "log_format");
        let typed = typed.map(|(_, value)| &**value);
        let variable = variables.iter().find(|(name, _)| name == "LOG_FORMAT").and_then(|(_, value)| value.to_str());
        typed.chain(variable).find_map(|value| flags::log_format(value).ok()).unwrap_or(Format::Text)
    }
}

enum Argument {
    /// A flag's name without dashes, and the value after its `=`.
    Flag(String, Option<String>),
    /// The application and its arguments; empty where argv ends.
    Command(Vec<OsString>),
}

fn next_argument(parser: &mut Parser) -> Result<Argument, String> {
    let first = match parser.next().map_err(|err| err.to_string())? {
        None => return Ok(Argument::Command(Vec::new())),
        Some(Arg::Value(program)) => {
            let mut command = vec![program];
            command.extend(parser.raw_args().map_err(|err| err.to_string())?);
            return Ok(Argument::Command(command));
        }
        Some(Arg::Long(name)) => {
            let name = name.to_owned();
            let value = parser.optional_value().map(|value| {
                let not_utf8 = |value| format!("the flag \"--{name}\": {value:?} is not UTF-8");
                value.into_string().map_err(not_utf8)
            });
            return Ok(Argument::Flag(name.clone(), value.transpose()?));
        }
        Some(Arg::Short(first)) => first.to_string(),
    };
    let rest = parser.optional_value().unwrap_or_default();
    let rest = rest
        .into_string()
        .map_err(|rest| format!("the flag {:?} goes on with {rest:?}, which is not UTF-8", format!("-{first}")))?;
    let word = first + &rest;
    Ok(match word.split_once('=') {
        Some((name, value)) => Argument::Flag(name.to_owned(), Some(value.to_owned())),
        None => Argument::Flag(word, None),
    })
}

/// Takes the argument after `-check`, unless it is a flag or the `--` before a command.
fn next_name(parser: &mut Parser) -> Result<Option<String>, String> {
    let mut arguments = parser.raw_args().map_err(|err| err.to_string())?;
    let name = arguments.next_if(|argument| !argument.as_bytes().starts_with(b"-"));
    name.map(OsString::into_string).transpose().map_err(|name| not_a_name(&name))
}

fn not_a_name(word: &OsStr) -> String {
    format!("-check takes a name, which {word:?} is not")
}

fn find_flag(name: &str) -> Result<&'static Flag, String> {
    let flag = FLAGS.iter().find(|flag| flag.name == name).or_else(|| ignored(name));
    // As Go has it.
    flag.or((name == "h").then_some(&HELP)).ok_or_else(|| {
        let suggestion = closest(name).map(|flag| format!("did you mean -{flag}? ")).unwrap_or_default();
        // Escaped: a line feed in it would make two lines of one.
        let name = name.escape_debug();
        format!("there is no flag -{name}; {suggestion}`runsd -help` lists them all")
    })
}

/// Applies the variables of flags that were not typed. One of a typed flag is not read, so that the flag replaces a
/// wrong value, too.
fn apply_variables(
    args: &mut Args,
    variables: &[(OsString, OsString)],
    typed: &[(&'static Flag, String)],
) -> Result<(), String> {
    for flag in FLAGS.iter().filter(|flag| !typed.iter().any(|(typed, _)| typed.name == flag.name)) {
        // Of two the first counts, as in getenv(3).
        let variable = variables.iter().find(|(name, _)| is_variable_of(name, flag.name));
        let Some((name, value)) = variable.filter(|(_, value)| !value.is_empty()) else {
            continue;
        };
        let name = name.display();
        let value = value.to_str().ok_or_else(|| format!("{VARIABLE_PREFIX}{name}: {value:?} is not UTF-8"))?;
        flag.apply(args, value).map_err(|err| format!("{VARIABLE_PREFIX}{name}={value:?}: {err}"))?;
    }
    Ok(())
}

/// Returns whether a variable, without its prefix, is the flag's name in upper case.
fn is_variable_of(variable: &OsStr, flag: &str) -> bool {
    variable.eq_ignore_ascii_case(flag) && !variable.as_bytes().iter().any(u8::is_ascii_lowercase)
}

const NO_COMMAND: &str = "no command given; put the application after runsd, as in: /runsd -- /app --its-own-flags";

#[cfg(test)]
mod tests;
