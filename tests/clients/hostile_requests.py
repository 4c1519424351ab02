"""Hostile and odd requests of HTTP/1 (the host `echo` is one upstream, `other` another), and what
has to become of each: the status that refuses it, or the one request that the upstream gets, byte
by byte. What is named behind that are the peers that take no such request, in whatever bytes."""

ECHO = b"Host: 127.0.0.1:8099"
OTHER = b"Host: 127.0.0.1:8098"
BODY = b"GET /body HTTP/1.1\r\nHost: echo\r\n\r\n"


def lines(*parts):
    return b"\r\n".join(parts) + b"\r\n\r\n"


def get(*fields):
    return lines(b"GET / HTTP/1.1", b"Host: echo", *fields)


def post(*fields, body=BODY):
    return lines(b"POST / HTTP/1.1", b"Host: echo", *fields) + body


def chunked(body):
    return post(b"Transfer-Encoding: chunked", body=body)


def to(target):
    return lines(b"GET " + target + b" HTTP/1.1", b"Host: echo")


def host(value):
    return lines(b"GET / HTTP/1.1", b"Host:" + value)


def up(*fields, first=b"GET / HTTP/1.1", host=ECHO, body=b""):
    return lines(first, host, *fields) + body


def up_to(target, host=ECHO):
    return up(first=b"GET " + target + b" HTTP/1.1", host=host)


def up_post(*fields, body=BODY):
    return up(*fields, first=b"POST / HTTP/1.1", body=body)


def up_chunked(body):
    return up_post(b"Transfer-Encoding: chunked", body=body)


LENGTH = b"Content-Length: %d" % len(BODY)
SIZED = up_post(LENGTH)
PLAIN = up()
WHOLE = b"22\r\n" + BODY + b"\r\n0\r\n\r\n"

FIRST_LINES = [
    (lines(b"GET  / HTTP/1.1", b"Host: echo"), 400),
    (lines(b"GET /  HTTP/1.1", b"Host: echo"), 400),
    (lines(b"GET\t/ HTTP/1.1", b"Host: echo"), 400),
    (lines(b"GET /\tHTTP/1.1", b"Host: echo"), 400),
    (lines(b" GET / HTTP/1.1", b"Host: echo"), 400),
    (lines(b"GET / HTTP/1.1 ", b"Host: echo"), 400),
    (lines(b"GET /", b"Host: echo"), 400),
    (lines(b"GET / HTTP/0.9", b"Host: echo"), 505),
    (lines(b"GET / HTTP/2.0", b"Host: echo"), 505),
    (lines(b"GET / HTTP/1.10", b"Host: echo"), 400),
    (lines(b"GET / HTTP/11", b"Host: echo"), 400),
    (lines(b"GET / HTTP/1.", b"Host: echo"), 400),
    (lines(b"GET / http/1.1", b"Host: echo"), 400),
    (lines(b"GET / HTTP /1.1", b"Host: echo"), 400),
    (lines(b"GET / ICAP/1.1", b"Host: echo"), 400),
    (lines(b"GET / HTTP/1.2", b"Host: echo"), PLAIN),
    (lines(b"G(T / HTTP/1.1", b"Host: echo"), 400),
    (lines(b"GET\0 / HTTP/1.1", b"Host: echo"), 400),
    (lines(b"GET:/ / HTTP/1.1", b"Host: echo"), 400),
    (lines(b"get / HTTP/1.1", b"Host: echo"), up(first=b"get / HTTP/1.1"), "nginx"),
    (lines(b"GET / HTTP/1.1\r", b"Host: echo"), 400),
    (b"\r\n\r\n" + get(), PLAIN),
    (b"\n" + get(), 400),
    (b"\r" + get(), 400),
    (b"\0" + get(), 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
]

TARGETS = [
    (to(b"http://echo/x"), up_to(b"/x")),
    (lines(b"GET http://echo/x HTTP/1.1", b"Host: other"), up_to(b"/x")),
    (lines(b"GET http://other/x HTTP/1.1", b"Host: echo"), up_to(b"/x", OTHER)),
    (lines(b"GET http://other HTTP/1.1", b"Host:"), up_to(b"/", OTHER)),
    (lines(b"GET http://echo/ HTTP/1.1", b"Host: echo", b"Host: echo"), 400),
    (lines(b"GET http://echo/ HTTP/1.1", b"Host: u@other"), 400),
    (lines(b"GET http://echo/ HTTP/1.1"), 400),
    (to(b"http://u@other/"), 400),
    (to(b"http://echo@other/"), 400),
    (to(b"http://echo:80@other/"), 400),
    (to(b"http://echo%2f@other/"), 400),
    (to(b"http://echo\\@other/"), 400),
    (to(b"http://other#@echo/"), 400),
    (to(b"http://echo?@other/"), up_to(b"/?@other/")),
    (to(b"http://ech%6f/"), 400),
    (to(b"http:///x"), 400),
    (to(b"http:/other/"), 400),
    (to(b"http:other"), 400),
    (to(b"https://other/"), 400),
    (to(b"file:///etc/passwd"), 400),
    (to(b"@other/"), 400),
    (to(b"other:80"), 400),
    (to(b"*"), 400),
    (to(b"//other/x"), up_to(b"//other/x")),
    (to(b"/http://other/"), up_to(b"/http://other/")),
    (to(b"/a/../../b"), up_to(b"/a/../../b"), "nginx"),
    (to(b"/a%00%0d%0a%2e%2e"), up_to(b"/a%00%0d%0a%2e%2e"), "nginx"),
    (to(b"/a\\..\\b;c,d"), up_to(b"/a\\..\\b;c,d")),
    (to(b"/a b"), 400),
    (to(b"/a#b"), 400),
    (to(b"/a\0b"), 400),
    (to(b"/a\rb"), 400),
    (to(b"/a\x7fb"), 400),
    (to(b"/\xc3\xa9"), 400),
    (to(b"/" + b"x" * 70000), 414),
    (lines(b"CONNECT other HTTP/1.1", b"Host: other"), 400),
    (lines(b"CONNECT external.example:443 HTTP/1.1", b"Host: echo"), 500),
    (lines(b"CONNECT echo:22 HTTP/1.1", b"Host: echo"), 500),
    (lines(b"CONNECT u@echo:80 HTTP/1.1", b"Host: echo"), 400),
    (lines(b"OPTIONS * HTTP/1.1", b"Host: echo"), up(first=b"OPTIONS * HTTP/1.1"), "nginx"),
    (lines(b"TRACE / HTTP/1.1", b"Host: echo"), up(first=b"TRACE / HTTP/1.1"), "nginx"),
]

HOSTS = [
    (lines(b"GET / HTTP/1.1"), 400),
    (lines(b"GET / HTTP/1.0"), 500),
    (host(b""), 400),
    (host(b" echo\r\nHost: echo"), 400),
    (host(b" echo\r\nHost: other"), 400),
    (host(b" echo\r\nhOST: other"), 400),
    (host(b" echo, other"), 400),
    (host(b" echo other"), 400),
    (host(b" echo\tother"), 400),
    (host(b" echo\0"), 400),
    (host(b" u@other"), 400),
    (host(b" echo:80@other"), 400),
    (host(b" echo/x"), 400),
    (host(b" echo#other"), 400),
    (host(b" echo?other"), 400),
    (host(b" echo\\other"), 400),
    (host(b" ech%6f"), 400),
    (host(b" \xc3\xa9cho"), 400),
    (host(b' "echo"'), 400),
    (host(b" echo:99999"), 400),
    (host(b" echo:+80"), 400),
    (host(b" echo:80:80"), 400),
    (host(b" echo:8080"), 500),
    (host(b" ::1"), 400),
    (host(b" [::1]x"), 400),
    (host(b" 127.0.0.1"), 500),
    (host(b"echo"), PLAIN),
    (host(b" \t echo \t "), PLAIN),
    (host(b" ECHO"), PLAIN),
    (host(b" echo.run.internal."), PLAIN),
    (host(b" echo:80"), PLAIN),
    (get(b"X-Forwarded-Host: other"), up(b"X-Forwarded-Host: other")),
    (get(b"Forwarded: host=other"), up(b"Forwarded: host=other")),
    (get(b"Connection: Host"), PLAIN),
]

FIELDS = [
    (get(b"X: a\r\n b"), 400),
    (get(b"X: a\r\n\tb"), 400),
    (get(b"X:\r\n Content-Length: 5"), 400),
    (lines(b"GET / HTTP/1.1\r\n Host: echo", b"Host: echo"), 400),
    (get(b"X : a"), 400),
    (get(b"X\t: a"), 400),
    (get(b"X Y: a"), 400),
    (get(b": a"), 400),
    (get(b"X"), 400),
    (get(b"X\0: a"), 400),
    (get(b"X\x80: a"), 400),
    (get(b"X\r: a"), 400),
    (get(b"X;: a"), 400),
    (get(b"X: a\0b"), 400),
    (get(b"X: a\x01b"), 400),
    (get(b"X: a\x0bb"), 400),
    (get(b"X: a\x7fb"), 400),
    (get(b"X: a\rb"), 400),
    (get(b"X: a\r\r\nY: b"), 400),
    (get(b"X: a\nContent-Length: 5"), 400),
    (get(b"X: a\n\nGET /smuggled HTTP/1.1"), 400),
    (get(b"\rX: a"), 400),
    (get().replace(b"\r\n", b"\n"), 400),
    (get()[:-2] + b"\n", 400),
    (get(b"X: a\tb \x80\xff"), up(b"X: a\tb \x80\xff")),
    (get(b"X:", b"X:\t", b"x: 1"), up(b"X:", b"X:\t", b"x: 1")),
    (get(b"Content_Length: 5", b"Transfer_Encoding: chunked"), up(b"Content_Length: 5", b"Transfer_Encoding: chunked")),
    (get(b"Connection: Y, X", b"X: a"), PLAIN),
    (get(b"Proxy-Connection: keep-alive", b"Keep-Alive: 5", b"TE: gzip"), PLAIN),
    (get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"), PLAIN),
    (get(b"X: " + b"x" * 70000), 431),
    (get(*[b"X-%d: a" % n for n in range(7000)]), 431),
    (get(b"X: " + b"x" * 60000), up(b"X: " + b"x" * 60000)),
    (get(*[b"X-%d: a" % n for n in range(900)]), up(*[b"X-%d: a" % n for n in range(900)])),
]

BOTH = b"Transfer-Encoding: chunked"

LENGTHS = [
    (post(LENGTH), SIZED),
    (post(LENGTH, LENGTH), SIZED),
    (post(LENGTH, b"Content-Length: 5"), 400),
    (post(b"Content-Length: 5", LENGTH), 400),
    (post(b"Content-Length: 34, 34"), 400),
    (post(b"Content-Length: 34 34"), 400),
    (post(b"Content-Length: 34;"), 400),
    (post(b"Content-Length: +34"), 400),
    (post(b"Content-Length: -34"), 400),
    (post(b"Content-Length: 0x22"), 400),
    (post(b"Content-Length: 34.0"), 400),
    (post(b"Content-Length:"), 400),
    (post(b"Content-Length: \xd9\xa5"), 400),
    (post(b"Content-Length: 18446744073709551650"), 400),
    (post(b"Content-Length : 34"), 400),
    (post(b"Content-Length\0: 34"), 400),
    (post(b"Content-Length:\x0b34"), 400),
    (post(b"Content-Length: 034"), SIZED),
    (post(b"cONTENT-lENGTH:\t 34 \t"), SIZED),
    (post(LENGTH, b"Connection: Content-Length"), SIZED),
    (get(LENGTH) + BODY, up(LENGTH, body=BODY)),
    (post(body=b""), up_post(b"Content-Length: 0", body=b"")),
    (post(LENGTH, b"Expect: 100-continue"), up_post(b"Expect: 100-continue", LENGTH)),
    (post(LENGTH, BOTH, body=WHOLE), 400),
    (post(BOTH, LENGTH, body=WHOLE), 400),
    (post(BOTH, b"Content-Length: 0", body=WHOLE), 400),
    (lines(b"CONNECT echo:80 HTTP/1.1", b"Host: echo", LENGTH) + BODY, 400),
]

CODINGS = [
    (post(BOTH, body=WHOLE), up_chunked(WHOLE)),
    (post(b"TRANSFER-encoding:\tChunked ", body=WHOLE), up_chunked(WHOLE)),
    (post(b"Transfer-Encoding: , chunked,", body=WHOLE), up_chunked(WHOLE)),
    (post(BOTH, b"Connection: Transfer-Encoding", body=WHOLE), up_chunked(WHOLE)),
    (post(BOTH, BOTH, body=WHOLE), 400),
    (post(b"Transfer-Encoding: chunked, chunked", body=WHOLE), 400),
    (post(b"Transfer-Encoding: gzip, chunked", body=WHOLE), 501),
    (post(b"Transfer-Encoding: gzip", BOTH, body=WHOLE), 501),
    (post(b"Transfer-Encoding: chunked, gzip", body=WHOLE), 400),
    (post(BOTH, b"Transfer-Encoding: identity", body=WHOLE), 400),
    (post(b"Transfer-Encoding: identity", LENGTH), 400),
    (post(b"Transfer-Encoding: xchunked", body=WHOLE), 400),
    (post(b"Transfer-Encoding: chunked;q=1", body=WHOLE), 400),
    (post(b'Transfer-Encoding: "chunked"', body=WHOLE), 400),
    (post(b"Transfer-Encoding:", body=WHOLE), 400),
    (post(b"Transfer-Encoding: ,", body=WHOLE), 400),
    (post(b"Transfer-Encoding: chunked\0", body=WHOLE), 400),
    (post(b"Transfer-Encoding:\x0bchunked", body=WHOLE), 400),
    (post(b"Transfer-Encoding: ch\xc5\xbfnked", body=WHOLE), 400),
    (post(b"Transfer-Encoding : chunked", body=WHOLE), 400),
    (post(b"Transfer-Encoding:\r\n chunked", body=WHOLE), 400),
    (post(b"X: a\nTransfer-Encoding: chunked", body=WHOLE), 400),
    (lines(b"POST / HTTP/1.0", b"Host: echo", BOTH) + WHOLE, 400),
]

CHUNKS = [
    (chunked(b"022;a=b;c\r\n" + BODY + b"\r\n00;x\r\n\r\n"), up_chunked(b"022;a=b;c\r\n" + BODY + b"\r\n00;x\r\n\r\n")),
    (chunked(b'22 ; a = "\\"\r\t"\r\n' + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"0\r\nX: y\r\n\r\n"), up_chunked(b"0\r\nX: y\r\n\r\n")),
    (chunked(b"+22\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"-1\r\n" + BODY), 400),
    (chunked(b"0x22\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b" 22\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"2_2\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22h\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"\r\n" + BODY), 400),
    (chunked(b";a\r\n" + BODY), 400),
    (chunked(b"fffffffffffffffff\r\n" + BODY), 400),
    (chunked(b"10000000000000022\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22\r" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22;a\nX\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22;a\rX\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22;\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22 x\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22;=x\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22;a\0\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b'22;a="b\r\n' + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22;" + b"a" * 70000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"5\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    (chunked(b"22\r\n" + BODY + b"0\r\n\r\n"), 400),
    (chunked(b"22\r\n" + BODY + b"\n0\r\n\r\n"), 400),
    (chunked(b"0\r\n\n"), 400),
    (chunked(b"0\n\r\n"), 400),
    (chunked(b"0\r\nX : y\r\n\r\n"), 400),
    (chunked(b"0\r\n X: y\r\n\r\n"), 400),
    (chunked(b"0\r\nX: y\n\r\n"), 400),
    (chunked(b"0\r\nX: y\0\r\n\r\n"), 400),
    (chunked(b"0\r\n" + BODY), 400),
]

ROWS = FIRST_LINES + TARGETS + HOSTS + FIELDS + LENGTHS + CODINGS + CHUNKS
