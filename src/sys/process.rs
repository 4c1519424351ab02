//! Whose process this is, what it may have, and how its threads take turns.

#![allow(unsafe_code)]

use std::mem;

use rustix::process::{Resource, Rlimit, getegid, geteuid, setrlimit};

/// The effective user and group of this process.
pub fn ids() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Takes all the descriptors this process may have, and says how many that
/// are. Its children from before keep the limit they were started with.
pub fn raise_descriptors() -> usize {
    let Some(limit) = limit(Resource::Nofile) else {
        return USUAL_DESCRIPTORS;
    };
    let raised = Rlimit { current: Some(limit.rlim_max), maximum: Some(limit.rlim_max) };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.rlim_max,
        Err(_) => limit.rlim_cur,
    };
    usize::try_from(descriptors).unwrap_or(usize::MAX)
}

const USUAL_DESCRIPTORS: usize = 1024;

/// How many bytes of address space this process may have (`RLIMIT_AS`, `RLIMIT_DATA`).
pub fn address_space() -> usize {
    let limits = [Resource::As, Resource::Data].map(|which| {
        let bytes = limit(which).map(|limit| usize::try_from(limit.rlim_cur));
        bytes.and_then(Result::ok).unwrap_or(usize::MAX)
    });
    limits[0].min(limits[1])
}

/// A limit of this process; `None` where a sandbox does not say it, which
/// rustix's getrlimit takes for impossible.
fn limit(which: Resource) -> Option<libc::rlimit> {
    // SAFETY: a structure of two numbers, valid when zero, which outlives the call.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        (libc::getrlimit(which as _, &raw mut limit) == 0).then_some(limit)
    }
}

/// Has woken threads queue behind the running one instead of pushing it aside:
/// for this thread and those it starts. Only speed depends on it.
pub fn batch() {
    // The kernel's sched_param; musl's is longer, and its function only says ENOSYS.
    let param: libc::c_int = 0;
    // SAFETY: the parameter outlives the call, which reads it.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const param) };
}
