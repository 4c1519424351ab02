"""Hostile and odd requests of HTTP/2, and what has to become of each: the status that refuses it,
`RESET`, or the fields that the upstream gets. A request is its fields; behind them its body in
pieces, and trailers, where it has them."""

RESET = "reset"
START = {":method": "GET", ":scheme": "http", ":authority": "echo", ":path": "/"}
# What arrives of it where nothing else is said.
WENT = {**START, ":authority": "127.0.0.1:8097"}


def get(*fields, **changed):
    """A GET with these pseudo-header fields changed (or left out: None), and these fields behind them."""
    return pseudo(START, changed) + list(fields)


def went(*fields, **changed):
    return pseudo(WENT, changed) + list(fields)


def pseudo(start, changed):
    changed = {f":{name}": value for name, value in changed.items()}
    return [pair for pair in {**start, **changed}.items() if pair[1] is not None]


def post(*fields):
    return get(*fields, method="POST")


PSEUDO = [
    ((get(),), went()),
    ((get()[::-1],), went()[::-1]),
    ((get(scheme="https"),), went()),
    ((get(method="M-SEARCH"),), went(method="M-SEARCH")),
    ((get(method="OPTIONS", path="*"),), went(method="OPTIONS", path="*"), "nginx"),
    ((get(authority="ECHO"),), went()),
    ((get(authority="echo:80"),), went()),
    ((get(authority="echo.run.internal."),), went()),
    ((get(("host", "echo")),), went()),
    ((get(("host", "ECHO")),), went()),
    ((get(("host", "echo"), authority=None),), [went()[at] for at in (0, 2, 1, 3)]),
    ((get(path="//other/x"),), went(path="//other/x")),
    ((get(path="/http://other/"),), went(path="/http://other/")),
    ((get(path="/a%0d%0a%20b"),), went(path="/a%0d%0a%20b")),
    ((get(("x-forwarded-host", "other")),), went(("x-forwarded-host", "other"))),
    ((get(method=None),), RESET),
    ((get(scheme=None),), RESET),
    ((get(path=None),), RESET),
    ((get(authority=None),), 400),
    ((get((":path", "/x")),), RESET),
    ((get((":method", "GET")),), RESET),
    ((get((":authority", "echo")),), RESET),
    ((get((":authority", "other")),), RESET),
    ((get((":status", "200")),), RESET),
    ((get((":protocol", "websocket")),), RESET),
    ((get((":unknown", "x")),), RESET),
    ((get((":Path", "/x")),), RESET),
    ((get(("x", "y"), (":path", "/x"), path=None),), RESET),
    ((get(("x", "y"), (":authority", "other")),), RESET),
    ((get(method="GET /admin HTTP/1.1\r\nX:"),), RESET),
    ((get(method="GET "),), RESET),
    ((get(method=""),), RESET),
    ((get(method="G\0T"),), RESET),
    ((get(scheme="http://other/"),), RESET),
    ((get(scheme="ftp"),), RESET),
    ((get(scheme=""),), RESET),
    ((get(path=""),), RESET),
    ((get(path="x"),), RESET),
    ((get(path="@other/"),), RESET),
    ((get(path=":80/"),), RESET),
    ((get(path="http://other/"),), RESET),
    ((get(path="*"),), RESET),
    ((get(path="/ HTTP/1.1\r\nHost: other\r\nX: y"),), RESET),
    ((get(path="/\n"),), RESET),
    ((get(path="/a b"),), RESET),
    ((get(path="/a#b"),), RESET),
    ((get(path="/a\0"),), RESET),
    ((get(path="/\xe9"),), RESET),
    ((get(authority=""),), RESET),
    ((get(authority="u@echo"),), RESET),
    ((get(authority="echo@other"),), RESET),
    ((get(authority="echo/x"),), RESET),
    ((get(authority="echo other"),), RESET),
    ((get(authority="echo\r\nX: y"),), RESET),
    ((get(authority="ech%6f"),), RESET),
    ((get(authority="echo:99999"),), RESET),
    ((get(("host", "other")),), RESET),
    ((get(("host", "echo"), ("host", "echo")),), RESET),
    ((get(("host", "u@echo"), authority=None),), RESET),
    ((get(method="CONNECT"),), RESET),
    ((get(method="CONNECT", authority="u@other:80", scheme=None, path=None),), RESET),
]

FIELDS = [
    ((get(("x", "a\tb \xe9"), ("y", ""), ("x", "2")),), went(("x", "a\tb \xe9"), ("y", ""), ("x", "2"))),
    ((get(("te", "trailers")),), went(("te", "trailers"))),
    ((get(("content_length", "5")),), went(("content_length", "5"))),
    ((get(("x", "a\r\nhost: other")),), RESET),
    ((get(("x", "a\nb")),), RESET),
    ((get(("x", "a\rb")),), RESET),
    ((get(("x", "a\0b")),), RESET),
    ((get(("x", "a\x7fb")),), RESET),
    ((get(("x", " a")),), RESET),
    ((get(("x", "a\t")),), RESET),
    ((get(("X", "a")),), RESET),
    ((get(("Transfer-Encoding", "chunked")),), RESET),
    ((get(("x y", "a")),), RESET),
    ((get(("x:", "a")),), RESET),
    ((get(("x: a\r\ny", "b")),), RESET),
    ((get(("x\0", "a")),), RESET),
    ((get(("\xe9", "a")),), RESET),
    ((get(("", "a")),), RESET),
    ((get(("transfer-encoding", "chunked")),), RESET),
    ((get(("connection", "close")),), RESET),
    ((get(("connection", "x-serverless-authorization")),), RESET),
    ((get(("keep-alive", "5")),), RESET),
    ((get(("proxy-connection", "close")),), RESET),
    ((get(("upgrade", "h2c")),), RESET),
    ((get(("te", "gzip")),), RESET),
    ((get(("x", "x" * 70000)),), 431),
]

BODIES = [
    ((post(), "hello"), went(method="POST")),
    ((post(("content-length", "5")), "he", "llo"), went(("content-length", "5"), method="POST")),
    ((post(), "GET /body HTTP/1.1\r\n\r\n"), went(method="POST")),
    ((post(), "hello", [("x", "y")]), went(method="POST"), "nginx"),
    ((post(("content-length", "0")), ""), went(("content-length", "0"), method="POST")),
    ((post(("content-length", "5"), ("content-length", "5")), "hello"), RESET),
    ((post(("content-length", "5"), ("content-length", "6")), "hello"), RESET),
    ((post(("content-length", "5, 5")), "hello"), RESET),
    ((post(("content-length", "+5")), "hello"), RESET),
    ((post(("content-length", "")), "hello"), RESET),
    ((post(("content-length", "18446744073709551621")), "hello"), RESET),
    ((get(("content-length", "5")),), RESET),
    ((post(("content-length", "4")), "hello"), RESET),
    ((post(("content-length", "6")), "hello"), RESET),
    ((post(("content-length", "6")), "hel", "lo"), RESET),
    ((post(("content-length", "6")), "hello", [("x", "y")]), RESET),
    ((post(), "hello", [(":path", "/x")]), RESET),
    ((post(), "hello", [("x", "a\r\nb: c")]), RESET),
    ((post(), "hello", [("X", "a")]), RESET),
    ((post(), "hello", [("transfer-encoding", "chunked")]), RESET),
]

ROWS = PSEUDO + FIELDS + BODIES
