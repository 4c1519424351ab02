//! Clients that images have, each the same through runsd as without it: what it sees
//! of GET, POST of 1 MB, streams, statuses, headers, many requests one after another
//! and at once. `clients/real/compare.py` runs each twice and compares; the services
//! without anything before them are at `http://NAME.direct.example`.
//!
//! Those that are large to install are ignored here: `make clients` runs them.

use std::path::Path;

use crate::harness::CloudRun;
use crate::programs;

const REAL: &str = "/tests/clients/real";

/// What a client did that was the same both times.
#[track_caller]
fn same(image: CloudRun, client: &[&str]) -> Vec<String> {
    let compare = format!("{REAL}/compare.py");
    let python = ["/venv/bin/python", "-B", &compare, ".direct.example"];
    let out = image.in_venv(&[&python, client].concat());
    assert_eq!(out.status, 0, "{client:?}: {}{}", out.stdout, out.stderr);
    out.stdout.split_whitespace().map(str::to_owned).collect()
}

/// Its program is in `clients/real`, `client` what runs it there.
#[track_caller]
fn is_the_same(client: &str) {
    let words = client.replace("REAL", REAL);
    let words: Vec<&str> = words.split(' ').collect();
    let done = same(CloudRun::new(), &words);
    assert!(done.len() >= 2, "{client}: {done:?}");
}

#[track_caller]
fn python(program: &str, client: &str) {
    is_the_same(&format!("/venv/bin/python -B REAL/{program}.py {client}"));
}

#[test]
fn curl_over_http_1_0() {
    python("commands", "curl_http_1_0");
}

#[test]
fn curl_over_http_1_1() {
    python("commands", "curl_http_1_1");
}

#[test]
fn curl_over_http_2() {
    python("commands", "curl_http_2");
}

#[test]
fn curl_that_asks_for_an_upgrade() {
    python("commands", "curl_upgrade");
}

#[test]
fn curl_that_waits_for_100_continue() {
    python("commands", "curl_expect");
}

#[test]
fn wget() {
    python("commands", "wget");
}

#[test]
fn busybox_wget() {
    python("commands", "busybox");
}

#[test]
fn git_clones_and_pushes() {
    let image = CloudRun::new().env("RUNSD_ROUTE", "repository=http://127.0.0.1:8181");
    let repository = format!("{REAL}/repository.py");
    let commands = format!("{REAL}/commands.py");
    let compare = format!("{REAL}/compare.py");
    let python = ["/venv/bin/python", "-B"];
    let out = image.in_venv(
        &[
            &python[..],
            &[&repository, "8181"],
            &python[..],
            &[&compare, ".direct.example"],
            &python[..],
            &[&commands, "git"],
        ]
        .concat(),
    );
    assert_eq!(out.stdout, "push none\n", "{}", out.stderr);
}

#[test]
fn python_urllib() {
    python("python", "urllib");
}

#[test]
fn python_requests() {
    python("python", "requests");
}

#[test]
fn python_httpx() {
    python("python", "httpx");
}

#[test]
fn python_httpx_over_http_2() {
    python("python", "httpx_http_2");
}

#[test]
fn python_aiohttp() {
    python("python", "aiohttp");
}

#[test]
fn python_grpcio() {
    python("python", "grpcio");
}

#[test]
fn node_fetch() {
    is_the_same("node REAL/node.mjs fetch");
}

#[test]
fn node_http() {
    is_the_same("node REAL/node.mjs http");
}

#[test]
fn node_http2() {
    is_the_same("node REAL/node.mjs http2");
}

#[test]
fn go_net_http() {
    let program = programs::built("go", "real/http.go");
    is_the_same_program(&program, &[]);
}

#[test]
fn ruby_net_http() {
    is_the_same("ruby REAL/client.rb");
}

#[test]
fn php_curl() {
    is_the_same("php REAL/client.php curl");
}

#[test]
fn php_streams() {
    is_the_same("php REAL/client.php streams");
}

#[test]
fn perl_http_tiny() {
    is_the_same("perl REAL/client.pl tiny");
}

#[test]
#[ignore = "make clients"]
fn perl_lwp() {
    is_the_same("perl REAL/client.pl lwp");
}

#[test]
#[ignore = "make clients"]
fn node_ws() {
    node_of_npm("ws");
}

#[test]
#[ignore = "make clients"]
fn node_grpc_js() {
    node_of_npm("grpc");
}

#[test]
#[ignore = "make clients"]
fn go_grpc() {
    is_the_same_program(&target("clients/go/grpc"), &[]);
}

#[test]
#[ignore = "make clients"]
fn java_http_client_over_http_1_1() {
    is_the_same("java REAL/Client.java http1");
}

#[test]
#[ignore = "make clients"]
fn java_http_client_over_http_2() {
    is_the_same("java REAL/Client.java http2");
}

#[test]
#[ignore = "make clients"]
fn java_websocket() {
    is_the_same("java REAL/Client.java websocket");
}

#[test]
#[ignore = "make clients"]
fn java_http_url_connection() {
    is_the_same("java REAL/Client.java urlconnection");
}

#[test]
#[ignore = "make clients"]
fn rust_reqwest() {
    is_the_same_program(&target("clients/rust/debug/clients"), &["reqwest"]);
}

#[test]
#[ignore = "make clients"]
fn rust_reqwest_over_http_2() {
    is_the_same_program(&target("clients/rust/debug/clients"), &["reqwest_http_2"]);
}

#[test]
#[ignore = "make clients"]
fn rust_tonic() {
    is_the_same_program(&target("clients/rust/debug/clients"), &["tonic"]);
}

#[test]
#[ignore = "make clients"]
fn chromium() {
    is_the_same("/venv/bin/python -B REAL/browser.py");
}

/// A compiled client, which is at `/client` there.
#[track_caller]
fn is_the_same_program(program: &Path, words: &[&str]) {
    let image = CloudRun::new().option("--bind");
    let image = image.option(format!("{}:/client", program.display()));
    same(image, &[&["/client"], words].concat());
}

/// A client of the packages that `make clients` installed.
#[track_caller]
fn node_of_npm(client: &str) {
    let modules = target("clients/node");
    let image = CloudRun::new().env("NODE_MODULES", "/modules");
    let image = image.option("--bind");
    let image = image.option(format!("{}:/modules", modules.display()));
    let program = format!("{REAL}/node.mjs");
    same(image, &["node", &program, client]);
}

#[track_caller]
fn target(name: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name);
    assert!(path.exists(), "there is no {path:?}; run `make clients`");
    path
}
