//! Few processes, few descriptors, little memory: what there is not enough for
//! is said once, and what is there works.

use crate::harness::{CloudRun, Output};

const CLIENT: &str = "/tests/clients/limits.py";

/// Runs a program under runsd, which has a limit.
#[track_caller]
fn limited(image: CloudRun, limit: &str, words: &[&str]) -> Output {
    image.run(&[&["prlimit", limit, "/runsd", "--"], words].concat())
}

#[test]
fn few_processes_serve_what_they_can_and_one_line_says_so() {
    // runsd's own threads and the application count; a uid of this test's own,
    // so that nobody else does.
    for (limit, want) in [
        (2, "original True\n"),
        (3, "original True\n"),
        (4, "served 3 [0, 2]\n"),
        (5, "served"),
        (6, "served"),
        (7, "served"),
        (8, "served"),
        (16, "served 0 [0]\n"),
    ] {
        let image =
            CloudRun::new().uid(1_000_000 + std::process::id()).option("--low-ports").option("--open-resolv-conf");
        let words = ["/usr/bin/python3", "-B", CLIENT, "processes"];
        let out = limited(image, &format!("--nproc={limit}:{limit}"), &words);
        assert!(out.stdout.starts_with(want), "{limit}: {out:?}");
        if limit < 4 {
            let line = "runsd: error: cannot start a thread: ";
            let advice = "; services are not reached by name; raise the limit of processes\n";
            assert!(out.stderr.starts_with(line) && out.stderr.ends_with(advice), "{out:?}");
            assert_eq!(out.stderr.lines().count(), 1, "{limit}: {out:?}");
        }
    }
}

#[test]
fn an_idle_connection_is_closed_for_one_that_waits() {
    let words = ["python3", "-B", CLIENT, "idle", "16"];
    let out = limited(CloudRun::new(), "--nofile=64:64", &words);
    let want = "one more 200\nthe first closed\nthe others {'200'}\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
    let line = "runsd: warning: proxy: 16 connections, which is all that there is descriptors for; \
                idle ones are closed for more of them, or they wait\n";
    assert_eq!(out.stderr, line);
}

#[test]
fn a_connection_that_says_nothing_is_closed_for_one_that_waits() {
    let words = ["python3", "-B", CLIENT, "silent", "16"];
    let out = limited(CloudRun::new(), "--nofile=64:64", &words);
    assert_eq!(out.stdout, "one more 200\nthe last 200\n", "{}", out.stderr);
}

#[test]
fn a_tunnel_that_says_nothing_is_closed_for_one_that_waits() {
    let words = ["python3", "-B", CLIENT, "tunnels", "16"];
    let out = limited(CloudRun::new(), "--nofile=64:64", &words);
    assert_eq!(out.stdout, "one more 200\nthe last 200\n", "{}", out.stderr);
}

#[test]
fn connections_beyond_the_address_space_wait_and_are_served() {
    // A soft limit, which the application takes back.
    let client = ["python3", "-B", CLIENT, "many", "1000"];
    let words = [&["prlimit", "--as=unlimited", "--"], &client[..]].concat();
    let out = limited(CloudRun::new(), "--as=67108864:unlimited", &words);
    assert_eq!(out.stdout, "['200']\n", "{}", out.stderr);
    let line = "runsd: warning: proxy: 56 connections, which is all that there is address space for";
    assert!(out.stderr.starts_with(line), "{}", out.stderr);
}
