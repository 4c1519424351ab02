//! A short `make soak`: everything at once, with faults, and nothing goes wrong.

use crate::harness;

#[test]
fn twenty_seconds_of_mixed_traffic_and_faults_lose_no_byte() {
    let base = env!("CARGO_MANIFEST_DIR");
    let dir = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
    let runsd = harness::runsd_program().expect("a runsd; run `make build`");
    let minutes = (20.0 / 60.0).to_string();
    let out = harness::program("python3")
        .args(["-B", &format!("{base}/tests/soak/main.py"), &minutes])
        .env("CLOUDRUN_BIN", harness::cloudrun_program())
        .env("RUNSD_BIN", runsd)
        .env("SOAK_DIR", &dir)
        .output()
        .expect("python3 starts");
    // Its first line has the seed to try it again with.
    println!("{}", String::from_utf8_lossy(&out.stdout));
    let log = std::fs::read_to_string(dir.join("runsd.log")).unwrap_or_default();
    assert!(out.status.success(), "{out:?}\n{log}");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains(" 0 failed; "), "{said}");
    let svg = std::fs::read_to_string(dir.join("curves.svg")).expect("curves");
    assert_eq!(svg.matches("<polyline").count(), 3);
    let _ = std::fs::remove_dir_all(&dir);
}
