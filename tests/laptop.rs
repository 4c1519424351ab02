//! Off Cloud Run with `-gcp_region`, as on a laptop: services are reached
//! through `http_proxy`, and the machine stays as it is.

use crate::harness::{CloudRun, Output};

const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";
const PLACE: &str = "-gcp_region=us-east1 -gcp_project_number=123456789012";
const ORIGINAL: &str = "nameserver 169.254.169.254\nsearch google.internal\n";
const NOTICE: &str = "runsd: info: serving through http_proxy; clients that ignore it do not find the \
                      names of services\n";
/// As `gcloud auth print-identity-token` prints it for a user, with gcloud's own
/// audience.
const TOKEN: &str = "curl -sS -H Metadata-Flavor:Google http://169.254.169.254/computeMetadata/v1\
                     /instance/service-accounts/default/identity?audience=\
                     32555940559.apps.googleusercontent.com";
/// As it prints it for a service account with
/// `--audiences=https://hello-123456789012.us-east1.run.app`.
const FOR_HELLO: &str = "curl -sS -H Metadata-Flavor:Google http://169.254.169.254/computeMetadata/v1\
                         /instance/service-accounts/default/identity?audience=\
                         https://hello-123456789012.us-east1.run.app";
/// It ended in 1970.
const ENDED: &str = "e30.eyJleHAiOjF9.x";

/// A shell on such a machine.
#[track_caller]
fn off(uid: u32, script: &str) -> Output {
    let machine = CloudRun::new().option("--off").uid(uid);
    machine.run(&["sh", "-c", script])
}

#[test]
fn services_are_reached_and_the_machine_stays_as_it_is() {
    let app = "curl -sS http://hello; cat /etc/resolv.conf
               curl -s --noproxy \"*\" http://127.0.0.1; echo $?; exit 9";
    for uid in [0, 65532] {
        let script = format!(
            "export CLOUD_RUN_ID_TOKEN=$({TOKEN}) GCE_METADATA_HOST=127.0.0.1:1
             exec /runsd {PLACE} -- sh -c '{app}'"
        );
        let out = off(uid, &script);
        assert_eq!(out.stdout, format!("{HELLO}{ORIGINAL}7\n"), "{uid}: {out:?}");
        assert_eq!((out.status, out.stderr.as_str()), (9, NOTICE), "{uid}");
    }
}

#[test]
fn resolv_conf_and_the_ports_are_taken_where_that_is_said() {
    for said in ["-skip_dns_hijack=false", "--skip_dns_hijack=0"] {
        let script = format!(
            "exec /runsd {PLACE} {said} -- sh -c 'curl -sS http://hello
             echo $http_proxy; grep -c run.internal /etc/resolv.conf'"
        );
        let out = off(0, &script);
        assert_eq!(out.stdout, format!("{HELLO}\n1\n"), "{said}: {out:?}");
        assert_eq!(out.stderr, "", "{said}");
    }
}

#[test]
fn a_users_token_is_good_for_all_services_and_a_service_accounts_for_one() {
    for (token, want) in [(TOKEN, "200 200 200 "), (FOR_HELLO, "200 401 401 ")] {
        let script = format!(
            "export CLOUD_RUN_ID_TOKEN=$({token}) GCE_METADATA_HOST=127.0.0.1:1
             exec /runsd {PLACE} -- curl -s -o /dev/null -o /dev/null -o /dev/null \
             -w '%{{http_code}} ' http://hello http://echo http://hello.us-west1"
        );
        let out = off(65532, &script);
        assert_eq!(out.stdout, want, "{out:?}");
    }
}

#[test]
fn without_a_token_the_answer_says_how_to_have_one() {
    let script = format!(
        "export GCE_METADATA_HOST=127.0.0.1:1
         /runsd {PLACE} -check hello
         exec /runsd {PLACE} -- curl -s -w '%{{http_code}}' http://hello"
    );
    let out = off(65532, &script);
    let sentence = "no identity token for https://hello-123456789012.us-east1.run.app: \
                    cannot reach the metadata server: Connection refused (os error 111), after 5 tries; \
                    start with CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token)\n";
    for start in ["WRONG token       ", "runsd: "] {
        assert!(out.stdout.contains(&format!("{start}{sentence}")), "{out:?}");
    }
    assert!(out.stdout.ends_with("\n502"), "{out:?}");
}

#[test]
fn a_token_that_has_ended_says_when_and_what_brings_another() {
    let script = format!(
        "export CLOUD_RUN_ID_TOKEN={ENDED}; /runsd {PLACE} -check hello
         exec /runsd {PLACE} -- curl -s -o /dev/null -w '%{{http_code}}' http://hello"
    );
    let out = off(65532, &script);
    let ended = "the token in CLOUD_RUN_ID_TOKEN ended ";
    let what = " days ago; start again with \
                CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token)\n";
    assert!(out.stdout.contains(&format!("WRONG token       {ended}")), "{out:?}");
    assert!(out.stdout.ends_with("401"), "{out:?}");
    let hint = format!("runsd: warning: hello: 401: {ended}");
    let hint = out.stderr.lines().find(|line| line.starts_with(&hint));
    let hint = hint.unwrap_or_else(|| panic!("{out:?}"));
    assert!(hint.ends_with(what.trim_end()), "{hint}");
    assert!(!out.stderr.contains("eyJ"), "{out:?}");
}

#[test]
fn what_is_missing_is_named_by_its_flag() {
    for (flags, name, want) in [
        ("-gcp_region=us-east1", "hello", "give -gcp_project_number\n"),
        ("-gcp_region=us-east1", "hello.us-west1", "give -gcp_project_number\n"),
    ] {
        let script = format!(
            "export CLOUD_RUN_ID_TOKEN={ENDED} GCE_METADATA_HOST=127.0.0.1:1
             exec /runsd {flags} -- curl -s http://{name}"
        );
        let out = off(65532, &script);
        assert!(out.stdout.ends_with(want), "{out:?}");
    }
}

#[test]
fn check_says_that_services_are_reached_through_http_proxy() {
    let script = format!("CLOUD_RUN_ID_TOKEN=$({TOKEN}) exec /runsd {PLACE} -check");
    let out = off(65532, &script);
    assert_eq!(out.status, 0, "{out:?}");
    for want in [
        "ok    platform    not Cloud Run; services are wanted, by -gcp_region\n",
        "note  ports       runsd serves through http_proxy, and leaves resolv.conf, 53 and 80 alone\n",
    ] {
        assert!(out.stdout.contains(want), "{out:?}");
    }
}
