//! What keeps the tests from depending on the process that started them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::process::Command;
use std::sync::{Arc, Once, OnceLock};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use signal_hook::consts::SIGCHLD;

/// A program to start, which finds the same whoever runs the tests: all signals
/// as they are by default (nohup ignores HUP, and a shell INT and QUIT for what
/// runs in the background), none blocked (std sees to it), the usual umask and shell, as
/// many descriptors as an instance of Cloud Run has, where that is allowed, and no
/// folder in `PATH` that this user may not search: execvp(3) says EACCES for each
/// command that it cannot find there.
pub fn program(path: impl AsRef<OsStr>) -> Command {
    static FIRST: Once = Once::new();
    static SEARCHABLE: OnceLock<OsString> = OnceLock::new();
    FIRST.call_once(|| {
        umask(Mode::from_bits_truncate(0o022));
        // Of a caller that ignores it we could not wait for our children.
        signal_hook::flag::register(SIGCHLD, Arc::default()).expect("SIGCHLD can be caught");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
        let raised = soft.max(hard.min(CLOUD_RUN_DESCRIPTORS));
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard).expect("a limit can be raised");
    });
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal").arg(path);
    command.env("PATH", SEARCHABLE.get_or_init(searchable));
    command.env("SHELL", "/bin/sh"); // script(1) starts what it says
    command
}

/// The folders of `PATH` that this user may search.
fn searchable() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian's ordinary users have no folder of servers in it: nginx, haproxy, dnsmasq.
    let servers = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let folders = env::split_paths(&path).chain(servers).filter(|folder| folder.join(".").is_dir());
    env::join_paths(folders).expect("as they were")
}

const CLOUD_RUN_DESCRIPTORS: u64 = 25_000;

/// Fails a test that takes more than one user where there is but one.
#[track_caller]
pub fn needs_several_users() {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    let several = SEVERAL.get_or_init(|| {
        let mut unshare = program("unshare");
        unshare.args(["--user", "--map-root-user", "--map-auto", "true"]);
        geteuid().is_root() || unshare.output().is_ok_and(|out| out.status.success())
    });
    assert!(
        several,
        "this test takes several users: run it as root, or as a user who has subordinate ids \
         (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER) and newuidmap \
         (apt-get install uidmap)"
    );
}

/// Fails a test that takes more descriptors than it can get; those of the tests
/// and of what they start are counted together, generously.
#[track_caller]
pub fn needs_descriptors(count: u64) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4)?.parse::<u64>().ok());
    let hard = hard.unwrap_or(u64::MAX); // or "unlimited"
    assert!(hard >= count, "this test takes {count} descriptors, and {hard} are allowed (ulimit -Hn)");
}
