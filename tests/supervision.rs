//! What an application notices of its supervisor: nothing, as far as possible.
//!
//! Runs the real program without privileges, as on Cloud Run but without DNS
//! and proxy. The applications are shell scripts; each test waits for a line
//! of theirs, or for their end.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{client_file, plain_runsd, program};

/// After this long, what is waited for does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// `runsd COMMAND` on Cloud Run, with a metadata server that is not there.
pub fn runsd(words: &[&str]) -> Command {
    let mut command = program(plain_runsd());
    command.args(words);
    on_cloud_run(&mut command);
    command
}

pub fn on_cloud_run(command: &mut Command) {
    command
        .env("K_SERVICE", "tests")
        .env("GCE_METADATA_HOST", "127.0.0.1:1")
        .env("RUNSD_SKIP_DNS_HIJACK", "1")
        .env("RUNSD_SKIP_HTTP_PROXY", "1")
        .env_remove("RUNSD_BIN"); // the tests' own, and no setting
}

pub fn output(mut command: Command) -> Output {
    command.output().expect("runsd starts")
}

pub fn stdout(command: Command) -> String {
    String::from_utf8(output(command).stdout).expect("text")
}

/// An application that is spoken with.
pub struct Running {
    pub child: Child,
    pub stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runsd starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Running { child, stdin, lines }
    }

    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line");
        line.trim_end().to_owned()
    }

    pub fn signal(&self, number: i32) {
        kill(number, self.child.id());
    }

    /// Closes its stdin, and waits for its end.
    pub fn code(mut self) -> Option<i32> {
        drop(self.stdin);
        self.child.wait().expect("its end").code()
    }
}

pub fn kill(number: i32, pid: u32) {
    let status = program("sh").args(["-c", &format!("kill -{number} {pid}")]).status();
    assert!(status.expect("sh").success(), "kill -{number} {pid}");
}

/// Sends each signal three times, and looks whether the application gets it.
fn reach_the_app(signals: &[i32]) {
    let numbers: Vec<String> = signals.iter().map(i32::to_string).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let script = client_file("print_signals.sh");
    let mut app = Running::start(runsd(&[&["sh", &script], &numbers[..]].concat()));
    assert_eq!(app.line(), "ready");
    for round in 0..3 {
        for n in signals {
            app.signal(*n);
            assert_eq!(app.line(), n.to_string(), "round {round}");
        }
    }
    assert_eq!(app.code(), Some(7));
}

#[test]
fn every_signal_reaches_the_app_each_time() {
    // All but KILL, STOP, CHLD, and the faults.
    let kept_back = [4, 5, 6, 7, 8, 9, 11, 17, 19, 31];
    reach_the_app(&(1..=31).filter(|n| !kept_back.contains(n)).collect::<Vec<_>>());
}

#[test]
fn every_real_time_signal_reaches_the_app_each_time() {
    // 32 to 34 are those that libc keeps for itself.
    reach_the_app(&(35..=64).collect::<Vec<_>>());
}

#[test]
fn a_signal_the_app_ignores_ends_nobody() {
    let mut app = Running::start(runsd(&["sh", "-c", "trap '' TERM; echo ready; read x; exit 3"]));
    assert_eq!(app.line(), "ready");
    app.signal(15);
    app.signal(15);
    app.stdin.write_all(b"go on\n").expect("it listens");
    assert_eq!(app.code(), Some(3));
}

#[test]
fn an_app_that_stops_itself_goes_on_with_cont() {
    let script = "echo $$; kill -STOP $$; echo awake; exit 5";
    let mut app = Running::start(runsd(&["sh", "-c", script]));
    let pid = app.line();
    until("the application is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        stat.contains(") T ")
    });
    app.signal(18);
    assert_eq!(app.line(), "awake");
    assert_eq!(app.code(), Some(5));
}

#[test]
fn the_apps_exit_code_is_runsds() {
    for code in 0..=255 {
        let got = output(runsd(&["sh", "-c", &format!("exit {code}")]));
        assert_eq!(got.status.code(), Some(code));
        assert_eq!(String::from_utf8_lossy(&got.stderr), "", "silent when all is well");
    }
}

#[test]
fn a_death_by_signal_is_128_and_its_number() {
    for n in [1, 2, 3, 6, 9, 11, 15, 34, 64] {
        // No core file: the test is about the code.
        let script = format!("ulimit -c 0; kill -{n} $$");
        let got = output(runsd(&["sh", "-c", &script]));
        assert_eq!(got.status.code(), Some(128 + n), "signal {n}");
    }
}

#[test]
fn a_core_dump_changes_nothing_about_the_code() {
    // Its bit stands beside the signal in what the kernel reports. The file, if
    // the machine writes one there, goes where nobody looks.
    let dir = std::env::temp_dir().join(format!("core-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    for n in [3, 6, 11] {
        let script = format!("ulimit -c unlimited; cd \"$0\"; kill -{n} $$");
        let got = output(runsd(&["sh", "-c", &script, &dir.to_string_lossy()]));
        assert_eq!(got.status.code(), Some(128 + n), "signal {n}");
    }
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn a_child_of_the_app_that_stops_itself_is_nobodys_end() {
    let script = "sh -c 'kill -STOP $$; exit 9' & echo $!; read x
                  kill -CONT $!; wait $!; exit $?";
    let mut app = Running::start(runsd(&["sh", "-c", script]));
    let pid = app.line();
    until("the child is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        stat.contains(") T ")
    });
    app.stdin.write_all(b"go on\n").expect("it listens");
    assert_eq!(app.code(), Some(9));
}

#[test]
fn an_orphan_that_outlives_the_app_holds_nobody_up() {
    let script = "(read x; exit 9) <&0 & exit 4";
    let mut app = Running::start(runsd(&["sh", "-c", script]));
    assert_eq!(app.child.wait().expect("its end").code(), Some(4));
}

#[test]
fn a_command_that_cannot_be_run_is_127_or_126_and_a_sentence() {
    for (command, code, want) in [
        ("no-such-command", 127, "not found in PATH"),
        ("/no/such/command", 127, "no such file"),
        ("/dev/null/x", 127, "no directory"),
        ("/etc/passwd", 126, "not executable"),
        ("/tmp", 126, "not executable"),
    ] {
        for place in ["tests", ""] {
            let mut runsd = runsd(&["--", command]);
            if place.is_empty() {
                // Off Cloud Run it is all the same.
                runsd.env_remove("K_SERVICE");
            }
            let got = output(runsd);
            let stderr = String::from_utf8_lossy(&got.stderr);
            assert_eq!(got.status.code(), Some(code), "{command}: {stderr}");
            assert!(stderr.starts_with("runsd: "), "{stderr}");
            assert!(stderr.contains(&format!("cannot run {command:?}: ")), "{stderr}");
            assert!(stderr.contains(want), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
}

#[test]
fn orphans_are_reaped_and_are_not_the_app() {
    let script = "i=0; while [ $i -lt 10000 ]; do (exit 9 &); i=$((i + 1)); done
                  echo $$; read x; exit 4";
    let mut app = Running::start(runsd(&["sh", "-c", script]));
    let pid = app.line();
    let runsd = app.child.id();
    until("only the application is left", || {
        // Each thread has a list of its own; the main thread has the children.
        let children = fs::read_to_string(format!("/proc/{runsd}/task/{runsd}/children"));
        children.expect("it lives").trim() == pid
    });
    assert_eq!(app.code(), Some(4));
}

#[test]
fn the_app_finds_what_it_would_find_without_us() {
    let look = "grep -E '^(Sig[BCI]|Shd|Uid|Gid|Groups|NoNewPrivs)' /proc/self/status
                for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$n ] && echo fd $n; done
                readlink /proc/self/fd/3; ulimit -a; umask; pwd; chrt -p $$ | head -1 | cut -d: -f2";
    for before in ["", "trap '' PIPE;", "trap '' HUP INT TERM;", "exec <&-;", "exec 2>&-;", "exec 3</etc/passwd;"] {
        let run = |by: &str| {
            let mut shell = program("sh");
            shell.args(["-c", &format!("{before} exec ${{BY:+\"$BY\"}} sh -c \"$LOOK\"")]);
            shell.env("LOOK", look).env("BY", by);
            on_cloud_run(&mut shell);
            shell
        };
        let bare = without_libcs_own(&stdout(run("")));
        assert_eq!(without_libcs_own(&stdout(run(&plain_runsd()))), bare, "{before:?}");
        // Off Cloud Run, too.
        let mut off = run(&plain_runsd());
        off.env_remove("K_SERVICE");
        assert_eq!(without_libcs_own(&stdout(off)), bare, "{before:?}, off Cloud Run");
    }
}

/// Signals 32 and 33 belong to libc: glibc's posix_spawn has them ignored.
fn without_libcs_own(status: &str) -> String {
    let line = status.lines().find(|line| line.starts_with("SigIgn:"));
    let ignored = line.expect("the ignored signals").trim_start_matches("SigIgn:");
    let set = u64::from_str_radix(ignored.trim(), 16).expect("hex digits");
    let set = format!("\t{:016x}", set & !(0b11 << 31));
    status.replace(ignored, &set)
}

#[test]
fn off_cloud_run_we_become_the_app() {
    let mut command = runsd(&["sh", "-c", "echo $$; read x"]);
    command.env_remove("K_SERVICE");
    let mut app = Running::start(command);
    assert_eq!(app.line(), app.child.id().to_string());
}

#[test]
fn a_log_nobody_reads_is_not_the_end_of_the_app() {
    for disable in ["0", "1"] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut command = runsd(&["-v=5", "--", "sh", "-c", "exit 7"]);
        command.env("RUNSD_DISABLE", disable).stderr(writer);
        let status = command.status().expect("runsd starts");
        assert_eq!(status.code(), Some(7), "{disable}: {status}");
    }
}

#[test]
fn with_a_terminal_ctrl_c_reaches_the_app_once() {
    // The terminal's keys: INT, then QUIT, which ends the script.
    let app = "trap 'echo got INT' INT; trap 'echo got QUIT; exit 6' QUIT
               echo ready; while :; do read x; done";
    let mut command = program("script");
    // util-linux's script gives its child a terminal of its own.
    command.args(["-qec", "exec \"$RUNSD\" sh -c \"$APP\"", "/dev/null"]);
    command.env("RUNSD", plain_runsd()).env("APP", app);
    on_cloud_run(&mut command);
    let mut terminal = Running::start(command);
    let mut line = |key: &[u8], want: &str| {
        if !key.is_empty() {
            terminal.stdin.write_all(key).expect("a terminal");
        }
        // The terminal echoes the key, "^C", before the line.
        let got = terminal.line();
        assert!(got.ends_with(want), "{got:?}, {want:?}");
    };
    line(b"", "ready");
    line(b"\x03", "got INT");
    line(b"\x03", "got INT");
    line(b"\x1c", "got QUIT");
    assert_eq!(terminal.code(), Some(6));
}

#[test]
fn a_terminal_of_a_script_is_given_back() {
    let mut command = program("script");
    // In one process group, as scripts are: after us, cat reads the terminal.
    command.args(["-qec", "\"$RUNSD\" true; echo next; read x; echo \"read $x\"", "/dev/null"]);
    command.env("RUNSD", plain_runsd());
    on_cloud_run(&mut command);
    let mut terminal = Running::start(command);
    assert_eq!(terminal.line(), "next");
    terminal.stdin.write_all(b"hello\n").expect("a terminal");
    assert_eq!(terminal.line(), "hello", "the echo");
    assert_eq!(terminal.line(), "read hello");
}

#[test]
fn user_takes_a_number_and_refuses_unknown_names() {
    let id = |flag: &str| {
        let mut command = program("id");
        command.arg(flag);
        stdout(command)
    };
    let (uid, gid) = (id("-u"), id("-g"));
    let myself = format!("-user={}:{}", uid.trim(), gid.trim());
    let got = output(runsd(&[&myself, "id", "-u"]));
    assert_eq!(String::from_utf8_lossy(&got.stdout), uid);

    let got = output(runsd(&["-user=no-such-user", "echo", "started"]));
    let stderr = String::from_utf8_lossy(&got.stderr);
    assert_eq!(got.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("\"no-such-user\""), "{stderr}");
    assert!(got.stdout.is_empty(), "nothing was started");

    if uid.trim() == "0" {
        let script = "id -u; id -g; id -G; echo $HOME ${USER-none} ${LOGNAME-none}";
        let mut command = runsd(&["-user=65532:65531", "sh", "-c", script]);
        command.env("USER", "root").env("LOGNAME", "root");
        assert_eq!(stdout(command), "65532\n65531\n65531\n/ none none\n");
    } else {
        let got = output(runsd(&["-user=0", "true"]));
        let stderr = String::from_utf8_lossy(&got.stderr);
        assert_eq!(got.status.code(), Some(126), "{stderr}");
        assert!(stderr.contains("may not become uid 0"), "{stderr}");
    }
}

/// Looks again and again, for what no line tells of.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for: {what}");
        thread::yield_now();
    }
}
