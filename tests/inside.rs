//! What a reader of the sources relies on: `src/README.md` names what is there, and
//! what it has to name; files and functions are of a size that can be read at once.

use std::fs;
use std::path::{Path, PathBuf};

const INSIDE: &str = include_str!("../src/README.md");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

const MAX_LINES_OF_A_FILE: usize = 500;
const MAX_LINES_OF_A_FUNCTION: usize = 60;

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn each_file_that_is_named_is_there() {
    let all = files(&Path::new(REPOSITORY).join("src"));
    let words = INSIDE.split('`').skip(1).step_by(2);
    let named: Vec<&str> = words.filter(|word| word.ends_with(".rs")).collect();
    for name in &named {
        assert!(all.iter().any(|path| path.ends_with(name)), "{name}");
    }
    assert!(named.len() >= 20, "{named:?}");
}

#[test]
fn each_test_that_is_skipped_under_qemu_is_there() {
    let script = include_str!("arm64.sh");
    let all: String = programs().into_iter().map(|(_, text)| text).collect();
    let skipped: Vec<&str> = script.lines().filter_map(|line| line.trim_start().strip_prefix("--skip ")).collect();
    for name in &skipped {
        assert!(all.contains(&format!("fn {name}()")), "{name}");
    }
    assert!(skipped.len() >= 7, "{skipped:?}");
}

#[test]
fn each_dependency_has_its_reason_and_its_bytes() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let manifest = manifest.expect("Cargo.toml");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").expect("a table");
    let (table, _) = rest.split_once("\n[").expect("another one");
    let names = table.lines().filter_map(|line| line.split_once(" = "));
    for (name, _) in names {
        let row = INSIDE.lines().find(|line| line.starts_with("| ") && first_cell(line).contains(&format!("`{name}`")));
        let cells = row.map_or(0, |row| row.trim_matches('|').split('|').count());
        assert_eq!(cells, 4, "{name}: {row:?}");
    }
}

fn first_cell(row: &str) -> &str {
    row.trim_start_matches('|').split('|').next().unwrap_or_default()
}

/// The Rust and Python of `src/` and `tests/`, each with its text.
fn programs() -> Vec<(String, String)> {
    let all = ["src", "tests"].map(|dir| files(&Path::new(REPOSITORY).join(dir)));
    let mut programs = Vec::new();
    for path in all.concat() {
        if path.extension().is_some_and(|end| end == "rs" || end == "py") {
            let text = fs::read_to_string(&path).expect("a source file");
            let name = path.strip_prefix(REPOSITORY).expect("inside");
            programs.push((name.display().to_string(), text));
        }
    }
    programs
}

/// The functions of a file that rustfmt has formatted, and how many lines they have:
/// each ends at the first brace that is indented as its first line is.
fn functions(source: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let is_comment = code.starts_with("//");
        let Some((before, rest)) = code.split_once("fn ").filter(|_| !is_comment) else {
            continue;
        };
        let is_item = before.split_whitespace().all(|word| {
            let qualifiers = ["const", "unsafe", "extern", "\"C\"", "async"];
            word.starts_with("pub") || qualifiers.contains(&word) || word.starts_with("in ")
        });
        // One that ends where it begins, or has no body.
        if !is_item || line.ends_with(['}', ';']) {
            continue;
        }
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        let body = &lines[at + 1..];
        let end = body.iter().position(|line| {
            let closed = line.strip_prefix(indent);
            closed.is_some_and(|rest| rest == "}" || rest.starts_with(')') && rest.ends_with(';'))
        });
        found.push((name, end.map_or(body.len(), |end| end + 2)));
    }
    found
}

#[test]
fn no_file_and_no_function_is_longer_than_can_be_read_at_once() {
    let mut longer = Vec::new();
    let mut total = 0;
    for (file, text) in programs() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES_OF_A_FILE, "{file} has {lines} lines");
        for (name, lines) in functions(&text) {
            total += 1;
            if lines <= MAX_LINES_OF_A_FUNCTION || !file.ends_with(".rs") {
                continue;
            }
            longer.push(format!("{file}: {name} has {lines} lines"));
        }
    }
    assert!(total > 1_000, "{total} functions are found");
    assert_eq!(longer, Vec::<String>::new());
}

/// Public items of a file without a doc comment; constants that are named as their RFC names them are documented by
/// the list they are in.
fn undocumented(source: &str) -> Vec<&str> {
    let product = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: Vec<&str> = product.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(item) = line.trim_start().strip_prefix("pub ") else { continue };
        let word = item.split_whitespace().next().unwrap_or_default();
        let is_listed = ["u8", "u16", "ErrorCode", "RecordType", "Rcode"]
            .iter()
            .any(|listed| word == "const" && item.contains(&format!(": {listed} = ")));
        if is_listed || ["mod", "use"].contains(&word) {
            continue;
        }
        let before = lines[..at].iter().rev().map(|line| line.trim_start()).find(|line| !line.starts_with("#["));
        if !before.is_some_and(|line| line.starts_with("///")) {
            found.push(*line);
        }
    }
    found
}

#[test]
fn each_public_item_says_what_it_is() {
    for (file, text) in programs() {
        // What only tests use is told by its name.
        let is_product = file.starts_with("src/") && !file.contains("/tests") && !file.contains("test_");
        if is_product && file.ends_with(".rs") {
            assert_eq!(undocumented(&text), Vec::<&str>::new(), "{file}");
        }
    }
}

/// The parts of the program, each of which imports only from those before it.
const LAYERS: &[&str] = &[
    "secret",
    "sync",
    "sys",
    "net",
    "resolv_conf",
    "names",
    "logger",
    "cli",
    "config",
    "tls",
    "dns",
    "auth",
    "metadata",
    "upstream",
    "proxy",
    "app",
    "listeners",
    "check",
    "main",
];

#[test]
fn imports_go_one_way() {
    let layer = |part: &str| LAYERS.iter().position(|layer| *layer == part);
    let mut imports = 0;
    for (file, text) in programs() {
        let Some(path) = file.strip_prefix("src/").filter(|path| path.ends_with(".rs") && !path.contains("test"))
        else {
            continue;
        };
        let part = path.split(['/', '.']).next().unwrap_or_default();
        let own = layer(part).unwrap_or_else(|| panic!("{file} is in no layer"));
        let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for import in line.split("crate::").skip(1) {
                let name: String = import.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if let Some(other) = layer(&name) {
                    imports += 1;
                    assert!(other <= own, "{file} imports {name}, which is above it");
                }
            }
        }
    }
    assert!(imports > 300, "{imports} imports are found");
}

#[test]
fn the_end_of_a_function_is_found() {
    let source = "\
impl A {
    pub(crate) const fn one(&self) -> u8 {
        if true {
            1
        } else {
            2
        }
    }
    fn short(&self) {}
}
trait B {
    fn declared(
        &self,
    );
}
// fn commented() {
unsafe extern \"C\" fn two<T>()
where
    T: A,
{
}
let closure = |fn_pointer: fn (u8)| {
};
";
    let want = [("one", 7), ("declared", 3), ("two", 5)];
    assert_eq!(functions(source), want);
}
