//! runsd in the images people make: scratch, distroless-like, nonroot. Only
//! runsd and a static busybox are in them: no libc, no shell of the machine's,
//! no `/etc/passwd`, no `/proc`, no CA files.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{CloudRun, needs_descriptors, needs_several_users, program, runsd_program};

const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";
const CALLS: &str = "wget -qO- http://hello; wget -qO- http://external.example/x";

/// What runsd does where ports or resolv.conf are refused.
const INSTEAD: &str = "serving through http_proxy instead; clients that ignore it do not find the \
                       names of services";

fn both() -> String {
    format!("{HELLO}external.example, asked for /x\n")
}

/// A root with `/bin/busybox`, which is also its shell, and `/bin/wget`.
pub struct Image(pub PathBuf);

impl Image {
    pub fn scratch() -> Image {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("image-{}-{count}", std::process::id()));
        fs::create_dir_all(dir.join("bin")).expect("a scratch directory");
        fs::create_dir_all(dir.join("etc")).expect("a scratch directory");
        let image = Image(dir);
        let found = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
        let busybox = found.expect("busybox is there; it is in the package busybox-static");
        copy(Path::new(busybox), &image.0.join("bin/busybox"));
        for name in ["sh", "wget", "cat", "id", "kill", "true"] {
            let link = image.0.join("bin").join(name);
            std::os::unix::fs::symlink("busybox", link).expect("a link");
        }
        for dir in ["", "bin", "etc"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(image.0.join(dir), mode).expect("everyone may look");
        }
        image
    }

    fn with(self, path: &str, text: &str) -> Image {
        fs::write(self.0.join(path), text).expect("a file of the image");
        self
    }

    fn cloudrun(&self) -> CloudRun {
        at(&self.0)
    }
}

/// By a program of its own: while a thread of ours has a file open to write, the
/// children of other threads hold it open too, and nobody may run it.
pub fn copy(from: &Path, to: &Path) {
    let copied = program("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp starts").success(), "{from:?} to {to:?}");
}

/// A container with that root.
pub fn at(root: &Path) -> CloudRun {
    let new = CloudRun::new().root(root).env("PATH", "/bin").option("--bind").option("/dev/null");
    // runsd as it is while developed needs the machine's loader; what is
    // released does not.
    if is_static() {
        return new;
    }
    let libs = ["/lib", "/lib64"].into_iter().filter(|lib| Path::new(lib).exists());
    libs.fold(new, |image, lib| image.option("--bind").option(lib))
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether the runsd that is tried is the one that is released.
fn is_static() -> bool {
    let path = runsd_program().expect("a runsd; run `make build`");
    let bytes = fs::read(path).expect("runsd can be read");
    !bytes.windows(11).any(|window| window == b"/ld-linux-x")
}

#[test]
fn an_image_from_scratch_reaches_services_by_name() {
    let image = Image::scratch();
    // busybox's cat hands the file's pages to the pipe, and what is read from
    // there may be what the file became after the application's end.
    // What stood there before is after an empty line.
    let cat = "while IFS= read -r line && [ \"$line\" ]; do echo \"$line\"; done </etc/resolv.conf";
    let script = format!("echo $$ >&2; {CALLS}; {cat}; ls /proc; exit 5");
    let out = image.cloudrun().run(&["/runsd", "--", "sh", "-c", &script]);
    let ours = "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal google.internal\noptions ndots:3\n";
    assert_eq!(out.stdout, both() + ours, "{}", out.stderr);
    assert_eq!(out.status, 5);
    assert!(!out.stderr.contains("runsd:"), "{}", out.stderr);
    // The command that is not there, too.
    let out = image.cloudrun().run(&["/runsd", "--", "/none"]);
    assert_eq!((out.status, out.stderr.as_str()), (127, "runsd: cannot run \"/none\": no such file\n"));
}

#[test]
fn user_is_understood_in_an_image_without_passwd() {
    needs_several_users();
    let image = Image::scratch();
    let id = "id -u; id -g; echo $HOME ${USER-none}; exec busybox wget -qO- http://hello";
    for (user, want) in
        [("0", "0\n0\n/ none\n"), ("65532", "65532\n0\n/ none\n"), ("65532:65531", "65532\n65531\n/ none\n")]
    {
        for option in ["--proc", "--job"] {
            let cloudrun = image.cloudrun().option(option);
            let out = cloudrun.run(&["/runsd", "-user", user, "--", "sh", "-c", id]);
            assert_eq!(out.stdout, format!("{want}{HELLO}"), "{user}: {}", out.stderr);
            assert_eq!(out.stderr, "");
        }
    }
    let out = image.cloudrun().run(&["/runsd", "-user=app", "--", "sh", "-c", "echo started"]);
    assert_eq!((out.status, out.stdout.as_str()), (2, ""));
    assert!(out.stderr.contains("\"app\""), "{}", out.stderr);
    assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
}

#[test]
fn a_distroless_image_reaches_services_by_name() {
    let image = Image::scratch()
        .with("etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n")
        .with("etc/group", "root:x:0:\nnonroot:x:65532:\nkeys:x:70:nonroot\n")
        .with("etc/nsswitch.conf", "hosts: files dns\n");
    let out = image.cloudrun().run(&["/runsd", "--", "sh", "-c", CALLS]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), (both().as_str(), ""));
    needs_several_users();
    let id = "id -u; id -G; echo $HOME $USER $LOGNAME; wget -qO- http://hello";
    let out = image.cloudrun().run(&["/runsd", "-user", "nonroot", "--", "sh", "-c", id]);
    let want = format!("65532\n65532 70\n/home/nonroot nonroot nonroot\n{HELLO}");
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), (want.as_str(), ""));
}

#[test]
fn an_ordinary_user_is_served_through_http_proxy_with_one_warning() {
    let image = Image::scratch();
    let port = "cannot serve HTTP on port 80 as uid 65532: permission denied";
    let file = "cannot write /etc/resolv.conf as uid 65532: permission denied";
    for (options, refused) in
        [(&[][..], port), (&["--read-only"], port), (&["--low-ports"], file), (&["--proc", "--no-ipv6"], port)]
    {
        let cloudrun = options.iter().fold(image.cloudrun().uid(65532), |image, word| image.option(*word));
        let out = cloudrun.run(&["/runsd", "--", "sh", "-c", &format!("{CALLS}; exit 6")]);
        assert_eq!((out.stdout.as_str(), out.status), (both().as_str(), 6), "{options:?}");
        let want = format!("runsd: warning: {refused}; {INSTEAD}\n");
        assert_eq!(out.stderr, want, "{options:?}");
    }
}

#[test]
fn a_read_only_root_is_served_through_http_proxy_with_one_warning() {
    let image = Image::scratch();
    let out = image.cloudrun().option("--read-only").run(&["/runsd", "--", "sh", "-c", CALLS]);
    assert_eq!(out.stdout, both(), "{}", out.stderr);
    assert_eq!(
        out.stderr,
        format!("runsd: warning: cannot write /etc/resolv.conf: read-only file system; {INSTEAD}\n")
    );
}

#[test]
fn twenty_requests_at_once_take_64_mib_of_address_space() {
    // Of address space, which is stricter than of memory.
    let image = Image::scratch();
    let kib = if is_static() { 64 * 1024 } else { 256 * 1024 };
    let many = "i=0; while [ $i -lt 20 ]; do wget -qO- http://hello >/dev/null & i=$((i + 1)); done
                wait; wget -qO- http://hello";
    let limited = format!("ulimit -v {kib}; exec /runsd -- sh -c \"$0\"");
    let out = image.cloudrun().run(&["/bin/busybox", "sh", "-c", &limited, many]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), (HELLO, ""));
}

#[test]
fn thousands_of_connections_are_served_at_once() {
    needs_descriptors(10_000);
    // 25,000 of them, or as many as this machine allows: seats for thousands.
    let limited = "ulimit -n 25000 2>/dev/null || ulimit -n $(ulimit -Hn)
        exec /runsd -- python3 -B /tests/clients/descriptors.py as_many";
    let out = CloudRun::new().run(&["sh", "-c", limited]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("200 200\n", ""));
}

#[test]
fn connections_beyond_the_descriptors_wait_and_are_served() {
    // More connections than there are descriptors for: the rest waits, and all
    // of them are served. Then many to one far end after the other, whose idle
    // connections have to make room for each other.
    let limited = "ulimit -n 100; exec /runsd -- python3 -B /tests/clients/descriptors.py few";
    let out = CloudRun::new().run(&["sh", "-c", limited]);
    assert_eq!(out.stdout, "260 {'200'}\nidle\n", "{}", out.stderr);
    // Those that wait are spoken of once for each crowd, at most.
    for line in out.stderr.lines() {
        assert!(line.starts_with("runsd: warning: proxy: 34 connections, "), "{}", out.stderr);
    }
    assert!((1..=2).contains(&out.stderr.lines().count()), "{}", out.stderr);
}

#[test]
fn system_calls_that_are_missing_cost_no_call_and_no_exit_code() {
    for (lacks, want) in [
        (
            &["rt_sigaction:10=ENOSYS"][..], // a handler for SIGUSR1
            "runsd: warning: cannot wait for signals: Function not implemented (os error 38); none \
             is passed on\n",
        ),
        // What gVisor may not have, or not for us.
        (
            &[
                "prctl:36=EINVAL", // PR_SET_CHILD_SUBREAPER
                "recvmmsg=ENOSYS",
                "sendmmsg=ENOSYS",
                "sched_setscheduler=EPERM",
                "prlimit64=EPERM",
                "rt_sigtimedwait=ENOSYS",
                "signalfd4=ENOSYS",
                "setsockopt::6=ENOPROTOOPT",    // TCP_NODELAY
                "setsockopt::1:13=ENOPROTOOPT", // SO_LINGER
            ],
            "",
        ),
        // Or accept and ignore; and a kernel without IPv6.
        (&["setsockopt=0", "socket:10=EAFNOSUPPORT"], ""),
        // What libc and std would like to have.
        (
            &[
                "clone3=ENOSYS",
                "getrandom=ENOSYS",
                "madvise=ENOSYS",
                "membarrier=ENOSYS",
                "pidfd_open=ENOSYS",
                "rseq=ENOSYS",
                "sched_getaffinity=ENOSYS",
                "sigaltstack=ENOSYS",
                "statx=ENOSYS",
            ],
            "",
        ),
    ] {
        let command = [&["sh", "/tests/clients/without.sh"], lacks].concat();
        let out = CloudRun::new().run(&command);
        assert_eq!((out.stdout, out.stderr.as_str(), out.status), (both(), want, 7), "{lacks:?}");
    }
}

#[test]
fn an_entrypoint_script_runs_and_ends_by_sigterm() {
    // The shape of nginx's and many databases' images: prepare, then exec.
    let image = Image::scratch().with(
        "entrypoint.sh",
        "#!/bin/sh\nset -e\nfor f in /docker-entrypoint.d/*.sh; do [ -e \"$f\" ] && . \"$f\"; done\n\
         if [ \"$1\" = serve ]; then shift; set -- busybox httpd -f -p \"127.0.0.1:$PORT\" -h / \"$@\"; fi\n\
         exec \"$@\"\n",
    );
    let path = image.0.join("entrypoint.sh");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script");
    let out = image.cloudrun().run(&["/runsd", "--", "/entrypoint.sh", "sh", "-c", CALLS]);
    assert_eq!(out.stdout, both(), "{}", out.stderr);
    let mut app = image.cloudrun().start(&[
        "/runsd",
        "--",
        "/entrypoint.sh",
        "sh",
        "-c",
        "/entrypoint.sh serve & trap 'kill $!; exit 0' TERM; \
         until wget -qO- http://127.0.0.1:$PORT/entrypoint.sh 2>&-; do :; done; wait",
    ]);
    assert_eq!(app.line(), "#!/bin/sh");
    app.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(app.finish().status, 0);
}

#[test]
fn a_node_application_fetches_and_ends_with_its_own_code() {
    let script =
        "fetch('http://hello').then(r => r.text()).then(t => { process.stdout.write(t); process.exitCode = 3 })";
    let out = CloudRun::new().run(&["/runsd", "--", "node", "-e", script]);
    assert_eq!((out.stdout.as_str(), out.status), (HELLO, 3), "{}", out.stderr);
}
