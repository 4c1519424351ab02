//! The only unsafe code: what Linux gives and neither std nor rustix has a call for.
//!
//! Each call stands behind a safe function, with the reason why it is sound.

#![allow(unsafe_code)]

mod allocator;
pub mod cgroup_memory;
mod child;
pub mod connect;
mod datagrams;
mod entry;
pub mod file;
pub mod memory;
pub mod net;
pub mod peer;
mod process;
mod signal;
mod spawn;
pub mod splice;
pub mod tcp;
pub mod terminal;

pub use self::child::{ChildState, ExitStatus, adopt_orphans, reap};
pub use self::net::{is_quiet, reset_on_close};
pub use self::process::{address_space, batch, ids, raise_descriptors};
pub use self::signal::{Signal, SignalOrigin, Signals, block, kill, kill_group};
pub use self::spawn::{Command, Credentials, become_command, spawn};
