//! The tests come to the same, whoever runs them and however: under nohup, from
//! cron, in the background of a shell, in a session of somebody else.

use std::env;
use std::fs;
use std::process::Command;

use crate::harness::is_current;

/// Each way is a script that runs `"$@"`.
const WAYS: &[(&str, &str)] = &[
    ("under nohup", "exec nohup \"$@\""),
    ("with every signal ignored", "exec env --ignore-signal \"$@\""),
    ("with every signal blocked", "exec env --block-signal \"$@\""),
    ("with its stdin closed", "exec \"$@\" <&-"),
    ("without a terminal", "exec setsid --wait \"$@\" </dev/null"),
    ("with a strict umask", "umask 077; exec \"$@\""),
    ("in another language", "LANG=tr_TR.UTF-8 LC_ALL=xx_XX LANGUAGE=de exec \"$@\""),
    ("without SHELL", "unset SHELL; exec \"$@\""),
    ("with few descriptors", "ulimit -n 128; exec \"$@\""),
    ("with descriptors left open", "exec \"$@\" 3</dev/null 4</dev/null 5</dev/null"),
];

/// Those that look at signals and at what an application finds.
const TESTS: &[&str] = &[
    "supervision::every_real_time_signal_reaches_the_app_each_time",
    "supervision::every_signal_reaches_the_app_each_time",
    "supervision::the_app_finds_what_it_would_find_without_us",
    "supervision::with_a_terminal_ctrl_c_reaches_the_app_once",
    "pid1::each_signal_reaches_the_app_of_pid_1_each_time",
    "pid1::the_app_finds_what_it_would_find_without_us",
    "signals::signals_need_no_descriptors",
    "measure::ctrl_c_reaches_what_runs_under_progress",
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
        let all = format!(" {} passed", TESTS.len());
        assert!(printed.contains(&all), "{way}: {printed}");
    }
}

#[test]
fn an_edit_makes_the_binary_an_old_one() {
    let dir = env::temp_dir().join(format!("repository-{}", std::process::id()));
    let write = |file: &str, text: &str| {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    };
    // The sums of "a\n" and "b\n".
    let sums = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7  src/main.rs\n\
                0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f  dist/runsd\n";
    write("src/main.rs", "a\n");
    write("dist/runsd", "b\n");
    assert!(!is_current(&dir), "nobody knows what it was built from");
    write("dist/runsd.built-from", sums);
    assert!(is_current(&dir));
    for (file, text, edited) in [("src/main.rs", "a\n", "b\n"), ("dist/runsd", "b\n", "a\n")] {
        write(file, edited);
        assert!(!is_current(&dir), "{file}");
        write(file, text);
    }
    fs::remove_file(dir.join("src/main.rs")).expect("a file");
    assert!(!is_current(&dir), "a file that is gone");
    let _ = fs::remove_dir_all(&dir);
}
