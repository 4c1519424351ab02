//! Requests that would lead from runsd to runsd again.

use crate::harness::CloudRun;

/// What curl prints of each answer.
const SHOWN: &str = "-sS -m 10 -o /dev/null -w '%{http_code} %header{proxy-status}\\n'";

#[test]
fn a_request_to_the_proxys_own_address_is_refused_at_once() {
    let out = CloudRun::new().env("PORT", "80").sh("/tests/clients/loops.sh");
    let mut lines = out.stdout.lines();
    let refused = "502 runsd; error=proxy_loop_detected; details=\"";
    for case in 0..11 {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(refused), "{case}: {line}\n{out:?}");
        assert!(line.contains("leads back to runsd"), "{case}: {line}");
    }
    assert_eq!(lines.next(), Some("itself"), "{out:?}");
    let line = lines.next().unwrap_or_default();
    assert!(line.starts_with(refused), "{line}\n{out:?}");
    assert_eq!(lines.next(), Some("tunnels"), "{out:?}");
    assert_eq!([lines.next(); 3], [Some("502"); 3], "{out:?}");
    let mut lines = lines.skip(2);
    assert_eq!(lines.next(), Some("http2"), "{out:?}");
    let line = lines.next().unwrap_or_default();
    assert!(line.starts_with(refused), "{line}\n{out:?}");
    // Another server on loopback is still reached.
    let hello = "Hello from hello in us-east1, project 123456789012";
    let rest: Vec<&str> = lines.by_ref().take(3).collect();
    assert_eq!(rest, ["others", "200", hello], "{out:?}");
    let threads = lines.next().unwrap_or_default();
    let threads: u32 =
        threads.rsplit('\t').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{out:?}"));
    assert!(threads < 20, "{threads} threads");
}

#[test]
fn a_route_or_an_upstream_address_of_runsd_itself_is_refused() {
    for (flags, name) in [
        ("-route=loop=http://127.0.0.1", "loop"),
        ("-route=loop=http://localhost:80", "loop"),
        ("-route=loop=https://localhost:80", "loop"),
        ("-route=loop=https://loopback.example:80", "loop"),
        ("-upstream_addr=127.0.0.1:80", "hello"),
        ("-upstream_addr=[::1]:80", "hello"),
    ] {
        let script = format!("curl {SHOWN} http://{name}/; curl {SHOWN} --http2-prior-knowledge http://{name}/");
        let out = CloudRun::new().run(&["/runsd", flags, "--", "sh", "-c", &script]);
        for line in out.stdout.lines() {
            let want = "502 runsd; error=proxy_loop_detected; details=\"";
            assert!(line.starts_with(want), "{flags}: {line}");
        }
        assert_eq!(out.stdout.lines().count(), 2, "{flags}: {out:?}");
    }
}
