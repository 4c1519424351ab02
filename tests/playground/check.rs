//! `runsd -check`, as runsd was started here: by the flags of the parent
//! process, if that is runsd.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::elide::elide;
use super::events::{Events, Gone};

/// The runsd in front of this process, or one that is at hand.
#[derive(Debug, Clone)]
pub struct Runsd {
    program: PathBuf,
    flags: Vec<String>,
    /// What `runsd -version` says.
    pub version: Option<String>,
}

impl Runsd {
    /// `named` is the environment's word.
    pub fn find(named: Option<&Path>) -> Option<Runsd> {
        let (program, flags) = Runsd::found(named)?;
        let version = Command::new(&program).arg("-version").output();
        let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        Some(Runsd { program, flags, version: version.ok().filter(|version| !version.is_empty()) })
    }

    fn found(named: Option<&Path>) -> Option<(PathBuf, Vec<String>)> {
        let parent = format!("/proc/{}", parent_id());
        let command = words(&format!("{parent}/cmdline"));
        // Of a process of another user it cannot be read.
        let exe = fs::read_link(format!("{parent}/exe"));
        let program = exe.ok().or(command.first().map(PathBuf::from));
        let is_runsd = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("runsd")
        };
        if let Some(program) = program.filter(|path| is_runsd(path)) {
            let flags = flags(&command, &words("/proc/self/cmdline"));
            return Some((program, flags));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places = env::split_paths(&path).map(|dir| dir.join("runsd")).chain([PathBuf::from("/runsd")]);
        let program = named.map(Path::to_owned).or_else(|| places.find(|path| path.exists()))?;
        Some((program, Vec::new()))
    }

    /// Runs the check of everything, or of one name, and tells of each line as
    /// it comes: `line`, and at the end `checked`.
    ///
    /// Blocks: until it is through.
    pub fn check(&self, name: Option<&str>, events: &Events) -> Result<(), Gone> {
        let mut command = Command::new(&self.program);
        command.args(&self.flags).arg(match name {
            Some(name) => format!("-check={name}"),
            None => "-check".to_owned(),
        });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(err) => {
                let problem = format!("cannot run {}: {err}", self.program.display());
                return events.send_blocking("error", json!({ "sentence": problem }));
            }
        };
        let told = tell(&mut child, events);
        if told.is_err() {
            let _ = child.kill();
        }
        let code = child.wait().ok().and_then(|status| status.code());
        told?;
        events.send_blocking("checked", json!({ "code": code }))
    }
}

fn tell(child: &mut Child, events: &Events) -> Result<(), Gone> {
    let Some(stdout) = child.stdout.take() else {
        return Ok(());
    };
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        events.send_blocking("line", parsed(&line))?;
    }
    Ok(())
}

/// `ok    token       fetched, 1.2 ms`: the columns that -check prints, and the
/// time, if there is one.
fn parsed(line: &str) -> Value {
    let (mark, rest) = line.split_at_checked(MARK_WIDTH).unwrap_or((line, ""));
    let (what, text) = rest.split_at_checked(WHAT_WIDTH).unwrap_or((rest, ""));
    let time = text.strip_suffix(" ms").and_then(|text| text.rsplit([' ', ',']).next()?.parse::<f64>().ok());
    json!({
        "mark": mark.trim().to_ascii_lowercase(),
        "what": what.trim(),
        "text": elide(text.trim()),
        "took": time,
    })
}

/// What stands in runsd's command line before ours, without its own name and
/// the `--` between.
fn flags(runsds: &[String], ours: &[String]) -> Vec<String> {
    let before = runsds.len().saturating_sub(ours.len());
    let mut flags = runsds[..before].iter().skip(1).cloned().collect::<Vec<_>>();
    flags.pop_if(|last| last == "--");
    flags
}

fn words(path: &str) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let words = bytes.split(|&b| b == 0);
    let mut words: Vec<_> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    // Each ends with a NUL, the last one, too.
    words.pop();
    words
}

const MARK_WIDTH: usize = 6;
const WHAT_WIDTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let got = parsed("ok    address     192.0.2.1, 0.4 ms");
        assert_eq!(got, json!({ "mark": "ok", "what": "address", "text": "192.0.2.1, 0.4 ms", "took": 0.4 }));
        let got = parsed("WRONG status      403 from the front end");
        assert_eq!(got["mark"], "wrong");
        assert_eq!(got["text"], "403 from the front end");
        assert_eq!(got["took"], Value::Null);
        assert_eq!(parsed("")["what"], "");
    }

    #[test]
    fn flags_of_the_parent() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let ours = words("playground");
        for (line, want) in [
            ("/runsd -- playground", vec![]),
            ("/runsd -v=3 -route a=http://b -- playground", vec!["-v=3", "-route", "a=http://b"]),
            ("/runsd -v=3 playground", vec!["-v=3"]),
            ("/runsd", vec![]),
        ] {
            assert_eq!(flags(&words(line), &ours), want, "{line}");
        }
    }
}
