//! `-check`, for people who look into a container.

use crate::harness::{CloudRun, Output};

fn lines(out: &Output) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (mark, rest) = line.split_once(' ').expect(line);
        let what = rest.trim_start().get(..12).unwrap_or(rest);
        (mark.to_owned(), what.trim().to_owned())
    };
    out.stdout.lines().map(line).collect()
}

fn marks(out: &Output, wanted: &str) -> Vec<String> {
    let found = lines(out).into_iter();
    found
        .filter(|(mark, _)| mark == wanted)
        .map(|(_, what)| what)
        .collect()
}

#[test]
fn a_container_where_all_is_well() {
    let out = CloudRun::new().run(&["/runsd", "-check"]);
    assert_eq!(out.status, 0, "{out:?}");
    let things = [
        "platform",
        "region",
        "project",
        "account",
        "nameserver",
        "port",
        "port",
        "resolv.conf",
        "TLS roots",
    ];
    assert_eq!(marks(&out, "ok"), things, "{out:?}");
    assert!(out.stdout.contains("us-east1"), "{out:?}");
}

#[test]
fn a_container_where_runsd_runs_already() {
    let out = CloudRun::new().run(&["/runsd", "--", "/runsd", "-check"]);
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains("80 is in use"), "{out:?}");
}

#[test]
fn a_name_step_by_step() {
    let out = CloudRun::new().run(&["/runsd", "-check", "canary---hello.europe-west1"]);
    assert_eq!(out.status, 0, "{out:?}");
    for want in [
        "https://canary---hello-123456789012.europe-west1.run.app",
        "https://hello-123456789012.europe-west1.run.app",
        "192.0.2.1",
        "TLSv1_3",
        "200 to GET /",
    ] {
        assert!(out.stdout.contains(want), "{want}: {out:?}");
    }
    assert!(!out.stdout.contains("eyJ"), "a token: {out:?}");
}

#[test]
fn what_is_wrong_with_a_name() {
    for (name, at, want) in [
        ("nosuch", "status", "404: there is no"),
        ("forbidden", "status", "roles/run.invoker"),
        ("www.example.com", "name", "is not the name of a service"),
    ] {
        let out = CloudRun::new().run(&["/runsd", "-check", name]);
        assert_eq!(out.status, 1, "{name}: {out:?}");
        assert_eq!(marks(&out, "WRONG"), [at], "{name}: {out:?}");
        assert!(out.stdout.contains(want), "{name}: {out:?}");
    }
}

#[test]
fn a_metadata_server_that_fails() {
    let out = CloudRun::new()
        .sh("curl -s -d '{\"mode\":\"404\"}' http://192.0.2.53/metadata >&2; exec /runsd -check");
    assert_eq!(out.status, 1, "{out:?}");
    assert_eq!(
        marks(&out, "WRONG"),
        ["region", "project", "account"],
        "{out:?}"
    );
}
