//! A log that nobody reads, and what is said on stderr before there is one.

use std::fs::{File, Permissions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;

use crate::harness::{CloudRun, plain_runsd, program};
use crate::supervision::{Running, on_cloud_run, output, runsd};

/// Prints a line for each of three SIGTERMs, and ends; it has the same stderr.
const APP: &str = "n=0; trap 'n=$((n + 1)); echo TERM $n; [ $n = 3 ] && exit 7' TERM
    grep flags /proc/self/fdinfo/2; while :; do read x; done";

/// A stderr that takes nothing more, and its other end.
fn full(kind: &str) -> (OwnedFd, Box<dyn io::Read + Send>) {
    if kind == "socket" {
        let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
        writer.set_nonblocking(true).expect("a socket");
        while writer.write(&[b'\n'; 4096]).is_ok() {}
        while writer.write(b"\n").is_ok() {}
        writer.set_nonblocking(false).expect("a socket");
        return (writer.into(), Box::new(reader));
    }
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // pipe(7): what a pipe takes.
    writer.write_all(&[b'\n'; 65_536]).expect("it is empty");
    (writer.into(), Box::new(reader))
}

#[test]
fn nothing_waits_for_a_log_that_nobody_reads() {
    for kind in ["pipe", "socket"] {
        let (stderr, reader) = full(kind);
        let mut command = runsd(&["-v=5", "--", "sh", "-c", APP]);
        command.stderr(stderr);
        let mut app = Running::start(command);
        let flags = app.line();
        let flags = flags.rsplit('\t').next().expect("a number");
        let flags = u32::from_str_radix(flags, 8).expect("an octal number");
        assert_eq!(flags & 0o4000, 0, "{kind}: O_NONBLOCK on what the app has");
        app.signal(15);
        assert_eq!(app.line(), "TERM 1", "{kind}");
        app.signal(15);
        assert_eq!(app.line(), "TERM 2", "{kind}");
        // Now somebody reads, and it is said what was missed.
        let mut lines = BufReader::new(reader).lines();
        let mut before = lines.by_ref().map_while(Result::ok);
        for _ in 0..60_000 {
            assert_eq!(before.next().as_deref(), Some(""), "{kind}");
        }
        app.signal(15);
        assert_eq!(app.line(), "TERM 3", "{kind}");
        assert_eq!(app.code(), Some(7), "{kind}");
        let said: Vec<String> = lines.map_while(Result::ok).filter(|line| !line.is_empty()).collect();
        assert!(said[0].ends_with("lines were dropped: nothing read stderr"), "{kind}: {said:?}");
        let last = "runsd: info: the application ended with exit code 7";
        assert_eq!(said.last().map(String::as_str), Some(last), "{kind}");
    }
}

/// With a stderr that can be written to, but not opened a second time.
fn with_unopenable(stderr: OwnedFd) -> Command {
    let mut command = runsd(&["-v=5", "--", "sh", "-c", APP]);
    let file = File::from(stderr);
    let none = Permissions::from_mode(0o000);
    file.set_permissions(none).expect("our own pipe");
    if nix::unistd::geteuid().is_root() {
        // Who is root may open what nobody may.
        command.uid(65_532).gid(65_532);
    }
    command.stderr(file);
    command
}

#[test]
fn a_log_that_cannot_be_opened_again_is_written_and_not_waited_for() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let command = with_unopenable(writer.into());
    let mut app = Running::start(command);
    app.line();
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("runsd: info: on Cloud Run, by K_SERVICE"));
    for n in 1..=3 {
        app.signal(15);
        assert_eq!(app.line(), format!("TERM {n}"));
    }
    assert_eq!(app.code(), Some(7));
    let said: Vec<String> = lines.collect();
    let last = "runsd: info: the application ended with exit code 7";
    assert_eq!(said.last().map(String::as_str), Some(last), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("dropped")), "{said:?}");

    // The same, and nobody reads.
    let (stderr, _reader) = full("pipe");
    let command = with_unopenable(stderr);
    let mut app = Running::start(command);
    app.line();
    for n in 1..=3 {
        app.signal(15);
        assert_eq!(app.line(), format!("TERM {n}"));
    }
    assert_eq!(app.code(), Some(7));
}

#[test]
fn a_sentence_for_a_log_that_nobody_reads_is_no_reason_to_wait() {
    for (words, code) in [(&["-no-such-flag"][..], 2), (&["/no/such/command"], 127)] {
        let (stderr, _reader) = full("pipe");
        let mut command = runsd(words);
        let status = command.stderr(stderr).status().expect("runsd starts");
        assert_eq!(status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn a_terminal_stopped_by_ctrl_s_holds_up_no_signal() {
    let app = "trap 'exit 7' TERM; echo ready $PPID; while :; do read x; done";
    let mut command = program("script");
    command.args(["-qec", "exec \"$RUNSD\" -v=5 sh -c \"$APP\"", "/dev/null"]);
    command.env("RUNSD", plain_runsd()).env("APP", app);
    on_cloud_run(&mut command);
    let mut terminal = Running::start(command);
    let pid = loop {
        let line = terminal.line();
        if let Some((_, pid)) = line.split_once("ready ") {
            break pid.parse().expect("a number");
        }
    };
    // Ctrl-S; the terminal has it when it echoes what came after.
    terminal.stdin.write_all(b"\x13").expect("a terminal");
    crate::supervision::kill(15, pid);
    assert_eq!(terminal.code(), Some(7));
}

#[test]
fn errors_of_the_start_are_json_where_json_is_asked_for() {
    let said = |command: Command, code: i32| {
        let got = output(command);
        let stderr = String::from_utf8(got.stderr).expect("text");
        assert_eq!(got.status.code(), Some(code), "{stderr}");
        let line: Value = serde_json::from_str(&stderr).unwrap_or_else(|_| panic!("{stderr}"));
        assert_eq!(line["severity"], "CRITICAL", "{stderr}");
        assert_eq!(line["logging.googleapis.com/labels"]["app"], "runsd");
        line["message"].as_str().expect("a sentence").to_owned()
    };
    for (words, code, want) in [
        (&["-log_format=json", "-nosuch", "true"][..], 2, "there is no flag -nosuch"),
        (&["-nosuch", "-log_format", "json", "true"], 2, "there is no flag -nosuch"),
        (&["-ndots=x", "--log_format=json", "true"], 2, "-ndots=\"x\""),
        (&["-log_format=json"], 2, "no command given"),
        (&["-log_format=json", "/no/such"], 127, "cannot run \"/no/such\""),
        (&["-log_format=json", "-user=no-such", "true"], 2, "there is no user"),
    ] {
        let got = said(runsd(words), code);
        assert!(got.contains(want), "{words:?}: {got}");
        if words[0] == "-log_format=json" {
            let mut command = runsd(&words[1..]);
            command.env("RUNSD_LOG_FORMAT", "json");
            assert_eq!(said(command, code), got);
        }
    }
    // A flag goes before the variable, also where another one is wrong.
    let mut command = runsd(&["-log_format=text", "-nosuch", "true"]);
    command.env("RUNSD_LOG_FORMAT", "json");
    let stderr = String::from_utf8(output(command).stderr).expect("text");
    assert!(stderr.starts_with("runsd: there is no flag"), "{stderr}");
}

#[test]
fn disable_takes_true_and_false_in_every_spelling() {
    for (word, code, want) in [
        ("true", 0, "app\n"),
        ("1", 0, "app\n"),
        ("T", 0, "app\n"),
        ("false", 0, "runsd\n"),
        ("0", 0, "runsd\n"),
        ("", 0, "runsd\n"),
        ("yes", 2, ""),
    ] {
        // Whose child the shell is: of runsd, or of who started it.
        let script = "[ $(cat /proc/$PPID/comm) = runsd ] && echo runsd || echo app";
        let mut command = runsd(&["sh", "-c", script]);
        command.env("RUNSD_DISABLE", word);
        let got = output(command);
        let stderr = String::from_utf8_lossy(&got.stderr);
        assert_eq!(got.status.code(), Some(code), "{word}: {stderr}");
        assert_eq!(String::from_utf8_lossy(&got.stdout), want, "{word}");
        if code == 2 {
            let want = "runsd: RUNSD_DISABLE=\"yes\": expected true or false\n";
            assert_eq!(stderr, want);
        }
    }
}

#[test]
fn a_variable_that_no_flag_reads_is_said() {
    let mut command = runsd(&["true"]);
    command.env("RUNSD_DISABEL", "1");
    let got = output(command);
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&got.stderr),
        "runsd: warning: there is no setting RUNSD_DISABEL; RUNSD_DISABLE may be meant\n"
    );
}

#[test]
fn the_end_is_logged_once() {
    for (script, want) in [
        ("exit 3", "the application ended with exit code 3"),
        ("kill -9 $$", "the application was ended by signal 9; exit code 137"),
    ] {
        let got = output(runsd(&["-v=5", "sh", "-c", script]));
        let stderr = String::from_utf8_lossy(&got.stderr);
        let ends = stderr.lines().filter(|line| line.contains("ended"));
        let ends: Vec<&str> = ends.collect();
        assert_eq!(ends, [format!("runsd: info: {want}")], "{stderr}");
    }
}

#[test]
fn requests_are_answered_though_nobody_reads_the_log() {
    // The pipe has a reader, the shell, which does not read.
    let script = "mkfifo /tmp/log; exec 3<>/tmp/log
        /runsd -v=5 -- curl -sS -o /dev/null -w 'done\\n' 'http://hello/[1-2000]' 2>/tmp/log";
    let out = CloudRun::new().run(&["sh", "-c", script]);
    assert_eq!(out.stdout, "done\n".repeat(2000), "{}", out.stderr);
}
