//! The Dockerfiles of README: built by buildah, and started in the miniature.
//!
//! Their base images cannot be pulled without a network. Each is built from
//! scratch, whatever its FROM says; what the base image would bring is then the
//! machine's own (node, python3, nginx), or a stand-in: busybox for the shell,
//! `tests/clients/docker-entrypoint.sh`, and an `/init` that starts its
//! arguments and waits for them, as s6-overlay's does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use serde_json::Value;

use crate::containers::{Image, at, copy};
use crate::harness::{CloudRun, Output, needs_several_users, program, runsd_program};

const README: &str = include_str!("../README.md");
const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";

#[test]
fn each_dockerfile_of_readme_builds_and_reaches_a_service() {
    needs_several_users();
    let image = Image::scratch();
    let mut tried = Vec::new();
    for (n, text) in dockerfiles().into_iter().enumerate() {
        let root = built(&image.0.join(n.to_string()), text);
        let base = text.lines().find_map(|line| line.strip_prefix("FROM "));
        let base = base.expect("a FROM");
        let words = command(text);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let out = match base {
            "scratch" | "gcr.io/distroless/static-debian12" => on_nothing(&image, &root, &words),
            _ => on_the_machines_own(&root, &words),
        };
        let want = (HELLO, "");
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), want, "{text}");
        tried.push(base);
    }
    for base in ["scratch", "python:3-slim", "node:22-slim", "nginx:1"] {
        assert!(tried.contains(&base), "{base}: {tried:?}");
    }
    assert!(tried.len() >= 6, "s6-overlay, distroless: {tried:?}");
}

/// What `gcloud run deploy --source` builds may be built without BuildKit, which
/// `COPY --chmod` takes.
#[test]
fn what_gcloud_builds_takes_no_buildkit() {
    let playground = include_str!("playground/Dockerfile");
    let (_, first) = README.split_once("\n## A first success\n").expect("the section");
    let (_, first) = first.split_once("```dockerfile\n").expect("its Dockerfile");
    for dockerfile in [playground, first.split("```").next().unwrap_or_default()] {
        let mut copies = dockerfile.lines().filter(|line| line.starts_with("COPY ") || line.starts_with("ADD "));
        assert!(dockerfile.contains("\nCOPY runsd ") && copies.all(|line| !line.contains(" --")), "{dockerfile}");
    }
}

/// By the row of README that adds a release by its address, which is one of loopback
/// here. buildah 1.28, Debian 12's, has no `--checksum` yet: there it builds the row
/// without it, and sha256sum compares the sum with what was added.
#[test]
fn a_release_is_added_by_its_address_where_its_sum_is_right() {
    needs_several_users();
    let image = Image::scratch();
    let release = runsd_program().expect("a runsd; run `make build`");
    let (add, path) = release_row();
    let address = serve_at(path, fs::read(&release).expect("a file"));
    let right = sha256(&release);
    let wrong = "0".repeat(right.len());
    for (name, sum) in [("right", &right), ("wrong", &wrong)] {
        let dir = image.0.join(name);
        let context = dir.join("context");
        fs::create_dir_all(&context).expect("a directory");
        let add = add.replace("SUM", sum).replace("https://github.com/", &format!("http://{address}/"));
        let checks_itself = buildah_knows_checksum();
        let known = match checks_itself {
            true => add,
            false => add.replace(&format!("--checksum=sha256:{sum} "), ""),
        };
        fs::write(context.join("Dockerfile"), format!("FROM scratch\n{known}\n")).expect("a Dockerfile");
        let out = buildah(&dir, &context);
        let stderr = String::from_utf8_lossy(&out.stderr);
        let added = dir.join("root/runsd");
        let is_built = out.status.success() && (checks_itself || sha256(&added) == *sum);
        assert_eq!(is_built, name == "right", "{known}: {stderr}");
        if !is_built {
            assert!(out.status.success() || stderr.contains("digest"), "{known}: {stderr}");
            continue;
        }
        let mode = fs::metadata(&added).expect("/runsd").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "{known}");
        let call = ["/runsd", "--", "/bin/busybox", "wget", "-qO-", "http://hello"];
        let out = on_nothing(&image, &dir.join("root"), &call);
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), (HELLO, ""), "{known}");
    }
}

/// The instruction that adds a release by its address, and the address's path.
fn release_row() -> (&'static str, &'static str) {
    let start = README.find("`ADD ").expect("the row of a release") + 1;
    let add = README[start..].split('`').next().unwrap_or_default();
    let url = add.split(' ').find_map(|word| word.strip_prefix("https://github.com"));
    assert!(add.contains("--checksum=sha256:SUM ") && add.ends_with(" /runsd"), "{add}");
    (add, url.expect("an address"))
}

fn buildah_knows_checksum() -> bool {
    let help = program("buildah").args(["add", "--help"]).output();
    let help = help.expect("buildah; run `apt-get install buildah`").stdout;
    String::from_utf8_lossy(&help).contains("--checksum")
}

fn sha256(path: &Path) -> String {
    let out = program("sha256sum").arg(path).output().expect("sha256sum starts");
    let text = String::from_utf8_lossy(&out.stdout);
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Serves a file at this path, and nothing else, at the address that is returned, until
/// the tests end.
fn serve_at(path: &'static str, file: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = respond(&stream, path, &file); // a client that is gone asks for nothing
        }
    });
    address
}

fn respond(mut stream: &TcpStream, path: &str, file: &[u8]) -> std::io::Result<()> {
    let mut head = BufReader::new(stream).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    if request != format!("GET {path} HTTP/1.1") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let length = file.len();
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes())?;
    stream.write_all(file)
}

/// Each fenced Dockerfile, whose fence has either spelling.
fn dockerfiles() -> Vec<&'static str> {
    let fences = README.split("```").skip(1).step_by(2);
    fences
        .filter_map(|block| {
            let (language, text) = block.split_once('\n')?;
            language.eq_ignore_ascii_case("dockerfile").then_some(text)
        })
        .collect()
}

/// ENTRYPOINT and CMD, as a container runtime puts them together.
fn command(dockerfile: &str) -> Vec<String> {
    let words = |instruction: &str| -> Vec<String> {
        let line = dockerfile.lines().find_map(|line| line.strip_prefix(instruction));
        let Some(Value::Array(words)) = line.map(|line| serde_json::from_str(line).expect(line)) else {
            return Vec::new();
        };
        words.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    [words("ENTRYPOINT "), words("CMD ")].concat()
}

/// With nothing but what was built, and a busybox for the application.
fn on_nothing(image: &Image, root: &Path, words: &[&str]) -> Output {
    let busybox = format!("{}:/bin/busybox", image.0.join("bin/busybox").display());
    at(root).option("--bind").option(busybox).run(words)
}

/// With the machine's programs beside what was built. A server is asked at its
/// `PORT`, and what has ended by then has printed it itself.
fn on_the_machines_own(root: &Path, words: &[&str]) -> Output {
    let conf = root.join("etc/nginx");
    if conf.exists() {
        fs::write(conf.join("nginx.conf"), NGINX_CONF).expect("what the image brings");
    }
    let init = root.join("init");
    fs::write(&init, "#!/bin/sh\n\"$@\" &\nwait $!\n").expect("what the image brings");
    make_executable(&init);
    let entrypoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    copy(&entrypoint.join("docker-entrypoint.sh"), &root.join("docker-entrypoint.sh"));
    let mut cloudrun = CloudRun::new().env("PORT", "8080");
    for file in ["app", "app.py", "server.js", "init", "docker-entrypoint.sh", "etc/nginx"] {
        let from = root.join(file);
        if from.exists() {
            let bind = format!("{}:/{file}", from.display());
            cloudrun = cloudrun.option("--bind").option(bind);
        }
    }
    cloudrun.run(&[&["sh", "/tests/clients/entrypoint_asked.sh"], words].concat())
}

fn make_executable(path: &Path) {
    let status = program("chmod").arg("755").arg(path).status();
    assert!(status.expect("chmod starts").success(), "{path:?}");
}

/// The root of the image that a Dockerfile makes, built upon scratch.
fn built(dir: &Path, dockerfile: &str) -> PathBuf {
    let context = dir.join("context");
    fs::create_dir_all(&context).expect("a directory");
    copy(&runsd_program().expect("a runsd; run `make build`"), &context.join("runsd"));
    let (_, app_py) = README.split_once("```python\n").expect("the application");
    let app_py = app_py.split("```").next().unwrap_or_default();
    let lines = dockerfile.lines().map(|line| match line {
        line if line.starts_with("FROM ") => "FROM scratch",
        line => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    for (name, text) in [
        ("app", "#!/bin/busybox sh\nexec busybox wget -qO- http://hello\n"),
        ("app.py", app_py),
        ("server.js", SERVER_JS),
        ("site.conf", SITE_CONF),
        ("Dockerfile", &text),
    ] {
        fs::write(context.join(name), text).expect("a file of the context");
    }
    let out = buildah(dir, &context);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{dockerfile}: {stderr}");
    dir.join("root")
}

/// Builds what is in `context`; the image's files are then in `dir`/root.
fn buildah(dir: &Path, context: &Path) -> process::Output {
    program("buildah")
        .arg("--root")
        .arg(dir.join("storage"))
        .arg("--runroot")
        .arg(dir.join("run"))
        .args(["--storage-driver", "vfs", "build", "--isolation", "chroot"])
        .arg("--output")
        .arg(format!("type=local,dest={}", dir.join("root").display()))
        .arg(context)
        .output()
        .expect("buildah; run `apt-get install buildah`")
}

const SERVER_JS: &str = "require('http').createServer((request, response) =>
    fetch('http://hello').then(r => r.text()).then(text => response.end(text))
).listen(process.env.PORT)";

/// As README says: another port than 80.
const SITE_CONF: &str = "server { listen 8080; location / { proxy_pass http://hello; } }\n";

/// What the image has in its own, and what lets it run where only /tmp can be
/// written.
const NGINX_CONF: &str = "pid /tmp/nginx.pid; error_log stderr error; events {}
http {
  access_log off;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
  scgi_temp_path /tmp/s; uwsgi_temp_path /tmp/u;
  include /etc/nginx/conf.d/*.conf;
}
";
