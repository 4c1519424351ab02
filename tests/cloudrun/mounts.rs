//! The mounts of the container's root, which is a tmpfs with binds in it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

/// An empty root. It is mounted over `/sys`, a directory that every Linux has
/// and that nobody needs to make the rest.
pub fn new_root() -> Result<&'static Path, String> {
    unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))
        .map_err(|err| format!("cannot make a mount namespace: {err}"))?;
    let root = Path::new("/sys");
    tmpfs(root, "mode=755")?;
    Ok(root)
}

/// The machine's own files, read-only, but for `/etc` and `/tmp`.
pub fn machine(root: &Path) -> Result<(), String> {
    mirror(Path::new("/"), root, &["etc", "etc/ssl"])?;
    for name in ["proc", "sys", "run", "tmp"] {
        fs::create_dir_all(root.join(name)).map_err(|err| format!("cannot make {name}: {err}"))?;
    }
    tmpfs(&root.join("tmp"), "mode=1777")
}

/// The devices that every container has.
pub fn dev(root: &Path) -> Result<(), String> {
    let dev = root.join("dev");
    fs::create_dir_all(&dev).map_err(|err| format!("cannot make {dev:?}: {err}"))?;
    tmpfs(&dev, "mode=755")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        bind_writable(&Path::new("/dev").join(name), &dev.join(name))?;
    }
    for (name, to) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let _ = symlink(format!("/proc/self/{to}"), dev.join(name));
    }
    Ok(())
}

/// Puts everything of `from` into `to`, which can be written: directories are
/// bound read-only, except `open` ones, which are mirrored in their turn; in
/// those, files are copied.
pub fn mirror(from: &Path, to: &Path, open: &[&str]) -> Result<(), String> {
    let entries = fs::read_dir(from).map_err(|err| format!("cannot read {from:?}: {err}"))?;
    for entry in entries.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let below: Vec<&str> = open.iter().filter_map(|path| path.strip_prefix(&name)?.strip_prefix('/')).collect();
        if from == Path::new("/") && NOT_MIRRORED.contains(&name.as_str()) {
            continue;
        } else if kind.is_symlink() {
            if let Ok(end) = fs::read_link(&source) {
                let _ = symlink(end, &target);
            }
        } else if kind.is_dir() && open.contains(&name.as_str()) {
            fs::create_dir(&target).map_err(|err| format!("cannot make {target:?}: {err}"))?;
            mirror(&source, &target, &below)?;
        } else if kind.is_dir() {
            bind(&source, &target)?;
        } else if kind.is_file() {
            // What this user may not read, the container has no use for.
            if fs::copy(&source, &target).is_err() {
                let _ = fs::remove_file(&target);
            }
        }
    }
    Ok(())
}

/// `path`, absolute in the container, under `root`.
pub fn within(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    root.join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()))
}

pub fn bind(from: &Path, to: &Path) -> Result<(), String> {
    bind_writable(from, to)?;
    read_only(to);
    Ok(())
}

pub fn bind_writable(from: &Path, to: &Path) -> Result<(), String> {
    let made = if from.is_dir() {
        fs::create_dir_all(to)
    } else {
        let _ = to.parent().map(fs::create_dir_all);
        File::options().append(true).create(true).open(to).map(drop)
    };
    made.map_err(|err| format!("cannot make {to:?}: {err}"))?;
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .map_err(|err| format!("cannot bind {from:?} to {to:?}: {err}"))
}

/// A safety catch for the machine, not a wall: what refuses stays writable.
fn read_only(path: &Path) {
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    // A user namespace may not drop the flags that are there.
    let Ok(now) = statvfs(path) else { return };
    for (held, flag) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(flag, now.flags().contains(held));
    }
    let _ = mount(NONE, path, NONE, flags, NONE);
}

pub fn proc(root: &Path) -> Result<(), String> {
    let path = root.join("proc");
    let _ = fs::create_dir_all(&path);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &path, Some("proc"), flags, NONE).map_err(|err| format!("cannot mount /proc: {err}"))
}

/// Makes `root` the root, and lets go of the old one.
pub fn enter(root: &Path, sealed: bool) -> Result<(), String> {
    if sealed {
        for path in [root, &root.join("etc/resolv.conf")] {
            read_only(path);
        }
    }
    chdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .map_err(|err| format!("cannot enter the new root: {err}"))
}

fn tmpfs(path: &Path, mode: &str) -> Result<(), String> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(mode))
        .map_err(|err| format!("cannot mount a tmpfs: {err}"))
}

const NOT_MIRRORED: &[&str] = &["proc", "sys", "dev", "run", "tmp"];
