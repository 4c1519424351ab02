//! Many signals at once: what the kernel queues reaches the application, each
//! time, and what it drops does not.

use crate::harness::{client_file, plain_runsd, program};
use crate::supervision::{Running, on_cloud_run, runsd};

/// Runs one function of `clients/signal_queue.py` and reads the one line that it prints.
fn line_of(name: &str) -> String {
    let file = client_file("signal_queue.py");
    Running::start(runsd(&["python3", "-B", &file, name])).line()
}

#[test]
fn each_of_the_queued_real_time_signals_arrives() {
    assert_eq!(line_of("queued"), "[500, 500, 500]");
}

#[test]
fn a_storm_of_signals_loses_none_of_the_queued_ones() {
    assert_eq!(line_of("storm"), "[1000, 1000, 1000]");
}

#[test]
fn a_stop_that_was_taken_back_stops_nobody() {
    assert_eq!(line_of("stop_taken_back"), "[]");
}

/// Ends by TERM, once its stdin has ended: a shell runs no trap for a signal that comes just before its read(2).
const UNTIL_TERM: &str = "trap 'exit 3' TERM; echo ready; read x; while :; do :; done";

#[test]
fn signals_that_libc_keeps_for_itself_end_nobody() {
    let mut app = Running::start(runsd(&["sh", "-c", UNTIL_TERM]));
    assert_eq!(app.line(), "ready");
    for number in [32, 33, 34, 32, 33, 34, 15] {
        app.signal(number);
    }
    assert_eq!(app.code(), Some(3));
}

#[test]
fn signals_need_no_descriptors() {
    // As many as the application takes to begin, and more.
    for descriptors in 4..10 {
        let mut limited = program("sh");
        // Whoever calls the tests may leave some open, as make does for its jobs.
        let close = "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";
        let line = format!("{close}; ulimit -n {descriptors}; exec \"$RUNSD\" sh -c \"{UNTIL_TERM}\"");
        limited.args(["-c", &line]).env("RUNSD", plain_runsd());
        on_cloud_run(&mut limited);
        let mut app = Running::start(limited);
        assert_eq!(app.line(), "ready", "{descriptors}");
        app.signal(15);
        assert_eq!(app.code(), Some(3), "{descriptors}");
    }
}
