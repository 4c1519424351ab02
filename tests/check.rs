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
    found.filter(|(mark, _)| mark == wanted).map(|(_, what)| what).collect()
}

/// What is printed, with `T ms` for each time.
fn untimed(out: &Output) -> String {
    let words = out.stdout.split(' ').map(|word| {
        let number = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if number && word.contains('.') && word.matches('.').count() == 1 { "T" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn check_says_what_runsd_finds_in_a_container() {
    let out = CloudRun::new().run(&["/runsd", "-check"]);
    assert_eq!(out.status, 0, "{out:?}");
    let want = "\
ok    platform    Cloud Run, by K_SERVICE
ok    region      us-east1
ok    project     123456789012
ok    account     123456789012-compute@developer.gserviceaccount.com
ok    nameserver  169.254.169.254:53 answers, T ms
ok    port        53 is free for DNS
ok    port        80 is free for HTTP
ok    resolv.conf /etc/resolv.conf can be written
ok    TLS roots   1 of /etc/ssl/cloudrun-ca.pem
";
    assert_eq!(untimed(&out), want);
    assert_eq!(out.stderr, "");
}

#[test]
fn check_off_cloud_run_says_what_is_refused_to_an_ordinary_user() {
    let out = CloudRun::new()
        .uid(65532)
        .option("--off")
        .env("RUNSD_GCP_PROJECT_HASH", "abcdefghij")
        .run(&["/runsd", "-check"]);
    assert_eq!(out.status, 1, "{out:?}");
    let refused = "as uid 65532: permission denied; runsd serves through http_proxy instead";
    let want = format!(
        "\
WRONG platform    not Cloud Run: none of K_SERVICE, CLOUD_RUN_JOB and CLOUD_RUN_WORKER_POOL is \
set; runsd would become the application
ok    region      us-east1
ok    project     the one of hash abcdefghij
ok    account     123456789012-compute@developer.gserviceaccount.com
ok    nameserver  169.254.169.254:53 answers, T ms
note  port        53 cannot be bound for DNS {refused}
note  port        80 cannot be bound for HTTP {refused}
note  resolv.conf /etc/resolv.conf cannot be written {refused}
ok    TLS roots   1 of /etc/ssl/cloudrun-ca.pem
"
    );
    assert_eq!(untimed(&out), want);
}

#[test]
fn an_ordinary_user_is_served_through_http_proxy_which_is_not_wrong() {
    let out = CloudRun::new().uid(65532).run(&["/runsd", "-check"]);
    assert_eq!(out.status, 0, "{out:?}");
    assert_eq!(marks(&out, "WRONG"), [""; 0], "{out:?}");
    assert_eq!(marks(&out, "note"), ["port", "port", "resolv.conf"]);
}

#[test]
fn root_without_the_capability_for_port_80_is_told_its_name() {
    let drop = ["setpriv", "--bounding-set=-net_bind_service"];
    let out = CloudRun::new().run(&[&drop[..], &["/runsd", "-check"]].concat());
    let want = "80 cannot be bound for HTTP without CAP_NET_BIND_SERVICE: permission denied;";
    assert!(out.stdout.contains(want), "{out:?}");
    let out = CloudRun::new().run(&[&drop[..], &["/runsd", "--", "true"]].concat());
    let want = "cannot serve HTTP on port 80 without CAP_NET_BIND_SERVICE: permission denied; ";
    assert!(out.stderr.contains(want), "{out:?}");
}

#[test]
fn check_beside_a_running_runsd_finds_nothing_wrong() {
    let out = CloudRun::new().run(&["/runsd", "--", "/runsd", "-check"]);
    assert_eq!(out.status, 0, "{out:?}");
    assert!(out.stdout.contains("80 is in use"), "{out:?}");
}

#[test]
fn check_of_a_name_shows_each_step_with_its_time() {
    let name = "canary---hello.europe-west1";
    // However much is logged, no token is shown.
    let out = CloudRun::new().run(&["/runsd", "-v=6", "-check", name]);
    assert_eq!(out.status, 0, "{out:?}");
    let want = "\
ok    name        canary---hello.europe-west1
ok    URL         https://canary---hello-123456789012.europe-west1.run.app, T ms
ok    audience    https://hello-123456789012.europe-west1.run.app
ok    address     192.0.2.1, T ms
ok    token       fetched, T ms
ok    TLS         TLS 1.3, T ms
ok    status      200 to GET /, T ms
";
    assert_eq!(untimed(&out), want);
    assert!(!out.stderr.contains("eyJ"), "a token: {}", out.stderr);
}

#[test]
fn check_takes_a_name_as_people_type_it() {
    for words in [
        &["-check", "hello", "-v=5"][..],
        &["-v=5", "-check=hello"],
        &["-check", "-v=5", "hello"],
        &["-check", "http://hello/"],
        &["-check", "https://hello"],
        &["-check=http://HELLO:80/path?query"],
    ] {
        let out = CloudRun::new().run(&[&["/runsd"], words].concat());
        assert_eq!(out.status, 0, "{words:?}: {out:?}");
        for want in
            ["ok    URL         https://hello-123456789012.us-east1.run.app, ", "ok    status      200 to GET /, "]
        {
            assert!(out.stdout.contains(want), "{words:?}: {out:?}");
        }
        let is_verbose = words.contains(&"-v=5");
        assert_eq!(!out.stderr.is_empty(), is_verbose, "{words:?}: {out:?}");
        assert!(!out.stderr.contains("eyJ"), "a token: {out:?}");
    }
    for (words, want) in [
        (&["-check", "hello/x"][..], "runsd: -check takes a name, which \"hello/x\" is not; try -check hello\n"),
        (&["-check", "hello", "echo"], "runsd: -check takes one name; got \"echo\", too\n"),
    ] {
        let out = CloudRun::new().run(&[&["/runsd"], words].concat());
        assert_eq!((out.status, out.stderr.as_str()), (2, want), "{words:?}");
        assert_eq!(out.stdout, "", "{words:?}");
    }
}

#[test]
fn check_of_a_name_ends_at_the_step_that_fails() {
    let (region, project) = ("-gcp_region=us-east1", "-gcp_project_number=123456789012");
    let identity = "instance/service-accounts/default/identity";
    for (room, mode, at, want) in [
        (
            "metadata",
            "404",
            "token",
            format!(
                "the metadata server answered 404 for {identity}; check the metadata server and the service account"
            ),
        ),
        ("metadata", "garbage", "token", "has characters that no token has".to_owned()),
        ("dns", "servfail", "address", "; check the nameservers and the egress settings".to_owned()),
        ("frontend", "refuse", "TLS", "refused the connection; check the egress and firewall settings".to_owned()),
        (
            "frontend",
            "bad-cert",
            "TLS",
            "its certificate is not valid: no trusted root has signed it; check the clock, and SSL_CERT_FILE or \
             -ca_file"
                .to_owned(),
        ),
    ] {
        let order = format!("curl -s -d '{{\"mode\":\"{mode}\"}}' http://192.0.2.53/{room} >&2");
        // Not in a runsd: what it has found would be of use.
        let script = format!("{order}; exec /runsd {region} {project} -check hello");
        let out = CloudRun::new().run(&["sh", "-c", &script]);
        assert_eq!(out.status, 1, "{mode}: {out:?}");
        // And nothing is tried after it.
        let last = out.stdout.lines().last().unwrap_or_default();
        let start = format!("WRONG {at:<12}");
        assert!(last.starts_with(&start) && last.contains(&want), "{mode}: {last}");
        assert_eq!(marks(&out, "WRONG"), [at], "{mode}: {out:?}");
        assert!(!out.stdout.contains("<html>"), "{mode}: {out:?}");
    }
}

#[test]
fn check_of_a_name_says_what_is_wrong_with_it() {
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
fn check_without_a_metadata_server_says_what_is_unknown() {
    let out = CloudRun::new().sh("curl -s -d '{\"mode\":\"404\"}' http://192.0.2.53/metadata >&2; exec /runsd -check");
    assert_eq!(out.status, 1, "{out:?}");
    assert_eq!(marks(&out, "WRONG"), ["region", "project", "account"], "{out:?}");
}

#[test]
fn check_shows_the_final_status_and_no_interim_one() {
    let got = CloudRun::new().client("check.py", &[]).stdout;
    assert_eq!(got, "['ok status 200 to GET /,']\n");
}
