//! The application as a child: start it, pass signals on, reap, and end as it ended.
//!
//! All signals are blocked from the first line of `main` on, in every thread.
//! Handlers are put in when the application was started, and run in the main
//! thread while it waits: the kernel keeps what comes before that.

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

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct SpawnOptions<'a> {
    /// The program, looked for in `PATH`, and its arguments; not empty.
    pub command: &'a [OsString],
    /// As whom; `None` is as whom runsd runs.
    pub user: Option<&'a User>,
    /// Variables beyond those of runsd's own environment.
    pub env: &'a [(OsString, OsString)],
}

/// Starts the application. Signals must have been [blocked](sys::block_signals) before,
/// and no thread been started.
pub fn spawn(launch: &SpawnOptions<'_>) -> Result<AppProcess, SpawnError> {
    sys::set_child_subreaper();
    let terminal = Terminal::find();
    let command = sys::Command {
        terminal: terminal.filter(|it| it.foreground_group() == Some(terminal::own_group())),
        ..launch.command()
    };
    let pid = sys::spawn(&command).map_err(|err| SpawnError::new(launch, &err))?;
    info!("started {:?} as process {pid}", launch.command[0]);
    Ok(AppProcess { pid, terminal, in_foreground: command.terminal.is_some(), was_told_to_stop: false })
}

/// Off Cloud Run: this process becomes the application, which but for its user
/// finds everything as runsd found it. Returns only when that cannot be.
pub fn become_app(launch: &SpawnOptions<'_>) -> SpawnError {
    SpawnError::new(launch, &sys::exec(&launch.command()))
}

impl<'a> SpawnOptions<'a> {
    /// What is the same on Cloud Run and off it.
    fn command(&self) -> sys::Command<'a> {
        let mut command = sys::Command { argv: self.command, ..sys::Command::default() };
        let told = self.env.iter().cloned();
        command.env.extend(told.map(|(name, value)| (name, Some(value))));
        if let Some(user) = self.user {
            let home = user.home.clone().into();
            command.env.push(("HOME".into(), Some(home)));
            for variable in ["USER", "LOGNAME"] {
                let name = user.name.clone().map(OsString::from);
                command.env.push((variable.into(), name));
            }
            // An ordinary user may name itself.
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
    /// Its process, and the process group that it leads.
    pid: i32,
    terminal: Option<Terminal>,
    /// Whether the terminal was given to it.
    in_foreground: bool,
    /// Whether a stop signal was passed on, and no SIGCONT after it.
    was_told_to_stop: bool,
}

impl AppProcess {
    /// Passes signals on and reaps, until the application is gone; the answer
    /// is what runsd is to exit with.
    ///
    /// `serve` is called, to return at once, with the first of `questions`, or
    /// after a moment.
    pub fn wait(mut self, questions: Vec<PollFd>, serve: impl FnOnce()) -> i32 {
        let signals = Signals::handle_sigchld();
        let ended = self.first_moment(&signals, questions).unwrap_or_else(|| {
            serve();
            let outcome = signals.and_then(Signals::handle_all);
            let outcome = outcome.and_then(|signals| self.serve(signals));
            outcome.unwrap_or_else(|err| self.only_reap(&err))
        });
        if let Some(terminal) = self.terminal.filter(|_| self.in_foreground) {
            // A script that called us goes on reading its terminal.
            terminal.set_foreground_group(terminal::own_group());
        }
        let code = exit_code(ended);
        match ended {
            ExitStatus::Exited(_) => info!("the application ended with exit code {code}"),
            ExitStatus::Killed(signal) => {
                info!("the application was ended by signal {signal}; exit code {code}");
            }
        }
        code
    }

    /// The application, which has just begun, has this one for itself: on one
    /// CPU it would wait for all that serves it. How it ended, if it did.
    fn first_moment(&mut self, signals: &io::Result<Signals>, mut waits: Vec<PollFd>) -> Option<ExitStatus> {
        // Where it cannot be waited for all of them, there is no moment.
        let signals = signals.as_ref().ok()?;
        signals.wait(&mut waits, Some(MOMENT)).ok()?;
        self.reap()
    }

    fn serve(&mut self, signals: Signals) -> io::Result<ExitStatus> {
        loop {
            while let Some(signal) = signals.next() {
                if signal.number != libc::SIGCHLD {
                    self.pass_on(signal);
                } else if let Some(ended) = self.reap() {
                    return Ok(ended);
                }
            }
            signals.wait(&mut [], None)?;
        }
    }

    /// Where no signal can be had, the application's end still is.
    fn only_reap(&self, err: &io::Error) -> ExitStatus {
        warn!("cannot wait for signals: {err}; none is passed on");
        loop {
            match sys::reap(true) {
                Some((pid, ChildState::Ended(ended))) if pid == self.pid => return ended,
                Some(_) => {}
                // Not even that: its exit status will never be known.
                None => return ExitStatus::Exited(1),
            }
        }
    }

    /// Reaps all who have ended, for one SIGCHLD may stand for many, up to the
    /// application; and says so if it is among them.
    fn reap(&mut self) -> Option<ExitStatus> {
        while let Some((pid, state)) = sys::reap(false) {
            match state {
                ChildState::Ended(ended) if pid == self.pid => return Some(ended),
                ChildState::Stopped(signal) if pid == self.pid => self.on_stop(signal),
                ChildState::Ended(_) => trace!("orphan {pid} reaped"),
                ChildState::Stopped(_) => {}
            }
        }
        None
    }

    /// Before the log: a signal waits for nobody who reads it.
    fn pass_on(&mut self, signal: Signal) {
        let Signal { number, origin } = signal;
        match number {
            libc::SIGCONT => self.resume(),
            // A key reaches us instead of the application where that has not
            // got the terminal: it is for all of its processes.
            _ if origin == SignalOrigin::Kernel && KEYS.contains(&number) => {
                sys::kill_group(self.pid, number);
            }
            _ => {
                self.was_told_to_stop |= STOPS.contains(&number);
                sys::kill(self.pid, number);
            }
        }
        debug!("signal {number} passed on");
    }

    /// The application has stopped. By SIGSTOP, or where runsd passed the
    /// signal on, it was meant to, until SIGCONT. Otherwise it was the
    /// terminal: a shell above runsd finds its job stopped; without one nobody
    /// would ever send SIGCONT, and the application goes on at once.
    fn on_stop(&mut self, signal: i32) {
        if self.was_told_to_stop || !STOPS.contains(&signal) {
            return;
        }
        self.take_terminal();
        if self.in_foreground && signal != libc::SIGTSTP {
            // A shell put all of a pipeline there, another part of it after us.
            self.resume();
            return;
        }
        debug!("the terminal stopped the application, by signal {signal}");
        terminal::stop_own_group(signal);
        self.take_terminal();
        // In the background it would at once be stopped for the same reason.
        if self.in_foreground || signal == libc::SIGTSTP {
            self.resume();
        }
    }

    /// Has the application go on, in the foreground where runsd was put there.
    fn resume(&mut self) {
        self.was_told_to_stop = false;
        self.take_terminal();
        match self.terminal {
            // All processes of the group were stopped with it.
            Some(_) => sys::kill_group(self.pid, libc::SIGCONT),
            None => sys::kill(self.pid, libc::SIGCONT),
        }
    }

    /// Gives the application what a shell gave to runsd.
    fn take_terminal(&mut self) {
        if let Some(terminal) = self.terminal {
            let group = terminal.foreground_group();
            self.in_foreground = [self.pid, terminal::own_group()].map(Some).contains(&group);
            if self.in_foreground {
                terminal.set_foreground_group(self.pid);
            }
        }
    }
}

/// Less than most programs take to begin.
const MOMENT: Duration = Duration::from_millis(1);

/// What the terminal sends to the process group in its foreground.
const KEYS: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH];

/// What stops a process unless it, or its place, says otherwise.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// As shells have it.
fn exit_code(ended: ExitStatus) -> i32 {
    match ended {
        ExitStatus::Exited(code) => code,
        ExitStatus::Killed(signal) => 128 + signal,
    }
}

/// Why there is no application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnError {
    /// What runsd is to exit with, as shells do: 127 not found, 126 not executable.
    pub code: i32,
    message: String,
}

impl SpawnError {
    fn new(launch: &SpawnOptions<'_>, err: &io::Error) -> SpawnError {
        let program: &OsStr = &launch.command[0];
        let is_path = program.as_encoded_bytes().contains(&b'/');
        let (code, reason) = match (err.raw_os_error(), launch.user) {
            (Some(libc::ENOENT), _) if is_path && Path::new(program).exists() => {
                (127, "the file is there, but not the interpreter or dynamic loader it names".to_owned())
            }
            (Some(libc::ENOENT), _) if is_path => (127, "no such file".to_owned()),
            (Some(libc::ENOENT), _) => (127, "not found in PATH".to_owned()),
            (Some(libc::ENOTDIR), _) => (127, "a part of its path is no directory".to_owned()),
            (Some(libc::EPERM), Some(user)) => {
                let (uid, gid) = sys::effective_ids();
                let User { uid: to, gid: with, .. } = user;
                let reason = format!("runsd, as uid {uid} and gid {gid}, may not become uid {to} and gid {with}");
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
    fn codes_as_shells_have_them() {
        for (ended, want) in [
            (ExitStatus::Exited(0), 0),
            (ExitStatus::Exited(255), 255),
            (ExitStatus::Killed(libc::SIGTERM), 143),
            (ExitStatus::Killed(libc::SIGKILL), 137),
            (ExitStatus::Killed(64), 192),
        ] {
            assert_eq!(exit_code(ended), want, "{ended:?}");
        }
    }

    #[test]
    fn why_there_is_no_application() {
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
            let launch = SpawnOptions { command: &[program.into()], user: None, env: &[] };
            let got = SpawnError::new(&launch, &err);
            assert_eq!((got.code, got.to_string()), (code, want.to_owned()));
        }
    }
}
