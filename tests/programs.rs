//! Programs of `tests/clients/` that have to be compiled first.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::harness;

/// What this compiler makes of `tests/clients/SOURCE`; once for all tests.
#[track_caller]
pub fn built(compiler: &str, source: &str) -> PathBuf {
    static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = base.join("tests/clients").join(source);
    let dir = base.join("target/clients").join(compiler);
    let program = dir.join(source.file_stem().expect("a name"));
    if built.contains(&program) {
        return program;
    }
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut command = harness::program(compiler);
    match compiler {
        "go" => command
            .arg("build")
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOPROXY", "off")
            .env("GOFLAGS", "")
            .env("GOPATH", base.join("target/go-path"))
            .env("GOCACHE", base.join("target/go-cache")),
        "musl-gcc" => command.arg("-static"),
        _ => &mut command,
    };
    let made = command.arg("-o").arg(&program).arg(source).output();
    let made = made.unwrap_or_else(|err| panic!("{compiler}: {err}"));
    assert!(made.status.success(), "{compiler}: {made:?}");
    built.push(program.clone());
    program
}
