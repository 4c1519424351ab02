//! Answers that come before their request is over, and bytes that nobody
//! asked for: no answer ever reaches another request, and no body ever
//! becomes a request.

use crate::harness::CloudRun;

#[test]
fn the_recording_upstream_plays_its_script_and_keeps_what_came() {
    let got = CloudRun::new().conversation(
        r#"
OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
script("hello", [HEAD, say(OK), cued("go"), say("ok"), read(4), do("close")], [HEAD, do("reset")])
s = dial()
s.sendall(b"POST /a HTTP/1.1\r\nHost: hello\r\nContent-Length: 4\r\n\r\nbody")
print(head(s).split("\r\n")[0])
cue("go")
print(rest_of(s, 2))
wait("ended", "hello")
t = dial()
t.sendall(b"POST /b HTTP/1.1\r\nHost: hello\r\n\r\n")
print(answer(t)[0])
print(requests(), [one.endswith("\r\n\r\nbody") for one in recorded("hello")])
"#,
    );
    assert_eq!(
        got,
        "HTTP/1.1 200 OK\nb'ok'\n502\n['POST /a', 'POST /b'] [True, False]\n"
    );
}
