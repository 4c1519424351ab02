//! `src/README.md` says how runsd is made: what it names is there, and what it
//! has to name is named.

use std::fs;
use std::path::{Path, PathBuf};

const INSIDE: &str = include_str!("../src/README.md");

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
    let all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let words = INSIDE.split('`').skip(1).step_by(2);
    let named: Vec<&str> = words.filter(|word| word.ends_with(".rs")).collect();
    for name in &named {
        assert!(all.iter().any(|path| path.ends_with(name)), "{name}");
    }
    assert!(named.len() >= 20, "{named:?}");
}

#[test]
fn each_dependency_has_its_reason_and_its_bytes() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let manifest = manifest.expect("Cargo.toml");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").expect("a table");
    let (table, _) = rest.split_once("\n[").expect("another one");
    let names = table.lines().filter_map(|line| line.split_once(" = "));
    for (name, _) in names {
        let row = INSIDE
            .lines()
            .find(|line| line.starts_with("| ") && first_cell(line).contains(&format!("`{name}`")));
        let cells = row.map_or(0, |row| row.trim_matches('|').split('|').count());
        assert_eq!(cells, 4, "{name}: {row:?}");
    }
}

fn first_cell(row: &str) -> &str {
    row.trim_start_matches('|')
        .split('|')
        .next()
        .unwrap_or_default()
}
