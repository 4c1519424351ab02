//! Names as resolvers look them up that nobody here wrote: glibc's, musl's,
//! c-ares in Node.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::CloudRun;

/// Names and what a C library makes of them, the first address at least.
const LOOKUPS: &[(&str, &str)] = &[
    ("hello", "127.0.0.1"),
    ("hello.", "127.0.0.1"),
    ("HELLO", "127.0.0.1"),
    ("hello.us-east1", "127.0.0.1"),
    ("hello.us-east1.123456789012", "127.0.0.1"),
    ("hello.us-east1.123456789012.", "127.0.0.1"),
    ("hello.run.internal", "127.0.0.1"),
    ("canary---hello", "127.0.0.1"),
    ("metadata", "169.254.169.254"),
    ("metadata.google.internal", "169.254.169.254"),
    ("metadata.google.internal.", "169.254.169.254"),
    ("external.example", "192.0.2.3"),
    ("external.example.", "192.0.2.3"),
    ("alias.external.example", "192.0.2.3"),
    ("vm.c.miniature.internal", "192.0.2.3"),
    ("vm.c", "192.0.2.3"), // under the search domain below
    ("no.such.example", "NONAME"),
];

/// As with a VPC: our zone and one more.
const CONF: &str = "nameserver 169.254.169.254\nsearch google.internal miniature.internal\n";

/// A scratch directory with `lookup`, built by `compiler`.
fn built_with(compiler: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("lookup-{}-{compiler}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/lookup.c");
    let mut command = Command::new(compiler);
    if compiler == "musl-gcc" {
        command.arg("-static");
    }
    let status = command
        .arg("-o")
        .arg(dir.join("lookup"))
        .arg(source)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{compiler}");
    dir
}

/// Every line of `lookup`, against the table.
#[track_caller]
fn all_looked_up(compiler: &str) {
    let dir = built_with(compiler);
    let names: Vec<&str> = LOOKUPS.iter().map(|(name, _)| *name).collect();
    let bind = format!("{}:/lookup", dir.display());
    let run = CloudRun::new()
        .resolv_conf(CONF)
        .option("--bind")
        .option(bind);
    let out = run.run(&[&["/runsd", "--", "/lookup/lookup"], &names[..]].concat());
    let _ = std::fs::remove_dir_all(dir);
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines.len(), LOOKUPS.len(), "{out:?}");
    for (line, (name, want)) in lines.iter().zip(LOOKUPS) {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(*name), "{line}");
        // IPv6 may come first; musl sorts as RFC 6724 says.
        assert!(
            words.any(|word| word == *want),
            "{compiler}: {line}, not {want}"
        );
    }
}

#[test]
fn glibc() {
    all_looked_up("gcc");
}

#[test]
fn musl() {
    all_looked_up("musl-gcc");
}

#[test]
fn python() {
    let script = "import socket; print(socket.gethostbyname('hello'), \
                  socket.gethostbyname('external.example'), \
                  socket.gethostbyaddr('192.0.2.3')[0])";
    let out = CloudRun::new().run(&["/runsd", "--", "python3", "-c", script]);
    assert_eq!(
        out.stdout, "127.0.0.1 192.0.2.3 external.example\n",
        "{}",
        out.stderr
    );
}

#[test]
fn node_by_c_ares_and_by_the_c_library() {
    let table = [
        ("A=hello", "127.0.0.1"),
        ("A=hello.us-east1", "127.0.0.1"),
        ("A=hello.run.internal", "127.0.0.1"),
        ("AAAA=hello.run.internal", "::1"),
        ("lookup=hello.us-east1.123456789012", "127.0.0.1"),
        ("all=metadata", "169.254.169.254"),
        ("A=metadata.google.internal", "169.254.169.254"),
        ("A=external.example", "192.0.2.3"),
        ("AAAA=external.example", "2001:db8::3"),
        ("A=alias.external.example", "192.0.2.3"),
        ("mx=external.example", "mail.external.example"),
        ("caa=external.example", "ca.example"),
        ("srv=_grpc._tcp.external.example", "external.example:443"),
        ("txt=long.external.example", "5000"),
        ("ptr=192.0.2.3", "external.example"),
        ("A=no.such.example", "ENOTFOUND"),
        ("MX=hello.run.internal", "ENODATA"),
    ];
    let asked: Vec<&str> = table.iter().map(|(asked, _)| *asked).collect();
    let command = ["/runsd", "--", "node", "/tests/clients/c_ares.js"];
    let out = CloudRun::new().run(&[&command, &asked[..]].concat());
    let want: Vec<String> = table
        .iter()
        .map(|(ask, said)| format!("{ask} {said}"))
        .collect();
    assert_eq!(
        out.stdout.lines().collect::<Vec<_>>(),
        want,
        "{}",
        out.stderr
    );
}
