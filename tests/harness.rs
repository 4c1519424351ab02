//! Runs programs in the Cloud Run in miniature (`cloudrun/`), and asks it what
//! it saw.
//!
//!     let out = CloudRun::new().run(&["/runsd", "--", "curl", "-s", "http://hello"]);
//!     assert_eq!(out.stdout, "Hello from hello in us-east1, project 123456789012\n");
//!
//! A run that takes too long is ended and fails the test with what it printed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub use crate::surroundings::{needs_descriptors, needs_several_users, program};

/// A miniature that is not yet there. Without further words it is a service's
/// container with the machine's own files and runsd at `/runsd`; `tests/` is
/// at `/tests`.
pub struct CloudRun {
    options: Vec<OsString>,
    stdin: Vec<u8>,
    limit: Duration,
    /// Files that go when the run does.
    scratch: Vec<PathBuf>,
}

impl CloudRun {
    pub fn new() -> CloudRun {
        let tests = format!("{}/tests:/tests", env!("CARGO_MANIFEST_DIR"));
        let new = CloudRun { options: Vec::new(), stdin: Vec::new(), limit: PATIENCE, scratch: Vec::new() };
        new.option("--bind").option(tests)
    }

    /// A word for cloudrun itself: `.option("--uid").option("65532")`.
    pub fn option(mut self, word: impl Into<OsString>) -> CloudRun {
        self.options.push(word.into());
        self
    }

    pub fn env(self, key: &str, value: &str) -> CloudRun {
        self.option("--env").option(format!("{key}={value}"))
    }

    /// The image holds only what is in `dir`.
    pub fn root(self, dir: &Path) -> CloudRun {
        self.option("--root").option(dir)
    }

    pub fn uid(self, uid: u32) -> CloudRun {
        self.option("--uid").option(uid.to_string())
    }

    /// What `/etc/resolv.conf` says.
    pub fn resolv_conf(mut self, text: &str) -> CloudRun {
        let path = scratch("resolv.conf");
        fs::write(&path, text).expect("a scratch file can be written");
        self.scratch.push(path.clone());
        self.option("--resolv-conf").option(path)
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> CloudRun {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take, instead of half a minute.
    pub fn limit(mut self, limit: Duration) -> CloudRun {
        self.limit = limit;
        self
    }

    /// Runs `command` as the entrypoint to its end.
    #[track_caller]
    pub fn run(mut self, command: &[&str]) -> Output {
        let stdin = std::mem::take(&mut self.stdin);
        let mut running = self.start(command);
        let mut pipe = running.stdin.take().expect("stdin is a pipe");
        // Beside, because who does not read its stdin may still write.
        let writer = thread::spawn(move || pipe.write_all(&stdin));
        let out = running.finish();
        let _ = writer.join();
        out
    }

    /// A shell's view: `sh -c script` under runsd.
    #[track_caller]
    pub fn sh(self, script: &str) -> Output {
        self.run(&["/runsd", "--", "sh", "-c", script])
    }

    /// Runs a Python program under runsd; what came on stderr. It has to
    /// succeed.
    #[track_caller]
    pub fn python(self, words: &[&str]) -> String {
        let out = self.in_venv(&[&["/venv/bin/python", "-B"], words].concat());
        assert_eq!(out.status, 0, "{words:?}: {}{}", out.stdout, out.stderr);
        out.stderr
    }

    /// Runs `command` under runsd, with the packages of
    /// `tests/requirements.txt` in `/venv`.
    #[track_caller]
    pub fn in_venv(self, command: &[&str]) -> Output {
        let venv = format!("{}/target/venv", env!("CARGO_MANIFEST_DIR"));
        assert!(
            Path::new(&venv).join("installed").exists(),
            "there is no target/venv with the Python clients; run `make python`"
        );
        let run = self.option("--bind").option(venv + ":/venv");
        run.limit(2 * PATIENCE).run(&[&["/runsd", "--"], command].concat())
    }

    /// Runs a Python program of `tests/clients/` under runsd, with these words; what
    /// came of it. It has to succeed.
    ///
    ///     CloudRun::new().client("early_answers.py", &["early"])
    #[track_caller]
    pub fn client(self, program: &str, words: &[&str]) -> Output {
        let path = format!("/tests/clients/{program}");
        let command = ["/runsd", "--", "python3", "-B", &path];
        let out = self.run(&[&command, words].concat());
        assert_eq!(out.status, 0, "{program} {words:?}: {}{}", out.stdout, out.stderr);
        out
    }

    /// Starts `command` as the entrypoint and lets it run.
    #[track_caller]
    pub fn start(self, command: &[&str]) -> Running {
        if self.options.iter().any(|word| word == "--uid") {
            needs_several_users();
        }
        let control = scratch("control");
        let mut cloudrun = program(cloudrun_program());
        cloudrun.arg("--control").arg(&control);
        if let Some(runsd) = runsd_program() {
            cloudrun.arg("--runsd").arg(runsd);
        } else if command.first() == Some(&"/runsd") {
            panic!("there is no dist/runsd; run `make build`, or set RUNSD_BIN");
        }
        cloudrun.args(&self.options).arg("--").args(command);
        cloudrun.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = cloudrun.spawn().expect("cloudrun can be started");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(lines);
        let stderr = child.stderr.take().map(whole);
        Running {
            child,
            stdin,
            stdout: stdout.expect("stdout is a pipe"),
            stderr: stderr.expect("stderr is a pipe"),
            control: Control(control),
            read: String::new(),
            command: command.join(" "),
            deadline: Instant::now() + self.limit,
            scratch: self.scratch,
        }
    }
}

/// What a run left behind.
#[derive(Debug)]
pub struct Output {
    /// The exit code, or 128 and the number of the signal that ended cloudrun.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A miniature at work. Dropping it ends it.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    pub control: Control,
    /// What was taken from stdout so far, for the report of a failure.
    read: String,
    command: String,
    deadline: Instant,
    scratch: Vec<PathBuf>,
}

impl Running {
    /// The next line of the entrypoint's stdout, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.stdout.recv_timeout(self.left()) {
            Ok(line) => {
                self.read += &line;
                line.trim_end_matches('\n').to_owned()
            }
            Err(RecvTimeoutError::Timeout) => self.too_long("the next line"),
            Err(RecvTimeoutError::Disconnected) => self.too_long("a line, but stdout has ended"),
        }
    }

    /// Sends a signal to the entrypoint.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("cloudrun still runs");
    }

    /// What the miniature has seen; see `cloudrun/world.rs`.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.control.stats()
    }

    /// Orders something, from the moment this returns: `post("dns", json!({"mode": "silent"}))`.
    #[track_caller]
    pub fn post(&self, room: &str, settings: &Value) {
        self.control.post(room, settings);
    }

    /// Waits for the entrypoint's end.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        drop(self.stdin.take());
        loop {
            match self.stdout.recv_timeout(self.left()) {
                Ok(line) => self.read += &line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.too_long("its end"),
            }
        }
        let Ok(stderr) = self.stderr.recv_timeout(self.left()) else { self.too_long("the end of its stderr") };
        let status = self.child.wait().expect("cloudrun can be waited for");
        Output { status: code(status), stdout: std::mem::take(&mut self.read), stderr }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    #[track_caller]
    fn too_long(&mut self, what: &str) -> ! {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let stderr = self.stderr.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        panic!("{}: waited in vain for {what}\nstdout so far: {}\nstderr: {stderr}", self.command, self.read);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.scratch.push(self.control.0.clone());
        for path in &self.scratch {
            let _ = fs::remove_file(path);
        }
    }
}

/// Where the miniature is asked and told.
pub struct Control(pub PathBuf);

impl Control {
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.ask("GET", "/stats", "")
    }

    /// Waits until `what` has seen `which` that many times, as in
    /// `wait("requests", "hello-123456789012.us-east1.run.app", 2)`.
    #[track_caller]
    pub fn wait(&self, what: &str, which: &str, times: u64) -> Value {
        let which = which.replace(' ', "+");
        self.ask("GET", &format!("/wait?what={what}&which={which}&times={times}"), "")
    }

    #[track_caller]
    pub fn post(&self, room: &str, settings: &Value) {
        self.ask("POST", &format!("/{room}"), &settings.to_string());
    }

    #[track_caller]
    fn ask(&self, method: &str, target: &str, body: &str) -> Value {
        let mut stream = self.connect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: control\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).expect("the control socket takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the control socket answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {target}: {answer}");
        serde_json::from_str(body).expect("JSON from the control socket")
    }

    /// The socket is there a few milliseconds after the start.
    #[track_caller]
    fn connect(&self) -> UnixStream {
        let start = Instant::now();
        loop {
            match UnixStream::connect(&self.0) {
                Ok(stream) => return stream,
                Err(err) if start.elapsed() > PATIENCE => panic!("no control socket: {err}"),
                Err(_) => thread::yield_now(),
            }
        }
    }
}

/// `target/debug/examples/cloudrun`: cargo builds it along with the tests.
pub fn cloudrun_program() -> PathBuf {
    let mut dir = env::current_exe().expect("a test knows its own path");
    dir.pop(); // deps
    dir.pop();
    let program = dir.join("examples/cloudrun");
    assert!(program.exists(), "{program:?} is not there; run `cargo build --example cloudrun`");
    program
}

/// The static runsd: what `RUNSD_BIN` names, or `dist/runsd`, which has to be
/// made from the sources as they are now.
#[track_caller]
pub fn runsd_program() -> Option<PathBuf> {
    if let Some(path) = env::var_os("RUNSD_BIN").map(PathBuf::from) {
        return path.exists().then_some(path);
    }
    static CURRENT: OnceLock<bool> = OnceLock::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = repository.join("dist/runsd");
    let exists = path.exists();
    assert!(
        !exists || *CURRENT.get_or_init(|| is_current(repository)),
        "dist/runsd is older than the sources; run `make build` first, or `make test`, which does"
    );
    exists.then_some(path)
}

/// The runsd that is tried without a miniature: as cargo makes it for these
/// tests, or what `PLAIN_RUNSD` names, such as one for another architecture. It is
/// not called `RUNSD_…`: runsd finds it, too, and would miss a setting of that name.
pub fn plain_runsd() -> String {
    env::var("PLAIN_RUNSD").unwrap_or_else(|_| env!("CARGO_BIN_EXE_runsd").to_owned())
}

/// Whether `dist/runsd` and all it was made from still are what `build.sh` saw.
pub fn is_current(repository: &Path) -> bool {
    program("sha256sum")
        .args(["--check", "--status", "dist/runsd.built-from"])
        .current_dir(repository)
        .stderr(Stdio::null())
        .status()
        .expect("sha256sum, of the package coreutils, can be started")
        .success()
}

/// A file of `tests/clients/`, for programs that run outside of a miniature.
pub fn client_file(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A path nobody else uses.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("cloudrun-{}-{count}-{name}", std::process::id()))
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

fn whole(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Far more than anything here takes; a test that fails should say why itself.
const PATIENCE: Duration = Duration::from_secs(90);
