//! The container: its image, its environment, its user, and then COMMAND.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::mounts;
use crate::namespaces;
use crate::options::{Kind, Options};
use crate::publish;

/// The environment variable that brings the test authority's certificate.
pub const AUTHORITY: &str = "CLOUDRUN_TEST_AUTHORITY";

/// Never returns when all goes well: this process is COMMAND then.
pub fn become_entrypoint(options: Options) -> Result<ExitCode, String> {
    namespaces::die_with_parent()?;
    let authority = env::var(AUTHORITY).unwrap_or_default();
    let proc = namespaces::proc_self()?;
    image(&options, &authority)?;

    let mut command = Command::new(&options.command[0]);
    command.args(&options.command[1..]).env_clear();
    command.envs(environment(&options));
    if let Some(uid) = options.uid {
        become_user(&proc, uid)?;
        // A change of user takes it away.
        namespaces::die_with_parent()?;
    }
    prctl::set_no_new_privs().map_err(|err| format!("cannot set no_new_privs: {err}"))?;

    let err = command.exec();
    eprintln!("cloudrun: cannot run {:?}: {err}", options.command[0]);
    Ok(ExitCode::from(if err.kind() == io::ErrorKind::NotFound { 127 } else { 126 }))
}

/// Builds the root and moves into it.
fn image(options: &Options, authority: &str) -> Result<(), String> {
    let runsd = options.runsd()?;
    let root = mounts::new_root()?;
    match &options.root {
        None => mounts::machine(root)?,
        Some(dir) => mounts::mirror(dir, root, &["etc", "etc/ssl"])?,
    }
    for (from, to) in &options.binds {
        mounts::bind(from, &mounts::within(root, to))?;
    }
    if let Some(runsd) = runsd {
        mounts::bind(&runsd, &root.join("runsd"))?;
    }
    put(&mounts::within(root, authority_path(options)), authority.as_bytes())?;
    if options.root.is_none() {
        put(&root.join("etc/hosts"), HOSTS)?;
    }
    resolv_conf(options, root)?;
    if options.root.is_none() || options.proc {
        mounts::dev(root)?;
        mounts::proc(root)?;
    }
    mounts::enter(root, options.read_only)
}

fn resolv_conf(options: &Options, root: &Path) -> Result<(), String> {
    let text = match &options.resolv_conf {
        None => RESOLV_CONF.to_vec(),
        Some(file) => fs::read(file).map_err(|err| format!("cannot read {file:?}: {err}"))?,
    };
    let target = root.join("etc/resolv.conf");
    if options.plain_resolv_conf {
        return put(&target, &text);
    }
    // As on the platform: a rename over it fails with EBUSY.
    let hidden = root.join(".resolv.conf");
    put(&hidden, &text)?;
    if options.open_resolv_conf {
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o666))
            .map_err(|err| format!("cannot open {hidden:?} to all: {err}"))?;
    }
    put(&target, b"")?;
    mounts::bind_writable(&hidden, &target)?;
    fs::remove_file(&hidden).map_err(|err| format!("cannot remove {hidden:?}: {err}"))
}

fn environment(options: &Options) -> Vec<(String, std::ffi::OsString)> {
    let mut variables: Vec<(String, std::ffi::OsString)> = vec![
        ("HOME".into(), if options.uid.is_some() { "/tmp" } else { "/root" }.into()),
        ("SSL_CERT_FILE".into(), authority_path(options).into()),
    ];
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    variables.push(("PATH".into(), path));
    let kind: &[(&str, &str)] = match options.kind {
        Kind::Service => &[
            ("PORT", "8080"),
            ("K_SERVICE", "caller"),
            ("K_REVISION", "caller-00001-abc"),
            ("K_CONFIGURATION", "caller"),
        ],
        Kind::Job => &[
            ("CLOUD_RUN_JOB", "caller"),
            ("CLOUD_RUN_EXECUTION", "caller-x7k2p"),
            ("CLOUD_RUN_TASK_INDEX", "0"),
            ("CLOUD_RUN_TASK_ATTEMPT", "0"),
            ("CLOUD_RUN_TASK_COUNT", "1"),
        ],
        Kind::WorkerPool => &[("CLOUD_RUN_WORKER_POOL", "caller")],
        Kind::Off => &[],
    };
    variables.extend(kind.iter().map(|&(key, value)| (key.into(), value.into())));
    if options.publish.is_some() {
        let url = env::var_os(publish::URL).unwrap_or_default();
        variables.push((publish::URL.into(), url));
    }
    // Last, so that they win.
    variables.extend(options.env.iter().cloned());
    variables
}

fn become_user(proc: &File, uid: u32) -> Result<(), String> {
    let gone = setgroups(&[]).and_then(|()| setgid(Gid::from_raw(uid))).and_then(|()| setuid(Uid::from_raw(uid)));
    match gone {
        Ok(()) => Ok(()),
        // In a user namespace there is but one user. A second one inside it
        // can give that one another number.
        Err(Errno::EPERM | Errno::EINVAL) => {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(|err| format!("cannot become uid {uid}: {err}"))?;
            namespaces::map_user(proc, 0, 0, uid)
        }
        Err(err) => Err(format!("cannot become uid {uid}: {err}")),
    }
}

/// In an image without `/etc/ssl` it must not look as if there were one.
fn authority_path(options: &Options) -> &'static str {
    if options.root.is_some() { "/cloudrun-ca.pem" } else { "/etc/ssl/cloudrun-ca.pem" }
}

fn put(path: &Path, content: &[u8]) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|err| format!("cannot make {parent:?}: {err}"))?;
    }
    // It may be a symbolic link to a file of the machine.
    let _ = fs::remove_file(path);
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(|err| format!("cannot write {path:?}: {err}"))
}

const RESOLV_CONF: &[u8] = b"nameserver 169.254.169.254\nsearch google.internal\n";
const HOSTS: &[u8] = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n";
