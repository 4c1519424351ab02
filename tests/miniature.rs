//! The miniature itself, without runsd: it must be what platform.md says
//! before anything is tested in it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::CloudRun;

/// Fetches a token and calls `$1` with it, in the way of the platform's docs.
const WITH_TOKEN: &str = r#"
token() { curl -sS -H Metadata-Flavor:Google \
  "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/identity?audience=$1"; }
call() { url=$1; shift; curl -sS -H "Authorization: Bearer $(token ${url%.app*}.app)" "$@" "$url"; }
"#;

fn sh(script: &str) -> String {
    let out = CloudRun::new().run(&["sh", "-c", &format!("{WITH_TOKEN}{script}")]);
    assert_eq!(out.stderr, "", "{script}");
    out.stdout
}

#[test]
fn the_entrypoint_is_pid_1_and_its_exit_code_is_the_end() {
    let out = CloudRun::new().run(&["sh", "-c", "echo $$ $K_SERVICE; exit 7"]);
    assert_eq!((out.stdout.as_str(), out.status), ("1 caller\n", 7));
    assert_eq!(CloudRun::new().run(&["no-such-program"]).status, 127);
    let off = CloudRun::new().option("--off").run(&["sh", "-c", "echo ${K_SERVICE-unset}"]);
    assert_eq!(off.stdout, "unset\n");
}

#[test]
fn the_entrypoint_gets_what_it_was_given() {
    let run = CloudRun::new().env("WHO", "me").stdin("from outside\n");
    let out = run.run(&["sh", "-c", "read line; echo $WHO $line >&2"]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", "me from outside\n"));
}

#[test]
fn signals_reach_the_entrypoint() {
    let script = "trap 'echo TERM' TERM; echo ready; while :; do read line || :; done";
    let mut running = CloudRun::new().start(&["sh", "-c", script]);
    assert_eq!(running.line(), "ready");
    for _ in 0..3 {
        running.signal(Signal::SIGTERM);
        assert_eq!(running.line(), "TERM");
    }
}

#[test]
fn resolv_conf_is_a_mount_that_can_be_written_but_not_replaced() {
    let script = "cat /etc/resolv.conf; echo x > /etc/resolv.conf; cat /etc/resolv.conf; \
                  touch /etc/new; mv /etc/new /etc/resolv.conf 2>/dev/null || echo busy";
    let want = "nameserver 169.254.169.254\nsearch google.internal\nx\nbusy\n";
    assert_eq!(sh(script), want);
    let own = CloudRun::new().resolv_conf("nameserver 192.0.2.99\n");
    assert_eq!(own.run(&["cat", "/etc/resolv.conf"]).stdout, "nameserver 192.0.2.99\n");
}

#[test]
fn the_front_end_refuses_like_the_real_one() {
    let code = "-o /dev/null -w '%{http_code} %{http_version}\\n'";
    let hello = "https://hello-123456789012.us-east1.run.app";
    for (script, want) in [
        (format!("curl -s {code} {hello}/"), "403 2"),
        (format!("curl -s {code} -H 'Authorization: Bearer x' {hello}/"), "401 2"),
        (format!("call {hello}/ {code}"), "200 2"),
        (format!("call {hello}/ {code} --http1.1"), "200 1.1"),
        (format!("call {hello}/ {code} --tls-max 1.2"), "200 2"),
        (format!("call {hello}/ {code} -X TRACE"), "405 2"),
        // A wrong audience, an empty one, two headers.
        (format!("curl -s {code} -H \"Authorization: Bearer $(token {hello}/)\" {hello}"), "401 2"),
        (format!("call {hello}/ {code} -H 'X-Serverless-Authorization: Bearer x'"), "401 2"),
        (format!("call https://nosuch-123456789012.us-east1.run.app/ {code}"), "404 2"),
        (format!("call https://hello-999999999999.us-east1.run.app/ {code}"), "404 2"),
        (format!("call https://forbidden-123456789012.us-east1.run.app/ {code}"), "403 2"),
        (format!("call https://hello-abcdefghij-ew.a.run.app/ {code}"), "200 2"),
    ] {
        assert_eq!(sh(&script).trim_end(), want, "{script}");
    }
}

#[test]
fn a_tag_is_not_part_of_the_audience() {
    let script = "curl -s -H \"Authorization: Bearer $(token https://hello-123456789012.us-east1.run.app)\" \
                  https://canary---hello-123456789012.us-east1.run.app/";
    assert_eq!(sh(script), "Hello from hello (tag canary) in us-east1, project 123456789012\n");
}

#[test]
fn bodies_pass_as_they_are() {
    let bytes = "https://bytes-123456789012.us-east1.run.app";
    let echo = "https://echo-123456789012.us-east1.run.app";
    for version in ["--http1.1", "--http2"] {
        let script = format!(
            "call {bytes}/3000000 {version} > /tmp/a; wc -c < /tmp/a
             call {echo}/ {version} --data-binary @/tmp/a > /tmp/b; cmp /tmp/a /tmp/b
             call {echo}/ {version} -H 'Transfer-Encoding: chunked' -T /tmp/a > /tmp/b; cmp /tmp/a /tmp/b"
        );
        assert_eq!(sh(&script), "3000000\n", "{version}");
    }
}

#[test]
fn handmade_answers_come_as_written() {
    let base = "123456789012.us-east1.run.app";
    let hints = sh(&format!("call https://hints-{base}/ --http1.1 -i"));
    assert!(hints.starts_with("HTTP/1.1 103 "), "{hints}");
    assert!(hints.ends_with("after hints"), "{hints}");
    let trailers = sh(&format!("call https://trailers-{base}/ --http1.1 -i"));
    assert!(trailers.contains("hello world"), "{trailers}");
    let script = format!("call https://close-{base}/mid --http1.1 2>/dev/null; echo \" $?\"");
    assert_eq!(sh(&script), "not all 18\n");
}

#[test]
fn the_metadata_server_wants_its_header() {
    let base = "http://metadata.google.internal/computeMetadata/v1/instance";
    let script = format!(
        "curl -s -o /dev/null -w '%{{http_code}} ' {base}/region
         curl -s -H Metadata-Flavor:Google {base}/region"
    );
    assert_eq!(sh(&script), "403 projects/123456789012/regions/us-east1");
}

#[test]
fn what_was_seen_can_be_asked_and_faults_can_be_ordered() {
    let script = format!("{WITH_TOKEN}\nwhile read url; do call $url -m 5 2>&1 | head -n 1; done");
    let miniature = CloudRun::new().limit(Duration::from_secs(60));
    let mut running = miniature.start(&["sh", "-c", &script]);
    let mut stdin = running.stdin.take().expect("a pipe");
    let mut call = |running: &mut crate::harness::Running| {
        use std::io::Write;
        writeln!(stdin, "https://hello-123456789012.us-east1.run.app/").expect("it reads");
        running.line()
    };
    assert!(call(&mut running).starts_with("Hello"));
    let host = "hello-123456789012.us-east1.run.app";
    running.control.wait("requests", host, 1);
    let stats = running.stats();
    assert_eq!(stats["requests"][host], 1, "{stats:#}");
    assert_eq!(stats["token_fetches"][format!("https://{host}")], 1, "{stats:#}");
    assert_eq!(stats["dns"][format!("{host} A")], 1, "{stats:#}");

    for (mode, want) in
        [("refuse", "curl: (7)"), ("ok", "Hello"), ("reset", "curl: (35)"), ("bad-cert", "curl: (60)"), ("ok", "Hello")]
    {
        running.post("frontend", &json!({ "mode": mode }));
        let got = call(&mut running);
        assert!(got.starts_with(want), "{mode}: {got}");
    }
    running.post("dns", &json!({ "mode": "servfail" }));
    let got = call(&mut running);
    assert!(got.starts_with("curl: (6)"), "{got}");
}

#[test]
fn an_image_from_scratch_holds_nothing_else() {
    let dir = std::env::temp_dir().join(format!("cloudrun-image-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let program = dir.join("busybox");
    crate::containers::copy(std::path::Path::new("/bin/busybox"), &program);
    let out = CloudRun::new().root(&dir).uid(65532).run(&["/busybox", "ls", "/", "/etc"]);
    let _ = std::fs::remove_dir_all(&dir);
    let listing: Vec<&str> = out.stdout.split_whitespace().collect();
    for (name, there) in [("busybox", true), ("resolv.conf", true), ("usr", false), ("proc", false)] {
        assert_eq!(listing.contains(&name), there, "{name} in {listing:?}");
    }
}

#[test]
fn an_ordinary_user_has_a_cloud_run_too() {
    // Copies, because a checkout may lie where only its owner may look.
    let dir = std::env::temp_dir().join(format!("miniature-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let copy = |from: &std::path::Path, name: &str| {
        let to = dir.join(name);
        crate::containers::copy(from, &to);
        to
    };
    let cloudrun = copy(&crate::harness::cloudrun_program(), "cloudrun");
    let runsd = copy(&crate::harness::runsd_program().expect("a runsd"), "runsd");
    let as_nobody = |words: &[&std::ffi::OsStr]| {
        let mut command = crate::harness::program("setpriv");
        // Only root has to step down, and can.
        if nix::unistd::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args(words).current_dir("/").output().expect("setpriv runs")
    };
    let allowed = as_nobody(&["unshare".as_ref(), "-Urnm".as_ref(), "true".as_ref()]);
    if allowed.status.success() {
        let mut words = vec![cloudrun.as_os_str(), "--runsd".as_ref(), runsd.as_os_str()];
        words.extend(["--", "/runsd", "--", "curl", "-s", "http://hello"].map(std::ffi::OsStr::new));
        let out = as_nobody(&words);
        let got = String::from_utf8_lossy(&out.stdout);
        assert_eq!(got, "Hello from hello in us-east1, project 123456789012\n", "{out:?}");
    } else {
        println!("user namespaces are not allowed here: {allowed:?}");
    }
    let _ = std::fs::remove_dir_all(&dir);
}
