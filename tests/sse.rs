//! Server-sent events: each reaches the client as it is sent.

use crate::harness::CloudRun;

/// Asks for twenty events, 20 ms apart; the latest of them was late by less
/// than 50 ms. A machine may be busy once; a buffer holds back each time.
#[track_caller]
fn events_come_at_once(command: &str) {
    let script = format!("for try in 1 2 3; do /venv/bin/python /tests/clients/sse.py {command} || exit; done");
    let python = ["/bin/sh", "-c", &script];
    let out = CloudRun::new().in_venv(&python);
    assert_eq!(out.status, 0, "{out:?}");
    let late: Vec<u32> = out.stdout.lines().flat_map(str::parse).collect();
    assert_eq!(late.len(), 3, "{out:?}");
    assert!(late.iter().any(|&late| late < 50), "{late:?} ms");
}

#[test]
fn each_event_comes_at_once_over_http_1() {
    events_come_at_once("");
    events_come_at_once("curl -sSN");
}

#[test]
fn each_event_comes_at_once_over_http_2() {
    events_come_at_once("curl -sSN --http2-prior-knowledge");
}

#[test]
fn a_reader_that_leaves_ends_the_stream_at_the_service() {
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let script = format!("curl -sN {protocol} 'http://sse/?n=1000&ms=100' | head -n 1");
        let mut running = CloudRun::new().start(&["/runsd", "--", "sh", "-c", &(script + "; read line")]);
        assert_eq!(running.line(), "id: 0");
        running.control.wait("gone", "sse-123456789012.us-east1.run.app", 1);
    }
}
