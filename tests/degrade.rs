//! Where the usual ports or resolv.conf are refused: the application starts
//! all the same, one line says what is not possible, and services are reached
//! through `http_proxy`.

use nix::sys::signal::Signal;

use crate::harness::{CloudRun, Output};
use crate::programs::built;

const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";
/// What every application wants: a service, and the rest of the world.
const CALLS: &str = "curl -sS http://hello http://external.example/x";
const INSTEAD: &str = "serving through http_proxy instead; clients that ignore it do not find the names of services";
const ORIGINAL: &str = "nameserver 169.254.169.254\nsearch google.internal\n";

fn both() -> String {
    format!("{HELLO}external.example, asked for /x\n")
}

#[track_caller]
fn warns_once(out: &Output, want: &str) {
    assert_eq!(out.stderr, format!("runsd: warning: {want}\n"));
}

#[test]
fn what_is_refused_is_said_once_and_calls_work() {
    for (options, want) in [
        (&["--uid", "65532"][..], "cannot serve HTTP on port 80 as uid 65532: permission denied"),
        (&["--uid", "65532", "--low-ports"], "cannot write /etc/resolv.conf as uid 65532: permission denied"),
        (&["--read-only"], "cannot write /etc/resolv.conf: read-only file system"),
        (&["--env", "PORT=80"], "cannot serve HTTP on port 80: the application does (PORT=80)"),
        (&["--env", "RUNSD_RESOLV_CONF_FILE=/etc/ssl"], "cannot write /etc/ssl: is a directory"),
        (&["--uid", "65532", "--no-ipv6", "--job"], "cannot serve HTTP on port 80 as uid 65532: permission denied"),
    ] {
        let image = options.iter().fold(CloudRun::new(), |image, word| image.option(*word));
        let out = image.sh(&format!("{CALLS}; cat /etc/resolv.conf; exit 9"));
        assert_eq!(out.stdout, both() + ORIGINAL, "{options:?}");
        assert_eq!(out.status, 9, "{options:?}");
        warns_once(&out, &format!("{want}; {INSTEAD}"));
    }
}

#[test]
fn another_port_is_one_that_no_name_leads_to() {
    let names = "cat /etc/resolv.conf; echo $http_proxy | grep -o 8081";
    for (flag, port, want) in [
        ("-dns_port=54", "", "resolv.conf cannot say that DNS is on port 54"),
        ("-http_proxy_port=8081", "8081\n", "http://NAME does not lead to port 8081"),
    ] {
        let script = format!("{CALLS}; {names}; exit 9");
        let out = CloudRun::new().run(&["/runsd", flag, "--", "sh", "-c", &script]);
        assert_eq!(out.stdout, both() + ORIGINAL + port, "{flag}: {}", out.stderr);
        assert_eq!(out.status, 9, "{flag}");
        warns_once(&out, &format!("{want}; {INSTEAD}"));
    }
}

#[test]
fn a_second_runsd_beside_the_first() {
    let script = format!("{CALLS}; /runsd -- sh -c 'unset no_proxy; {CALLS}'; {CALLS}");
    let out = CloudRun::new().sh(&script);
    assert_eq!(out.stdout, both().repeat(3));
    warns_once(&out, &format!("cannot serve HTTP on port 80: address already in use; {INSTEAD}"));
}

#[test]
fn a_second_runsd_under_one_that_serves_through_http_proxy() {
    // Its own flags count, and each exception is there once.
    let inner = "/runsd -auth_header=off -- sh -c 'echo $no_proxy | grep -o metadata.google
                 curl -s -o /dev/null -w \"%{http_code}\\n\" http://hello'";
    let out = CloudRun::new().uid(65532).sh(&format!("{CALLS}; {inner}; {CALLS}"));
    let inner = "metadata.google\n403\n";
    assert_eq!(out.stdout, both() + inner + &both(), "{}", out.stderr);
    let refused = "cannot serve HTTP on port 80 as uid 65532: permission denied";
    let line = format!("runsd: warning: {refused}; {INSTEAD}\n");
    assert!(out.stderr.starts_with(&line.repeat(2)), "{}", out.stderr);
}

#[test]
fn one_runsd_for_each_container_of_an_instance() {
    // They share a network, and have files of their own: so resolv.conf as it was.
    let other = "printf 'nameserver 169.254.169.254\nsearch google.internal\n' >/tmp/original
                 unshare --mount sh -c 'mount --bind /tmp/original /etc/resolv.conf
                 curl -s http://hello; echo $?; exec /runsd -- sh -c \"$0\"' \"$CALLS\"";
    let instance = CloudRun::new().option("--plain-resolv-conf");
    let out = instance.env("CALLS", CALLS).sh(other);
    assert_eq!(out.stdout, format!("6\n{}", both()), "{}", out.stderr);
    warns_once(&out, &format!("cannot serve HTTP on port 80: address already in use; {INSTEAD}"));
}

#[test]
fn a_taken_nameserver_port() {
    let out = CloudRun::new().env("CALLS", CALLS).run(&["python3", "-B", "/tests/clients/taken_port.py"]);
    assert_eq!(out.stdout, both());
    warns_once(&out, &format!("cannot serve DNS on port 53: address already in use; {INSTEAD}"));
}

#[test]
fn a_missing_resolv_conf_is_made_and_removed() {
    let image = "rm /etc/resolv.conf; /runsd -- sh -c \"$CALLS; grep '^[^#]' /etc/resolv.conf\";
                 test -e /etc/resolv.conf || echo none";
    let cloudrun = CloudRun::new().option("--plain-resolv-conf").env("CALLS", CALLS);
    let out = cloudrun.run(&["sh", "-c", image]);
    let ours = "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal\noptions ndots:3\n";
    assert_eq!(out.stdout, both() + ours + "none\n");
    warns_once(
        &out,
        "cannot read /etc/resolv.conf: no such file or directory; asking 169.254.169.254, which \
         Cloud Run has, instead",
    );
}

#[test]
fn without_ipv6_there_is_nothing_to_say() {
    let out = CloudRun::new().option("--no-ipv6").sh(&format!("{CALLS}; head -n 2 /etc/resolv.conf"));
    assert_eq!(out.stdout, both() + "nameserver 127.0.0.1\nsearch run.internal google.internal\n");
    assert_eq!(out.stderr, "");
}

#[test]
fn what_is_not_wanted_is_not_missed() {
    let env = "env | grep -i _proxy | cut -d= -f1 | sort; cat /etc/resolv.conf";
    for (flags, uid, want) in [
        (&["-skip_dns_hijack", "-skip_http_proxy"][..], 65532, ""),
        (&["-skip_dns_hijack"], 0, ""),
        (
            &["-skip_http_proxy"],
            65532,
            "runsd: warning: cannot serve DNS on port 53 as uid 65532: permission denied; names of \
             services do not resolve\n",
        ),
    ] {
        let command = [&["/runsd"], flags, &["--", "sh", "-c", env]].concat();
        let out = CloudRun::new().uid(uid).run(&command);
        assert_eq!(out.stderr, want, "{flags:?}");
        assert_eq!(out.stdout, ORIGINAL, "{flags:?}");
    }
}

#[test]
fn an_image_keeps_its_own_proxy() {
    let cloudrun = CloudRun::new().uid(65532).env("http_proxy", "http://external.example:80");
    let out = cloudrun.sh("env | grep -i _proxy; curl -s http://hello/x");
    // A proxy of the image's own is asked, and no other.
    let asked = "external.example, asked for http://hello/x\n";
    assert_eq!(out.stdout, format!("http_proxy=http://external.example:80\n{asked}"));
    assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
    assert!(out.stderr.contains("http_proxy or no_proxy is set and stays"), "{}", out.stderr);
}

#[test]
fn an_image_keeps_its_own_exceptions() {
    let cloudrun = CloudRun::new().uid(65532).env("no_proxy", "external.example");
    let out = cloudrun.sh("echo $no_proxy; echo $NO_PROXY; curl -s http://hello http://external.example");
    let list = "external.example,169.254.169.254,metadata.google.internal,localhost,127.0.0.1,::1";
    for line in out.stdout.lines().take(2) {
        assert!(line.starts_with(list), "{line}");
    }
    let rest: Vec<_> = out.stdout.lines().skip(2).collect();
    assert_eq!(rest, [HELLO.trim_end(), "external.example, asked for /"]);
}

#[test]
fn clients_of_many_kinds_reach_services_and_others() {
    let urllib = "import urllib.request as r, sys
for url in sys.argv[1:]: print(r.urlopen(url).read().decode(), end='')";
    for client in [
        &["curl", "-sS"][..],
        &["curl", "-sS", "--http1.0"],
        &["python3", "-c", urllib],
        &["/fetch"], // of Go
    ] {
        let urls = ["http://hello", "http://hello.us-east1.run.internal/", "http://external.example/x"];
        let command = [&["/runsd", "--"], client, &urls].concat();
        let fetch = format!("{}:/fetch", built("go", "fetch.go").display());
        let image = CloudRun::new().option("--bind").option(fetch);
        let out = image.uid(65532).run(&command);
        let want = format!("{HELLO}{}", both());
        assert_eq!(out.stdout, want, "{client:?}: {}", out.stderr);
    }
    let requests = "import requests, sys
for url in ['http://hello', 'http://hello.us-east1.run.internal/', 'http://external.example/x']:
    print(requests.get(url, timeout=20).text, end='')";
    let out = CloudRun::new().env("PORT", "80").in_venv(&["/venv/bin/python", "-B", "-c", requests]);
    assert_eq!(out.stdout, format!("{HELLO}{}", both()), "{}", out.stderr);
    // Node's own modules want to be told what the variable says.
    let node = "const { hostname, port } = new URL(process.env.http_proxy)
for (const path of ['http://hello', 'http://external.example/x'])
    require('http').get({ hostname, port, path, headers: { host: new URL(path).host } }, r => r.pipe(process.stdout))";
    let out = CloudRun::new().uid(65532).run(&["/runsd", "--", "node", "-e", node]);
    let mut lines: Vec<_> = out.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, both().lines().collect::<Vec<_>>(), "{}", out.stderr);
    // A tunnel to a service, as for a WebSocket.
    let tunnel = "curl -sSp http://hello";
    assert_eq!(CloudRun::new().uid(65532).sh(tunnel).stdout, HELLO);
    // The shell of small images has a client of its own.
    let wget = "busybox wget -qO- http://hello; busybox wget -qO- http://external.example/x";
    assert_eq!(CloudRun::new().uid(65532).sh(wget).stdout, both());
}

#[test]
fn the_metadata_server_and_loopback_are_called_directly() {
    let script = "busybox httpd -p 127.0.0.1:8080 -h /tests; curl -sS -o /dev/null \
        -w '%{http_code} %{remote_ip}\\n' http://localhost:8080/tests.rs
        curl -sS -o /dev/null -w '%{http_code} %{remote_ip}\\n' -H Metadata-Flavor:Google \
        http://metadata.google.internal/computeMetadata/v1/instance/region";
    let out = CloudRun::new().uid(65532).sh(script);
    let want = "200 127.0.0.1\n200 169.254.169.254\n";
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn nothing_listens_beyond_loopback() {
    // Beside what the miniature itself has open.
    let listening = "cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" { print $2 }' | sort";
    let script = format!("{listening} >/tmp/before; \"$@\" sh -c '{}'", listening.replace('\'', "'\\''"));
    let script = format!("{script} >/tmp/after; comm -13 /tmp/before /tmp/after | cut -d: -f1 | sort -u");
    for kind in ["--job", "--worker-pool", "--read-only"] {
        let cloudrun = CloudRun::new().option(kind);
        let out = cloudrun.run(&["sh", "-c", &script, "sh", "/runsd", "--"]);
        // ::1 and 127.0.0.1, as proc_net_tcp(5) has them.
        let want = "00000000000000000000000001000000\n0100007F\n";
        assert_eq!(out.stdout, want, "{kind}");
    }
}

#[test]
fn another_network_namespace_reaches_no_listener() {
    let out = CloudRun::new().client("neighbour.py", &[]);
    // What shows that the way is there, then all that runsd listens on.
    let want = "tcp 8080 open\ntcp 80 refused\ntcp 53 refused\nudp 53 refused\n";
    assert_eq!(out.stdout, want.repeat(2), "{}", out.stderr);
}

#[test]
fn jobs_and_worker_pools_are_the_same() {
    for kind in ["--job", "--worker-pool"] {
        for code in [0, 1, 77, 255] {
            let out = CloudRun::new().option(kind).sh(&format!("{CALLS}; exit {code}"));
            assert_eq!((out.stdout, out.status), (both(), code), "{kind}");
            assert_eq!(out.stderr, "");
        }
    }
}

#[test]
fn calls_after_sigterm_succeed() {
    let script = format!(
        "trap '{CALLS}; curl -sS http://hello.us-east1; exit 3' TERM
         echo ready; while :; do read line || :; done"
    );
    for uid in [0, 65532] {
        let mut app = CloudRun::new().uid(uid).start(&["/runsd", "--", "sh", "-c", &script]);
        assert_eq!(app.line(), "ready");
        app.signal(Signal::SIGTERM);
        let out = app.finish();
        assert_eq!(out.stdout, format!("ready\n{}{HELLO}", both()), "{}", out.stderr);
        assert_eq!(out.status, 3);
    }
}

#[test]
fn resolv_conf_gets_its_original_content_back() {
    for (end, code) in [("exit 4", 4), ("kill -9 $$", 137), ("kill -SEGV $$", 139), ("exec /none", 127)] {
        let odd = "# by hand\nnameserver 169.254.169.254\n\n\tsearch  google.internal";
        let script = format!(
            "/runsd -- sh -c 'ulimit -c 0; grep -c run.internal /etc/resolv.conf; {end}'
             echo $?; cat /etc/resolv.conf"
        );
        let out = CloudRun::new().resolv_conf(odd).run(&["sh", "-c", &script]);
        assert_eq!(out.stdout, format!("1\n{code}\n{odd}"), "{end}");
    }
    // Nor is anything left behind by an application that never was.
    let script = "/runsd -- /none; echo $?; cat /etc/resolv.conf";
    let out = CloudRun::new().run(&["sh", "-c", script]);
    assert_eq!(out.stdout, format!("127\n{ORIGINAL}"));
}
