"""Upstreams that fail at every place they can; each function is one table of tests/faults.rs."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

from scripted import HEAD, answer, control, cue, cued, dial, do, head, main, requests, rest, said, say, script, wait

GET = b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"
BODY = "0123456789"
FRAMINGS = {
    "length": f"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{BODY}",
    "chunks": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nx: y\r\n\r\n",
    "end": f"HTTP/1.1 200 OK\r\n\r\n{BODY}",
}


def ask(request=GET):
    s = dial()
    s.sendall(request)
    got = rest(s)
    s.close()
    return got


def is_whole(got):
    """Whether a client may take this response for a complete one (RFC 9112 section 6.3)."""
    fields, _, body = got.removesuffix(b"RESET").partition(b"\r\n\r\n")
    if length := re.search(rb"content-length: (\d+)", fields, re.I):
        return len(body) == int(length[1])
    if re.search(rb"transfer-encoding: chunked", fields, re.I):
        return re.search(rb"(^|\r\n)0\r\n(x: y\r\n)?\r\n$", body) is not None
    return not got.endswith(b"RESET")


def cuts():
    """The upstream ends at every byte of its response, in each way there is: a head that is
    cut is a 502, a body that is cut never looks like a whole one."""
    cases = 0
    for framing, response in FRAMINGS.items():
        start = response.index("\r\n\r\n") + 4
        for cut in range(len(response) + 1):
            # All ways where something is over, each in its turn elsewhere.
            ways = ["close", "fin", "reset", "notify"]
            for way in ways if cut in (0, start, len(response)) else [ways[cut % 4]]:
                steps = [HEAD, say(response[:cut])] if cut else [HEAD]
                script("hello", [*steps, do(way)])
                got = ask()
                case = (framing, cut, way, got)
                cases += 1
                if cut < start:
                    assert got.startswith(b"HTTP/1.1 502 ") and is_whole(got), case
                    assert b"runsd; error=" in got, case
                    continue
                # A RST may take what came before it along: then it is a cut head or body.
                if way == "reset" and not got.startswith(b"HTTP/1.1 200 "):
                    assert got.startswith(b"HTTP/1.1 502 "), case
                    continue
                assert got.startswith(b"HTTP/1.1 200 "), case
                is_over = way in ("close", "notify") if framing == "end" else cut == len(response)
                if way != "reset" or not is_over:
                    assert is_whole(got) == is_over, case
                assert len(requests("hello")) <= 2, case
    print(cases, "cases")


def stalls():
    """The upstream says nothing for a while at every byte of its response: others are answered in the
    meantime, what has come of a body is passed on, and the rest follows."""
    cases = 0
    for framing, response in FRAMINGS.items():
        start = response.index("\r\n\r\n") + 4
        for cut in range(len(response) + 1):
            before, after = ([say(part)] if part else [] for part in (response[:cut], response[cut:]))
            script("hello", [HEAD, *before, said("silent"), cued("go"), *after, do("close")])
            s = dial()
            s.sendall(GET)
            wait("cues", "silent")
            other = ask(GET.replace(b"hello", b"echo"))
            assert other.startswith(b"HTTP/1.1 200 "), (framing, cut, other)
            # A body is passed on as it comes, to the byte where it has no chunks.
            got = b""
            while cut > start and framing != "chunks" and not got.endswith(response[start:cut].encode()):
                more = s.recv(4096)
                assert more, (framing, cut, got)
                got += more
            cue("go")
            got += rest(s)
            s.close()
            assert got.startswith(b"HTTP/1.1 200 ") and is_whole(got), (framing, cut, got)
            cases += 1
    print(cases, "cases")


def records():
    """A response of TLS records of one byte each, with new keys between them (RFC 8446 section 4.6.3)."""
    for framing in ("length", "chunks"):
        steps = [HEAD]
        for at, byte in enumerate(FRAMINGS[framing]):
            steps += [say(byte)] + ([do("rekey")] if at % 7 == 0 else [])
        script("hello", steps)
        s = dial()
        s.sendall(b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n")
        status = head(s).split(" ")[1]
        with s.makefile("rb") as file:
            body = file.read(10) if framing == "length" else b""
            while framing == "chunks" and (size := int(file.readline().split(b";")[0], 16)):
                body += file.read(size)
                file.readline()
        print(framing, status, body.decode())
        s.close()


def reuse(gets, posts):
    """Each kept connection turns out closed. All GETs are answered; a POST may fail, and is sent once."""
    before = seen("close")
    failed = 0
    s = socket.create_connection(("close", 80), timeout=60)
    for _ in range(int(gets)):
        s.sendall(b"GET /quietly HTTP/1.1\r\nHost: close\r\n\r\n")
        status, body = answer(s)
        assert (status, body) == (200, "gone"), (status, body)
    between = seen("close")
    assert between - before >= int(gets)
    for _ in range(int(posts)):
        s.sendall(b"POST /quietly HTTP/1.1\r\nHost: close\r\nContent-Length: 0\r\n\r\n")
        status, body = answer(s)
        assert status == 200 or status == 502 and "may or may not have been carried out" in body, (status, body)
        failed += status != 200
    sent = seen("close") - between
    assert sent <= int(posts), f"{posts} POSTs were {sent}"
    print("all answered")


def seen(service):
    return control("GET", "/stats")["requests"].get(f"{service}-123456789012.us-east1.run.app", 0)


def restarts():
    """The front end ends all its connections in order, over and over, under load."""
    wrong, done, over = [], [0], threading.Event()

    def load():
        s = socket.create_connection(("hello", 80), timeout=60)
        while not over.is_set():
            s.sendall(b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n")
            status, body = answer(s)
            done[0] += 1
            if status != 200:
                wrong.append((status, body))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        target = done[0] + 20
        control("POST", "/drain", {})
        while done[0] < target and not wrong:
            os.sched_yield()
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]
    print("none failed")


def stopped(pid):
    """SIGSTOP until the token is over and all connections are gone, then SIGCONT."""
    control("POST", "/metadata", {"exp_in": 4})
    ask()
    os.kill(int(pid), signal.SIGSTOP)
    until = time.time() + 4
    control("POST", "/frontend", {"cut": True})
    control("POST", "/metadata", {"exp_in": 3600})
    s = socket.create_connection(("127.0.0.1", 80))
    s.sendall(GET)
    while time.time() < until:
        os.sched_yield()
    os.kill(int(pid), signal.SIGCONT)
    print(rest(s).split(b"\r\n")[0].decode())
    for request in (GET, GET.replace(b"GET", b"POST"), GET):
        print(ask(request).split(b"\r\n")[0].decode())


def without_ipv6():
    """::1 goes away under a runsd that listens there."""
    s = socket.create_connection(("::1", 80))
    s.close()
    subprocess.run(["ip", "address", "del", "::1/128", "dev", "lo"], check=True)
    for _ in range(3):
        print(ask().split(b"\r\n")[0].decode())
    print(socket.gethostbyname("hello"), socket.gethostbyname("external.example"))


def posts():
    """A kept connection ends once it has a POST, or a GET: only the GET is sent again."""
    ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    for way in ("close", "fin", "reset"):
        for method in ("POST", "GET"):
            script("hello", [HEAD, say(ok), HEAD, do(way)], [HEAD, say(ok)])
            s = dial()
            s.sendall(b"GET /first HTTP/1.1\r\nHost: hello\r\n\r\n")
            first = answer(s)[0]
            s.sendall(f"{method} /second HTTP/1.1\r\nHost: hello\r\nContent-Length: 0\r\n\r\n".encode())
            second = answer(s)[0]
            s.close()
            sent = [line for one in requests("hello") for line in one].count(f"{method} /second")
            print(way, method, first, second, sent)


if __name__ == "__main__":
    main(globals())
