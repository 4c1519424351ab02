"""What a request may say: hostile, faulty and unusual ones; each function is one test of
tests/requests.rs or tests/refusals.rs."""

import http.cookiejar
import os
import socket
import subprocess
import urllib.request

from scripted import HEAD, answer, cue, cued, dial, do, head, main, recorded, rest, rest_of, say, script, until, wait


def ask(bytes, status, words):
    """Prints what differs from this status and these words of runsd's sentence."""
    s = dial()
    s.sendall(bytes)
    got = rest(s).decode()
    line = got.split("\r\n")[0]
    if not line.startswith("HTTP/1.1 %s " % status) or words not in got:
        print("%r: expected %s %r, got %r" % (bytes[:80], status, words, got))


OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def line(first, *more):
    return b"\r\n".join([first, b"Host: hello", *more]) + b"\r\n\r\n"


def get(target):
    return line(b"GET " + target + b" HTTP/1.1")


def host(value):
    return b"GET / HTTP/1.1\r\nHost: " + value + b"\r\nConnection: close\r\n\r\n"


def post(*more):
    return line(b"POST / HTTP/1.1", *more)


def chunked(body):
    return post(b"Transfer-Encoding: chunked") + body


def refused(requests):
    """Nothing of them may reach the upstream."""
    script("hello", [HEAD, say(OK), do("close")])
    for request in requests:
        ask(*request)
    print("then", recorded("hello"))


def first_lines():
    refused(
        [
            (line(b"G(T / HTTP/1.1"), 400, "a method with a character that none may have"),
            (line(b" GET / HTTP/1.1"), 400, "a method with a character"),
            (line("GÉT / HTTP/1.1".encode()), 400, ""),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not of HTTP/1"),
            (b"GET /\r\n\r\n", 400, "not of HTTP/1"),
            (line(b"GET / HTTPS/1.1"), 400, "not of HTTP/1"),
            (line(b"GET / HTTP/1.10"), 400, "not of HTTP/1"),
            (line(b"GET / HTTP/2.0"), 505, "version other than 1.0"),
            (line(b"GET / HTTP/0.9"), 505, "version other than 1.0"),
            (line(b"GET / HTTP/3.0"), 505, "HTTP Version Not Supported"),
            (get("/café".encode()), 400, "outside of ASCII; percent-encode the path"),
            (get(b"/a b"), 400, "a path with a space or a control character; percent-encode the path"),
            (get(b"/ HTTP/1.1\r\nX: y\r\n\r\nGET /admin"), 400, ""),
            (get(b"/a\tb"), 400, "a control character"),
            (get(b"/\x7f"), 400, "a control character"),
            (get(b"/\x00"), 400, "a control character"),
            (get(b" /"), 400, ""),
            (get(b"x"), 400, "neither a path nor a URL"),
            (get(b"@evil/"), 400, "neither a path nor a URL"),
            (get(b"hello:80"), 400, "neither a path nor a URL"),
            (get(b"http:/hello/"), 400, "neither a path nor a URL"),
            (get(b"*"), 400, "only OPTIONS may have"),
            (get(b"https://hello/x"), 400, "the request is for https://hello; ask for http://hello"),
            (get(b"ftp://hello/x"), 400, 'the request is for "ftp", a scheme other than http'),
            (get(b"http:///x"), 400, "an empty host"),
            (get(b"http://u:p@hello/"), 400, "a host with a user name before it"),
            (get(b"http://hello:0/"), 400, "a port that is not a number from 1 to 65535"),
            (get(b"http://hell%6f/"), 400, "a host with percent-encoding"),
            (line(b"CONNECT / HTTP/1.1"), 400, "a host with a path after it"),
            (line(b"CONNECT hello HTTP/1.1"), 400, "not HOST:PORT"),
            (line(b"CONNECT hello: HTTP/1.1"), 400, "not HOST:PORT"),
            (line(b"CONNECT hello:80 HTTP/1.1", b"Content-Length: 5"), 400, "a body, which CONNECT never has"),
            (line(b"CONNECT hello:80 HTTP/1.1", b"Transfer-Encoding: chunked"), 400, "a body, which CONNECT"),
            (get(b"/" + b"x" * 70000), 414, "a target longer than 64 KiB"),
            (b"GET /" + b"x" * 70000, 414, "URI Too Long"),
            (get(b"/")[:-2] + b"X: " + b"x" * 70000 + b"\r\n\r\n", 431, "a head larger than 64 KiB"),
        ]
    )


def hosts():
    refused(
        [
            (host(b"f/x"), 400, 'a host with a path after it: "f/x"'),
            (host(b"u@f"), 400, 'a host with a user name before it: "u@f"'),
            (host(b"f:80abc"), 400, 'a port that is not a number from 1 to 65535: "f:80abc"'),
            (host(b"f:99999"), 400, "a port that is not"),
            (host(b"hell%6f"), 400, "percent-encoding"),
            (host(b"hello,echo"), 400, "a character other than"),
            (host(b"hello echo"), 400, "a character other than"),
            (host("hélló".encode()), 400, "a character other than"),
            (host(b"::1"), 400, "an IPv6 address that is malformed or not in brackets"),
            (host(b""), 400, "an empty host"),
            (host(b"hello\r\nHost: hello"), 400, "more than one Host header"),
            (b"GET / HTTP/1.1\r\n\r\n", 400, "no Host header"),
            (b"GET / HTTP/1.0\r\n\r\n", 500, "no Host header"),
            (b"GET http://hello/ HTTP/1.1\r\nHost: u@f\r\n\r\n", 400, "a host with a user name before it"),
            (host(b"hello:8080"), 500, 'nothing is served at port 8080 of "hello"; ask for http://hello'),
            (host(b"x" * 60000), 400, "a host longer than any DNS name"),
            (host(b"[::1]"), 500, "is not the name of a service"),
        ]
    )


def bodies():
    refused(
        [
            (post(b"Content-Length: +5"), 400, "a Content-Length that is no number"),
            (post(b"Content-Length: 5, 5"), 400, "a Content-Length that is no number"),
            (post(b"Content-Length: 5", b"Content-Length: 6"), 400, "two different Content-Length"),
            (post(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, "at once"),
            (post(b"Transfer-Encoding: gzip, chunked"), 501, "a Transfer-Encoding other than chunked"),
            (post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501, "Not Implemented"),
            (post(b"Transfer-Encoding: chunked, gzip"), 400, "does not end in chunked"),
            (post(b"Transfer-Encoding: chunked, chunked"), 400, "does not end in chunked"),
            (post(b"Transfer-Encoding: gzip"), 400, "does not end in chunked"),
            (post(b"Transfer-Encoding: chunked;q=1"), 400, "does not end in chunked"),
            (post(b"Transfer-Encoding:"), 400, "does not end in chunked"),
            (b"POST / HTTP/1.0\r\nHost: hello\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""),
        ]
    )


def chunk_extensions():
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
        script("hello", [until("0\r\n\r\n"), say(OK), do("close")])
        s = dial()
        s.sendall(chunked(good.encode() + b"\r\nhello\r\n0\r\n\r\n"))
        print(answer(s)[0], any(good + "\r\nhello\r\n" in one for one in recorded("hello")))


def unusual():
    def up(bytes, *names):
        """The first line that went up, and these headers."""
        script("hello", [HEAD, say(OK), do("close")])
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
    up(get(b'/a|b{}"<>^`\\c'))
    up(line(b"OPTIONS * HTTP/1.1"))
    up(line(b"OPTIONS http://hello HTTP/1.1"))
    up(line(b"OPTIONS http://hello/ HTTP/1.1"))
    up(line(b"OPTIONS http://hello/a HTTP/1.1"))
    up(line(b"OPTIONS http://hello?a HTTP/1.1"))
    for method in [b"POST", b"PUT", b"PATCH", b"DELETE", b"GET"]:
        up(line(method + b" / HTTP/1.1"), "content-length")
    up(post(b"Content-Length: 0"), "content-length")
    up(b"POST / HTTP/1.0\r\nHost: hello\r\n\r\n", "content-length")


def upgrades():
    def up(*headers, switch=True):
        answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi"
        plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
        script("hello", [HEAD, say(answer if switch else plain), do("close")])
        s = dial()
        s.sendall(line(b"GET / HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", *headers))
        status = head(s).split(" ")[1]
        said = rest_of(s, 2).decode()
        lines = [
            line
            for line in recorded("hello")[0].split("\r\n")
            if line.lower().startswith(("upgrade", "connection", "http2"))
        ]
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


def session_cookies():
    COOKIES = [
        "a=1; Domain=hello-123456789012.us-east1.run.app; Path=/; Secure; HttpOnly",
        'b=2;domain = ".run.app" ;Max-Age=60;SECURE',
        "c=3; Path=/; SameSite=None; Secure",
        "d=4; Domain=example.com; Secure",
        "e=5",
    ]

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
    for _ in range(2):
        opener.open("http://hello/").read()
    came_back()
    play()
    s = dial()
    s.sendall(get(b"/"))
    print(*[line for line in head(s).split("\r\n") if line.startswith("Set-Cookie")], sep="\n")
    # Also with a WebSocket, which a browser lets set cookies.
    answer = "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\nSet-Cookie: %s\r\n\r\n"
    script("hello", [HEAD, say(answer % COOKIES[0]), do("close")])
    s = dial()
    s.sendall(line(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"))
    print(*[line for line in head(s).split("\r\n") if line.startswith("Set-Cookie")], sep="\n")


def foreign_cookies():
    script(
        "plain",
        [
            HEAD,
            say("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=external.example; Secure\r\ncontent-length: 2\r\n\r\nok"),
            do("close"),
        ],
    )
    s = socket.create_connection(("127.0.0.1", int(os.environ["http_proxy"].rstrip("/").rsplit(":")[-1])))
    s.sendall(b"POST http://external.example:81/ HTTP/1.1\r\nHost: external.example:81\r\n\r\n")
    print(head(s).split("\r\n")[1])
    print(recorded("plain")[0].split("\r\n"))


def redirects():
    """A service leads a client on to another host."""
    there = "http://external.example:81/there"
    script("plain", [HEAD, say(OK), do("close")])
    for method in ([], ["--data", "x", "--post302"]):
        got = subprocess.run(
            ["curl", "-sSL", *method, f"http://redirect/?to={there}"], capture_output=True, timeout=60, check=True
        )
        print(got.stdout.decode(), got.stderr.decode())
    for one in recorded("plain"):
        print(one.split("\r\n")[0], "token" if "authorization" in one.lower() or "eyJ" in one else "no token")


def response_chunks():
    for bad in ["5 5", "5;", '5;a="open']:
        script(
            "hello",
            [
                HEAD,
                say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
                cued("go"),
                say(bad + "\r\nhello\r\n0\r\n\r\n"),
            ],
        )
        s = dial()
        s.sendall(get(b"/"))
        head(s)
        rest_of(s, 7)
        cue("go")
        print(rest(s))


def same_words():
    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload

    s = dial()
    s.sendall(b"GET /a#b HTTP/1.1\r\nHost: hello\r\n\r\n")
    rest(s)
    s = dial()
    # GET, http, the path as a literal, :authority.
    block = b"\x82\x86\x04\x04/a#b\x01\x05hello"
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, block))
    while (start := rest_of(s, 9))[3] != 3:
        rest_of(s, int.from_bytes(start[:3]))


def heads():
    """The first line of the response to each head that two readers could read differently."""

    def ask(head):
        s = dial()
        s.sendall(head)
        print(rest(s).decode().split("\r\n")[0])

    start = b"GET / HTTP/1.1\r\n"
    ask(start + b"\r\n")
    ask(start + b"Host: hello\r\nHost: echo\r\n\r\n")
    ask(start + b"Host: hello\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
    ask(start + b"Host: hello\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    ask(start + b"Host: hello\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
    ask(start + b"Host: hello\r\nX: a\r\n b\r\n\r\n")
    ask(start + b"Host: hello\r\nX : a\r\n\r\n")
    ask(start + b"Host: hello\nX: a\n\n")
    ask(b"POST / HTTP/1.1\r\nHost: hello\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    ask(b"GET / HTTP/3.0\r\nHost: hello\r\n\r\n")
    ask(start + b"Host: hello\r\nX: " + b"a" * 70000 + b"\r\n\r\n")


if __name__ == "__main__":
    main(globals())
