//! Clients that say nothing, read nothing, or come and go a thousand times a second:
//! others are served meanwhile, and nothing of them stays behind. What happens where
//! there are too few descriptors for them is in `limits.rs`.

use std::time::Duration;

use crate::harness::{CloudRun, Output};

#[track_caller]
fn slow(name: &str, count: &str) -> Output {
    let client = ["python3", "-B", "/tests/clients/slow.py", name, count];
    let out = CloudRun::new().limit(Duration::from_secs(240)).run(&[&["/runsd", "--"][..], &client].concat());
    assert_eq!(out.status, 0, "{name}: {}{}", out.stdout, out.stderr);
    println!("{}", out.stderr);
    out
}

#[test]
fn ten_thousand_connections_that_say_nothing_leave_nothing_behind() {
    assert_eq!(slow("silent", "10000").stdout, "gone\n");
}

#[test]
fn clients_that_never_read_cost_no_more_than_buffers() {
    assert_eq!(slow("deaf", "50").stdout, "gone\n");
}

#[test]
fn a_thousand_connections_a_second_leave_nothing_behind() {
    // `make release-test` has a minute of it.
    let seconds = std::env::var("CHURN").unwrap_or("10".into());
    assert_eq!(slow("churn", &seconds).stdout, "gone\n");
}

#[test]
fn a_thousand_clients_and_a_hundred_large_bodies_in_64_mib() {
    let client = ["python3", "-B", "/tests/clients/slow.py", "bodies", "100"];
    let limit = ["prlimit", "--as=67108864:unlimited", "/runsd", "--"];
    let own = ["prlimit", "--as=unlimited", "--"];
    let out = CloudRun::new().limit(Duration::from_secs(120)).run(&[&limit[..], &own, &client].concat());
    assert_eq!(out.stdout, "[b'HTTP/1.1 200']\n", "{}", out.stderr);
}
