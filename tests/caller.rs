//! An application that calls what a test says: runsd's child is a shell that
//! reads words for curl, and says what came of it.
//!
//!     let mut caller = Caller::new(CloudRun::new(), &["-auth_header=off"]);
//!     assert_eq!(caller.status("http://hello"), "403");

use std::io::Write as _;
use std::process::ChildStdin;

use serde_json::Value;

use crate::harness::{CloudRun, Output, Running};

pub struct Caller {
    pub running: Running,
    stdin: ChildStdin,
}

impl Caller {
    /// Starts runsd with these flags.
    #[track_caller]
    pub fn new(miniature: CloudRun, flags: &[&str]) -> Caller {
        let shell = ["--", "sh", "-c", LOOP];
        let command: Vec<&str> = ["/runsd"].iter().chain(flags).chain(&shell).copied().collect();
        Caller::started(miniature.start(&command))
    }

    /// Starts runsd after something was ordered, so that even its first
    /// question meets that.
    #[track_caller]
    pub fn after(room: &str, settings: &Value) -> Caller {
        let script = format!("read go; exec /runsd -- sh -c '{LOOP}'");
        let mut caller = Caller::started(CloudRun::new().start(&["sh", "-c", &script]));
        caller.running.post(room, settings);
        caller.tell("go");
        caller
    }

    fn started(mut running: Running) -> Caller {
        let stdin = running.stdin.take().expect("stdin is a pipe");
        Caller { running, stdin }
    }

    /// The status of an answer.
    #[track_caller]
    pub fn status(&mut self, words: &str) -> String {
        self.line(&format!("-o /dev/null -w '%{{http_code}}\\n' {words}"))
    }

    /// The first line of what curl prints.
    #[track_caller]
    pub fn line(&mut self, words: &str) -> String {
        self.tell(&format!("printf '%s\\n' \"$(curl -s {words} | head -n 1)\""));
        self.running.line()
    }

    /// Has the shell do something.
    #[track_caller]
    pub fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the shell reads");
    }

    /// The values a header had when a request for this host was last seen.
    #[track_caller]
    pub fn sent(&self, host: &str, header: &str) -> Vec<String> {
        let stats = self.running.stats();
        let headers = stats["last"][host]["headers"].as_array();
        let headers = headers.unwrap_or_else(|| panic!("no request for {host}: {stats:#}"));
        headers
            .iter()
            .filter(|pair| pair[0] == header)
            .map(|pair| pair[1].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// How many tokens were fetched, by audience.
    #[track_caller]
    pub fn fetches(&self) -> Value {
        self.running.stats()["token_fetches"].clone()
    }

    /// Lets the application end.
    #[track_caller]
    pub fn finish(self) -> Output {
        drop(self.stdin);
        self.running.finish()
    }
}

const LOOP: &str = "while read -r line; do eval \"$line\"; done";
