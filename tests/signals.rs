//! Many signals at once: what the kernel queues reaches the application, each
//! time, and what it drops does not.

use crate::harness::{plain_runsd, program};
use crate::supervision::{Running, on_cloud_run, runsd};

/// Runs an application in Python and reads the one line that it prints.
fn line_of(python: &str) -> String {
    Running::start(runsd(&["python3", "-c", python])).line()
}

#[test]
fn each_of_the_queued_real_time_signals_arrives() {
    let python = "import os, signal
real_time, runsd = [35, 50, 64], os.getppid()
signal.pthread_sigmask(signal.SIG_BLOCK, real_time)
os.kill(runsd, signal.SIGSTOP)
for _ in range(500):
    for number in real_time:
        os.kill(runsd, number)
os.kill(runsd, signal.SIGCONT)
got = []
while len(got) < 1500 and (info := signal.sigtimedwait(real_time, 10)):
    got.append(info.si_signo)
print([got.count(number) for number in real_time])";
    assert_eq!(line_of(python), "[500, 500, 500]");
}

#[test]
fn a_storm_of_signals_loses_none_of_the_queued_ones() {
    // Each sender has a real-time signal of its own, and sends others that the
    // kernel merges; orphans that end at once come in between.
    let python = "import os, signal
real_time, runsd = [40, 45, 50], os.getppid()
signal.pthread_sigmask(signal.SIG_BLOCK, real_time)
for number in [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1]:
    signal.signal(number, signal.SIG_IGN)
def send(number):
    for n in range(1000):
        while True:
            try:
                os.kill(runsd, number)
                break
            except BlockingIOError: # the kernel's queue is full
                pass
        for merged in [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD]:
            os.kill(runsd, merged)
        if n % 50 == 0 and os.fork() == 0:
            os._exit(0)
    os._exit(0)
for number in real_time:
    if os.fork() == 0:
        send(number)
got = []
while len(got) < 3000 and (info := signal.sigtimedwait(real_time, 10)):
    got.append(info.si_signo)
print([got.count(number) for number in real_time])";
    assert_eq!(line_of(python), "[1000, 1000, 1000]");
}

#[test]
fn a_stop_that_was_taken_back_stops_nobody() {
    // SIGCONT takes SIGTSTP out of the kernel's queue. USR1 comes after it.
    let python = "import os, signal
got, runsd = [], os.getppid()
for number in [signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1]:
    signal.signal(number, lambda number, _: got.append(number))
for _ in range(20):
    os.kill(runsd, signal.SIGSTOP)
    os.kill(runsd, signal.SIGTSTP)
    os.kill(runsd, signal.SIGUSR1)
    os.kill(runsd, signal.SIGCONT)
    while len(got) < 2: pass
    if sorted(got) != [signal.SIGUSR1, signal.SIGCONT]: break
    got.clear()
print(got)";
    assert_eq!(line_of(python), "[]");
}

#[test]
fn signals_that_libc_keeps_for_itself_end_nobody() {
    let mut app = Running::start(runsd(&[
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo ready; read x",
    ]));
    assert_eq!(app.line(), "ready");
    for number in [32, 33, 34, 32, 33, 34, 15] {
        app.signal(number);
    }
    assert_eq!(app.child.wait().expect("its end").code(), Some(3));
}

#[test]
fn signals_need_no_descriptors() {
    // As many as the application takes to begin, and more.
    for descriptors in 4..10 {
        let mut limited = program("sh");
        let app = "trap 'exit 3' TERM; echo ready; read x";
        let line = format!("ulimit -n {descriptors}; exec \"$RUNSD\" sh -c \"{app}\"");
        limited.args(["-c", &line]).env("RUNSD", plain_runsd());
        on_cloud_run(&mut limited);
        let mut app = Running::start(limited);
        assert_eq!(app.line(), "ready", "{descriptors}");
        app.signal(15);
        let code = app.child.wait().expect("its end").code();
        assert_eq!(code, Some(3), "{descriptors}");
    }
}
