"""Answers that come before their request is over, and bytes that nobody asked for; each function
is one test of tests/early_answers.rs. In each case of a table the client's body holds a request,
or the upstream says what nobody asked for; what the upstream received and what the client got
must be the one request and its answer, and nothing else."""

import socket
import threading
import time
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
    main,
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
        want = {"500" if case[1] == "no such name" else "502"}
        reached = [[]] if case[1] in ("no such name", "refused", "no TLS") else [["POST /upload"]]
        if "bad chunk" in case[0] and case[1] != "no such name":
            # Two faults at once: the client hears of that which is seen first.
            want, reached = {"400", "502"}, [[], ["POST /upload"]]
        assert h.split(" ")[1] in want and "connection: close" in h.lower(), (case, h)
        assert "proxy-status: runsd" in h.lower(), (case, h)
        control("POST", "/frontend", {"mode": "ok"})
        send(s, SMUGGLED)
        got = rest(s)
        assert b"HTTP/1.1" not in got, (case, got)
        assert sum(requests(), []) in reached, (case, recorded())
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
        # With a reset what was said before it may be lost, and then it is as if there was nothing.
        is_lost = name in ("nothing", "half") or end in ("reset", "close") and got[9:12] != b"413"
        assert got[9:12] == (b"502" if is_lost else b"413") and got.count(b"HTTP/1.1 ") == 1, (case, got)
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


def recording_upstream():
    """The scripted upstream itself: it plays its steps and keeps what it received."""
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


def not_repeated():
    """A request whose interim response was passed on is not sent a second time."""
    ends = [do("close"), do("reset"), do("fin"), say(ANSWERS["invalid"] % STATUS[401])]
    for version in ["1.1", "1.0"]:
        for interim in ["100 Continue", "103 Early Hints"]:
            for end in ends:
                # Used before, so that a silent end would be worth another try.
                steps = [HEAD, say(ok("first")), HEAD, say("HTTP/1.1 %s\r\n\r\n" % interim), cued("go"), end]
                script("hello", steps, [HEAD, say(ok("again"))])
                s = dial()
                s.sendall(b"GET /first HTTP/1.1\r\nHost: hello\r\n\r\n")
                answer(s)
                s.sendall(b"GET /second HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
                if version == "1.1":
                    assert head(s).split(" ")[1] == interim[:3]
                else:
                    wait("recorded", "hello", len("".join(recorded())))
                cue("go")
                status = answer(s)[0]
                assert status == (401 if end.get("say") else 502), (version, interim, end, status)
                assert requests() == [["GET /first", "GET /second"]], requests()
    print("never")


def interim_answers():
    """Interim responses are passed on up to a number, and to no client of HTTP/1.0."""
    HINT = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    for version in ["1.1", "1.0"]:
        for n in [900, 1100]:
            script("hello", [HEAD, say(HINT, n), say(ok("ok"))])
            s = dial()
            s.sendall(b"GET / HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
            got = b""
            while not got.endswith((b"ok", b"sends\n")):
                got += s.recv(65536)
            hints = got.count(b"HTTP/1.1 103")
            print(version, n, hints, got.split(b"HTTP/1.1 ")[hints + 1][:3].decode())


def bad_chunks():
    """A chunk that is malformed: a 502 before the head was passed on, a reset after it."""
    HEADERS = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    for version in ["1.1", "1.0"]:
        for bad in ["zz\r\nhello\r\n", "5\r\nhello\r\nzz\r\n", "5\r\nhelloX"]:
            script("hello", [HEAD, say(HEADERS + bad)])
            s = dial()
            s.sendall(b"GET / HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
            status, body = answer(s)
            assert status == 502 and "chunk" in body, (version, bad, status, body)
            script("hello", [HEAD, say(HEADERS + "5\r\nhello\r\n"), cued("go"), say("zz\r\n")])
            s = dial()
            s.sendall(b"GET / HTTP/%s\r\nHost: hello\r\n\r\n" % version.encode())
            head(s)
            while b"hello" not in s.recv(65536):
                pass
            cue("go")
            print(rest(s)[-5:])


def client_closed():
    """The connection of a client that left is closed at the upstream."""
    for request in [
        b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: hello\r\nContent-Length: 4\r\n\r\nbody",
        # What it asked for beside it hides nothing.
        b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n" * 2,
    ]:
        script("hello", [HEAD])
        s = dial()
        s.sendall(request)
        wait("recorded", "hello", 100)
        s.close()
        started = time.monotonic()
        wait("ended", "hello")
        # It looks around once a second; a client that may only have ended its
        # direction would be waited for ten times as long.
        assert time.monotonic() - started < 8, request
    print("noticed")


def connect_with_body():
    """CONNECT has no body (RFC 9110 section 9.3.6)."""
    script("hello", [HEAD, say(ok("ok"))] * 2)
    connect = b"CONNECT hello:80 HTTP/1.1\r\nHost: hello:80\r\n%s\r\n"
    inside = b"GET /inside HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"
    for fields, body in [
        (b"Content-Length: 50\r\n", b""),
        (b"Content-Length: 5\r\n", b"xxxxx"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nxx"),
        (b"Content-Length: 0\r\n", b""),
        (b"", b""),
    ]:
        s = dial()
        s.sendall(connect % fields + body + inside)
        got = rest(s)
        print([part[:3].decode() for part in got.split(b"HTTP/1.1 ")[1:]], b"a body, which CONNECT never has" in got)
    print(requests())


def two_segments():
    """Head and body arrive one after the other, and the upstream answers at the head."""
    script("hello", [HEAD, say(ok("ok")), read(5)] * 100)
    s = dial()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    kept = 0
    for _ in range(100):
        s.sendall(b"POST / HTTP/1.1\r\nHost: hello\r\nContent-Length: 5\r\n\r\n")
        s.sendall(b"hello")
        h = head(s)
        rest_of(s, 2)
        if "connection: close" in h.lower():
            s = dial()
        else:
            kept += 1
    # A machine that is busy with something else may lose one.
    print(kept > 80, kept)


def ends_with_connection():
    """More is asked behind a request whose response ends with its connection."""
    for more in [b"GET /b HTTP/1.1\r\nHost: hello\r\n\r\n", b"\r\n"]:
        script("hello", [HEAD, cued("go"), say("HTTP/1.1 200 OK\r\n\r\nall of it"), do("close")])
        s = dial()
        s.sendall(b"GET /a HTTP/1.1\r\nHost: hello\r\n\r\n")
        wait("recorded", "hello")
        s.sendall(more)
        cue("go")
        got = rest(s)
        print(got.split(b"\r\n\r\n")[1], requests())


if __name__ == "__main__":
    main(globals())
