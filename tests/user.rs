//! `-user`: as whom the application runs, on Cloud Run and off it.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use crate::harness::{plain_runsd, program};
use crate::supervision::{output, runsd, stdout};

/// Takes Cloud Run away from it: by its variables, or by the switch.
fn off_cloud_run(command: &mut Command, how: usize) {
    match how {
        0 => {}
        1 => {
            command.env_remove("K_SERVICE");
        }
        _ => {
            command.env("RUNSD_DISABLE", "1");
        }
    }
}

#[test]
fn the_user_is_the_same_on_cloud_run_and_off_it() {
    let is_root = nix::unistd::getuid().is_root();
    for how in 0..3 {
        let mut command = runsd(&["-user=no-such-user", "echo", "started"]);
        off_cloud_run(&mut command, how);
        let got = output(command);
        let stderr = String::from_utf8_lossy(&got.stderr);
        assert_eq!(got.status.code(), Some(2), "{how}: {stderr}");
        assert!(stderr.contains("\"no-such-user\""), "{how}: {stderr}");
        assert!(got.stdout.is_empty(), "{how}: nothing was started");

        if is_root {
            let script = "id -u; id -g; id -G; echo $HOME ${USER-none} ${LOGNAME-none}";
            let mut command = runsd(&["-user=65532:65531", "sh", "-c", script]);
            command.env("USER", "root").env("LOGNAME", "root");
            off_cloud_run(&mut command, how);
            let want = "65532\n65531\n65531\n/ none none\n";
            assert_eq!(stdout(command), want, "{how}");
            // Who is no longer root names another one.
            let plain = plain_runsd();
            let inner = [plain.as_str(), "-user=0", "--", "true"];
            let words = [&["-user=65532:65531", "--"][..], &inner].concat();
            let mut command = runsd(&words);
            off_cloud_run(&mut command, how);
            let got = output(command);
            let want = "runsd: cannot run \"true\": runsd, as uid 65532 and gid 65531, may not \
                        become uid 0 and gid 0\n";
            assert_eq!(String::from_utf8_lossy(&got.stderr), want, "{how}");
            assert_eq!(got.status.code(), Some(126), "{how}");
        }
    }
}

#[test]
fn its_standard_descriptors_can_be_opened_by_name() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let script =
        "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin; stat -Lc %u /dev/fd/0 /dev/fd/1 /dev/fd/2";
    for how in 0..3 {
        let mut command = runsd(&["-user=65532:65531", "sh", "-c", script]);
        off_cloud_run(&mut command, how);
        let (stdin, writer) = io::pipe().expect("a pipe");
        drop(writer);
        command.stdin(stdin);
        let got = output(command);
        let stdout = String::from_utf8_lossy(&got.stdout);
        assert!(stdout.eq("out\n65532\n65532\n65532\n"), "{how}: {stdout}");
        assert_eq!(String::from_utf8_lossy(&got.stderr), "err\n", "{how}");
    }
    // By a terminal, too.
    let mut command = program("script");
    command.args(["-qec", "exec \"$RUNSD\" -user=65532 sh -c \"$APP\"", "/dev/null"]);
    command.env("RUNSD", plain_runsd());
    command.env("APP", "echo out >/dev/stdout; echo err >/dev/stderr");
    crate::supervision::on_cloud_run(&mut command);
    command.stdin(Stdio::piped());
    assert_eq!(stdout(command), "out\r\nerr\r\n");
}

#[test]
fn files_and_devices_keep_their_owner() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let path = std::env::temp_dir().join(format!("runsd-{}-owner", std::process::id()));
    let file = std::fs::File::create(&path).expect("a scratch file");
    let mut command = runsd(&["-user=65532", "sh", "-c", "echo still written"]);
    command.stdout(file).stdin(Stdio::null());
    assert!(command.status().expect("runsd starts").success());
    let mut text = String::new();
    let mut file = std::fs::File::open(&path).expect("still there");
    file.read_to_string(&mut text).expect("it can be read");
    assert_eq!(text, "still written\n");
    for path in [path.as_path(), "/dev/null".as_ref()] {
        let owner = std::fs::metadata(path).expect("still there").uid();
        assert_eq!(owner, 0, "{path:?}");
    }
    std::fs::remove_file(&path).expect("still there");
}
