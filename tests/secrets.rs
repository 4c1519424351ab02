//! Where tokens are not: in nothing that runsd says of itself, whatever is said to it, nor where another process
//! could read them.

use std::time::Duration;

use crate::harness::CloudRun;

/// Everything that is said at the most talkative, in this format; `clients/token_hunt.py` says what is tried.
#[track_caller]
fn hunt(format: &str) {
    let format = format!("-log_format={format}");
    let command = ["python3", "-B", "/tests/clients/token_hunt.py", "-v=9", &format];
    let out = CloudRun::new().limit(Duration::from_secs(300)).run(&command);
    assert_eq!((out.status, &*out.stdout), (0, "nothing was found\n"), "{}", out.stderr);
}

#[test]
fn no_token_is_in_any_line_error_or_core_dump() {
    hunt("text");
}

#[test]
fn no_token_is_in_any_line_of_json() {
    hunt("json");
}

#[test]
fn no_other_program_of_the_same_user_reads_runsds_environment_or_memory() {
    let script = "for file in environ mem maps; do
                      head -c 1 /proc/$PPID/$file >/dev/null 2>&1 && echo $file of runsd
                      head -c 1 /proc/self/$file >/dev/null 2>&1 && echo $file
                  done";
    // The first question has made runsd serve, which is when it may have tokens.
    let out = CloudRun::new().uid(65532).sh(&format!("curl -s -o /dev/null http://hello; {script}"));
    assert_eq!(out.stdout, "environ\nmaps\n", "{}", out.stderr);
}
