//! Upstreams that are hard to reach, or not to be trusted.

use crate::harness::CloudRun;

#[test]
fn without_the_certificates_that_were_asked_for_nothing_starts() {
    for (flag, variable, want) in [
        (
            "-ca_file=/none",
            "",
            "cannot read the certificates of /none: ",
        ),
        ("-ca_file=/dev/null", "", "no certificate in /dev/null"),
        ("-ca_file=/etc/hosts", "", "no certificate in /etc/hosts"),
        ("-v=0", "/none", "cannot read the certificates of /none: "),
    ] {
        let miniature = || CloudRun::new().env("RUNSD_CA_FILE", variable);
        let out = miniature().run(&["/runsd", flag, "--", "echo", "started"]);
        assert_eq!((out.status, out.stdout.as_str()), (2, ""), "{out:?}");
        let start = format!("runsd: {want}");
        assert!(out.stderr.starts_with(&start), "{out:?}");
        assert_eq!(out.stderr.lines().count(), 1, "{out:?}");
        let out = miniature().run(&["/runsd", flag, "-check"]);
        let line = format!("WRONG TLS roots   {want}");
        assert!(out.status == 1 && out.stdout.contains(&line), "{out:?}");
        // Where nothing is served nothing is trusted either.
        let out = miniature().option("--off");
        let out = out.run(&["/runsd", flag, "--", "echo", "started"]);
        assert_eq!(
            (out.status, out.stdout.as_str()),
            (0, "started\n"),
            "{out:?}"
        );
    }
    // One that can be used is all that is trusted.
    let flag = "-ca_file=/etc/ssl/cloudrun-ca.pem";
    let miniature = CloudRun::new().env("SSL_CERT_FILE", "/none");
    let out = miniature.run(&["/runsd", flag, "--", "curl", "-s", "http://hello"]);
    assert!(out.stdout.starts_with("Hello from hello"), "{out:?}");
    assert_eq!(out.stderr, "");
}

#[test]
fn a_variable_that_names_no_certificates_is_a_warning() {
    let miniature = CloudRun::new().env("SSL_CERT_FILE", "/none");
    let out = miniature.sh("curl -s http://hello");
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains("certificate is not valid"), "{out:?}");
    let want = "runsd: warning: cannot read the certificates of /none: ";
    let warnings = out.stderr.lines().filter(|line| line.starts_with(want));
    assert_eq!(warnings.count(), 1, "{out:?}");
    assert!(
        out.stderr.contains("; trusting the built-in roots"),
        "{out:?}"
    );
}
