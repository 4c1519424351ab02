//! A Cloud Run in miniature: `cloudrun [OPTIONS] [--] COMMAND...` runs COMMAND
//! as the entrypoint of a container that sees the platform as it is, with a
//! metadata server, a nameserver and the front end of `*.run.app` at their
//! real addresses and ports, and nothing else in the world.
//!
//! Three processes of this one program make it, each in the namespaces it
//! needs: the keeper (this file) makes the network, starts the other two,
//! hands signals on and ends with COMMAND's exit code; the servers
//! (`servers.rs`) share its network; the entrypoint (`container.rs`) has also
//! mounts and PIDs of its own and becomes COMMAND. When the keeper goes, all go.

mod body;
mod certificates;
mod codec;
mod container;
mod control;
mod direct;
mod dns_message;
mod dns_records;
mod frontend;
mod grpc;
mod handmade;
mod hosts;
mod identity;
mod metadata;
mod mounts;
mod nameserver;
mod namespaces;
mod options;
mod publish;
mod scripted;
mod servers;
mod services;
mod tunnel;
mod websocket;
mod world;

use std::env;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use options::Options;
use signal_hook::consts::signal;
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    // What is made for the container is for each of its users, whatever is
    // usual where this was started.
    umask(Mode::from_bits_truncate(0o022));
    let mut args: Vec<_> = env::args_os().skip(1).collect();
    let role = args.first().and_then(|arg| arg.to_str()).unwrap_or("");
    let run = match role {
        SERVERS => servers::run,
        ENTRYPOINT => container::become_entrypoint,
        _ => keep,
    };
    if [SERVERS, ENTRYPOINT].contains(&role) {
        args.remove(0);
    }
    match Options::parse(args).and_then(run) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("cloudrun: {problem}");
            ExitCode::from(if problem.starts_with("usage") { 2 } else { 125 })
        }
    }
}

/// Makes the world, lets COMMAND live in it, and ends when it does.
fn keep(options: Options) -> Result<ExitCode, String> {
    namespaces::become_root_of_many();
    // Before anything is started, so that no signal is lost.
    let mut signals = Signals::new(HANDED_ON.iter().chain(&[signal::SIGCHLD]))
        .map_err(|err| format!("cannot catch signals: {err}"))?;
    // A socket stays in the network that it was made in.
    let published = options.publish.map(publish::bind).transpose()?;
    let url = published.as_ref().map(|(_, url)| url.clone());
    namespaces::enter(&options)?;

    let mut servers = myself(SERVERS)?;
    servers
        .stdin(published.map_or(Stdio::null(), |(listener, _)| OwnedFd::from(listener).into()))
        .stdout(Stdio::piped());
    let mut servers = start(&mut servers)?;
    let ca = authority(&mut servers)?;

    // From here on this process can start no thread: its next child, the
    // entrypoint, is PID 1 of another namespace.
    namespaces::renew_pids()?;
    let mut entrypoint = myself(ENTRYPOINT)?;
    entrypoint.env(container::AUTHORITY, ca);
    entrypoint.env(publish::URL, url.unwrap_or_default());
    let mut entrypoint = start(&mut entrypoint)?;

    let status = watch(&mut signals, &mut entrypoint);
    let _ = servers.kill();
    let _ = servers.wait();
    Ok(exit_code(status?))
}

/// The test authority's certificate, which the servers print once they serve.
fn authority(servers: &mut Child) -> Result<String, String> {
    let mut text = String::new();
    let Some(mut stdout) = servers.stdout.take() else {
        return Err("the servers have no stdout".into());
    };
    stdout.read_to_string(&mut text).map_err(|err| format!("cannot read from the servers: {err}"))?;
    if text.is_empty() {
        return Err("the servers did not start".into());
    }
    Ok(text)
}

fn watch(signals: &mut Signals, entrypoint: &mut Child) -> Result<ExitStatus, String> {
    let pid = Pid::from_raw(entrypoint.id().cast_signed());
    for number in signals.forever() {
        if number == signal::SIGCHLD {
            let ended = entrypoint.try_wait();
            if let Some(status) = ended.map_err(|err| format!("cannot wait: {err}"))? {
                return Ok(status);
            }
        } else if let Ok(signal) = Signal::try_from(number) {
            // It may have ended a moment ago: then SIGCHLD is next.
            let _ = kill(pid, signal);
        }
    }
    Err("the signals ended".into())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125))
}

/// This program again, with the same options, in another role.
fn myself(role: &str) -> Result<Command, String> {
    let program = env::current_exe().map_err(|err| format!("cannot find myself: {err}"))?;
    let mut command = Command::new(program);
    command.arg(role).args(env::args_os().skip(1));
    Ok(command)
}

fn start(command: &mut Command) -> Result<Child, String> {
    let child = command.spawn();
    child.map_err(|err| format!("cannot start {command:?}: {err}"))
}

const SERVERS: &str = "@servers";
const ENTRYPOINT: &str = "@entrypoint";

const HANDED_ON: &[i32] = &[
    signal::SIGTERM,
    signal::SIGINT,
    signal::SIGHUP,
    signal::SIGQUIT,
    signal::SIGUSR1,
    signal::SIGUSR2,
    signal::SIGCONT,
    signal::SIGTSTP,
    signal::SIGWINCH,
    signal::SIGALRM,
];
