//! The playground: its page in a browser, and what it lets nobody do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{self, CloudRun, Running};

/// The program once more, for its unit tests: cargo makes of an example either
/// a program or tests.
#[path = "playground/main.rs"]
#[allow(dead_code)]
mod program;

/// The playground in a miniature, and where it is found from outside.
#[track_caller]
fn playground(cloudrun: CloudRun) -> (Running, String) {
    let program = program_file();
    let mut running = cloudrun
        .option("--publish")
        .option("0")
        .option("--bind")
        .option(format!("{}:/playground", program.display()))
        .start(&["/runsd", "--", "/playground"]);
    let line = running.line();
    let url = line.split(' ').find(|word| word.starts_with("http://"));
    let url = url.unwrap_or_else(|| panic!("no URL in {line:?}")).to_owned();
    (running, url)
}

/// Cargo builds it along with the tests.
fn program_file() -> PathBuf {
    harness::cloudrun_program().with_file_name("playground")
}

fn open() -> CloudRun {
    CloudRun::new().env("PLAYGROUND_OPEN", "1")
}

/// The status, and what came, of curl with these words.
#[track_caller]
fn curl(words: &[&str]) -> (u16, String) {
    let mut curl = harness::program("curl");
    let out = curl
        .args(["--noproxy", "*", "-sS", "-m", "60", "-w", "\n%{http_code}"])
        .args(words)
        .output()
        .expect("curl can be started");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    let status = status.parse();
    (status.unwrap_or_else(|_| panic!("{words:?}: {out:?}")), body.to_owned())
}

#[track_caller]
fn post(url: &str, path: &str, question: &serde_json::Value) -> String {
    let json = "content-type: application/json";
    let (status, body) = curl(&["-H", json, "-d", &question.to_string(), &format!("{url}{path}")]);
    assert_eq!(status, 200, "{question}: {body}");
    body
}

#[test]
fn the_page_in_a_browser() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = repository.join("tests/playground/examples.json");
    let examples = fs::read_to_string(examples).expect("the examples");
    let (running, url) = playground(open().env("PLAYGROUND_EXAMPLES", &examples).limit(BROWSER));
    let out = harness::program("python3")
        .arg("-B")
        .arg(repository.join("tests/playground/browser.py"))
        .arg(&url)
        .arg(&running.control.0)
        .arg(axe(repository))
        .arg(repository.join("target/playground"))
        .output()
        .expect("python3 can be started");
    let text = String::from_utf8_lossy(&out.stdout);
    let problem = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}{problem}");
}

/// Where pip has put axe-core.
fn axe(repository: &Path) -> PathBuf {
    let venv = repository.join("target/venv/lib");
    let versions = fs::read_dir(&venv).expect("target/venv; run `make python`");
    let mut found =
        versions.flatten().map(|version| version.path().join("site-packages/axe_playwright_python/axe.min.js"));
    found.find(|path| path.exists()).expect("axe-core in target/venv; run `make python`")
}

#[test]
fn on_cloud_run_it_wants_a_password() {
    let program = program_file();
    let bind = format!("{}:/playground", program.display());
    let without = CloudRun::new().option("--bind").option(bind);
    let out = without.run(&["/runsd", "--", "/playground"]);
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stderr.contains("set PLAYGROUND_PASSWORD"), "{}", out.stderr);

    let (_running, url) = playground(CloudRun::new().env("PLAYGROUND_PASSWORD", "correct horse"));
    for path in ["/", "/page.js", "/api/container"] {
        let page = format!("{url}{path}");
        assert_eq!(curl(&[&page]).0, 401, "{path}");
        assert_eq!(curl(&["-u", "me:wrong horse!", &page]).0, 401, "{path}");
        assert_eq!(curl(&["-u", "me:correct horse", &page]).0, 200, "{path}");
    }
    let ask = format!("{url}/api/request");
    assert_eq!(curl(&["-X", "POST", "-d", "{}", &ask]).0, 401);
}

#[test]
fn other_sites_cannot_ask_through_it() {
    let (_running, url) = playground(open());
    let ask = format!("{url}/api/request");
    let question = json!({ "url": "http://hello", "method": "GET" }).to_string();
    let json = "content-type: application/json";
    for (header, want) in [
        ("sec-fetch-site: cross-site", 403),
        ("sec-fetch-site: same-site", 403),
        ("origin: http://other.example", 403),
        ("origin: null", 403),
        ("content-type: text/plain", 415),
        ("sec-fetch-site: same-origin", 200),
    ] {
        let kind = if want == 415 { "x-a: b" } else { json };
        let got = curl(&["-H", kind, "-H", header, "-d", &question, &ask]).0;
        assert_eq!(got, want, "{header}");
    }
    let large = "head -c 2000000 /dev/zero | curl --noproxy '*' -s -o /dev/null -w '%{http_code}' \
        -H \"$1\" --data-binary @- \"$0\"";
    let out = harness::program("sh").args(["-c", large, &ask, json]).output();
    let out = out.expect("sh can be started");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "413", "{out:?}");
}

#[test]
fn it_asks_nobody_but_services_and_shows_no_token() {
    let (running, url) = playground(open());
    for (asked, why) in [
        ("http://metadata.google.internal/", "asks services only"),
        ("http://169.254.169.254/", "is an address"),
        ("http://localhost:8080/", "only port 80"),
        ("http://external.example/", "not a name of runsd's"),
    ] {
        let said = post(&url, "/api/request", &json!({ "url": asked, "method": "GET" }));
        assert!(said.contains(why), "{asked}: {said}");
    }
    for header in ["Host", "Transfer-Encoding", "Proxy-Authorization"] {
        let question = json!({ "url": "http://hello", "method": "GET", "headers": [[header, "x"]] });
        let said = post(&url, "/api/request", &question);
        assert!(said.contains("not for this page to set"), "{header}: {said}");
    }
    let stats = running.stats();
    assert_eq!(stats["requests"], json!({}), "nobody was asked: {stats}");

    let headers = json!({ "url": "http://echo/headers", "method": "GET" });
    let said = post(&url, "/api/request", &headers);
    let last = &running.stats()["last"][ECHO]["headers"];
    let token = last.as_array().into_iter().flatten().find(|pair| pair[0] == "authorization");
    let token = token.and_then(|pair| pair[1].as_str()).expect("a token");
    let (rest, signature) = token.rsplit_once('.').expect("a JWT");
    assert!(said.contains(rest) && !said.contains(signature), "{said}");
    // A redirect is shown, and not followed.
    let said = post(&url, "/api/request", &json!({ "url": "http://redirect", "method": "GET" }));
    assert!(said.contains("\"status\":302") && said.contains("http://redirect/landed"), "{said}");
}

#[test]
fn as_an_ordinary_user_it_asks_through_http_proxy() {
    let (_running, url) = playground(open().uid(65532));
    for protocol in ["http1", "http2"] {
        let question = json!({ "url": "http://hello", "method": "GET", "protocol": protocol });
        let said = post(&url, "/api/request", &question);
        assert!(said.contains("Hello from hello in us-east1"), "{protocol}: {said}");
    }
    let question = json!({ "url": "http://ws", "protocol": "websocket", "body": "over there" });
    let said = post(&url, "/api/request", &question);
    assert!(said.contains("\"text\":\"over there\""), "{said}");
}

#[test]
fn ctrl_c_ends_all_of_it() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/playground.sh");
    let mut command = harness::program(script);
    command
        .env("CLOUDRUN", harness::cloudrun_program())
        .env("PLAYGROUND", program_file())
        .env("RUNSD_BIN", harness::runsd_program().expect("a runsd"))
        .env_remove("PORT")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("it can be started");
    let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    let lines = stdout.lines().map_while(Result::ok);
    let mut urls = lines.filter_map(|line| {
        let word = line.split(' ').find(|word| word.starts_with("http://"));
        word.map(str::to_owned)
    });
    let url = urls.next().expect("a URL");
    assert_eq!(curl(&[&url]).0, 200);
    let pid = Pid::from_raw(child.id().cast_signed());
    let all = descendants(pid.as_raw());
    assert!(all.len() >= 4, "the keeper, the servers, runsd, the playground: {all:?}");

    killpg(pid, Signal::SIGINT).expect("it runs");
    // It ends when each that could write to it is gone.
    assert_eq!(urls.next(), None);
    child.wait().expect("it ends");
    let left: Vec<_> = all.iter().filter(|(pid, born)| born_at(*pid) == Some(*born)).collect();
    assert!(left.is_empty(), "{left:?}");
    let address = url.trim_start_matches("http://");
    assert!(TcpStream::connect(address).is_err(), "somebody still listens at {address}");
}

/// A process and all below it, each with when it was born.
fn descendants(pid: i32) -> Vec<(i32, u64)> {
    let mut all: Vec<_> = born_at(pid).map(|born| (pid, born)).into_iter().collect();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            all.extend(descendants(child));
        }
    }
    all
}

/// In ticks since the machine started; none of one that is gone.
fn born_at(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22 (proc(5)), counted behind the name, which may have anything in it.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

const ECHO: &str = "echo-123456789012.us-east1.run.app";
/// All that is done in the browser takes half a minute.
const BROWSER: Duration = Duration::from_secs(180);
