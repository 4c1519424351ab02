"""Hostile and odd responses of HTTP/1 to a GET, and what has to become of each: 502, or what the
client gets, byte by byte; `CUT` where its head was passed on and its end never comes. What is
said behind that: the upstream closes behind it ("closes"), the request was a HEAD ("head"), more
is said than the response ("stray"), and the peers that read it otherwise, in whatever bytes."""

CUT = "cut"
OK = b"HTTP/1.1 200 OK"
FIVE = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
# A response of its own, that must not become one.
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstray!"
WHOLE = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
CLOSE = b"Connection: close"


def lines(*parts):
    return b"\r\n".join(parts) + b"\r\n\r\n"


def ok(*fields, body=b"hello"):
    return lines(OK, *fields) + body


def first(line):
    return lines(line, FIVE) + b"hello"


def chunked(body):
    return ok(CHUNKED, body=body)


HELLO = first(OK)

FIRST_LINES = [
    (HELLO, HELLO),
    (first(b"HTTP/1.1 200"), first(b"HTTP/1.1 200 ")),
    (first(b"HTTP/1.1 200 "), first(b"HTTP/1.1 200 ")),
    (first(b"HTTP/1.1 200 all\tis \xfcber"), first(b"HTTP/1.1 200 all\tis \xfcber")),
    (first(b"HTTP/1.2 200 OK"), HELLO),
    (first(b"HTTP/1.0 200 OK"), HELLO),
    (first(b"HTTP/1.1 599 X"), first(b"HTTP/1.1 599 X")),
    (first(b"HTTP/1.1  200 OK"), 502, "closes"),
    (first(b"HTTP/1.1\t200 OK"), 502, "closes"),
    (first(b"HTTP/1.1 200OK"), 502, "closes"),
    (first(b"HTTP/1.1 20 OK"), 502, "closes"),
    (first(b"HTTP/1.1 2000 OK"), 502, "closes"),
    (first(b"HTTP/1.1 099 OK"), 502, "closes"),
    (first(b"HTTP/1.1 +20 OK"), 502, "closes"),
    (first(b"HTTP/1.1 2x0 OK"), 502, "closes"),
    (first(b"HTTP/1.1"), 502, "closes"),
    (first(b"HTTP/1.10 200 OK"), 502, "closes"),
    (first(b"HTTP/2.0 200 OK"), 502, "closes"),
    (first(b"HTTP/2 200 OK"), 502, "closes"),
    (first(b"HTTP/0.9 200 OK"), 502, "closes"),
    (first(b"http/1.1 200 OK"), 502, "closes"),
    (first(b"ICY 200 OK"), 502, "closes"),
    (first(b" HTTP/1.1 200 OK"), 502, "closes"),
    (first(b"HTTP/1.1 200 O\0K"), 502, "closes"),
    (first(b"HTTP/1.1 200 O\rK"), 502, "closes"),
    (first(b"HTTP/1.1 200 O\x7fK"), 502, "closes"),
    (first(b"HTTP/1.1 200 OK\nX: y"), 502, "closes"),
    (b"\r\n" + HELLO, 502, "closes"),
    (b"\n" + HELLO, 502, "closes"),
    (b"\0" + HELLO, 502, "closes"),
    (b"hello", 502, "closes"),
    (b"SSH-2.0-OpenSSH_9.9\r\n", 502, "closes"),
    (HELLO[:30], 502, "closes"),
    (b"", 502, "closes"),
    (first(b"HTTP/1.1 101 Switching Protocols"), 502, "closes"),
]

FIELDS = [
    (ok(b"X: a\tb \x80\xff", b"Y:", FIVE), ok(b"X: a\tb \x80\xff", b"Y:", FIVE)),
    (ok(b"Connection: X, Content-Length", b"X: a", FIVE), HELLO),
    (ok(b"Keep-Alive: timeout=5", b"Proxy-Connection: close", FIVE), HELLO),
    (ok(*[b"X-%d: a" % n for n in range(900)], FIVE), ok(*[b"X-%d: a" % n for n in range(900)], FIVE)),
    (ok(b"X: " + b"x" * 60000, FIVE), ok(b"X: " + b"x" * 60000, FIVE)),
    (ok(b"X: " + b"x" * 70000, FIVE), 502, "closes"),
    (ok(b"X: a\r\n b", FIVE), 502, "closes"),
    (ok(b"X: a\r\n\tContent-Length: 6", FIVE), 502, "closes"),
    (lines(OK + b"\r\n X: a", FIVE) + b"hello", 502, "closes"),
    (ok(b"X : a", FIVE), 502, "closes"),
    (ok(b"X\t: a", FIVE), 502, "closes"),
    (ok(b"X Y: a", FIVE), 502, "closes"),
    (ok(b": a", FIVE), 502, "closes"),
    (ok(b"X", FIVE), 502, "closes"),
    (ok(b"X\0: a", FIVE), 502, "closes"),
    (ok(b"X\xe9: a", FIVE), 502, "closes"),
    (ok(b"X: a\0b", FIVE), 502, "closes"),
    (ok(b"X: a\x01b", FIVE), 502, "closes"),
    (ok(b"X: a\x7fb", FIVE), 502, "closes"),
    (ok(b"X: a\rb", FIVE), 502, "closes"),
    (ok(b"X: a\r\r\nY: b", FIVE), 502, "closes"),
    (ok(b"X: a\nContent-Length: 6", FIVE), 502, "closes"),
    (ok(b"X: a\n\nHTTP/1.1 200 OK", FIVE), 502, "closes"),
    (HELLO.replace(b"\r\n", b"\n"), 502, "closes"),
    (HELLO.replace(b"\r\n\r\n", b"\r\n\n"), 502, "closes"),
]

LENGTHS = [
    (ok(FIVE, FIVE), HELLO),
    (ok(b"content-LENGTH:  05 "), HELLO),
    (ok(b"Content-Length: 0", body=b""), ok(b"Content-Length: 0", body=b"")),
    (ok(CLOSE, body=BODY), ok(CLOSE, body=BODY), "closes"),
    (ok(body=b"hello"), ok(CLOSE, body=b"hello"), "closes"),
    (lines(b"HTTP/1.0 200 OK") + b"hello", ok(CLOSE, body=b"hello"), "closes"),
    (ok(FIVE, b"Content-Length: 6"), 502, "closes"),
    (ok(b"Content-Length: 6", FIVE), 502, "closes"),
    (ok(b"Content-Length: 5, 5"), 502, "closes"),
    (ok(b"Content-Length: 5 5"), 502, "closes"),
    (ok(b"Content-Length: +5"), 502, "closes"),
    (ok(b"Content-Length: -5"), 502, "closes"),
    (ok(b"Content-Length: 0x5"), 502, "closes"),
    (ok(b"Content-Length: 5;"), 502, "closes"),
    (ok(b"Content-Length:"), 502, "closes"),
    (ok(b"Content-Length: 18446744073709551621"), 502, "closes"),
    (ok(b"Content-Length : 5"), 502, "closes"),
    (ok(b"Content-Length:\x0b5"), 502, "closes"),
    (ok(FIVE, CHUNKED, body=WHOLE), 502, "closes"),
    (ok(CHUNKED, FIVE, body=WHOLE), 502, "closes"),
    (ok(CHUNKED, b"Content-Length: 0", body=WHOLE), 502, "closes"),
    (ok(b"Content-Length: 6"), CUT, "closes"),
    (lines(b"HTTP/1.1 204 No Content", FIVE) + b"hello", lines(b"HTTP/1.1 204 No Content"), "stray"),
    (lines(b"HTTP/1.1 204 No Content", CHUNKED) + WHOLE, lines(b"HTTP/1.1 204 No Content"), "stray"),
    (lines(b"HTTP/1.1 304 Not Modified", FIVE) + b"hello", lines(b"HTTP/1.1 304 Not Modified", FIVE), "stray"),
    (lines(b"HTTP/1.1 304 Not Modified", CHUNKED) + WHOLE, lines(b"HTTP/1.1 304 Not Modified"), "stray"),
    (lines(OK, FIVE), lines(OK, FIVE), "head"),
    (HELLO, lines(OK, FIVE), "head", "stray"),
    (chunked(WHOLE), lines(OK), "head", "stray"),
    (lines(OK, FIVE, CHUNKED), lines(OK, FIVE), "head"),
]

CODINGS = [
    (chunked(WHOLE), chunked(WHOLE)),
    (ok(b"transfer-ENCODING:\tChunked ", body=WHOLE), chunked(WHOLE)),
    (ok(b"Transfer-Encoding: ,chunked,", body=WHOLE), chunked(WHOLE)),
    (ok(CHUNKED, b"Connection: Transfer-Encoding", body=WHOLE), chunked(WHOLE)),
    (ok(CHUNKED, CHUNKED, body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding: chunked, chunked", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding: gzip, chunked", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding: chunked, gzip", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding: gzip", body=b"hello"), 502, "closes"),
    (ok(b"Transfer-Encoding: identity", FIVE), 502, "closes"),
    (ok(b"Transfer-Encoding: xchunked", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding: chunked;q=1", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding:", FIVE), 502, "closes"),
    (ok(b"Transfer-Encoding: chunked\0", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding:\x0bchunked", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding : chunked", body=WHOLE), 502, "closes"),
    (ok(b"Transfer-Encoding:\r\n chunked", body=WHOLE), 502, "closes"),
    (lines(b"HTTP/1.0 200 OK", CHUNKED) + WHOLE, 502, "closes"),
]

CHUNKS = [
    (chunked(b"05;a=b\r\nhello\r\n00\r\nX: y\r\n\r\n"), chunked(b"05;a=b\r\nhello\r\n00\r\nX: y\r\n\r\n")),
    (chunked(b"0\r\n\r\n"), chunked(b"0\r\n\r\n")),
    (chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b" 5\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5h\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5;\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5 x\r\nhello\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5\r\nhello0\r\n\r\n"), 502, "closes"),
    (chunked(b"5\r\nhello!\r\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5\r\nhello\n0\r\n\r\n"), 502, "closes"),
    (chunked(b"5\r\nhello\r\n0\r\nX : y\r\n\r\n"), 502, "closes"),
    (chunked(b"5\r\nhello\r\n0\r\n X: y\r\n\r\n"), 502, "closes"),
    (chunked(b"5\r\nhello\r\n0\r\n" + BODY), 502, "closes"),
    (chunked(b"5\r\nhello\r\n"), CUT, "closes"),
    (chunked(b"5\r\nhello\r\n0\r\n"), CUT, "closes"),
    (chunked(b"5\r\nhel"), CUT, "closes"),
]

HINT = lines(b"HTTP/1.1 103 Early Hints", b"Link: </a>")

# What is said behind a response, before it and instead of it.
STRAYS = [
    (HELLO + BODY, HELLO, "stray"),
    (HELLO + b"\r\n", HELLO, "stray"),
    (HELLO + b"\0", HELLO, "stray"),
    (HELLO + b"HTTP/1.1 200 OK\r\nConte", HELLO, "stray"),
    (HELLO + b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", HELLO, "stray"),
    (HELLO + HINT, HELLO, "stray"),
    (chunked(WHOLE) + BODY, chunked(WHOLE), "stray"),
    (chunked(WHOLE) + b"0\r\n\r\n", chunked(WHOLE), "stray"),
    (lines(b"HTTP/1.1 204 No Content") + BODY, lines(b"HTTP/1.1 204 No Content"), "stray"),
    # nginx sends the first head on as it would a response's.
    (HINT + HELLO, HINT + HELLO, "nginx"),
    (lines(b"HTTP/1.1 100 Continue", FIVE) + HELLO, lines(b"HTTP/1.1 100 Continue") + HELLO, "nginx"),
    (lines(b"HTTP/1.1 103 Early Hints", CHUNKED) + HELLO, lines(b"HTTP/1.1 103 Early Hints") + HELLO, "nginx"),
    (HINT + b"hello", 502, "closes"),
    (HINT, 502, "closes"),
]

ROWS = FIRST_LINES + FIELDS + LENGTHS + CODINGS + CHUNKS + STRAYS
