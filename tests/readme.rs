//! README says what the program does: its Dockerfile lines, names, sample
//! application, commands and links are read out of it and tried.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::CloudRun;

const README: &str = include_str!("../README.md");

/// The rows of the table below this heading, as cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = README.split_once(heading).expect(heading);
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(str::trim).collect()
    })
    .collect()
}

/// What stands between backticks.
fn code(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The fenced blocks of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let parts = README.split(fence.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn each_entrypoint_starts_the_application() {
    let mut tried = 0;
    for line in README.lines() {
        for part in line.split(['`', '\n']) {
            let part = part.trim_start();
            let words = ["ENTRYPOINT ", "CMD "].iter().find_map(|instruction| part.strip_prefix(instruction));
            let Some(Ok(Value::Array(words))) = words.map(serde_json::from_str) else {
                continue;
            };
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            if words[0] != "/runsd" {
                continue;
            }
            // The application is another one here, and says that it runs.
            let is_app = |word: &&str| matches!(*word, "/app" | "/docker-entrypoint.sh");
            let mut command: Vec<&str> = words.iter().copied().filter(|w| !is_app(w)).collect();
            command.extend(["/bin/echo", "started"]);
            let out = CloudRun::new().run(&command);
            assert_eq!(out.stdout, "started\n", "{words:?}: {}", out.stderr);
            assert_eq!(out.stderr, "", "{words:?}");
            tried += 1;
        }
    }
    assert!(tried >= 6, "{tried} of them are found");
}

#[test]
fn each_name_leads_where_its_row_says() {
    for row in table("\n## Names\n") {
        let (names, leads) = (code(row[0]), row[1]);
        let flags: Vec<&str> = names.iter().filter(|n| n.starts_with('-')).copied().collect();
        for name in names.iter().filter(|name| name.starts_with("http")) {
            let script = format!("curl -sS -o /dev/null -w '%{{http_code}}' {name}; echo \" $?\"");
            let command = [&["/runsd"], &flags[..], &["--", "sh", "-c", &script]].concat();
            let out = CloudRun::new().run(&command);
            let want = match leads {
                _ if name.contains(":8080") || name.starts_with("https:") => "000 7\n",
                _ => "200 0\n",
            };
            assert_eq!(out.stdout, want, "{name}: {}", out.stderr);
        }
    }
}

#[test]
fn the_sample_application_says_what_hello_says() {
    let app = blocks("python")[0];
    let script = "python3 -u -c \"$APP\" 2>/dev/null &
        until curl -s http://127.0.0.1:$PORT; do :; done; kill $!";
    let out = CloudRun::new().env("APP", app).env("PORT", "8080").sh(script);
    let hello = "Hello from hello in us-east1, project 123456789012\n";
    assert_eq!(out.stdout, hello, "{}", out.stderr);
}

#[test]
fn each_command_of_make_and_build_sh_is_there() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = fs::read_to_string(base.join("Makefile")).expect("a Makefile");
    let build = fs::read_to_string(base.join("build.sh")).expect("build.sh");
    let words: Vec<&str> = README.split_whitespace().collect();
    let mut tried = 0;
    for pair in words.windows(2) {
        let clean = |word: &'static str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let (found, what) = match pair[0].trim_start_matches(['`', '(']) {
            "make" => {
                let target = clean(pair[1]);
                let is_target = |line: &str| line.starts_with(&format!("{target}:"));
                (makefile.lines().any(is_target), target)
            }
            "./build.sh" if pair[1].starts_with("--") => {
                let option = clean(pair[1]);
                (build.contains(&format!("--{option}")), option)
            }
            _ => continue,
        };
        assert!(found, "{} {what}", pair[0]);
        tried += 1;
    }
    assert!(tried >= 5, "{tried} of them are found");
}

#[test]
fn the_files_of_a_release_have_its_version() {
    let version = env!("CARGO_PKG_VERSION");
    let mut tried = 0;
    for before in ["runsd-", "runsd:", "/v"] {
        for (at, _) in README.match_indices(before) {
            let rest = &README[at + before.len()..];
            if rest.starts_with(|c: char| c.is_ascii_digit()) {
                assert!(rest.starts_with(version), "{}", &README[at..at + 40]);
                tried += 1;
            }
        }
    }
    assert!(tried >= 6, "{tried} of them are found");
}

#[test]
fn the_compiler_that_readme_asks_for_is_cargos() {
    let version = concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"), " or later");
    assert!(README.contains(version), "{version}");
}

#[test]
fn each_file_that_the_tests_readme_names_is_there() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = fs::read_to_string(base.join("README.md")).expect("tests/README.md");
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        let is_file = [".rs", ".py", ".sh", "/"].iter().any(|end| word.ends_with(end));
        is_file && !word.contains(['*', ' ']) && !word.starts_with("NAME")
    });
    let named: Vec<&str> = named.collect();
    assert!(named.len() >= 15, "{named:?}");
    for name in named {
        let path = base.join(name.trim_start_matches("tests/"));
        assert!(path.exists() || base.join("..").join(name).exists(), "{name}");
    }
}

#[test]
fn each_link_leads_to_a_heading() {
    let slugs: Vec<String> = README
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            text.replace(' ', "-").replace([',', '.', '`', '?'], "")
        })
        .collect();
    for link in README.split("](#").skip(1) {
        let anchor = link.split(')').next().unwrap_or_default();
        assert!(slugs.iter().any(|slug| slug == anchor), "#{anchor}: {slugs:?}");
    }
}

#[test]
fn each_error_that_is_explained_is_one_of_the_proxys() {
    let rows = table("\n## When something does not work\n");
    let source = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proxy"));
    let mut tried = 0;
    let statuses = rows.iter().filter(|row| row[0].starts_with(['4', '5']));
    for word in statuses.flat_map(|row| code(row[0])) {
        if word.contains('_') {
            assert!(source.contains(&format!("\"{word}\"")), "{word}");
            tried += 1;
        }
    }
    assert!(tried >= 5, "{tried} of them are found");
}

/// All there is below `dir`, as one text.
pub fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => text.push_str(&sources(&path)),
            false => text.push_str(&fs::read_to_string(&path).expect("a source file")),
        }
    }
    text
}
