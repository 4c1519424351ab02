//! The process itself: its user, and the limits of its resources.

#![allow(unsafe_code)]

use std::mem;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getegid, geteuid, set_dumpable_behavior, setrlimit};

/// Returns the effective user and group of this process.
pub fn effective_ids() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Has the kernel write no core dump of this process, and lets no process without CAP_SYS_PTRACE read its memory or
/// its environment: tokens are in both. Programs that it becomes or has started are not concerned.
pub fn forbid_core_dumps() {
    // Best effort: a sandbox may refuse the call, and has nothing to dump then.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Raises the soft limit of open descriptors to the hard one, and returns it. Children that were started before
/// have the limit that this process was started with.
pub fn raise_nofile_limit() -> usize {
    let Some(limit) = rlimit(Resource::Nofile) else {
        return DEFAULT_NOFILE;
    };
    let raised = Rlimit { current: Some(limit.rlim_max), maximum: Some(limit.rlim_max) };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.rlim_max,
        Err(_) => limit.rlim_cur,
    };
    usize::try_from(descriptors).unwrap_or(usize::MAX)
}

/// Returns how many bytes of address space this process may have: the lower of RLIMIT_AS and RLIMIT_DATA.
pub fn address_space_limit() -> usize {
    let bytes = |resource| {
        let limit = rlimit(resource).map(|limit| usize::try_from(limit.rlim_cur));
        limit.and_then(Result::ok).unwrap_or(usize::MAX)
    };
    bytes(Resource::As).min(bytes(Resource::Data))
}

/// Reads a limit of this process; `None` where a sandbox refuses the call, which rustix's getrlimit takes for
/// impossible.
fn rlimit(resource: Resource) -> Option<libc::rlimit> {
    // SAFETY: a structure of two numbers, valid when zero, which outlives the call.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        (libc::getrlimit(resource as _, &raw mut limit) == 0).then_some(limit)
    }
}

/// Descriptors, where the limit cannot be read: Linux's soft limit of a process.
const DEFAULT_NOFILE: usize = 1024;
