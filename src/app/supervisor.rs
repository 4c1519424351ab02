//! Starts the application, forwards signals to it, reaps processes, and ends as the application ended.
//!
//! ```text
//! spawn ─▶ startup grace ─▶ serve + handle all signals ─▶ forward and reap ─▶ the application ended ─▶ exit code
//!          (1 ms, or the first query or request)          ▲              │
//!                                                         └──────────────┘ each signal; SIGCHLD reaps
//! ```
//!
//! All signals are blocked from the first line of `main` on, in every thread. The main thread handles them here, once
//! the application was started; the kernel queues those that come before.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use log::{debug, info, trace, warn};

use crate::app::user::User;
use crate::sys;
use crate::sys::net::PollFd;
use crate::sys::terminal;
use crate::sys::terminal::Terminal;
use crate::sys::{ChildState, ExitStatus, Signal, SignalOrigin, Signals};

/// The application to start, and how it differs from runsd.
#[derive(Debug, Clone)]
pub struct SpawnOptions<'a> {
    /// The program, looked for in `PATH`, and its arguments; not empty.
    pub argv: &'a [OsString],
    /// The user to run as; `None` is that of runsd.
    pub user: Option<&'a User>,
    /// Variables to set beside those of runsd's own environment.
    pub env: &'a [(OsString, OsString)],
}

/// Starts the application as a child. To be called with signals [blocked](sys::block_signals), and before there is
/// another thread.
///
/// # Errors
/// Why it was not started, as a sentence and an exit code.
pub fn spawn(options: &SpawnOptions<'_>) -> Result<AppProcess, SpawnError> {
    sys::set_child_subreaper();
    let terminal = Terminal::find();
    let command = sys::Command {
        terminal: terminal.filter(|it| it.foreground_group() == Some(terminal::own_group())),
        ..options.command()
    };
    let pid = sys::spawn(&command).map_err(|err| SpawnError::new(options, &err))?;
    info!("started {:?} as process {pid}", options.argv[0]);
    Ok(AppProcess { pid, terminal, in_foreground: command.terminal.is_some(), stop_forwarded: false })
}

/// Replaces runsd with the application, off Cloud Run. Returns only why that failed.
pub fn exec(options: &SpawnOptions<'_>) -> SpawnError {
    SpawnError::new(options, &sys::exec(&options.command()))
}

impl<'a> SpawnOptions<'a> {
    fn command(&self) -> sys::Command<'a> {
        let mut command = sys::Command { argv: self.argv, ..sys::Command::default() };
        let changes = self.env.iter().cloned();
        command.env.extend(changes.map(|(name, value)| (name, Some(value))));
        if let Some(user) = self.user {
            let name = user.name.as_ref().map(OsString::from);
            command.env.push(("HOME".into(), Some((&user.home).into())));
            command.env.push(("USER".into(), name.clone()));
            command.env.push(("LOGNAME".into(), name));
            // An ordinary user may give its own name.
            if sys::effective_ids() != (user.uid, user.gid) || user.uid == 0 {
                command.credentials = Some(user.credentials());
            }
        }
        command
    }
}

/// The running application.
#[derive(Debug)]
pub struct AppProcess {
    /// Its process id, and that of the process group it leads.
    pid: i32,
    terminal: Option<Terminal>,
    /// Whether its process group was put in the foreground of the terminal.
    in_foreground: bool,
    /// Whether a signal that stops it was forwarded, and no SIGCONT after it.
    stop_forwarded: bool,
}

impl AppProcess {
    /// Forwards signals and reaps until the application ends, and returns the exit code for runsd.
    ///
    /// `serve` is called once, when one of `listeners` is readable or after [`STARTUP_GRACE`]; it starts threads and
    /// returns at once.
    ///
    /// Blocks: until the application ends.
    pub fn wait(mut self, listeners: Vec<PollFd>, serve: impl FnOnce()) -> i32 {
        let signals = Signals::handle_sigchld();
        let status = self.startup_grace(&signals, listeners).unwrap_or_else(|| {
            serve();
            let signals = signals.and_then(Signals::handle_all);
            let status = signals.and_then(|signals| self.supervise(&signals));
            status.unwrap_or_else(|err| self.reap_until_exit(&err))
        });
        if let Some(terminal) = self.terminal.filter(|_| self.in_foreground) {
            // A script that started runsd goes on reading its terminal.
            terminal.set_foreground_group(terminal::own_group());
        }
        let code = exit_code(status);
        match status {
            ExitStatus::Exited(_) => info!("the application ended with exit code {code}"),
            ExitStatus::Killed(signal) => {
                info!("the application was ended by signal {signal}; exit code {code}");
            }
        }
        code
    }

    /// Leaves the CPU to the application while it starts: with one CPU it would wait for all that is set up to serve
    /// it. Returns how it ended, if it did.
    fn startup_grace(&mut self, signals: &io::Result<Signals>, mut listeners: Vec<PollFd>) -> Option<ExitStatus> {
        let signals = signals.as_ref().ok()?;
        signals.wait(&mut listeners, Some(STARTUP_GRACE)).ok()?;
        self.reap()
    }

    fn supervise(&mut self, signals: &Signals) -> io::Result<ExitStatus> {
        loop {
            while let Some(signal) = signals.next() {
                if signal.number != libc::SIGCHLD {
                    self.forward(signal);
                } else if let Some(status) = self.reap() {
                    return Ok(status);
                }
            }
            signals.wait(&mut [], None)?;
        }
    }

    /// Waits for the application's end, where signals cannot be handled.
    fn reap_until_exit(&self, err: &io::Error) -> ExitStatus {
        warn!("cannot wait for signals: {err}; none is passed on");
        loop {
            match sys::reap(true) {
                Some((pid, ChildState::Ended(status))) if pid == self.pid => return status,
                Some(_) => {}
                // wait(2) failed: the exit status will never be known.
                None => return ExitStatus::Exited(1),
            }
        }
    }

    /// Reaps all children that have ended, as one SIGCHLD may stand for many, up to the application; returns how the
    /// application ended, if it did.
    fn reap(&mut self) -> Option<ExitStatus> {
        while let Some((pid, state)) = sys::reap(false) {
            match state {
                ChildState::Ended(status) if pid == self.pid => return Some(status),
                ChildState::Stopped(signal) if pid == self.pid => self.on_stop(signal),
                ChildState::Ended(_) => trace!("orphan {pid} reaped"),
                ChildState::Stopped(_) => {}
            }
        }
        None
    }

    /// Forwards a signal; logs after it, so that the signal never waits for a reader of stderr.
    fn forward(&mut self, signal: Signal) {
        let Signal { number, origin } = signal;
        match number {
            libc::SIGCONT => self.resume(),
            // A key signals runsd where the application is not in the foreground. It is meant for all processes of
            // the application.
            _ if origin == SignalOrigin::Kernel && TTY_SIGNALS.contains(&number) => {
                sys::kill_group(self.pid, number);
            }
            _ => {
                self.stop_forwarded |= STOP_SIGNALS.contains(&number);
                sys::kill(self.pid, number);
            }
        }
        debug!("signal {number} passed on");
    }

    /// Handles a stop of the application.
    ///
    /// A stop by SIGSTOP, or by a signal that runsd forwarded, is meant to last until SIGCONT. Any other comes from
    /// the terminal: runsd stops itself, too, so that the shell above it sees its job stopped. Without such a shell
    /// no process would ever send SIGCONT, and the application is resumed at once.
    fn on_stop(&mut self, signal: i32) {
        if self.stop_forwarded || !STOP_SIGNALS.contains(&signal) {
            return;
        }
        self.update_foreground();
        if self.in_foreground && signal != libc::SIGTSTP {
            // A shell put the whole pipeline in the foreground after another process of it had started.
            self.resume();
            return;
        }
        debug!("the terminal stopped the application, by signal {signal}");
        terminal::stop_own_group(signal);
        self.update_foreground();
        // In the background it would be stopped again for the same reason.
        if self.in_foreground || signal == libc::SIGTSTP {
            self.resume();
        }
    }

    /// Sends SIGCONT to the application, in the foreground where runsd is.
    fn resume(&mut self) {
        self.stop_forwarded = false;
        self.update_foreground();
        match self.terminal {
            // The terminal stopped all processes of the group.
            Some(_) => sys::kill_group(self.pid, libc::SIGCONT),
            None => sys::kill(self.pid, libc::SIGCONT),
        }
    }

    /// Puts the application in the foreground of the terminal, if a shell put runsd there.
    fn update_foreground(&mut self) {
        if let Some(terminal) = self.terminal {
            let group = terminal.foreground_group();
            self.in_foreground = [self.pid, terminal::own_group()].map(Some).contains(&group);
            if self.in_foreground {
                terminal.set_foreground_group(self.pid);
            }
        }
    }
}

/// How long the application has the CPU to itself: less than most programs take to start, and nothing that a first
/// request would feel.
const STARTUP_GRACE: Duration = Duration::from_millis(1);

/// Signals that the terminal sends to its foreground process group.
const TTY_SIGNALS: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH];

/// Signals that stop a process, unless it handles or ignores them.
const STOP_SIGNALS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Returns the exit code that shells give for a status.
fn exit_code(status: ExitStatus) -> i32 {
    match status {
        ExitStatus::Exited(code) => code,
        ExitStatus::Killed(signal) => 128 + signal,
    }
}

/// Why the application was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnError {
    /// The exit code for runsd, as shells have it: 127 not found, 126 not executable.
    pub code: i32,
    message: String,
}

impl SpawnError {
    fn new(options: &SpawnOptions<'_>, err: &io::Error) -> SpawnError {
        let program: &OsStr = &options.argv[0];
        let is_path = program.as_encoded_bytes().contains(&b'/');
        let (code, reason) = match (err.raw_os_error(), options.user) {
            (Some(libc::ENOENT), _) if is_path && Path::new(program).exists() => {
                (127, "the file is there, but not the interpreter or dynamic loader it names".to_owned())
            }
            (Some(libc::ENOENT), _) if is_path => (127, "no such file".to_owned()),
            (Some(libc::ENOENT), _) => (127, "not found in PATH".to_owned()),
            (Some(libc::ENOTDIR), _) => (127, "a part of its path is no directory".to_owned()),
            (Some(libc::EPERM), Some(user)) => {
                let (uid, gid) = sys::effective_ids();
                let (to_uid, to_gid) = (user.uid, user.gid);
                let reason = format!("runsd, as uid {uid} and gid {gid}, may not become uid {to_uid} and gid {to_gid}");
                (126, reason)
            }
            (Some(libc::EACCES), _) => (126, "it is not executable".to_owned()),
            (Some(libc::ENOEXEC), _) => {
                (126, "it is no program for this machine, nor a script that begins with #!".to_owned())
            }
            _ => (126, err.to_string()),
        };
        SpawnError { code, message: format!("cannot run {program:?}: {reason}") }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SpawnError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (status, want) in [
            (ExitStatus::Exited(0), 0),
            (ExitStatus::Exited(255), 255),
            (ExitStatus::Killed(libc::SIGTERM), 143),
            (ExitStatus::Killed(libc::SIGKILL), 137),
            (ExitStatus::Killed(64), 192),
        ] {
            assert_eq!(exit_code(status), want, "{status:?}");
        }
    }

    #[test]
    fn spawn_errors_name_the_cause() {
        for (program, errno, code, want) in [
            ("app", libc::ENOENT, 127, "cannot run \"app\": not found in PATH"),
            ("/no/app", libc::ENOENT, 127, "cannot run \"/no/app\": no such file"),
            ("/app/x", libc::ENOTDIR, 127, "cannot run \"/app/x\": a part of its path is no directory"),
            ("/app", libc::EACCES, 126, "cannot run \"/app\": it is not executable"),
            (
                "/proc/self/exe",
                libc::ENOENT,
                127,
                "cannot run \"/proc/self/exe\": the file is there, but not the interpreter or \
                 dynamic loader it names",
            ),
        ] {
            let err = io::Error::from_raw_os_error(errno);
            let options = SpawnOptions { argv: &[program.into()], user: None, env: &[] };
            let got = SpawnError::new(&options, &err);
            assert_eq!((got.code, got.to_string()), (code, want.to_owned()));
        }
    }
}
