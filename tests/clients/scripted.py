"""For clients that say bytes, and upstreams that say what a test wrote (cloudrun/scripted.rs)."""

import http.client
import json
import socket
import sys


def control(method, path, body=None):
    """What the miniature answers, from JSON."""
    c = http.client.HTTPConnection("192.0.2.53", timeout=25)
    c.request(method, path, None if body is None else json.dumps(body))
    answer = c.getresponse()
    text = answer.read().decode()
    c.close()
    assert answer.status == 200, (method, path, text)
    return json.loads(text)


def script(service, *connections):
    """Each connection is a list of steps. What was recorded is forgotten, and
    connections that an earlier script served are gone."""
    control("POST", "/frontend", {"cut": True})
    control("POST", "/forget", {})
    control("POST", "/scripted", {"services": {service: connections}})


def until(text):
    return {"until": text}


def read(n):
    return {"bytes": n}


def say(text, times=1):
    return {"say": text, "times": times}


def cued(name, times=1):
    return {"wait": ["cues", name, times]}


def said(name):
    return {"cue": name}


def do(what):
    return {"do": what}


HEAD = until("\r\n\r\n")


def cue(name):
    control("POST", "/cue", {"name": name})


def wait(what, which, times=1):
    control("GET", "/wait?what=%s&which=%s&times=%d" % (what, which, times))


def recorded(service=None):
    """What each connection received."""
    all = control("GET", "/recorded")
    return [one["bytes"] for one in all if service in (None, one["service"])]


def requests(service=None):
    """The first lines of the requests that each connection received, with
    their bodies told from heads as RFC 9112 does; a list for each."""
    return [messages(one) for one in recorded(service)]


def messages(text):
    lines = []
    while text:
        head, found, text = text.partition("\r\n\r\n")
        lines.append(head.split(" HTTP/1.1")[0])
        fields = [line.split(": ") for line in head.lower().split("\r\n")[1:]]
        fields = {field[0]: field[1] for field in fields}
        if "content-length" in fields:
            text = text[int(fields["content-length"]) :]
        size = 1 if "transfer-encoding" in fields else 0
        while size and text:
            line, found, text = text.partition("\r\n")
            size = int(line, 16)
            text = text[size + 2 :]
    return lines


def dial(name="hello"):
    s = socket.create_connection((name, 80))
    s.settimeout(20)
    return s


def rest(s):
    """All until the end; 'RESET' behind it if that is what ended it."""
    got = b""
    while True:
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            return got + b"RESET"
        if not more:
            return got
        got += more


def head(s):
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        more = s.recv(1)
        if not more:
            raise Exception("closed after %r" % got)
        got += more
    return got.decode()


def rest_of(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        if not more:
            raise Exception("closed after %r" % got)
        got += more
    return got


def answer(s):
    """Status and body, by its length."""
    h = head(s)
    left = [int(line.split(":")[1]) for line in h.lower().split("\r\n") if line.startswith("content-length:")]
    return int(h.split(" ")[1]), rest_of(s, left[0] if left else 0).decode()


def main(functions):
    """Runs the function that is named on the command line, with the words behind it."""
    functions[sys.argv[1]](*sys.argv[2:])
