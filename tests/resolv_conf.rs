//! Whatever the platform wrote into `/etc/resolv.conf`, and whatever kind of
//! file it is, names resolve.

use crate::harness::CloudRun;

/// What every variant must give: ours, theirs.
const LOOKUP: &str = "for name in hello hello.us-east1.123456789012 external.example; do \
                      getent ahostsv4 $name | sed -n 's/ .*STREAM.*//p'; done";
const FOUND: &str = "127.0.0.1\n127.0.0.1\n192.0.2.3\n";

#[test]
fn names_resolve_however_the_platform_writes_resolv_conf() {
    let ns = "nameserver 169.254.169.254\n";
    let nine_silent = "nameserver 192.0.2.98\n".repeat(9);
    let crlf = "nameserver 169.254.169.254\r\nsearch c.example\r\n";
    for (conf, search, ndots) in [
        (ns.to_owned(), "search run.internal", 3),
        (format!("{ns}search a.example\nsearch b.example\n"), "search run.internal b.example", 3),
        (format!("{ns}domain d.example\n"), "search run.internal d.example", 3),
        (format!("{ns}search x.example\ndomain d.example\n"), "search run.internal d.example", 3),
        (format!("{ns}search google.internal\noptions ndots:1\n"), "search run.internal google.internal", 3),
        (format!("{ns}options ndots:5 rotate\n"), "search run.internal", 5),
        (format!("{ns}options ndots:15\n"), "search run.internal", 15),
        (format!("{ns}options ndots:99\n"), "search run.internal", 15),
        (format!("# a comment\n; another\n{ns}"), "search run.internal", 3),
        (crlf.to_owned(), "search run.internal c.example", 3),
        (format!("{ns}{nine_silent}"), "search run.internal", 3),
        (ns.trim_end().to_owned(), "search run.internal", 3),
    ] {
        let show = "grep ^search /etc/resolv.conf; sed -n 's/.*ndots:\\([0-9]*\\).*/\\1/p' /etc/resolv.conf";
        let out = CloudRun::new().resolv_conf(&conf).sh(&format!("{LOOKUP}; {show}"));
        let want = format!("{FOUND}{search}\n{ndots}\n");
        assert_eq!(out.stdout, want, "{conf:?}: {}", out.stderr);
    }
}

#[test]
fn names_resolve_where_resolv_conf_is_a_plain_file() {
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
    let want = "192.0.2.3\nsearch google.internal\nHello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn a_runsd_inside_a_runsd_asks_the_original_nameserver() {
    let out = CloudRun::new().run(&["/runsd", "--", "/runsd", "--", "sh", "-c", LOOKUP]);
    assert_eq!(out.stdout.lines().last(), Some("192.0.2.3"), "{out:?}");
}

#[test]
fn a_start_after_sigkill_knows_the_originals() {
    // Twice in the same files: as PID 1 that a supervisor of the image ends
    // and starts again. What a service's name and another one come to, and
    // what is there in the end.
    let kill = "/runsd -- sh -c 'kill -9 $PPID'";
    let again = "/runsd -- sh -c \"$LOOKUP\"";
    for original in [
        "nameserver 169.254.169.254\nsearch google.internal\n",
        // What would be lost with 169.254.169.254 for a guess.
        "# by hand\nnameserver 169.254.169.253\noptions timeout:3",
        "nameserver fd00::53\nsearch miniature.internal\n",
    ] {
        for option in ["--job", "--plain-resolv-conf"] {
            let script = format!("{kill}; {kill}; {again}; cat /etc/resolv.conf");
            let run = CloudRun::new().resolv_conf(original).option(option);
            let out = run.env("LOOKUP", LOOKUP).run(&["sh", "-c", &script]);
            assert_eq!(out.stdout, format!("{FOUND}{original}"), "{}", out.stderr);
            let warnings = out.stderr.matches("warning").count();
            assert_eq!(warnings, 0, "{}", out.stderr);
        }
    }
    // Where there was none, there is none.
    let script = format!("rm /etc/resolv.conf; {kill}; {again}; test -e /etc/resolv.conf || echo no");
    let run = CloudRun::new().option("--plain-resolv-conf");
    let out = run.env("LOOKUP", LOOKUP).run(&["sh", "-c", &script]);
    assert_eq!(out.stdout, format!("{FOUND}no\n"), "{}", out.stderr);
}

#[test]
fn a_file_that_names_runsd_alone_leaves_the_platforms_nameserver() {
    // As a runsd wrote it that kept nothing.
    let conf = "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal google.internal\n\
                options ndots:3\n";
    let out = CloudRun::new().resolv_conf(conf).sh(&format!("{LOOKUP}; curl -s http://hello"));
    let hello = "Hello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, format!("{FOUND}{hello}"), "{}", out.stderr);
}

#[test]
fn a_file_that_is_changed_or_replaced_under_runsd_stays_as_it_is() {
    let theirs = "nameserver 169.254.169.254\n# theirs\n";
    for (option, change) in [
        ("--job", "printf \"$THEIRS\" > /etc/resolv.conf"),
        ("--plain-resolv-conf", "printf \"$THEIRS\" > /tmp/new && mv /tmp/new /etc/resolv.conf"),
    ] {
        // Names are the platform's again, and runsd is there for those that still ask it.
        let script = format!(
            "/runsd -- sh -c '{change}; getent ahostsv4 external.example | sed -n \"s/ .*STREAM.*//p\"
                              dig +short @127.0.0.1 external.example; dig +short @127.0.0.1 hello.run.internal
                              curl -sS -H Host:hello http://127.0.0.1'; cat /etc/resolv.conf"
        );
        let run = CloudRun::new().option(option).env("THEIRS", &theirs.replace('\n', "\\n"));
        let out = run.run(&["sh", "-c", &script]);
        let hello = "Hello from hello in us-east1, project 123456789012\n";
        assert_eq!(out.stdout, format!("192.0.2.3\n192.0.2.3\n127.0.0.1\n{hello}{theirs}"), "{option}: {}", out.stderr);
        assert_eq!(out.stderr, "", "{option}");
    }
}

#[test]
fn a_second_runsd_beside_one_that_runs_leaves_the_file_alone() {
    let script = "cp /etc/resolv.conf /tmp/first; /runsd -- sh -c \
                  'cmp /tmp/first /etc/resolv.conf && curl -s http://hello'; \
                  cmp /tmp/first /etc/resolv.conf && echo the same";
    let out = CloudRun::new().sh(script);
    let want = "Hello from hello in us-east1, project 123456789012\nthe same\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn a_link_local_nameserver_is_asked_on_its_interface() {
    let script = "dig +short external.example; dig +short +tcp external.example; \
                  curl -s http://hello";
    let want = "192.0.2.3\n192.0.2.3\nHello from hello in us-east1, project 123456789012\n";
    for conf in ["nameserver fe80::53%lo\n", "nameserver fe80::53%1\n"] {
        let out = CloudRun::new().resolv_conf(conf).sh(script);
        assert_eq!(out.stdout, want, "{conf}: {}", out.stderr);
    }
    // An interface that is not there is said, and the others are asked.
    let conf = "nameserver fe80::53%eth9\nnameserver 169.254.169.254\n";
    let out = CloudRun::new().resolv_conf(conf).sh(script);
    assert_eq!(out.stdout, want, "{}", out.stderr);
    let said = "runsd: warning: nameserver fe80::53%eth9 is not asked: there is no interface \
                \"eth9\"\n";
    assert_eq!(out.stderr, said);
}
