//! The namespaces and the network of the miniature: a loopback that owns every
//! address of the platform, and no way out.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{getgid, getuid};

use crate::options::Options;

pub const METADATA: &str = "169.254.169.254";
/// A second nameserver, for a resolv.conf that names two.
pub const SECOND_NAMESERVER: &str = "169.254.169.253";
/// A nameserver, and a server that is not on Cloud Run, with IPv6 where that
/// exists.
pub const OVER_IPV6: &str = "fd00::53";
/// The same nameserver on one link, which is the loopback here.
pub const LINK_LOCAL: &str = "fe80::53";
/// The front end of `*.run.app`.
pub const FRONT_END: &str = "192.0.2.1";
/// `billing.example.com`, a server that is not on Cloud Run.
pub const BILLING: &str = "192.0.2.2";
/// `external.example`, a plain HTTP server.
pub const EXTERNAL: &str = "192.0.2.3";
/// The services without the front end (`direct.rs`).
pub const DIRECT: &str = "192.0.2.4";
pub const CONTROL: &str = "192.0.2.53";
// Any other address of 192.0.2.0/24 is a black hole: routed, never answered.

/// As an ordinary user with subordinate ids (subuid(5)): becomes this program
/// again, as root of a user namespace with as many users as the machine has.
/// Comes back where that cannot be.
pub fn become_root_of_many() {
    if getuid().is_root() {
        return;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--map-auto", "--"]);
        command
    };
    let mut attempt = unshare();
    attempt.arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    if let (Ok(true), Ok(program)) = (attempt.status().map(|status| status.success()), env::current_exe()) {
        let _ = unshare().arg(program).args(env::args_os().skip(1)).exec();
    }
}

/// Enters a network of its own; as an ordinary user without subordinate ids, a user namespace too, in
/// which that user is root.
pub fn enter(options: &Options) -> Result<(), String> {
    let (uid, gid) = (getuid(), getgid());
    let mut entered = Err(Errno::EPERM);
    if uid.is_root() {
        entered = unshare(CloneFlags::CLONE_NEWNET);
    }
    // Root of a container may lack the capability and still have user namespaces.
    if entered == Err(Errno::EPERM) {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|err| {
            format!("no network namespace for uid {uid}: {err}; run as root or allow user namespaces")
        })?;
        map_user(&proc_self()?, uid.as_raw(), gid.as_raw(), 0)?;
    } else {
        entered.map_err(|err| format!("cannot make a network namespace: {err}"))?;
    }
    if options.no_ipv6 {
        // Where the kernel has no IPv6 at all, there is nothing to switch off.
        let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    }
    if options.low_ports {
        let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        fs::write(path, "0").map_err(|err| format!("cannot write {path}: {err}"))?;
    }
    addresses()?;
    if Path::new("/proc/net/if_inet6").exists() && !options.no_ipv6 {
        // Without "nodad" it could not be bound for a second or so.
        ip(&format!("addr add {OVER_IPV6}/128 dev lo nodad\naddr add {LINK_LOCAL}/64 dev lo nodad\n"))?;
    }
    Ok(())
}

/// Makes `inside` the name, in this process's new user namespace, of a user
/// outside it. `proc` is what `/proc/self` was before there was a new root.
pub fn map_user(proc: &File, uid: u32, gid: u32, inside: u32) -> Result<(), String> {
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{inside} {uid} 1")),
        ("gid_map", format!("{inside} {gid} 1")),
    ] {
        let written = openat(proc, file, OFlag::O_WRONLY, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|fd| File::from(fd).write_all(text.as_bytes()));
        // A user namespace in a user namespace inherits the denial.
        if file != "setgroups" || inside == 0 {
            written.map_err(|err| format!("cannot write /proc/self/{file}: {err}"))?;
        }
    }
    Ok(())
}

/// For `map_user`.
pub fn proc_self() -> Result<File, String> {
    File::open("/proc/self").map_err(|err| format!("cannot open /proc/self: {err}"))
}

/// The next child is PID 1 of a namespace of its own.
pub fn renew_pids() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWPID).map_err(|err| format!("cannot make a PID namespace: {err}"))
}

/// Whatever ends the keeper ends this process, too.
pub fn die_with_parent() -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|err| format!("cannot set PDEATHSIG: {err}"))
}

fn addresses() -> Result<(), String> {
    let mut script = String::from("link set lo up\n");
    for address in [METADATA, SECOND_NAMESERVER, FRONT_END, DIRECT, BILLING, EXTERNAL, CONTROL] {
        script += &format!("addr add {address}/32 dev lo\n");
    }
    script += "route add 192.0.2.0/24 dev lo\n";
    ip(&script)
}

fn ip(script: &str) -> Result<(), String> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped());
    let mut child = ip.spawn().map_err(|err| format!("cannot run ip: {err}; it is in the package iproute2"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(script.as_bytes());
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ip could not add the addresses: {status}")),
        Err(err) => Err(format!("cannot wait for ip: {err}")),
    }
}
