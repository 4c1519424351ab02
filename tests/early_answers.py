"""Tables for early_answers.rs. In each case the client's body holds a request,
or the upstream says what nobody asked for; what the upstream received and what
the client got must be the one request and its answer, and nothing else."""

import threading
from itertools import product

from scripted import (
    HEAD,
    answer,
    control,
    cue,
    cued,
    dial,
    do,
    head,
    read,
    recorded,
    requests,
    rest,
    rest_of,
    said,
    say,
    script,
    wait,
)

STATUS = {413: "413 Content Too Large", 200: "200 OK", 401: "401 Unauthorized"}
ANSWERS = {
    "length": "HTTP/1.1 %s\r\ncontent-length: 5\r\n\r\nearly",
    "empty": "HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n",
    "close": "HTTP/1.1 %s\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly",
    "chunked": "HTTP/1.1 %s\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n",
    "invalid": 'HTTP/1.1 %s\r\nwww-authenticate: Bearer error="invalid_token"\r\ncontent-length: 0\r\n\r\n',
}
SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: hello\r\n\r\n"
ENDS = ["reset", "close", "fin", "notify", "open"]


def upload(fields):
    s = dial()
    s.sendall(b"POST /upload HTTP/1.1\r\nHost: hello\r\n" + fields + b"\r\n")
    return s


def send(s, *pieces):
    """What nobody may want any more."""
    try:
        for piece in pieces:
            s.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass


def ok(body):
    return "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def early():
    """The upstream answers in the middle of a body, then does what it does."""
    bodies = {
        "length": (b"Content-Length: 1000\r\n", b"x" * 100),
        "large": (b"Content-Length: 100000\r\n", b"x" * 100),
        "chunked": (b"Transfer-Encoding: chunked\r\n", b"3e8\r\n" + b"x" * 95),
        "expects": (b"Content-Length: 100\r\nExpect: 100-continue\r\n", b""),
    }
    cases = [case for case in product(bodies, STATUS, ANSWERS, ENDS) if case[1] == 401 or case[2] != "invalid"]
    for number, case in enumerate(cases):
        body, status, name, end = case
        fields, first = bodies[body]
        steps = [HEAD, read(len(first)), say(ANSWERS[name] % STATUS[status]), cued("end%d" % number)]
        script("hello", steps + ([do(end)] if end != "open" else []))
        s = upload(fields)
        wait("recorded", "hello")
        if first:
            s.sendall(first)
        h = head(s)
        assert h.split(" ")[1] == str(status) and "connection: close" in h.lower(), (case, h)
        cue("end%d" % number)
        if end in ("reset", "close"):
            wait("ended", "hello")
        send(s, SMUGGLED)
        got = rest(s)
        assert b"HTTP/1.1" not in got, (case, got)
        s.close()
        assert requests() == [["POST /upload"]], (case, recorded())
    print(len(cases), "cases")


def ours():
    """runsd answers by itself before it has read the body."""
    bodies = {
        "length": (b"Content-Length: 1000\r\n", [b"x" * 100]),
        "chunked": (b"Transfer-Encoding: chunked\r\n", [b"3e8\r\n" + b"x" * 95]),
        "expects": (b"Content-Length: 100\r\nExpect: 100-continue\r\n", []),
        "bad chunk": (b"Transfer-Encoding: chunked\r\n", [b"zz\r\n"]),
        "later bad chunk": (b"Transfer-Encoding: chunked\r\n", [b"3\r\nxxx", b"\r\nzz\r\n"]),
    }
    ways = {
        "no such name": (b"no.such.example", {"mode": "ok"}, [HEAD]),
        "refused": (b"hello", {"mode": "refuse"}, [HEAD]),
        "no TLS": (b"hello", {"mode": "no-tls"}, [HEAD]),
        "garbage": (b"hello", {"mode": "ok"}, [HEAD, say("SSH-2.0-OpenSSH_9.9\r\n")]),
        "half a head": (b"hello", {"mode": "ok"}, [HEAD, say("HTTP/1.1 200 OK\r\nco"), do("close")]),
        "switched": (
            b"hello",
            {"mode": "ok"},
            [HEAD, say("HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n\r\n")],
        ),
    }
    cases = list(product(bodies, ways))
    for case in cases:
        fields, pieces = bodies[case[0]]
        host, mode, steps = ways[case[1]]
        script("hello", steps, [HEAD, say(ok(""))])
        control("POST", "/frontend", mode)
        s = dial()
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: " + host + b"\r\n" + fields + b"\r\n")
        send(s, *pieces)
        h = head(s)
        assert h.split(" ")[1] in ("400", "500", "502") and "connection: close" in h.lower(), (case, h)
        assert "proxy-status: runsd" in h.lower(), (case, h)
        control("POST", "/frontend", {"mode": "ok"})
        send(s, SMUGGLED)
        got = rest(s)
        assert b"HTTP/1.1" not in got, (case, got)
        assert sum(requests(), []) in ([], ["POST /upload"]), (case, recorded())
    # A body that is whole leaves the connection in order.
    for host in (b"no.such.example", b"hello"):
        script("hello", [HEAD, say(ok("second"))])
        control("POST", "/frontend", {"mode": "refuse"})
        s = dial()
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (host, len(SMUGGLED)) + SMUGGLED)
        h = head(s)
        assert "connection: close" not in h.lower(), h
        rest_of(s, int(h.lower().split("content-length: ")[1].split("\r\n")[0]))
        control("POST", "/frontend", {"mode": "ok"})
        s.sendall(b"GET /second HTTP/1.1\r\nHost: hello\r\n\r\n")
        assert answer(s) == (200, "second")
        assert requests() == [["GET /second"]], recorded()
    print(len(cases), "cases")


def deaf():
    """A large answer while a larger body goes to an upstream that reads none of it."""
    large = "x" * 5_000_000
    for end in ENDS:
        script("hello", [HEAD, do("deaf"), say(ok(large))] + ([do(end)] if end != "open" else []))
        s = upload(b"Content-Length: 50000000\r\n")
        sender = threading.Thread(target=send, args=(s, b"x" * 50_000_000))
        sender.start()
        got = rest(s)
        # What was said before a reset may be lost, also without us between.
        assert end in ("reset", "close") or got.endswith(b"x" * 5_000_000), (end, len(got), got[:200])
        sender.join()
    print(len(ENDS), "cases")


def left():
    """The upstream has left; the client reads only when it is done sending."""
    answers = {name: text % STATUS[413] for name, text in ANSWERS.items()}
    answers.update({"nothing": "", "half": "HTTP/1.1 413 x\r\nconte"})
    bodies = {
        "length": (b"Content-Length: 1000\r\n", b"x" * 100),
        "chunked": (b"Transfer-Encoding: chunked\r\n", b"3e8\r\n" + b"x" * 95),
    }
    cases = list(product(bodies, answers, ENDS[:4], [1, 3, 100]))
    for number, case in enumerate(cases):
        body, name, end, pieces = case
        fields, first = bodies[body]
        over = [do(end)] if end in ("reset", "close") else [do(end), said("left%d" % number)]
        script("hello", [HEAD, say(answers[name])] + over, [HEAD, say(ok(""))])
        s = upload(fields)
        if end in ("reset", "close"):
            wait("ended", "hello")
        else:
            wait("cues", "left%d" % number)
        size = 100 // pieces
        send(s, *[first[at : at + size] for at in range(0, 100, size)])
        send(s, SMUGGLED, b"GET /second HTTP/1.1\r\nHost: hello\r\n\r\n")
        got = rest(s)
        # With a reset what was said before it may be lost.
        assert got[9:12] in (b"413", b"502") and got.count(b"HTTP/1.1 ") == 1, (case, got)
        assert b"onnection: close" in got, (case, got)
        s.close()
        assert requests() == [["POST /upload"]], (case, recorded())
    print(len(cases), "cases")


def strays():
    """Bytes behind an answer, in its record, or later on an idle connection."""
    stray = {
        "an answer": ok("stray"),
        "a body": "stray",
        "a 408": "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "a byte": "\n",
        "half a head": "HTTP/1.1 200 OK\r\nconte",
        "an interim answer": "HTTP/1.1 103 Early Hints\r\n\r\n",
    }
    first = {
        "GET": ok("first"),
        "HEAD": "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        "GET, 204": "HTTP/1.1 204 No Content\r\n\r\n",
        "GET, 304": "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        "GET, chunked": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
    }
    second = {
        "GET": [b"GET /second HTTP/1.1\r\nHost: hello\r\n\r\n"],
        "POST": [b"POST /second HTTP/1.1\r\nHost: hello\r\nContent-Length: 4\r\n\r\nbody"],
        "POST in pieces": [b"POST /second HTTP/1.1\r\nHost: hello\r\nContent-Length: 4\r\n\r\n", b"bo", b"dy"],
    }
    hows = ["same record", "later", "later, and FIN"]
    cases = list(product(first, stray, hows, second, [False, True]))
    cases += list(product(first, ["a 408"], ["later, and close"], second, [False, True]))
    cases += list(product(first, ["an answer"], ["later, and reset"], second, [False, True]))
    for number, case in enumerate(cases):
        asked, name, how, again, other_client = case
        text = first[asked]
        if how == "same record":
            steps = [say(text + stray[name])]
        else:
            steps = [say(text), cued("now%d" % number), say(stray[name])]
        if how == "later, and FIN":
            steps += [do("fin")]
        if how == "later, and close":
            steps += [do("notify")]
        over = [said("told%d" % number), HEAD, say(ok("shifted"))]
        if how == "later, and reset":
            over = [do("reset")]
        script("hello", [HEAD] + steps + over, [HEAD, say(ok("second"))])
        s = dial()
        method = asked.split(",")[0].encode()
        s.sendall(method + b" /first HTTP/1.1\r\nHost: hello\r\n\r\n")
        head(s)
        if asked == "GET":
            rest_of(s, 5)
        if asked == "GET, chunked":
            rest_of(s, 15)
        cue("now%d" % number)
        if how == "later, and reset":
            wait("ended", "hello")
        else:
            wait("cues", "told%d" % number)
        t = s
        if other_client:
            s.close()
            t = dial()
        for piece in second[again]:
            t.sendall(piece)
        got = answer(t)
        assert got == (200, "second"), (case, got)
        t.close()
        want = [[method.decode() + " /first"], [again.split(" ")[0] + " /second"]]
        assert requests() == want, (case, recorded())
    print(len(cases), "cases")
