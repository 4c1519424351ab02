//! What Linux has and std has no call for, behind safe functions. Imports nothing of the crate outside of it.
//!
//! The only folder with unsafe code. rustix makes the system calls where it has them, libc the others; each unsafe
//! block says why it is sound.

pub mod cgroup_memory;
mod child;
mod datagrams;
pub mod entry;
pub mod file;
pub mod net;
pub mod peer;
mod process;
mod signal;
mod spawn;
pub mod splice;
pub mod tcp;
pub mod terminal;
pub mod tuning;

pub use self::child::{ChildState, ExitStatus, reap, set_child_subreaper};
pub use self::process::{address_space_limit, effective_ids, forbid_core_dumps, raise_nofile_limit};
pub use self::signal::{Signal, SignalOrigin, Signals, block_signals, kill, kill_group};
pub use self::spawn::{Command, Credentials, exec, spawn};
