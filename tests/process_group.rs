//! The application's process group, and the terminal's keys: as it would find
//! them without runsd, and without anything that stays stopped.

use std::io::Write as _;

use crate::harness::{client_file, plain_runsd, program};
use crate::supervision::{Running, on_cloud_run, runsd, stdout};

#[test]
fn an_application_can_signal_its_own_group() {
    let file = client_file("process_group.py");
    let node = "process.kill(-process.pid, 0); console.log('true')";
    let shell = "trap 'echo got it; exit' TERM; kill -- -$$; echo $?";
    for (command, want) in [
        (&["python3", "-B", &file, "own_group"][..], "True\n"),
        (&["node", "-e", node], "true\n"),
        (&["bash", "-c", shell], "got it\n"),
    ] {
        assert_eq!(stdout(runsd(command)), want, "{command:?}");
    }
}

#[test]
fn a_signal_to_the_own_group_comes_once() {
    let file = client_file("process_group.py");
    for _ in 0..10 {
        assert_eq!(stdout(runsd(&["python3", "-B", &file, "own_signal"])), "1\n");
    }
}

#[test]
fn a_job_stops_before_maintenance_and_goes_on_after_it() {
    // Neither handles SIGTSTP: the kernel stops them.
    let script = "echo $$; read x; echo $x; exit 5";
    let mut app = Running::start(runsd(&["sh", "-c", script]));
    let pid = app.line();
    for _ in 0..3 {
        app.signal(20);
        wait_for_state(&pid, "T");
        app.signal(18);
        wait_for_state(&pid, "S");
    }
    app.stdin.write_all(b"awake\n").expect("it reads");
    assert_eq!(app.line(), "awake");
    assert_eq!(app.code(), Some(5));
}

fn wait_for_state(pid: &str, state: &str) {
    crate::supervision::until(&format!("{pid} is in state {state}"), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        stat.contains(&format!(") {state} "))
    });
}

/// A terminal of its own for a shell's command line, with runsd as `$RUNSD`.
fn terminal(line: &str) -> Running {
    let mut command = program("script");
    // util-linux's script gives its child a terminal of its own.
    command.args(["-qec", line, "/dev/null"]);
    command.env("RUNSD", plain_runsd());
    on_cloud_run(&mut command);
    Running::start(command)
}

/// Reads on to a line that ends so: the terminal echoes what is typed.
#[track_caller]
fn line_ending(terminal: &mut Running, want: &str) {
    while !terminal.line().ends_with(want) {}
}

#[test]
fn an_application_begins_where_a_shell_put_its_job() {
    let app = "import os; print(\"foreground:\", os.tcgetpgrp(2) == os.getpgrp())";
    let mut foreground = terminal(&format!("exec \"$RUNSD\" python3 -c '{app}'"));
    line_ending(&mut foreground, "foreground: True");
    assert_eq!(foreground.code(), Some(0));
    let mut background = terminal(&format!("set -m; \"$RUNSD\" python3 -c '{app}' & wait"));
    line_ending(&mut background, "foreground: False");
    assert_eq!(background.code(), Some(0));
}

#[test]
fn a_pager_behind_a_pipe_has_the_keys() {
    // It reads text from its stdin and keys from the terminal.
    let app = "cat; echo ready; read x </dev/tty; echo \"key $x\"";
    let mut terminal = terminal(&format!("echo text | \"$RUNSD\" sh -c '{app}'"));
    line_ending(&mut terminal, "text");
    line_ending(&mut terminal, "ready");
    terminal.stdin.write_all(b"q\n").expect("a terminal");
    line_ending(&mut terminal, "key q");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn ctrl_z_is_no_end_where_no_shell_is_above() {
    // As without runsd: the kernel stops nobody whom nobody could continue.
    let app = "echo ready; read x; echo got $x; exit 6";
    let mut terminal = terminal(&format!("exec \"$RUNSD\" sh -c '{app}'"));
    line_ending(&mut terminal, "ready");
    terminal.stdin.write_all(b"\x1a\x1a").expect("a terminal");
    terminal.stdin.write_all(b"hello\n").expect("a terminal");
    line_ending(&mut terminal, "got hello");
    assert_eq!(terminal.code(), Some(6));
}

#[test]
fn ctrl_z_is_no_end_for_an_application_under_pid_1() {
    let app = "echo ready $$; read x; echo got $x; exit 6";
    let mut terminal = terminal(&format!("unshare -rpf \"$RUNSD\" sh -c '{app}'"));
    line_ending(&mut terminal, "ready 2");
    terminal.stdin.write_all(b"\x1a\x1a").expect("a terminal");
    terminal.stdin.write_all(b"hello\n").expect("a terminal");
    line_ending(&mut terminal, "got hello");
    assert_eq!(terminal.code(), Some(6));
}

#[test]
fn a_shell_above_finds_its_job_stopped_and_continues_it() {
    let mut terminal = terminal("exec bash --norc --noprofile -i 2>&1");
    let app = "echo re''ady; while read x; do echo \"got $x\"; [ $x = four ] && exit 6; done";
    let line = format!("PS1=; \"$RUNSD\" sh -c '{app}'\n");
    terminal.stdin.write_all(line.as_bytes()).expect("a terminal");
    line_ending(&mut terminal, "ready");
    terminal.stdin.write_all(b"one\n").expect("a terminal");
    line_ending(&mut terminal, "got one");
    for word in ["two", "three"] {
        terminal.stdin.write_all(b"\x1a").expect("a terminal");
        while !terminal.line().contains("Stopped") {}
        // The shell has the terminal.
        let line = format!("echo {word}''.\n");
        terminal.stdin.write_all(line.as_bytes()).expect("a terminal");
        line_ending(&mut terminal, &format!("{word}."));
        terminal.stdin.write_all(b"fg\n").expect("a terminal");
        // The shell says what goes on before it does: the application has the
        // terminal when it reads from it.
        let line = format!("to-{word}\n");
        terminal.stdin.write_all(line.as_bytes()).expect("a terminal");
        line_ending(&mut terminal, &format!("got to-{word}"));
    }
    terminal.stdin.write_all(b"four\n").expect("a terminal");
    line_ending(&mut terminal, "got four");
    terminal.stdin.write_all(b"echo $?''.\n").expect("a terminal");
    line_ending(&mut terminal, "6.");
    terminal.stdin.write_all(b"exit 7\n").expect("a terminal");
    assert_eq!(terminal.code(), Some(7));
}

#[test]
fn a_pipeline_that_gets_the_terminal_late_is_not_stopped() {
    let app = ">$BEGUN; read go; rm $BEGUN; echo re''ady; read x </dev/tty; echo got $x; exit 5";
    let mut terminal = terminal("export BEGUN=$(mktemp -u); exec bash --norc --noprofile -i 2>&1");
    let late = client_file("process_group.py");
    let line = format!("PS1=; python3 -B \"{late}\" late | \"$RUNSD\" sh -c '{app}'\n");
    terminal.stdin.write_all(line.as_bytes()).expect("a terminal");
    line_ending(&mut terminal, "ready");
    terminal.stdin.write_all(b"keys\n").expect("a terminal");
    line_ending(&mut terminal, "got keys");
    terminal.stdin.write_all(b"echo $?''.; exit\n").expect("a terminal");
    line_ending(&mut terminal, "5.");
}
