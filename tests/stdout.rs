//! What was asked for goes to stdout; that it could not be written is an error.

use std::fs::File;
use std::process::Stdio;

use crate::harness::{CloudRun, plain_runsd, program};

const FULL: &str = "runsd: cannot write to stdout: No space left on device (os error 28)\n";

#[test]
fn a_full_disk_is_an_error_of_help_and_version() {
    for flag in ["-version", "-help"] {
        let full = File::options().write(true).open("/dev/full");
        let mut command = program(plain_runsd());
        command.arg(flag).env_clear().stdout(full.expect("/dev/full"));
        let out = command.stderr(Stdio::piped()).output().expect("runsd starts");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), &*stderr), (Some(1), FULL), "{flag}");
    }
}

#[test]
fn a_full_disk_is_an_error_of_check() {
    let out = CloudRun::new().sh("/runsd -check >/dev/full; echo $?");
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("1\n", FULL));
}

#[test]
fn a_reader_that_wants_no_more_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = program(plain_runsd());
    command.arg("-help").env_clear().stdout(writer);
    let out = command.stderr(Stdio::piped()).output().expect("runsd starts");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), &*stderr), (Some(0), ""));
}
