//! The whole program where there are no privileges: its ports, its files and
//! its metadata server are the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use crate::harness::{plain_runsd, program};

/// Neither on Cloud Run nor told anything by the tests' own environment.
fn runsd(words: &[&str]) -> Command {
    let mut command = program(plain_runsd());
    command.args(words).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[track_caller]
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("runsd starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Answers each request on a port of its own with what `answer` makes of its
/// head, and closes.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let body = answer(&head.join("\n"));
            let length = body.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    address
}

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("runsd-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a scratch file");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_wrong_on_the_command_line_is_said_and_ends_with_2() {
    for (words, named) in [
        (&["-nosuch", "--", "true"][..], "nosuch"),
        (&["-ndots=x", "--", "true"], "ndots"),
        (&["-http_proxy_port=99999", "--", "true"], "http_proxy_port"),
        (&["-auth_header=maybe", "--", "true"], "auth_header"),
        (&[], "runsd --"),
    ] {
        let (code, stdout, stderr) = run(&mut runsd(words));
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(named), "{words:?}: {stderr}");
    }
    let (code, _, stderr) = run(runsd(&["true"]).env("RUNSD_NDOTS", "x"));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("RUNSD_NDOTS"), "{stderr}");
}

#[test]
fn help_and_version_do_nothing_else() {
    let (code, stdout, stderr) = run(runsd(&["-help"]).env("K_SERVICE", "x"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for flag in ["-route", "-http_proxy_port", "-upstream_addr", "RUNSD_"] {
        assert!(stdout.contains(flag), "{flag}: {stdout}");
    }
    let (code, stdout, _) = run(&mut runsd(&["--version"]));
    assert_eq!(code, 0);
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")), "{stdout}");
}

#[test]
fn resolv_conf_stays_where_it_could_not_say_the_port() {
    let before = "nameserver 192.0.2.1\nsearch google.internal\n";
    let file = Scratch::new("resolv.conf", before);
    let path = file.0.to_str().expect("a path");
    for (flag, why) in [
        ("-dns_port=0", "resolv.conf cannot say that DNS is on port 0"),
        ("-dns_port=54", "resolv.conf cannot say that DNS is on port 54"),
        ("-http_proxy_port=0", "http://NAME does not lead to port 0"),
    ] {
        let mut command = runsd(&[flag, "-resolv_conf_file", path, "--", "sh", "-c"]);
        command.args([&format!("cat {path}; echo $http_proxy")]);
        command.env("K_SERVICE", "x");
        let region = |_: &str| "projects/1234/regions/us-east1".to_owned();
        command.env("GCE_METADATA_HOST", server(region).to_string());
        let (code, stdout, stderr) = run(&mut command);
        assert_eq!(code, 0, "{flag}: {stderr}");
        let proxy = stdout.strip_prefix(before).unwrap_or_default();
        assert!(proxy.starts_with("http://127.0.0.1:"), "{flag}: {stdout}");
        let want = format!(
            "runsd: warning: {why}; serving through http_proxy instead; clients that ignore it do not find the names of services\n"
        );
        assert_eq!(stderr, want, "{flag}");
        assert_eq!(fs::read_to_string(&file.0).expect("still there"), before);
    }
}

#[test]
fn a_request_goes_to_its_route_with_a_token() {
    let metadata = server(|head| {
        let first = head.lines().next().unwrap_or_default();
        match () {
            () if first.contains("/identity?audience=my-aud") => jwt(),
            () if first.contains("/region") => "projects/1234/regions/us-east1".to_owned(),
            () => String::new(),
        }
    });
    let upstream = server(str::to_lowercase);
    // A port that is taken: runsd then serves on a free one and says where.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let port = format!("-http_proxy_port={port}");
    let route = format!("-route=billing=http://{upstream},audience=my-aud");
    let mut command = runsd(&[&port, &route, "-skip_dns_hijack", "--"]);
    command.args(["curl", "-sS", "http://billing/x?y=1"]);
    command.env("K_SERVICE", "x").env("GCE_METADATA_HOST", metadata.to_string());
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    let mut lines = stdout.lines();
    assert_eq!(lines.next(), Some("get /x?y=1 http/1.1"), "{stdout}{stderr}");
    let lines: Vec<&str> = lines.collect();
    let host = format!("host: {upstream}");
    let token = format!("authorization: bearer {}", jwt().to_lowercase());
    for want in [&host, &token] {
        assert!(lines.contains(&want.as_str()), "{want}: {stdout}");
    }
}

/// A token that is good until 2100 and signed by nobody.
fn jwt() -> String {
    // {"alg":"none"} and {"exp":4102444800}
    "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln".to_owned()
}
