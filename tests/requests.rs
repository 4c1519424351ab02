//! What a request may say: hostile, faulty and unusual ones, and what the
//! upstream gets of them, byte for byte.

use crate::harness::CloudRun;

/// `ask` sends bytes, and prints the status and runsd's sentence. Nothing of
/// them may reach the upstream.
const ASK: &str = r#"
script("hello", [HEAD, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), do("close")])
def ask(bytes, status, words):
    s = dial()
    s.sendall(bytes)
    got = rest(s).decode()
    line = got.split("\r\n")[0]
    if not line.startswith("HTTP/1.1 %s " % status) or words not in got:
        print("%r: expected %s %r, got %r" % (bytes[:80], status, words, got))
H = b"Host: hello\r\n"
def line(first, *more): return b"\r\n".join([first, b"Host: hello", *more]) + b"\r\n\r\n"
def get(target): return line(b"GET " + target + b" HTTP/1.1")
def host(value): return b"GET / HTTP/1.1\r\nHost: " + value + b"\r\nConnection: close\r\n\r\n"
def post(*more): return line(b"POST / HTTP/1.1", *more)
def chunked(body): return post(b"Transfer-Encoding: chunked") + body
"#;

#[track_caller]
fn asked(program: &str) {
    let program = format!("{ASK}{program}print('then', recorded('hello'))\n");
    let got = CloudRun::new().conversation(&program);
    assert_eq!(got, "then []\n");
}

#[test]
fn a_hostile_first_line_is_refused_with_its_reason_and_goes_nowhere() {
    asked(
        r#"
ask(line(b"G(T / HTTP/1.1"), 400, "a method with a character that none may have")
ask(line(b" GET / HTTP/1.1"), 400, "a method with a character")
ask(line("GÉT / HTTP/1.1".encode()), 400, "")
ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not of HTTP/1")
ask(b"GET /\r\n\r\n", 400, "not of HTTP/1")
ask(line(b"GET / HTTPS/1.1"), 400, "not of HTTP/1")
ask(line(b"GET / HTTP/1.10"), 400, "not of HTTP/1")
ask(line(b"GET / HTTP/2.0"), 505, "version other than 1.0")
ask(line(b"GET / HTTP/0.9"), 505, "version other than 1.0")
ask(line(b"GET / HTTP/3.0"), 505, "HTTP Version Not Supported")
ask(get("/café".encode()), 400, "outside of ASCII; percent-encode the path")
ask(get(b"/a b"), 400, "a path with a space or a control character; percent-encode the path")
ask(get(b"/ HTTP/1.1\r\nX: y\r\n\r\nGET /admin"), 400, "")
ask(get(b"/a\tb"), 400, "a control character")
ask(get(b"/\x7f"), 400, "a control character")
ask(get(b"/\x00"), 400, "a control character")
ask(get(b" /"), 400, "")
ask(get(b"x"), 400, "neither a path nor a URL")
ask(get(b"@evil/"), 400, "neither a path nor a URL")
ask(get(b"hello:80"), 400, "neither a path nor a URL")
ask(get(b"http:/hello/"), 400, "neither a path nor a URL")
ask(get(b"*"), 400, "only OPTIONS may have")
ask(get(b"https://hello/x"), 400, "the request is for https://hello; ask for http://hello")
ask(get(b"ftp://hello/x"), 400, 'the request is for "ftp", a scheme other than http')
ask(get(b"http:///x"), 400, "an empty host")
ask(get(b"http://u:p@hello/"), 400, "a host with a user name before it")
ask(get(b"http://hello:0/"), 400, "a port that is not a number from 1 to 65535")
ask(get(b"http://hell%6f/"), 400, "a host with percent-encoding")
ask(line(b"CONNECT / HTTP/1.1"), 400, "a host with a path after it")
ask(line(b"CONNECT hello HTTP/1.1"), 400, "not HOST:PORT")
ask(line(b"CONNECT hello: HTTP/1.1"), 400, "not HOST:PORT")
ask(line(b"CONNECT hello:80 HTTP/1.1", b"Content-Length: 5"), 400, "a body, which CONNECT never has")
ask(line(b"CONNECT hello:80 HTTP/1.1", b"Transfer-Encoding: chunked"), 400, "a body, which CONNECT")
ask(get(b"/" + b"x" * 70000), 414, "a target longer than 64 KiB")
ask(b"GET /" + b"x" * 70000, 414, "URI Too Long")
ask(get(b"/") [:-2] + b"X: " + b"x" * 70000 + b"\r\n\r\n", 431, "a head larger than 64 KiB")
"#,
    );
}

#[test]
fn a_hostile_host_is_refused_with_its_reason() {
    asked(
        r#"
ask(host(b"f/x"), 400, 'a host with a path after it: "f/x"')
ask(host(b"u@f"), 400, 'a host with a user name before it: "u@f"')
ask(host(b"f:80abc"), 400, 'a port that is not a number from 1 to 65535: "f:80abc"')
ask(host(b"f:99999"), 400, "a port that is not")
ask(host(b"hell%6f"), 400, "percent-encoding")
ask(host(b"hello,echo"), 400, "a character other than")
ask(host(b"hello echo"), 400, "a character other than")
ask(host("hélló".encode()), 400, "a character other than")
ask(host(b"::1"), 400, "an IPv6 address that is malformed or not in brackets")
ask(host(b""), 400, "an empty host")
ask(host(b"hello\r\nHost: hello"), 400, "more than one Host header")
ask(b"GET / HTTP/1.1\r\n\r\n", 400, "no Host header")
ask(b"GET / HTTP/1.0\r\n\r\n", 500, "no Host header")
ask(b"GET http://hello/ HTTP/1.1\r\nHost: u@f\r\n\r\n", 400, "a host with a user name before it")
ask(host(b"hello:8080"), 500, 'nothing is served at port 8080 of "hello"; ask for http://hello')
ask(host(b"x" * 60000), 400, "a host longer than any DNS name")
ask(host(b"[::1]"), 500, "is not the name of a service")
"#,
    );
}

#[test]
fn a_body_that_two_readers_could_end_differently_is_refused() {
    asked(
        r#"
ask(post(b"Content-Length: +5"), 400, "a Content-Length that is no number")
ask(post(b"Content-Length: 5, 5"), 400, "a Content-Length that is no number")
ask(post(b"Content-Length: 5", b"Content-Length: 6"), 400, "two different Content-Length")
ask(post(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, "at once")
ask(post(b"Transfer-Encoding: gzip, chunked"), 501, "a Transfer-Encoding other than chunked")
ask(post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501, "Not Implemented")
ask(post(b"Transfer-Encoding: chunked, gzip"), 400, "does not end in chunked")
ask(post(b"Transfer-Encoding: chunked, chunked"), 400, "does not end in chunked")
ask(post(b"Transfer-Encoding: gzip"), 400, "does not end in chunked")
ask(post(b"Transfer-Encoding: chunked;q=1"), 400, "does not end in chunked")
ask(post(b"Transfer-Encoding:"), 400, "does not end in chunked")
ask(b"POST / HTTP/1.0\r\nHost: hello\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "")
"#,
    );
}

#[test]
fn a_chunk_whose_extension_is_malformed_is_refused() {
    // What stood before it has gone up already; the line itself has not.
    let got = CloudRun::new().conversation(&format!(
        r#"{ASK}
script("hello", [])
for bad in ["5 5", "5 x", "5;", "5;=x", '5;a="open', "5;a=b c", "5;a==b", "5\tx", "5;;a", "5 \t;a;"]:
    s = dial()
    s.sendall(chunked(b"2\r\nok\r\n"))
    wait("recorded", "hello")
    s.sendall(bad.encode() + b"\r\nhello\r\n0\r\n\r\n")
    got = rest(s).decode()
    print(got.split("\r\n")[0], "a chunk" in got, any(bad + "\r" in one for one in recorded("hello")))
    script("hello", [])
for good in ["5", "5 ", "5;a", "5 ; a = b ;c", '5;a="q\\"; \t"']:
    script("hello", [until("0\r\n\r\n"), say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), do("close")])
    s = dial()
    s.sendall(chunked(good.encode() + b"\r\nhello\r\n0\r\n\r\n"))
    print(answer(s)[0], any(good + "\r\nhello\r\n" in one for one in recorded("hello")))
"#
    ));
    let want = "HTTP/1.1 400 Bad Request True False\n".repeat(10) + &"200 True\n".repeat(5);
    assert_eq!(got, want);
}

#[test]
fn what_is_unusual_and_allowed_goes_up_as_it_should() {
    let got = CloudRun::new().conversation(&format!(
        r#"{ASK}
def up(bytes, *names):
    """The first line that went up, and these headers."""
    script("hello", [HEAD, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), do("close")])
    s = dial()
    s.sendall(bytes)
    status, _ = answer(s)
    lines = recorded("hello")[0].split("\r\n")
    named = [line for line in lines[1:] if line.split(":")[0].lower() in names]
    print(status, lines[0], *named)
up(line(b"GET / HTTP/1.2"))
up(get(b"http://hello"))
up(get(b"HTTP://Hello:80?x"))
up(b"GET http://hello/a HTTP/1.1\r\nHost: other\r\n\r\n", "host")
up(b"GET http://hello/a HTTP/1.1\r\nHost:\r\n\r\n", "host")
up(get(b"/a|b{{}}\"<>^`\\c"))
up(line(b"OPTIONS * HTTP/1.1"))
up(line(b"OPTIONS http://hello HTTP/1.1"))
up(line(b"OPTIONS http://hello/ HTTP/1.1"))
up(line(b"OPTIONS http://hello/a HTTP/1.1"))
up(line(b"OPTIONS http://hello?a HTTP/1.1"))
for method in [b"POST", b"PUT", b"PATCH", b"DELETE", b"GET"]:
    up(line(method + b" / HTTP/1.1"), "content-length")
up(post(b"Content-Length: 0"), "content-length")
up(b"POST / HTTP/1.0\r\nHost: hello\r\n\r\n", "content-length")
"#
    ));
    let want = "200 GET / HTTP/1.1
200 GET / HTTP/1.1
200 GET /?x HTTP/1.1
200 GET /a HTTP/1.1 Host: hello-123456789012.us-east1.run.app
200 GET /a HTTP/1.1 Host: hello-123456789012.us-east1.run.app
200 GET /a|b{}\"<>^`\\c HTTP/1.1
200 OPTIONS * HTTP/1.1
200 OPTIONS * HTTP/1.1
200 OPTIONS / HTTP/1.1
200 OPTIONS /a HTTP/1.1
200 OPTIONS /?a HTTP/1.1
200 POST / HTTP/1.1 Content-Length: 0
200 PUT / HTTP/1.1 Content-Length: 0
200 PATCH / HTTP/1.1 Content-Length: 0
200 DELETE / HTTP/1.1
200 GET / HTTP/1.1
200 POST / HTTP/1.1 Content-Length: 0
200 POST / HTTP/1.1 Content-Length: 0
";
    assert_eq!(got, want);
}

#[test]
fn an_upgrade_is_asked_for_but_to_tls_and_h2c() {
    let got = CloudRun::new().conversation(&format!(
        r#"{ASK}
def up(*headers, switch=True):
    answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi"
    plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    script("hello", [HEAD, say(answer if switch else plain), do("close")])
    s = dial()
    s.sendall(line(b"GET / HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", *headers))
    status = head(s).split(" ")[1]
    said = rest_of(s, 2).decode()
    lines = [line for line in recorded("hello")[0].split("\r\n") if line.lower().startswith(("upgrade", "connection", "http2"))]
    print(status, said, *lines)
up(b"Upgrade: websocket")
up(b"Upgrade: websocket", b"Content-Length: 0")
up(b"Upgrade: SPDY/3.1", b"Content-Length: 0")
up(b"Upgrade: tcp")
up(b"Upgrade: h2c, websocket", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
up(b"Upgrade: TLS/1.2, a/1", b"Upgrade: h2c", b"Upgrade: ,b")
up(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", switch=False)
up(b"Upgrade: TLS/1.2", switch=False)
up(b"Upgrade: tls/1.0, H2C", switch=False)
up(b"Upgrade: TLS/1.2,TLS/1.1", b"Upgrade: TLS/1.0", switch=False)
up(b"Upgrade: ,", switch=False)
"#
    ));
    let want = "101 hi Connection: Upgrade Upgrade: websocket
101 hi Connection: Upgrade Upgrade: websocket
101 hi Connection: Upgrade Upgrade: SPDY/3.1
101 hi Connection: Upgrade Upgrade: tcp
101 hi Connection: Upgrade Upgrade: websocket
101 hi Connection: Upgrade Upgrade: a/1, b
200 ok
200 ok
200 ok
200 ok
200 ok
";
    assert_eq!(got, want);
}

#[test]
fn a_session_cookie_comes_back_to_the_name_that_was_asked() {
    // Three jars: curl's, Python's by the old rules, and what a browser does.
    let got = CloudRun::new().conversation(&format!(
        r#"{ASK}
import http.cookiejar, subprocess, urllib.request
COOKIES = ["a=1; Domain=hello-123456789012.us-east1.run.app; Path=/; Secure; HttpOnly",
           "b=2;domain = \".run.app\" ;Max-Age=60;SECURE",
           "c=3; Path=/; SameSite=None; Secure",
           "d=4; Domain=example.com; Secure", "e=5"]
def play():
    answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n"
    answer += "".join("Set-Cookie: %s\r\n" % cookie for cookie in COOKIES) + "\r\nok"
    script("hello", [HEAD, say(answer), do("close")])
def came_back():
    second = recorded("hello")[1].lower().split("\r\n")
    print(sorted(sum([line[8:].split("; ") for line in second if line.startswith("cookie: ")], [])))
play()
subprocess.run(["curl", "-sS", "-o", "/dev/null", "-c", "/tmp/jar", "http://hello/"], check=True)
subprocess.run(["curl", "-sS", "-o", "/dev/null", "-b", "/tmp/jar", "http://hello/"], check=True)
came_back()
play()
jar = http.cookiejar.CookieJar()
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
for _ in range(2): opener.open("http://hello/").read()
came_back()
play()
s = dial()
s.sendall(get(b"/"))
print(*[line for line in head(s).split("\r\n") if line.startswith("Set-Cookie")], sep="\n")
"#
    ));
    let want = "['a=1', 'b=2', 'c=3', 'e=5']
['a=1', 'b=2', 'c=3', 'e=5']
Set-Cookie: a=1; Path=/; HttpOnly
Set-Cookie: b=2;Max-Age=60
Set-Cookie: c=3; Path=/
Set-Cookie: d=4; Domain=example.com
Set-Cookie: e=5
";
    assert_eq!(got, want);
}

#[test]
fn a_foreign_hosts_cookies_pass_untouched() {
    let got = CloudRun::new().env("PORT", "80").conversation(&format!(
        r#"{ASK}
import os
script("plain", [HEAD, say("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=external.example; Secure\r\ncontent-length: 2\r\n\r\nok"), do("close")])
s = socket.create_connection(("127.0.0.1", int(os.environ["http_proxy"].rstrip("/").rsplit(":")[-1])))
s.sendall(b"POST http://external.example:81/ HTTP/1.1\r\nHost: external.example:81\r\n\r\n")
print(head(s).split("\r\n")[1])
print(recorded("plain")[0].split("\r\n"))
"#
    ));
    let want = "Set-Cookie: a=1; Domain=external.example; Secure
['POST / HTTP/1.1', 'Host: external.example:81', 'Content-Length: 0', '', '']
";
    assert_eq!(got, want);
}

#[test]
fn an_answer_with_a_malformed_chunk_is_not_passed_on_as_whole() {
    let got = CloudRun::new().conversation(&format!(
        r#"{ASK}
for bad in ["5 5", "5;", '5;a="open']:
    script("hello", [HEAD, say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"), cued("go"),
                     say(bad + "\r\nhello\r\n0\r\n\r\n")])
    s = dial()
    s.sendall(get(b"/"))
    head(s)
    rest_of(s, 7)
    cue("go")
    print(rest(s))
"#
    ));
    assert_eq!(got, "b'RESET'\n".repeat(3));
}

#[test]
fn a_malformed_request_is_warned_of_in_the_same_words_over_both_protocols() {
    let out = CloudRun::new().run_conversation(
        r#"
def frame(kind, flags, stream, payload): return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload
s = dial()
s.sendall(b"GET /a#b HTTP/1.1\r\nHost: hello\r\n\r\n")
rest(s)
s = dial()
# GET, http, the path as a literal, :authority.
block = b"\x82\x86\x04\x04/a#b\x01\x05hello"
s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, block))
while (start := rest_of(s, 9))[3] != 3: rest_of(s, int.from_bytes(start[:3]))
"#,
    );
    let line = "runsd: warning: proxy: hello: the request has a path with \"#\", which is for the \
                client alone; percent-encode it\n";
    // The same line is said once.
    assert_eq!(out.stderr, line);
}
