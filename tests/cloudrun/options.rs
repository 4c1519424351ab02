//! What the miniature is told on its command line. All three of its processes
//! read the same one.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value, ValueExt};

#[derive(Debug, Default)]
pub struct Options {
    /// A directory that is the whole image; without it, the machine's own
    /// `/usr`, `/etc` and so on, read-only.
    pub root: Option<PathBuf>,
    /// A `/proc` and a `/dev` also where `root` is given.
    pub proc: bool,
    pub runsd: Option<PathBuf>,
    pub binds: Vec<(PathBuf, PathBuf)>,
    pub resolv_conf: Option<PathBuf>,
    /// `/etc/resolv.conf` is a plain file, not a mount of its own.
    pub plain_resolv_conf: bool,
    /// Any user may write to it.
    pub open_resolv_conf: bool,
    pub uid: Option<u32>,
    /// Anyone may bind ports below 1024, as in some container runtimes.
    pub low_ports: bool,
    pub read_only: bool,
    pub no_ipv6: bool,
    pub kind: Kind,
    pub env: Vec<(String, OsString)>,
    pub control: Option<PathBuf>,
    /// The port of the machine's loopback that leads to the container's `PORT`.
    pub publish: Option<u16>,
    pub command: Vec<OsString>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Service,
    Job,
    WorkerPool,
    /// No variable of Cloud Run is set.
    Off,
}

impl Options {
    pub fn parse(args: Vec<OsString>) -> Result<Options, String> {
        Self::read(args).map_err(|err| format!("usage: {err}; options are:\n{HELP}"))
    }

    fn read(args: Vec<OsString>) -> Result<Options, lexopt::Error> {
        let mut options = Options::default();
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Long("root") => options.root = Some(parser.value()?.into()),
                Long("proc") => options.proc = true,
                Long("runsd") => options.runsd = Some(parser.value()?.into()),
                Long("bind") => {
                    let text = parser.value()?.string()?;
                    let (from, to) = bind(&text);
                    options.binds.push((from.into(), to.into()));
                }
                Long("resolv-conf") => options.resolv_conf = Some(parser.value()?.into()),
                Long("plain-resolv-conf") => options.plain_resolv_conf = true,
                Long("open-resolv-conf") => options.open_resolv_conf = true,
                Long("uid") => options.uid = Some(parser.value()?.parse()?),
                Long("low-ports") => options.low_ports = true,
                Long("read-only") => options.read_only = true,
                Long("no-ipv6") => options.no_ipv6 = true,
                Long("job") => options.kind = Kind::Job,
                Long("worker-pool") => options.kind = Kind::WorkerPool,
                Long("off") => options.kind = Kind::Off,
                Long("env") => {
                    let text = parser.value()?.string()?;
                    let (key, value) = text.split_once('=').unwrap_or((&text, ""));
                    options.env.push((key.to_owned(), value.into()));
                }
                Long("publish") => options.publish = Some(parser.value()?.parse()?),
                Long("control") => options.control = Some(parser.value()?.into()),
                Long("help") | Short('h') => return Err("this is the help".into()),
                Value(word) => {
                    options.command.push(word);
                    options.command.extend(parser.raw_args()?);
                }
                other => return Err(other.unexpected()),
            }
        }
        if options.command.is_empty() {
            return Err("no COMMAND was given".into());
        }
        Ok(options)
    }

    /// Where runsd is on this machine; `Err` when a file was named that is
    /// not there. None is needed: the miniature also serves to try others.
    pub fn runsd(&self) -> Result<Option<PathBuf>, String> {
        let named = self.runsd.clone().or(env::var_os("RUNSD_BIN").map(Into::into));
        let path = named.clone().unwrap_or_else(|| "dist/runsd".into());
        match path.canonicalize() {
            Ok(path) => Ok(Some(path)),
            Err(err) if named.is_some() => Err(format!("cannot use {path:?} as runsd: {err}")),
            Err(_) => Ok(None),
        }
    }
}

/// The two paths of FROM:TO; either may have a colon of its own, so what comes
/// before the last `:/` is the first.
fn bind(text: &str) -> (&str, &str) {
    match text.rfind(":/") {
        Some(colon) => (&text[..colon], &text[colon + 1..]),
        None => (text, text),
    }
}

const HELP: &str = "\
  --root DIR           the image holds only DIR's files, /runsd and /etc/resolv.conf
  --proc               a /proc and a /dev also with --root
  --runsd FILE         what is at /runsd (RUNSD_BIN, dist/runsd)
  --bind FROM[:TO]     a file or directory of the machine, read-only
  --resolv-conf FILE   the content of /etc/resolv.conf
  --plain-resolv-conf  it is a file like any other, not a mount
  --open-resolv-conf   any user may write to it
  --uid N              the entrypoint's user
  --low-ports          any user may bind ports below 1024
  --read-only          nothing in the root can be written but /tmp
  --no-ipv6            no ::1
  --job, --worker-pool, --off   not a service
  --env KEY=VALUE      one more variable
  --control SOCKET     where counts are asked and faults are ordered
  --publish PORT       127.0.0.1:PORT of the machine leads to the container's 8080; 0: a
                       free port, which the container finds in PUBLISHED_URL
";
