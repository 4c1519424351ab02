//! What measures and what shows progress: charts can be read by all, and a
//! command under `progress.py` is what it is without.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Output, Stdio};

use crate::harness::scratch;
use crate::surroundings::program;

const BASE: &str = env!("CARGO_MANIFEST_DIR");

fn python(words: &[&str]) -> Output {
    let mut command = program("python3");
    let out = command.arg("-B").args(words).current_dir(BASE).output();
    out.expect("python3 is there")
}

/// The names of the rows of `make bench`, and what they are called in a chart.
fn rows() -> Vec<(String, String)> {
    let out = python(&["tests/bench/main.py", "--list"]);
    let text = String::from_utf8(out.stdout).expect("text");
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    rows.map(|(name, title)| (name.to_owned(), title.trim().to_owned())).collect()
}

/// The text of an SVG, one line for each element, as an XML parser reads it.
fn text_of(svg: &str) -> String {
    let script = "import sys, xml.etree.ElementTree as tree
for element in tree.parse(sys.argv[1]).iter():
    print(element.tag.split('}')[1], (element.text or '').strip())";
    let out = python(&["-c", script, svg]);
    assert!(out.status.success(), "{svg}: {out:?}");
    String::from_utf8(out.stdout).expect("text")
}

/// Whether all words stand there: long titles are on two lines.
fn says(text: &str, title: &str) -> bool {
    title.split(' ').all(|word| text.contains(word))
}

fn assert_readable(svg: &str) -> String {
    let text = text_of(svg);
    let source = fs::read_to_string(svg).expect("a chart");
    assert!(source.contains("prefers-color-scheme: dark"), "{svg}");
    assert!(source.contains("role=\"img\" aria-labelledby=\"title desc\""));
    for element in ["title ", "desc "] {
        let has = text.lines().any(|line| line.len() > element.len() && line.starts_with(element));
        assert!(has, "{svg} has no {element}: {text}");
    }
    text
}

#[test]
fn the_chart_of_the_bench_shows_each_row() {
    let (figures, svg) = (scratch("figures.json"), scratch("bench.svg"));
    let line = |name: &str, low: u32| {
        format!(r#"{{"name": "{name}", "what": "", "values": [{low}, 900], "unit": "<&>", "cpu": [0.2], "failed": 0}}"#)
    };
    let each = rows().into_iter().map(|(name, title)| {
        let lines = [line("runsd", 800), line("nginx", 400)].join(", ");
        format!(r#""{name}": {{"title": "{title}", "more_is_better": true, "lines": [{lines}]}}"#)
    });
    let text = format!(r#"{{"rows": {{{}}}}}"#, each.collect::<Vec<_>>().join(", "));
    fs::write(&figures, text).expect("a scratch file");
    let (from, to) = (figures.to_str().expect("UTF-8"), svg.to_str().expect("UTF-8"));
    let out = python(&["tests/bench/chart.py", "bench", from, to]);
    assert!(out.status.success(), "{out:?}");
    let text = assert_readable(to);
    for (name, title) in rows() {
        assert!(says(&text, &title), "{name}: {text}");
    }
    assert!(text.contains("850 <&>, 1.31 × nginx"), "{text}");
}

#[test]
fn the_charts_that_readme_shows_are_of_today() {
    let bench = assert_readable(&format!("{BASE}/tests/bench/bench.svg"));
    for (name, title) in rows() {
        assert!(says(&bench, &title), "{name}: {bench}; make bench");
    }
    let start = assert_readable(&format!("{BASE}/tests/bench/coldstart.svg"));
    assert!(start.contains("resolv.conf: runsd"), "{start}");
}

/// What runs under `progress.py` (kind and command), with a terminal or without.
/// Once it has said `cue`, Ctrl-C is pressed.
fn progress(command: &str, has_terminal: bool, cue: Option<&str>) -> (String, Option<i32>) {
    // exec: a shell in between would die of Ctrl-C and hide how this one ended.
    let under = format!("exec python3 -B tests/progress.py {command}");
    let words = match has_terminal {
        true => vec!["script", "-qec", &under, "/dev/null"],
        false => vec!["sh", "-c", &under],
    };
    let mut child = program(words[0])
        .args(&words[1..])
        .current_dir(BASE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is there");
    let (mut stdin, mut stdout) = (child.stdin.take(), child.stdout.take());
    let (stdin, stdout) = (stdin.as_mut().expect("a pipe"), stdout.as_mut().expect("one"));
    let (mut shown, mut cue) = (Vec::new(), cue);
    let mut some = [0; 4096];
    loop {
        let n = stdout.read(&mut some).expect("output");
        if n == 0 {
            break;
        }
        shown.extend_from_slice(&some[..n]);
        let text = String::from_utf8_lossy(&shown);
        if cue.take_if(|cue| text.contains(*cue)).is_some() {
            stdin.write_all(b"\x03").expect("it reads");
        }
    }
    let status = child.wait().expect("it ends");
    (String::from_utf8(shown).expect("text"), status.code())
}

const STEPS: &str = "demo sh -c 'echo \"# 1 of 2: first\"; echo said; echo \"# 2 of 2: second\"; exit 7'";

#[test]
fn progress_is_drawn_on_a_terminal() {
    let (shown, code) = progress(STEPS, true, None);
    assert_eq!(code, Some(7), "{shown}");
    assert!(shown.contains("\r\x1b[K\x1b[2m2 of 2: second"), "{shown:?}");
    assert!(shown.contains("said\r\n"), "{shown:?}");
    assert!(shown.ends_with("\r\x1b[K"), "{shown:?}");
}

#[test]
fn progress_without_a_terminal_is_plain_lines() {
    let (shown, code) = progress(STEPS, false, None);
    assert_eq!(code, Some(7));
    assert_eq!(shown, "# 1 of 2: first\nsaid\n# 2 of 2: second\n");
}

#[test]
fn ctrl_c_reaches_what_runs_under_progress() {
    let waits = "demo sh -c 'trap \"echo was told; exit 9\" INT; echo \"# 1 of 1: waits\"; read line'";
    let (shown, code) = progress(waits, true, Some("waits\r\n"));
    assert!(shown.contains("was told"), "{shown:?}");
    assert_eq!(code, Some(9), "{shown:?}");
}

#[test]
fn what_fails_is_shown_among_tests_that_are_only_counted() {
    let tests = "test sh -c 'case $* in *--list) echo a: test; echo b: test; exit;; esac
        echo test a ... ok; echo test b ... FAILED; echo b said why; exit 101' sh";
    let (shown, code) = progress(tests, true, None);
    assert_eq!(code, Some(101), "{shown}");
    assert!(shown.contains("2 of 2: b, 1 failed"), "{shown:?}");
    assert!(shown.contains("test b ... FAILED\r\n"), "{shown:?}");
    assert!(shown.contains("b said why\r\n"), "{shown:?}");
    assert!(!shown.contains("test a"), "{shown:?}");
}
