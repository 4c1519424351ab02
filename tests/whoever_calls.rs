//! The tests come to the same, whoever runs them and however: under nohup, from
//! cron, in the background of a shell, in a session of somebody else.

use std::env;
use std::process::Command;

/// Each way is a script that runs `"$@"`.
const WAYS: &[(&str, &str)] = &[
    ("under nohup", "exec nohup \"$@\""),
    (
        "with every signal ignored",
        "exec env --ignore-signal \"$@\"",
    ),
    (
        "with every signal blocked",
        "exec env --block-signal \"$@\"",
    ),
    ("with its stdin closed", "exec \"$@\" <&-"),
    ("without a terminal", "exec setsid --wait \"$@\" </dev/null"),
    ("with a strict umask", "umask 077; exec \"$@\""),
    (
        "in another language",
        "LANG=tr_TR.UTF-8 LC_ALL=xx_XX LANGUAGE=de exec \"$@\"",
    ),
    ("with few descriptors", "ulimit -n 128; exec \"$@\""),
];

/// Those that look at signals and at what an application finds.
const TESTS: &[&str] = &[
    "supervision::every_signal_reaches_the_app_each_time",
    "supervision::the_app_finds_what_it_would_find_without_us",
    "supervision::with_a_terminal_ctrl_c_reaches_the_app_once",
    "pid1::every_signal_each_time",
    "pid1::the_app_finds_what_it_would_find_without_us",
];

#[test]
fn signals_reach_the_application_whoever_calls_the_tests() {
    let tests = env::current_exe().expect("a test knows its own path");
    for (way, script) in WAYS {
        let out = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&tests)
            .args(TESTS)
            .arg("--test-threads=2")
            .output()
            .expect("sh can be started");
        let printed = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{way}: {printed}");
        assert!(printed.contains(" 5 passed"), "{way}: {printed}");
    }
}
