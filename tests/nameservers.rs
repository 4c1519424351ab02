//! Nameservers that refuse, and names that have no address of every kind: what
//! resolvers make of them.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::{CloudRun, Output};

/// Two nameservers, each with an answer for everything unless it is told
/// otherwise.
const TWO: &str = "nameserver 169.254.169.254\nnameserver 169.254.169.253\n";

/// `script` under runsd, once the nameservers are told this.
fn with_nameservers(conf: &str, told: &Value, script: &str) -> Output {
    let script = format!("read go; {script}");
    let cloudrun = CloudRun::new().resolv_conf(conf);
    let mut running = cloudrun.start(&["/runsd", "--", "sh", "-c", &script]);
    running.post("dns", told);
    let stdin = running.stdin.as_mut().expect("stdin is a pipe");
    stdin.write_all(b"go\n").expect("the shell reads");
    running.finish()
}

const STATUS: &str = "sed -n 's/.*status: \\([A-Z]*\\),.*/\\1/p'";

#[test]
fn a_nameserver_that_cannot_answer_leaves_it_to_the_next_one() {
    // Whether it refuses everything, or AAAA alone, which makes some
    // resolvers give up A too.
    for mode in ["notimp", "bare", "refused", "servfail"] {
        for kind in ["", "AAAA"] {
            let told = json!({ "mode": mode, "at": "169.254.169.254", "type": kind });
            let script = "dig +short external.example AAAA; dig +short +tcp external.example AAAA
                          getent ahostsv4 external.example | sed -n 's/ .*STREAM.*//p'";
            let out = with_nameservers(TWO, &told, script);
            let want = "2001:db8::3\n2001:db8::3\n192.0.2.3\n";
            assert_eq!(out.stdout, want, "{mode} {kind}: {}", out.stderr);
        }
    }
}

#[test]
fn a_refusal_repeats_its_question_so_that_no_resolver_waits() {
    let dig = "for way in +notcp +tcp; do
                 dig $way +tries=1 external.example | grep -oE 'status: [A-Z]+|QUERY: [0-9]'
               done";
    let out = with_nameservers(TWO, &json!({ "mode": "bare" }), dig);
    let want = "status: NOTIMP\nQUERY: 1\n".repeat(2);
    assert_eq!(out.stdout, want, "{}", out.stderr);
}

#[test]
fn a_name_of_ours_is_there_whatever_is_asked_of_it() {
    // A cache keeps NXDOMAIN for the whole name, and a service is gone with it.
    let script = format!(
        "for name in hello HELLO.us-east1 canary---hello; do
           for kind in A AAAA HTTPS SRV TXT MX ANY CNAME TYPE999; do
             dig +tries=1 $name. $kind | {STATUS}
           done
         done"
    );
    for mode in ["ok", "nxdomain", "refused", "nodata"] {
        let conf = "nameserver 169.254.169.254\n";
        let out = with_nameservers(conf, &json!({ "mode": mode }), &script);
        assert_eq!(out.stdout, "NOERROR\n".repeat(27), "{mode}: {}", out.stderr);
    }
    // Its other records are found where it has some.
    let route = "-route=external.example=https://billing.example.com";
    let script = "dig +short external.example A; dig +short external.example MX";
    let out = CloudRun::new().run(&["/runsd", route, "--", "sh", "-c", script]);
    assert_eq!(out.stdout, "127.0.0.1\n10 mail.external.example.\n");
}

#[test]
fn a_nameserver_that_drops_one_question_is_not_taken_for_dead() {
    let told = json!({ "mode": "silent", "only": "www.external.example", "type": "AAAA" });
    // Between two names that are answered, one that is dropped, twice.
    let script = "dig +short external.example
                  dig +tries=1 +time=20 +short www.external.example AAAA
                  dig +tries=1 +time=20 +short www.external.example AAAA
                  dig +short external.example";
    let out = with_nameservers("nameserver 169.254.169.254\n", &told, script);
    assert_eq!(out.stdout, "192.0.2.3\n192.0.2.3\n");
    let want = "runsd: warning: dns: nameserver 169.254.169.254:53 did not answer AAAA of \
                www.external.example\n";
    assert_eq!(out.stderr, want);
}

#[test]
fn a_nameserver_that_is_dead_is_named_with_the_question() {
    let conf = "nameserver 192.0.2.98\nnameserver 169.254.169.254\n";
    let out = with_nameservers(conf, &json!({}), "dig +short external.example");
    assert_eq!(out.stdout, "192.0.2.3\n");
    let want = "runsd: warning: dns: nameserver 192.0.2.98:53 does not answer, last asked for A \
                of external.example\n";
    assert_eq!(out.stderr, want);
}
