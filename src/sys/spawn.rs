//! Starts the application: in a child process, or in place of runsd.
//!
//! The child shares the memory of runsd until it calls exec (`CLONE_VM | CLONE_VFORK`, as posix_spawn has it). A
//! fork would copy the page tables, a third of the time that runsd takes to start.

#![allow(unsafe_code)]

use std::env;
use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::io;
use std::iter;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use rustix::process::{Pid, WaitOptions, getpid, setpgid, waitpid};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::isatty;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::signal;
use super::terminal::Terminal;

/// The user and groups of a process: all of its real, effective and saved ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// The supplementary groups.
    pub groups: Vec<Gid>,
}

/// What to start, and how it differs from runsd.
#[derive(Debug, Clone, Default)]
pub struct Command<'a> {
    /// The program, looked for in `PATH`, and its arguments; not empty.
    pub argv: &'a [OsString],
    /// Changes to the environment: a value, or `None` to remove the variable.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// The user to become.
    pub credentials: Option<Credentials>,
    /// The terminal that the child's process group gets the foreground of.
    pub terminal: Option<Terminal>,
}

/// Starts a child, which finds everything as runsd did but for what `command` changes, and returns its pid.
///
/// To be called with all signals blocked, and no other thread running.
///
/// Blocks: until the child has called exec.
///
/// # Errors
/// Those of clone(2), setresuid(2) and execve(2).
pub fn spawn(command: &Command<'_>) -> io::Result<i32> {
    let program = Program::new(command)?;
    // Not zeroed, which would touch each of its pages.
    let mut stack = Box::<[u128]>::new_uninit_slice(STACK_LEN);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is writable and aligned, and passed by its end, as it grows downwards. The call returns when
    // the child has memory of its own or has ended; until then this thread stands still, so that only the child
    // changes what both see. It makes system calls, and writes `failed` and errno alone.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end.cast();
        libc::clone(run_child, top, flags, (&raw const program).cast_mut().cast())
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match program.failed.load(Relaxed) {
        0 => Ok(pid),
        errno => {
            // The child has just ended.
            let _ = waitpid(Pid::from_raw(pid), WaitOptions::empty());
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

/// Replaces this process with the command, as exec(3); returns only why that failed.
pub fn exec(command: &Command<'_>) -> io::Error {
    signal::drop_sigpipe();
    Program::new(command).map_or_else(|err| err, |program| program.exec())
}

/// The child's stack, in units of its alignment of 16 bytes: 16 kB, as execvpe puts a path of PATH_MAX and NAME_MAX bytes
/// there.
const STACK_LEN: usize = 1024;

/// The child, from clone to exec; its result is the exit code where exec failed.
extern "C" fn run_child(program: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a program, and reads it again only once the child is done with it.
    let program = unsafe { &*program.cast::<Program<'_>>() };
    lead_process_group(program.command.terminal);
    let errno = program.exec().raw_os_error();
    program.failed.store(errno.unwrap_or(libc::EIO), Relaxed);
    // clone(2): ends the child, and runs no destructor of the parent's.
    127
}

/// Makes the child the leader of a process group, as PID 1 of a container is: `kill -- -$$` reaches the
/// application's processes, and `kill 0` does not reach runsd.
fn lead_process_group(terminal: Option<Terminal>) {
    // Cannot fail for a new process.
    let _ = setpgid(None, None);
    if let Some(terminal) = terminal {
        terminal.set_foreground_group(getpid().as_raw_nonzero().get());
    }
}

/// A command in the form of execve(2).
struct Program<'a> {
    command: &'a Command<'a>,
    /// Pointers into `_strings`, with null at the end.
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    _strings: (Vec<CString>, Vec<CString>),
    /// The errno of a child that could not exec; written by the child, read by `spawn` after it.
    failed: AtomicI32,
}

impl<'a> Program<'a> {
    fn new(command: &'a Command<'a>) -> io::Result<Program<'a>> {
        let argv = command.argv.iter().map(|argument| CString::new(argument.as_bytes()));
        let argv = argv.collect::<Result<Vec<CString>, _>>()?;
        let env = match command.env.is_empty() {
            true => Vec::new(),
            false => environment(&command.env)?,
        };
        Ok(Program {
            command,
            argv: null_terminated(&argv),
            envp: null_terminated(&env),
            _strings: (argv, env),
            failed: AtomicI32::new(0),
        })
    }

    /// Calls exec. Also runs in the child, and so allocates nothing and takes no lock.
    fn exec(&self) -> io::Error {
        if let Err(err) = self.prepare() {
            return err;
        }
        // SAFETY: argv and envp end in null and point into strings of this value; no thread changes the environment.
        unsafe {
            let envp = match self.command.env.is_empty() {
                // As it came, entries without "=" included.
                true => environ,
                false => self.envp.as_ptr(),
            };
            libc::execvpe(self.argv[0], self.argv.as_ptr(), envp);
        }
        io::Error::last_os_error()
    }

    fn prepare(&self) -> io::Result<()> {
        if let Some(credentials) = &self.command.credentials {
            chown_standard_descriptors(credentials.uid);
            set_credentials(credentials)?;
        }
        signal::restore()
    }
}

/// Gives a user the pipes, sockets and terminals among the descriptors 0 to 2, so that it may open `/dev/stdout` and
/// the others by name, as nginx and php-fpm do for their logs. Container runtimes do so for the user of an image.
/// Files, and devices such as `/dev/null`, are shared with others and stay.
fn chown_standard_descriptors(uid: Uid) {
    for fd in [stdin(), stdout(), stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_private = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo | FileType::Socket => true,
            FileType::CharacterDevice => isatty(fd),
            _ => false,
        };
        if is_private && stat.st_uid != uid.as_raw() {
            // It fails in a read-only file system; the descriptor itself still works.
            let _ = fchown(fd, Some(uid), None);
        }
    }
}

/// Sets the ids of this thread, the groups first, as the others take the right to. libc's functions change all
/// threads, by means that do not work in a child that shares its parent's memory.
fn set_credentials(credentials: &Credentials) -> io::Result<()> {
    let Credentials { uid, gid, groups } = credentials;
    set_thread_groups(groups)
        .and_then(|()| set_thread_res_gid(*gid, *gid, *gid))
        .and_then(|()| set_thread_res_uid(*uid, *uid, *uid))
        .map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
}

/// Returns the environment with `changes`, as strings of `NAME=VALUE`.
fn environment(changes: &[(OsString, Option<OsString>)]) -> io::Result<Vec<CString>> {
    let unchanged = env::vars_os().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let changed = changes.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let strings =
        unchanged.chain(changed).map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    Ok(strings.collect::<Result<Vec<CString>, _>>()?)
}

unsafe extern "C" {
    /// The environment of the process, with null at its end (environ(7)).
    safe static environ: *const *const c_char;
}

/// Returns pointers to the strings, and null at the end; valid for as long as `strings` are.
fn null_terminated(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain(iter::once(ptr::null())).collect()
}
