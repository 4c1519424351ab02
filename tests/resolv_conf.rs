//! Whatever the platform wrote into `/etc/resolv.conf`, and whatever kind of
//! file it is, names resolve.

use crate::harness::CloudRun;

/// What every variant must give: ours, theirs.
const LOOKUP: &str = "for name in hello hello.us-east1.123456789012 external.example; do \
                      getent ahostsv4 $name | sed -n 's/ .*STREAM.*//p'; done";
const FOUND: &str = "127.0.0.1\n127.0.0.1\n192.0.2.3\n";

#[test]
fn as_the_platform_may_write_it() {
    let ns = "nameserver 169.254.169.254\n";
    let silent = "nameserver 192.0.2.98\n";
    for (conf, search, ndots) in [
        (ns.to_owned(), "search run.internal", 3),
        (
            format!("{ns}search a.example\nsearch b.example\n"),
            "search run.internal b.example",
            3,
        ),
        (
            format!("{ns}domain d.example\n"),
            "search run.internal d.example",
            3,
        ),
        (
            format!("{ns}search x.example\ndomain d.example\n"),
            "search run.internal d.example",
            3,
        ),
        (
            format!("{ns}search google.internal\noptions ndots:1\n"),
            "search run.internal google.internal",
            3,
        ),
        (
            format!("{ns}options ndots:5 rotate\n"),
            "search run.internal",
            5,
        ),
        (format!("{ns}options ndots:15\n"), "search run.internal", 15),
        (format!("{ns}options ndots:99\n"), "search run.internal", 15),
        (
            format!("# a comment\n; another\n{ns}"),
            "search run.internal",
            3,
        ),
        (
            "nameserver 169.254.169.254\r\nsearch c.example\r\n".to_owned(),
            "search run.internal c.example",
            3,
        ),
        (
            format!("{ns}{}", silent.repeat(9)),
            "search run.internal",
            3,
        ),
        (
            "nameserver 169.254.169.254".to_owned(),
            "search run.internal",
            3,
        ),
    ] {
        let show = "grep ^search /etc/resolv.conf; sed -n 's/.*ndots:\\([0-9]*\\).*/\\1/p' /etc/resolv.conf";
        let out = CloudRun::new()
            .resolv_conf(&conf)
            .sh(&format!("{LOOKUP}; {show}"));
        let want = format!("{FOUND}{search}\n{ndots}\n");
        assert_eq!(out.stdout, want, "{conf:?}: {}", out.stderr);
    }
}

#[test]
fn a_plain_file() {
    let out = CloudRun::new().option("--plain-resolv-conf").sh(LOOKUP);
    assert_eq!(out.stdout, FOUND, "{}", out.stderr);
}

#[test]
fn a_symbolic_link_stays_one() {
    let script = format!(
        "cp /etc/resolv.conf /tmp/real && rm /etc/resolv.conf && ln -s /tmp/real /etc/resolv.conf && \
         exec /runsd -- sh -c \"{}; readlink /etc/resolv.conf\"",
        LOOKUP.replace('$', "\\$")
    );
    let run = CloudRun::new().option("--plain-resolv-conf");
    let out = run.run(&["sh", "-c", &script]);
    assert_eq!(out.stdout, format!("{FOUND}/tmp/real\n"), "{}", out.stderr);
}

#[test]
fn a_file_that_cannot_be_written_leaves_names_to_the_platform() {
    let script = "getent ahostsv4 external.example | sed -n 's/ .*STREAM.*//p'; grep ^search /etc/resolv.conf; \
                  curl -s http://hello";
    let out = CloudRun::new().option("--read-only").sh(script);
    let want =
        "192.0.2.3\nsearch google.internal\nHello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn a_second_runsd_makes_no_ring() {
    let out = CloudRun::new().run(&["/runsd", "--", "/runsd", "--", "sh", "-c", LOOKUP]);
    assert_eq!(out.stdout.lines().last(), Some("192.0.2.3"), "{out:?}");
}
