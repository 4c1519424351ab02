//! runsd as PID 1 of a container, with all that it serves: signals, orphans,
//! exit codes, and an application that finds what it would find without it.

use std::io::Write as _;

use nix::sys::signal::Signal;

use crate::harness::{CloudRun, needs_several_users};

const HELLO: &str = "Hello from hello in us-east1, project 123456789012";

#[test]
fn each_exit_code_is_passed_on_by_pid_1() {
    let out = CloudRun::new().run(&["sh", "/tests/clients/exit_codes.sh"]);
    let restored = "nameserver 169.254.169.254\nsearch google.internal\n";
    assert_eq!(out.stdout, format!("127\n126\n{restored}"), "{}", out.stderr);
    let want = "runsd: cannot run \"/none\": no such file\n\
                runsd: cannot run \"/etc/resolv.conf\": it is not executable\n";
    assert_eq!(out.stderr, want);
}

#[test]
fn each_signal_reaches_the_app_of_pid_1_each_time() {
    let out = CloudRun::new().run(&["/runsd", "--", "python3", "/tests/clients/signals.py"]);
    assert_eq!(out.stdout, "51 signals, 3 times\n", "{}", out.stderr);
    assert_eq!(out.status, 0);
}

#[test]
fn signals_sent_before_the_app_starts_reach_it() {
    // Pending since before runsd was there, and so in its first moment.
    let before = ["python3", "/tests/clients/signals.py", "--before"];
    let out = CloudRun::new().run(&before);
    assert_eq!(out.stdout, "1 2 10 15 64\n", "{}", out.stderr);
}

#[test]
fn ten_thousand_orphans_are_reaped() {
    let script = "i=0; while [ $i -lt 10000 ]; do (exit 9 &); i=$((i + 1)); done
        zombies() { cat /proc/[0-9]*/stat 2>&- | grep -c ') Z '; }
        until [ $(zombies) = 0 ]; do :; done
        echo none left; exit 4";
    let out = CloudRun::new().run(&["/runsd", "--", "sh", "-c", script]);
    let want = ("none left\n", 4);
    assert_eq!((out.stdout.as_str(), out.status), want, "{}", out.stderr);
}

#[test]
fn a_stopped_application_is_served_nevertheless() {
    // A job before a maintenance event: TSTP, and CONT after it. It stops
    // itself, for by TSTP the kernel stops nobody in an orphaned process group,
    // as that of a test may be.
    let script = "(until grep -q ') T ' /proc/$$/stat; do :; done; curl -sS http://hello) &
        exec python3 -B /tests/clients/stops_itself.py";
    let mut app = CloudRun::new().option("--job").start(&["/runsd", "--", "sh", "-c", script]);
    assert_eq!(app.line(), "ready");
    app.signal(Signal::SIGTSTP);
    assert_eq!(app.line(), HELLO);
    let mut stdin = app.stdin.take().expect("stdin is a pipe");
    app.signal(Signal::SIGCONT);
    stdin.write_all(b"awake\n").expect("it reads");
    assert_eq!(app.line(), "awake");
    assert_eq!(app.finish().status, 8);
}

#[test]
fn the_app_finds_what_it_would_find_without_us() {
    let look = "grep -E '^(Sig[PBIC]|Shd|Uid|Gid|Groups|NoNewPrivs|Cap|Seccomp)' /proc/self/status
                ls -l /proc/self/fd | sed 's/.*[0-9] \\([0-9]* ->\\)/\\1/; s/\\[.*//; s/proc.[0-9]*//'
                ulimit -a; ulimit -aH; umask; pwd; env | sort; chrt -p $$ | cut -d: -f2; nice
                cat /proc/self/oom_score_adj /proc/self/coredump_filter /proc/self/timerslack_ns";
    for before in [":", "ulimit -S -n 100", "trap '' PIPE HUP", "cd /tmp; umask 027"] {
        // Both in one container, where a test beside this one cannot have
        // left a descriptor to one of them only.
        let script = format!("{before}; sh -c \"$0\" | cat; echo and; /runsd -- sh -c \"$0\" | cat");
        let out = CloudRun::new().run(&["sh", "-c", &script, look]);
        assert_eq!(out.stderr, "", "{before:?}");
        let both = without_libcs_own(&out.stdout);
        let (bare, got) = both.split_once("and\n").expect("two of them");
        assert_eq!(got, bare, "{before:?}");
    }
}

/// Signals 32 and 33 belong to libc: glibc's posix_spawn has them ignored.
fn without_libcs_own(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("SigIgn:") {
        Some(set) => {
            let set = u64::from_str_radix(set.trim(), 16).expect("hex digits");
            format!("SigIgn: {:016x}\n", set & !(0b11 << 31))
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn the_app_runs_as_user_while_runsd_keeps_its_rights() {
    needs_several_users();
    let ids = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/$1/status | tr -s '\\t ' ' '";
    let script = format!("set -- self; {ids}; set -- 1; {ids} | grep -v CapEff; curl -sS http://hello");
    let out = CloudRun::new().run(&["/runsd", "-user=65532:65531", "--", "sh", "-c", &script]);
    let want = "Uid: 65532 65532 65532 65532\nGid: 65531 65531 65531 65531\nGroups: 65531 \n\
         CapEff: 0000000000000000\nUid: 0 0 0 0\nGid: 0 0 0 0\n";
    assert!(out.stdout.starts_with(want), "{}{}", out.stdout, out.stderr);
    assert!(out.stdout.ends_with(&format!("{HELLO}\n")), "{}", out.stdout);
    // An ordinary user may name itself, and no one else.
    for (user, status, said) in [
        ("65532:65532", 0, ""),
        ("0", 126, "runsd, as uid 65532 and gid 65532, may not become uid 0 and gid 0"),
        ("65531:65532", 126, "may not become uid 65531 and gid 65532"),
    ] {
        let words = ["/runsd", "-user", user, "--", "sh", "-c", "curl -sS http://hello"];
        let out = CloudRun::new().uid(65532).run(&words);
        assert_eq!(out.status, status, "{user}: {}", out.stderr);
        assert!(out.stderr.contains(said), "{user}: {}", out.stderr);
    }
}

#[test]
fn nginx_behind_a_docker_entrypoint_reloads_and_stops() {
    for (last, name) in [(Signal::SIGQUIT, "QUIT"), (Signal::SIGTERM, "TERM")] {
        let mut app = CloudRun::new().start(&["/runsd", "--", "sh", "/tests/clients/nginx.sh"]);
        assert_eq!(app.line(), HELLO);
        app.signal(Signal::SIGHUP);
        assert_eq!(app.line(), HELLO);
        assert_eq!(app.line(), "reloaded");
        app.signal(last);
        let out = app.finish();
        assert_eq!((out.status, out.stderr.as_str()), (0, ""), "{name}");
    }
}
