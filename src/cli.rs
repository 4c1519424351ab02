//! The command line: argv and `RUNSD_*` become [`Args`], or a text to print.
//!
//! The only place that knows the names of flags, and lexopt. Flags are spelled
//! as Go's `flag` package spells them, because old Dockerfiles must work as
//! they are: one dash or two, `-flag=x` or `-flag x`, switches bare or with
//! `=true`, and everything from the first word that is not a flag on belongs to
//! the application. lexopt reads `-flag=x` as the short option `f` with the
//! rest of the word as its value; the two are put together again here.

mod flags;
mod unknown;
mod values;

use std::ffi::{OsStr, OsString};
use std::mem;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use crate::logger::Format;
use crate::names::destination::Route;
use crate::names::service;
use flags::{FLAGS, Flag, HELP, IGNORED_SWITCHES, IGNORED_VALUES, Kind, closest, ignored};

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
    /// Said either way, or left to where runsd is.
    pub skip_dns_hijack: Option<bool>,
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

/// The variables whose names begin with [`VARIABLES`], named without it.
pub fn variables(env: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    env.filter_map(|(name, value)| {
        let name = name.as_bytes().strip_prefix(VARIABLES.as_bytes())?;
        Some((OsStr::from_bytes(name).to_owned(), value))
    })
    .collect()
}

/// Reads the arguments after the program's name, and [`VARIABLES`], named
/// without that beginning, for the flags that are not among them.
///
/// # Errors
/// A sentence for the user, and how to log it.
pub fn parse(args: impl Iterator<Item = OsString>, variables: &[(OsString, OsString)]) -> Result<Cli, BadCommandLine> {
    let mut parser = Parser::from_args(args);
    // The `=` of `-v=5` stays in the value, so that `-v=5` and `-va=5` differ.
    parser.set_short_equals(false);
    let mut typed = Typed::default();
    let outcome = match typed.read(&mut parser) {
        Ok(Some(text)) => return Ok(Cli::Print(text)),
        Ok(None) => understand(&mut typed, variables),
        Err(sentence) => {
            // What stands behind may say how to log it.
            while typed.read(&mut parser).is_err() {}
            Err(sentence)
        }
    };
    outcome.map_err(|sentence| BadCommandLine { sentence, log_format: typed.log_format(variables) })
}

/// Puts flags and variables together.
fn understand(typed: &mut Typed, variables: &[(OsString, OsString)]) -> Result<Cli, String> {
    let mut parsed = Args::default();
    apply_variables(&mut parsed, variables, &typed.flags)?;
    for (flag, value) in &typed.flags {
        flag.apply(&mut parsed, value).map_err(|err| format!("-{}={value:?}: {err}", flag.name))?;
    }
    // Only now is it known which zone the names may end in.
    let zone = parsed.domain.clone();
    for route in &mut parsed.routes {
        route.name = service::relative(&route.name, &zone);
    }
    for name in parsed.only.iter_mut().flatten() {
        *name = service::relative(name, &zone);
    }
    let check = typed.checked()?;
    parsed.command = mem::take(&mut typed.command);
    parsed.warnings = unknown::variables(variables);
    match check {
        Some(name) => Ok(Cli::Check(parsed, name)),
        None if parsed.command.is_empty() => Err(NO_COMMAND.to_owned()),
        None => Ok(Cli::Run(parsed)),
    }
}

/// The words of a command line.
#[derive(Default)]
struct Typed {
    /// With their values, in their order.
    flags: Vec<(&'static Flag, String)>,
    /// `-check`, and the name it is to check.
    check: Option<Option<String>>,
    /// The application's own words.
    command: Vec<OsString>,
}

impl Typed {
    /// Reads to the end; or to what has only to be printed, and what that says.
    fn read(&mut self, parser: &mut Parser) -> Result<Option<String>, String> {
        loop {
            let (name, value) = match next_flag(parser)? {
                Next::Flag(name, value) => (name, value),
                Next::Command(command) => {
                    self.command = command;
                    return Ok(None);
                }
            };
            let flag = find_flag(&name)?;
            let value = match (&flag.kind, value) {
                (Kind::Help, _) => return Ok(Some(help())),
                (Kind::Version, _) => return Ok(Some(version())),
                (Kind::Check, name) => {
                    let name = match name {
                        Some(name) => Some(name),
                        None => next_word(parser)?,
                    };
                    self.check = Some(name.map(|name| values::host(&name)).transpose()?.flatten());
                    continue;
                }
                (_, Some(value)) => value,
                (Kind::Switch(_) | Kind::Ignored, None) => "true".to_owned(),
                (Kind::Value(wanted, _), None) => parser
                    .value()
                    .map_err(|_| format!("-{name} needs a value: {wanted}"))?
                    .into_string()
                    .map_err(|value| format!("-{name}: {value:?} is not UTF-8"))?,
            };
            self.flags.push((flag, value));
        }
    }

    /// What `-check` is to look at. A path is the application of the
    /// Dockerfile, which `-check` leaves alone.
    fn checked(&mut self) -> Result<Option<Option<String>>, String> {
        let names = !self.command.first().is_some_and(is_path);
        match (&self.check, &self.command[..]) {
            (Some(Some(_)), [word, ..]) if names => Err(format!("-check takes one name; got {word:?}, too")),
            // `-check -v=5 hello`
            (Some(None), [word]) if names => {
                let name = values::host(word.to_str().ok_or_else(|| no_name(word))?)?;
                self.command.clear();
                Ok(Some(name))
            }
            _ => Ok(self.check.take()),
        }
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

enum Next {
    /// Its name without dashes, and what follows its `=`.
    Flag(String, Option<String>),
    /// The application; empty where argv ends.
    Command(Vec<OsString>),
}

fn next_flag(parser: &mut Parser) -> Result<Next, String> {
    let dashed = match parser.next().map_err(|err| err.to_string())? {
        None => return Ok(Next::Command(Vec::new())),
        Some(Arg::Value(program)) => {
            let mut command = vec![program];
            command.extend(parser.raw_args().map_err(|err| err.to_string())?);
            return Ok(Next::Command(command));
        }
        Some(Arg::Long(name)) => {
            let name = name.to_owned();
            let value = parser.optional_value().map(|value| {
                let not_utf8 = |value| format!("the flag \"--{name}\": {value:?} is not UTF-8");
                value.into_string().map_err(not_utf8)
            });
            return Ok(Next::Flag(name.clone(), value.transpose()?));
        }
        Some(Arg::Short(first)) => first.to_string(),
    };
    let rest = parser.optional_value().unwrap_or_default();
    let rest = rest
        .into_string()
        .map_err(|rest| format!("the flag \"-{dashed}\" goes on with {rest:?}, which is not UTF-8"))?;
    let word = dashed + &rest;
    Ok(match word.split_once('=') {
        Some((name, value)) => Next::Flag(name.to_owned(), Some(value.to_owned())),
        None => Next::Flag(word, None),
    })
}

/// The word after `-check`, unless it is a flag or the `--` before a command.
fn next_word(parser: &mut Parser) -> Result<Option<String>, String> {
    let mut words = parser.raw_args().map_err(|err| err.to_string())?;
    let word = words.next_if(|word| !word.as_encoded_bytes().starts_with(b"-"));
    word.map(OsString::into_string).transpose().map_err(|word| no_name(&word))
}

fn is_path(word: &OsString) -> bool {
    word.as_encoded_bytes().starts_with(b"/")
}

fn no_name(word: &OsStr) -> String {
    format!("-check takes a name, which {word:?} is not")
}

fn find_flag(name: &str) -> Result<&'static Flag, String> {
    FLAGS
        .iter()
        .find(|flag| flag.name == name)
        .or_else(|| ignored(name))
        .or((name == "h").then_some(&HELP)) // as Go has it
        .ok_or_else(|| {
            let meant = match closest(name) {
                Some(meant) => format!("did you mean -{meant}? "),
                None => String::new(),
            };
            // Escaped: a line feed in it would make two lines of one.
            let name = name.escape_debug();
            format!("there is no flag -{name}; {meant}`runsd -help` lists them all")
        })
}

/// Sets what the environment says of the flags that were not typed.
fn apply_variables(
    args: &mut Args,
    variables: &[(OsString, OsString)],
    typed: &[(&'static Flag, String)],
) -> Result<(), String> {
    // Mostly there are none, and the flags' names need not be made.
    if variables.is_empty() {
        return Ok(());
    }
    for flag in &FLAGS {
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
        let value = value.to_str().ok_or_else(|| format!("{VARIABLES}{name}: {value:?} is not UTF-8"))?;
        flag.apply(args, value).map_err(|err| format!("{VARIABLES}{name}={value:?}: {err}"))?;
    }
    Ok(())
}

const NO_COMMAND: &str = "no command given; put the application after runsd, as in: /runsd -- /app --its-own-flags";

fn help() -> String {
    let mut text = String::from(
        "runsd: reach every Cloud Run service of your project as http://NAME, authenticated\n\n\
         usage: runsd [FLAGS] [--] COMMAND [ARGUMENTS]\n\n\
         in a Dockerfile:      ENTRYPOINT [\"/runsd\", \"--\", \"/app\"]\n\
         as an ordinary user:  ENTRYPOINT [\"/runsd\", \"-user=65532:65532\", \"--\", \"/app\"]\n\
         look at one name:     /runsd -check hello\n\
         off Cloud Run:        CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token) \\\n\
         \x20                       runsd -gcp_region=REGION -gcp_project_number=NUMBER -- COMMAND\n\
         and more:             ",
    );
    text.push_str(env!("CARGO_PKG_REPOSITORY"));
    text.push_str("#readme\n\n");
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
    text.push_str(&format!("accepted and ignored: -{} -{}\n", IGNORED_SWITCHES.join(" -"), IGNORED_VALUES.join(" -"),));
    text
}

fn version() -> String {
    format!("runsd {} ({})\n", env!("CARGO_PKG_VERSION"), option_env!("RUNSD_COMMIT").unwrap_or("unknown commit"),)
}

#[cfg(test)]
mod tests;
