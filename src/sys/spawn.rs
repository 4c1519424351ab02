//! Starting the application: by posix_spawn, or by fork where it is to become
//! someone else or to have the terminal; or in our own place.

#![allow(unsafe_code)]

use std::env;
use std::ffi::CString;
use std::io;
use std::iter;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use super::{INHERITED, SignalSet, bit, set_mask};

/// Whom a process is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Starts the command as it would have started without runsd; where it is
/// asked for, as someone else, or with a process group of its own and the
/// terminal. The answer is its process.
pub fn spawn(
    command: &mut Command,
    credentials: Option<Credentials>,
    foreground: bool,
) -> io::Result<i32> {
    let child_ignored = INHERITED.child_ignored.load(Relaxed);
    if credentials.is_none() && !foreground && !child_ignored {
        return posix_spawn(command);
    }
    prepare(command, credentials, foreground);
    let child = command.spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

/// The way without fork, which would copy our page tables: a third of the time
/// runsd takes to start. std has it, too, but cannot set a signal mask then.
fn posix_spawn(command: &Command) -> io::Result<i32> {
    let arguments = iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| CString::new(word.as_bytes()))
        .collect::<Result<Vec<CString>, _>>()?;
    let argv = pointers(&arguments);
    let variables = variables(command)?.map(|variables| (pointers(&variables), variables));
    let envp = match &variables {
        Some((pointers, _)) => pointers.as_ptr(),
        // SAFETY: nobody changes the environment of this process.
        None => unsafe { environ },
    };
    let mask = libc_set(INHERITED.mask.load(Relaxed));
    let default = match INHERITED.pipe_ignored.load(Relaxed) {
        true => 0,
        false => bit(libc::SIGPIPE),
    };
    let default = libc_set(default);
    let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
    let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    let held = set_mask(libc::SIG_BLOCK, 0)?;
    let mut pid = 0;
    // SAFETY: the attributes are initialised before they are used, and not used
    // after they are destroyed; argv and envp end in null, and what they point
    // to lives until the end of this function.
    let failed = unsafe {
        let mut attributes = std::mem::zeroed();
        libc::posix_spawnattr_init(&raw mut attributes);
        libc::posix_spawnattr_setflags(&raw mut attributes, flags);
        libc::posix_spawnattr_setsigmask(&raw mut attributes, &raw const mask);
        libc::posix_spawnattr_setsigdefault(&raw mut attributes, &raw const default);
        let failed = libc::posix_spawnp(
            &raw mut pid,
            argv[0],
            ptr::null(),
            &raw const attributes,
            argv.as_ptr(),
            envp,
        );
        libc::posix_spawnattr_destroy(&raw mut attributes);
        failed
    };
    // musl's posix_spawn puts the mask back without the signals it keeps for itself.
    set_mask(libc::SIG_SETMASK, held)?;
    match failed {
        0 => Ok(pid),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

unsafe extern "C" {
    /// The environment, as C has it.
    static environ: *const *mut libc::c_char;
}

/// The environment with the changes of a command; nothing where it has none:
/// copying ours for nothing would be a twentieth of a start.
fn variables(command: &Command) -> io::Result<Option<Vec<CString>>> {
    let changed: Vec<_> = command.get_envs().collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let kept = env::vars_os().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let added = changed
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())));
    let variables = kept
        .chain(added)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<CString>, _>>()?;
    Ok(Some(variables))
}

/// A list as C has it, with null at its end; valid as long as `texts` is.
fn pointers(texts: &[CString]) -> Vec<*mut libc::c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr().cast_mut())
        .chain(iter::once(ptr::null_mut()))
        .collect()
}

fn libc_set(set: SignalSet) -> libc::sigset_t {
    // SAFETY: a sigset_t is an array of words without padding, in both libcs,
    // and the first holds the kernel's 64 signals.
    unsafe {
        let mut libc_set: libc::sigset_t = std::mem::zeroed();
        ptr::write_unaligned((&raw mut libc_set).cast(), set);
        libc_set
    }
}

/// Has the command begin as it would have begun without runsd, by fork or
/// in our own place.
pub fn prepare(command: &mut Command, credentials: Option<Credentials>, foreground: bool) {
    let mask = INHERITED.mask.load(Relaxed);
    let pipe_ignored = INHERITED.pipe_ignored.load(Relaxed);
    let child_ignored = INHERITED.child_ignored.load(Relaxed);
    // std gives SIGPIPE its default, and leaves the mask as it is.
    let before_exec = move || {
        if foreground {
            // Not yet in the foreground, we would be stopped for asking.
            set_mask(libc::SIG_SETMASK, bit(libc::SIGTTOU))?;
            // SAFETY: take no memory. A terminal that is gone is no reason to
            // give up.
            unsafe {
                libc::setpgid(0, 0);
                libc::tcsetpgrp(0, libc::getpid());
            }
        }
        for (ignored, signal) in [
            (pipe_ignored, libc::SIGPIPE),
            (child_ignored, libc::SIGCHLD),
        ] {
            if ignored {
                // SAFETY: sets a disposition that runs no code.
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
        }
        if let Some(credentials) = &credentials {
            become_user(credentials)?;
        }
        set_mask(libc::SIG_SETMASK, mask)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only; it
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(before_exec) };
}

/// Groups first, while we still may.
fn become_user(credentials: &Credentials) -> io::Result<()> {
    let Credentials { uid, gid, groups } = credentials;
    // By raw system calls: libc would have all threads follow, by means that
    // are not for a forked child.
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
