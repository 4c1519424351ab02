//! The scheduling policy of threads.

#![allow(unsafe_code)]

/// Selects SCHED_BATCH for the calling thread and the threads it starts, so that a woken thread queues behind the
/// running one instead of preempting it (sched(7)). Best effort.
pub fn set_sched_batch() {
    // The kernel's sched_param. musl's is longer, and its sched_setscheduler always fails with ENOSYS.
    let param: libc::c_int = 0;
    // SAFETY: the parameter outlives the call, which reads it.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const param) };
}
