//! runsd in a control group, whose limits are a container's. It needs real root, and a kernel whose groups it may
//! make, so `make release-test` runs it; the same limits as those of a process are in `limits.rs` and `slow_clients.rs`.

use std::time::Duration;

use crate::harness::{CloudRun, Output};

/// Runs a client under a runsd that has so many bytes and processes.
#[track_caller]
fn run(memory: &str, pids: &str, client: &[&str]) -> Output {
    let group = ["sh", "/tests/clients/control_group.sh", memory, pids, "python3", "-B"];
    CloudRun::new().limit(Duration::from_secs(240)).run(&[&group[..], client].concat())
}

#[test]
#[ignore = "make release-test"]
fn a_thousand_clients_and_a_hundred_large_bodies_in_little_memory() {
    for (mib, warning) in [(64, ""), (16, " connections, which is all that there is memory for; ")] {
        let out = run(&(mib << 20).to_string(), "4000", &["/tests/clients/slow.py", "bodies", "100"]);
        let want = "[b'HTTP/1.1 200']\nnot started: 0, killed: 0\n";
        assert_eq!(out.stdout, want, "{mib}: {}", out.stderr);
        assert!(out.stderr.contains(warning), "{mib}: {}", out.stderr);
    }
}

#[test]
#[ignore = "make release-test"]
fn a_hundred_clients_in_a_group_of_sixteen_processes() {
    let out = run("1073741824", "16", &["/tests/clients/limits.py", "many", "100"]);
    assert_eq!(out.stdout, "['200']\nnot started: 1, killed: 0\n", "{}", out.stderr);
    let line = "runsd: warning: proxy: no thread for a connection: ";
    assert!(out.stderr.starts_with(line) && out.stderr.lines().count() == 1, "{}", out.stderr);
}
