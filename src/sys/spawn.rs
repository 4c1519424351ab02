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
use std::mem;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::environment::environ;
use super::signal::{INHERITED, drop_own_sigpipe, set_mask};
use super::terminal::Terminal;

/// Whom a process is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
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
/// process. All signals must be held back, and no other thread be running.
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
            // SAFETY: waits for the process that has just ended; no status is asked for.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

/// Becomes the command, which but for what the command says finds everything as
/// runsd found it; returns only when that cannot be.
pub fn become_command(command: &Command<'_>) -> io::Error {
    // A SIGPIPE of ours, for a log line nobody reads, would be the command's end.
    drop_own_sigpipe();
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
    // SAFETY: ends the child and runs nothing of the parent's.
    unsafe { libc::_exit(127) }
}

/// Makes the child the leader of a process group, as PID 1 of a container is:
/// `kill -- -$$` reaches the application's processes, and `kill 0` not runsd.
fn lead_group(terminal: Option<Terminal>) {
    // SAFETY: take no memory, and cannot fail for a process that was just made.
    let group = unsafe {
        libc::setpgid(0, 0);
        libc::getpid()
    };
    if let Some(terminal) = terminal {
        terminal.set_foreground_group(group);
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
        let arguments = words
            .map(|word| CString::new(word.as_bytes()))
            .collect::<Result<Vec<CString>, _>>()?;
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
                // Copying it for nothing would be a twentieth of a start.
                true => environ,
                false => self.envp.as_ptr(),
            };
            libc::execvpe(self.argv[0], self.argv.as_ptr(), envp);
        }
        io::Error::last_os_error()
    }

    /// Has it begin as it would have begun without runsd, but as it is asked for.
    fn prepare(&self) -> io::Result<()> {
        if INHERITED.child_ignored.load(Relaxed) {
            // SAFETY: sets a disposition that runs no code.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        }
        if let Some(credentials) = &self.command.credentials {
            give_standard_descriptors(credentials.uid);
            become_user(credentials)?;
        }
        set_mask(libc::SIG_SETMASK, INHERITED.mask.load(Relaxed)).map(drop)
    }
}

/// Makes a user the owner of the pipes, sockets and terminals among the
/// descriptors 0 to 2, who may then open `/dev/stdout` and the others by name,
/// as nginx and php-fpm do for their logs. Container runtimes do it for the user
/// of an image. Files, and devices such as `/dev/null`, belong to others, too.
fn give_standard_descriptors(uid: u32) {
    const UNCHANGED: libc::gid_t = libc::gid_t::MAX;
    for fd in 0..=2 {
        // SAFETY: the structure is valid when zero, and outlives the calls;
        // they take any number for a descriptor.
        unsafe {
            let mut stat: libc::stat = mem::zeroed();
            if libc::fstat(fd, &raw mut stat) < 0 || stat.st_uid == uid {
                continue;
            }
            let is_for_us = match stat.st_mode & libc::S_IFMT {
                libc::S_IFIFO | libc::S_IFSOCK => true,
                libc::S_IFCHR => libc::isatty(fd) == 1,
                _ => false,
            };
            if is_for_us {
                // Where it is refused, as in a file system that cannot be
                // written, the application still has the descriptor itself.
                libc::fchown(fd, uid, UNCHANGED);
            }
        }
    }
}

/// Groups first, while we still may.
fn become_user(credentials: &Credentials) -> io::Result<()> {
    let Credentials { uid, gid, groups } = credentials;
    // By raw system calls: libc would have all threads follow, by means that
    // are not for such a child.
    // SAFETY: the pointer and the count belong to one slice; the others take
    // no memory.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
            libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid),
            libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid),
        ]
    };
    if results.iter().any(|&result| result < 0) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

/// The environment with changes.
fn variables(changed: &[(OsString, Option<OsString>)]) -> io::Result<Vec<CString>> {
    let kept = env::vars_os().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let added = changed
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let variables = kept
        .chain(added)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<CString>, _>>()?;
    Ok(variables)
}

/// A list as C has it, with null at its end; valid as long as `texts` is.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain(iter::once(ptr::null()))
        .collect()
}
