//! Names as resolvers look them up that nobody here wrote: glibc's, musl's,
//! Go's, c-ares in Node.

use std::io::Write as _;
use std::process;

use serde_json::json;

use crate::harness::{CloudRun, Output};
use crate::programs::built;

/// Names and what each of them makes of them, one of the addresses.
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
    ("chain.external.example", "192.0.2.3"),
    ("broken.example", "AGAIN"),
    ("vm.c.miniature.internal", "192.0.2.3"),
    ("vm.c", "192.0.2.3"), // under the search domain below
    ("no.such.example", "NONAME"),
];

/// As with a VPC: our zone and one more.
const CONF: &str = "nameserver 169.254.169.254\nsearch google.internal miniature.internal\n";

/// Those who look them up: `tests/clients/lookup.*`, a program of each C
/// library, and one of Go, which has a resolver of its own.
const COMPILERS: &[&str] = &["gcc", "musl-gcc", "go"];

/// A miniature with this resolv.conf in which `/lookup` is the program.
fn with_lookup(compiler: &str, conf: &str) -> CloudRun {
    let source = match compiler {
        "go" => "lookup.go",
        _ => "lookup.c",
    };
    let bind = format!("{}:/lookup", built(compiler, source).display());
    CloudRun::new().resolv_conf(conf).option("--bind").option(bind)
}

/// Every line of `lookup`, against a table of names and addresses.
#[track_caller]
fn check(compiler: &str, out: &Output, table: &[(&str, &str)]) {
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert_eq!(lines.len(), table.len(), "{compiler}: {out:?}");
    for (line, (name, want)) in lines.iter().zip(table) {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(*name), "{line}");
        // IPv6 may come first; musl and Go sort as RFC 6724 says.
        assert!(words.any(|word| word == *want), "{compiler}: {line}, not {want}");
    }
}

fn names<'a>(table: &[(&'a str, &str)]) -> Vec<&'a str> {
    table.iter().map(|(name, _)| *name).collect()
}

#[track_caller]
fn all_looked_up(compiler: &str, conf: &str, table: &[(&str, &str)]) {
    let command = [&["/runsd", "--", "/lookup"], &names(table)[..]].concat();
    check(compiler, &with_lookup(compiler, conf).run(&command), table);
}

#[test]
fn glibc_resolves_each_name() {
    all_looked_up("gcc", CONF, LOOKUPS);
}

#[test]
fn musl_resolves_each_name() {
    all_looked_up("musl-gcc", CONF, LOOKUPS);
}

#[test]
fn go_resolves_each_name() {
    all_looked_up("go", CONF, LOOKUPS);
}

#[test]
fn metadata_and_services_without_any_search_domain() {
    for compiler in COMPILERS {
        let table = [
            ("metadata", "169.254.169.254"),
            ("metadata.google.internal", "169.254.169.254"),
            ("hello.us-east1.123456789012", "127.0.0.1"),
            ("external.example", "192.0.2.3"),
        ];
        all_looked_up(compiler, "nameserver 169.254.169.254\n", &table);
    }
}

#[test]
fn a_search_list_that_is_full_still_finds_services() {
    // musl reads 254 octets of a line, old glibc six domains.
    let long = |len: usize| {
        let domains = "search google.internal miniature.internal ";
        let of_label = |at| if at % 48 == 47 { '.' } else { 'x' };
        let domain: String = (domains.len()..len).map(of_label).collect();
        domains.to_owned() + &domain
    };
    let six = "search google.internal miniature.internal c.example d.example e.example f.example";
    let table = [
        ("hello", "127.0.0.1"),
        ("hello.us-east1", "127.0.0.1"),
        ("hello.us-east1.123456789012", "127.0.0.1"),
        ("hello.run.internal", "127.0.0.1"),
        ("metadata", "169.254.169.254"),
        ("external.example", "192.0.2.3"),
        ("vm.c", "192.0.2.3"),
        ("no.such.example", "NONAME"),
    ];
    for (search, has_room) in [(long(241), true), (long(242), false), (long(254), false), (six.to_owned(), false)] {
        // Found under a search domain, as it is without runsd: more dots than
        // that are looked up as they are first.
        let conf = format!("nameserver 169.254.169.254\n{search}\noptions ndots:2\n");
        for compiler in COMPILERS {
            let command = [&["/runsd", "--", "/lookup"], &names(&table)[..]].concat();
            let out = with_lookup(compiler, &conf).run(&command);
            check(compiler, &out, &table);
            let said = out.stderr.contains("too long to put run.internal before it");
            assert_eq!(said, !has_room, "{compiler}: {}", out.stderr);
        }
    }
}

#[test]
fn a_search_domain_that_fails_does_not_stop_the_walk() {
    let table = [
        ("external.example", "192.0.2.3"),
        ("chain.external.example", "192.0.2.3"),
        ("hello", "127.0.0.1"),
        ("metadata", "169.254.169.254"),
        ("vm.c", "NONAME"),
        ("no.such.example", "NONAME"),
    ];
    for compiler in COMPILERS {
        let script = format!("read go; exec /lookup {}", names(&table).join(" "));
        let run = with_lookup(compiler, CONF);
        let mut running = run.start(&["/runsd", "--", "sh", "-c", &script]);
        let failing = json!({ "mode": "servfail", "only": ".miniature.internal" });
        running.post("dns", &failing);
        let mut stdin = running.stdin.take().expect("stdin is a pipe");
        stdin.write_all(b"go\n").expect("the shell reads");
        check(compiler, &running.finish(), &table);
    }
}

#[test]
fn names_that_are_not_ours_are_as_they_would_be_without_runsd() {
    let names = [
        "localhost",
        "localhost.",
        "external.example",
        "external.example.",
        "chain.external.example",
        "vm.c.miniature.internal",
        "under_score.external.example",
        "no.such.example",
        "192.0.2.7",
        "::1",
    ];
    let conf = "nameserver 169.254.169.254\nsearch miniature.internal\n";
    for compiler in COMPILERS {
        // Without shared libraries also in an image that holds nothing else,
        // no /etc/hosts for `localhost` among it.
        for is_scratch in [false, true] {
            if is_scratch && *compiler == "gcc" {
                continue;
            }
            let empty = std::env::temp_dir().join(format!("scratch-{}-{compiler}", process::id()));
            let run = |before: &[&str]| {
                let mut run = with_lookup(compiler, conf);
                if is_scratch {
                    std::fs::create_dir_all(&empty).expect("a directory");
                    run = run.root(&empty);
                    // For a runsd as it is while developed, which needs a loader.
                    for lib in ["/lib", "/lib64"] {
                        run = run.option("--bind").option(lib);
                    }
                }
                run.run(&[before, &["/lookup"], &names[..]].concat())
            };
            let (without, with) = (run(&[]), run(&["/runsd", "--"]));
            let _ = std::fs::remove_dir(&empty);
            let what = format!("{compiler}, scratch {is_scratch}: {with:?}");
            assert_eq!(with.stdout.lines().count(), names.len(), "{what}");
            assert_eq!(with.stdout, without.stdout, "{what}");
        }
    }
}

#[test]
fn python_resolves_each_name() {
    let script = "import socket; print(socket.gethostbyname('hello'), \
                  socket.gethostbyname('external.example'), \
                  socket.gethostbyaddr('192.0.2.3')[0])";
    let out = CloudRun::new().run(&["/runsd", "--", "python3", "-c", script]);
    assert_eq!(out.stdout, "127.0.0.1 192.0.2.3 external.example\n", "{}", out.stderr);
}

#[test]
fn node_resolves_by_c_ares_and_by_the_c_library() {
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
    let want: Vec<String> = table.iter().map(|(ask, said)| format!("{ask} {said}")).collect();
    assert_eq!(out.stdout.lines().collect::<Vec<_>>(), want, "{}", out.stderr);
}
