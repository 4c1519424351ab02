//! Starting the application: in a process of its own, or in our own place.
//!
//! The new process shares our memory until it has become the application
//! (`CLONE_VM | CLONE_VFORK`, as posix_spawn does it): a fork would copy the page
//! tables, a third of the time runsd takes to start.

#![allow(unsafe_code)]

use std::env;
use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::io;
use std::iter;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use rustix::process::{Pid, WaitOptions, getpid, setpgid, waitpid};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::isatty;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::signal;
use super::terminal::Terminal;

/// Whom a process is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub uid: Uid,
    pub gid: Gid,
    pub groups: Vec<Gid>,
}

/// What is started, and as what.
#[derive(Debug, Clone, Default)]
pub struct Command<'a> {
    /// The program, looked for in `PATH`, and its arguments; not empty.
    pub words: &'a [OsString],
    /// Changes to the environment: a value, or `None` to take one away.
    pub env: Vec<(OsString, Option<OsString>)>,
    pub credentials: Option<Credentials>,
    /// The terminal that a child is to have the foreground of.
    pub terminal: Option<Terminal>,
}

/// Starts the command as it would have started without runsd; the answer is its
/// process. All signals must be blocked, and no other thread be running.
pub fn spawn(command: &Command<'_>) -> io::Result<i32> {
    let program = Program::new(command)?;
    let mut stack = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is writable and aligned, ends where it is said to begin,
    // for it grows downwards, and is used until the child has another memory or
    // is gone: only then does the call return. Until then this thread stands
    // still, so that what both can see is changed by the child alone; that makes
    // system calls, and changes nothing but `failed` and errno.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end.cast();
        libc::clone(child, top, flags, (&raw const program).cast_mut().cast())
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match program.failed.load(Relaxed) {
        0 => Ok(pid),
        errno => {
            // The process has just ended.
            let _ = waitpid(Pid::from_raw(pid), WaitOptions::empty());
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

/// Becomes the command, which but for what the command says finds everything as
/// runsd found it; returns only when that cannot be.
pub fn exec(command: &Command<'_>) -> io::Error {
    // A SIGPIPE of ours, for a log line nobody reads, would be the command's end.
    signal::drop_sigpipe();
    Program::new(command).map_or_else(|err| err, |program| program.exec())
}

/// A stack for the child, larger than PATH_MAX and NAME_MAX, which execvpe puts
/// there. Not a part of our own, of which every page would be touched.
static STACK: Mutex<[u128; 1024]> = Mutex::new([0; 1024]);

extern "C" fn child(program: *mut c_void) -> c_int {
    // SAFETY: `spawn` gives a program that it only looks at again afterwards.
    let program = unsafe { &*program.cast::<Program<'_>>() };
    lead_group(program.command.terminal);
    let errno = program.exec().raw_os_error();
    program.failed.store(errno.unwrap_or(libc::EIO), Relaxed);
    // clone(2): it ends the child, and runs nothing of the parent's.
    127
}

/// Makes the child the leader of a process group, as PID 1 of a container is:
/// `kill -- -$$` reaches the application's processes, and `kill 0` not runsd.
fn lead_group(terminal: Option<Terminal>) {
    // Cannot fail for a process that was just made.
    let _ = setpgid(None, None);
    if let Some(terminal) = terminal {
        terminal.set_foreground_group(getpid().as_raw_nonzero().get());
    }
}

/// A command as the kernel takes it. The pointers are into the strings.
struct Program<'a> {
    command: &'a Command<'a>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    _strings: (Vec<CString>, Vec<CString>),
    /// The errno of a child that could not become the command.
    failed: AtomicI32,
}

impl<'a> Program<'a> {
    fn new(command: &'a Command<'a>) -> io::Result<Program<'a>> {
        let words = command.words.iter();
        let arguments = words.map(|word| CString::new(word.as_bytes())).collect::<Result<Vec<CString>, _>>()?;
        let variables = match command.env.is_empty() {
            true => Vec::new(),
            false => variables(&command.env)?,
        };
        Ok(Program {
            command,
            argv: pointers(&arguments),
            envp: pointers(&variables),
            _strings: (arguments, variables),
            failed: AtomicI32::new(0),
        })
    }

    /// In the child, or in our own place; allocates nothing and takes no lock.
    fn exec(&self) -> io::Error {
        if let Err(err) = self.prepare() {
            return err;
        }
        // SAFETY: argv and envp end in null, and what they point to is ours; of
        // the environment, nobody changes anything in this process.
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

    /// Has it begin as it would have begun without runsd, but as it is asked for.
    fn prepare(&self) -> io::Result<()> {
        if let Some(credentials) = &self.command.credentials {
            give_standard_descriptors(credentials.uid);
            become_user(credentials)?;
        }
        signal::restore()
    }
}

/// Makes a user the owner of the pipes, sockets and terminals among the
/// descriptors 0 to 2, who may then open `/dev/stdout` and the others by name,
/// as nginx and php-fpm do for their logs. Container runtimes do it for the user
/// of an image. Files, and devices such as `/dev/null`, belong to others, too.
fn give_standard_descriptors(uid: Uid) {
    for fd in [stdin(), stdout(), stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_for_us = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo | FileType::Socket => true,
            FileType::CharacterDevice => isatty(fd),
            _ => false,
        };
        if is_for_us && stat.st_uid != uid.as_raw() {
            // Where it is refused, as in a file system that cannot be
            // written, the application still has the descriptor itself.
            let _ = fchown(fd, Some(uid), None);
        }
    }
}

/// Groups first, while we still may. Of this thread alone: libc would have all
/// threads follow, by means that are not for such a child.
fn become_user(credentials: &Credentials) -> io::Result<()> {
    let Credentials { uid, gid, groups } = credentials;
    set_thread_groups(groups)
        .and_then(|()| set_thread_res_gid(*gid, *gid, *gid))
        .and_then(|()| set_thread_res_uid(*uid, *uid, *uid))
        .map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
}

/// The environment with changes.
fn variables(changed: &[(OsString, Option<OsString>)]) -> io::Result<Vec<CString>> {
    let kept = env::vars_os().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let added = changed.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let variables = kept
        .chain(added)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<CString>, _>>()?;
    Ok(variables)
}

unsafe extern "C" {
    /// The environment as libc has it, with null at its end.
    safe static environ: *const *const c_char;
}

/// A list as C has it, with null at its end; valid as long as `texts` is.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain(iter::once(ptr::null())).collect()
}
