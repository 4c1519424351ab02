"""Plays the tables of hostile messages; each function is one test of tests/smuggling.rs.

Behind each request of a table stands another one on the same connection: were any byte of the
first read as more or less than it is, the second would not be what it is, nor its response. What
runsd sends on is sent through nginx and haproxy, too, and so is what it got: where they take it
for a request at all, they take it for the same one."""

import json
import socket
import sys
import threading

import strict
from hostile_requests import ROWS as REQUESTS
from hostile_responses import CUT
from hostile_responses import ROWS as RESPONSES
from peers import PORTS, Peers

ECHO, OTHER = 8099, 8098
LAST = b"GET /last HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n"
# Seconds of silence, many times of what a busy machine needs.
TIMEOUT = 20


class Upstream:
    """Keeps what it is asked, and answers with the target, or with the bytes of `says`; strict, so that one
    byte too many or too few shows."""

    def __init__(self, port):
        self.port, self.seen = port, []
        # By target: bytes, how many of them at once, and whether it closes behind them.
        self.says = {}
        self.listener = socket.create_server(("127.0.0.1", port), backlog=100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            peer = self.listener.accept()[0]
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        data, told = b"", False
        with peer:
            while True:
                try:
                    message, rest = strict.request(data)
                except strict.Incomplete:
                    if b"\r\n\r\n" in data and not told and b"\r\nexpect: 100-continue\r\n" in data.lower():
                        told = True
                        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    try:
                        more = peer.recv(65536)
                    except ConnectionResetError:
                        return
                    if not more:
                        return
                    data += more
                    continue
                except strict.Malformed as err:
                    self.seen.append((f"malformed: {err}", data))
                    return
                self.seen.append((message, data[: len(data) - len(rest)]))
                data, told = rest, False
                if message.second in self.says:
                    wire, piece, closes = self.says[message.second]
                    for at in range(0, len(wire), piece):
                        peer.sendall(wire[at : at + piece])
                    if closes:
                        return
                    continue
                body = b"" if message.first == b"HEAD" else message.second[:50]
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    def take(self):
        seen, self.seen = self.seen, []
        return seen


def said(port, data, piece=None):
    """Sends it, in pieces of this size, and returns all that comes until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at in range(0, len(data), piece or len(data)):
                s.sendall(data[at : at + (piece or len(data))])
        except (BrokenPipeError, ConnectionResetError):
            pass  # It said no in the middle.
        got = b""
        try:
            while more := s.recv(65536):
                got += more
        except ConnectionResetError:
            pass
        return got


def responses(got, methods):
    """The responses in `got`, one for each method."""
    read = []
    for method in methods:
        response, got = strict.response(got, method, closed=True)
        read.append(response)
    assert not got, f"more than was asked for: {got[:200]!r}"
    return read


def shown(row):
    row = row[0] if isinstance(row, tuple) else row
    row = row if isinstance(row, bytes) else str(row).encode()
    return row if len(row) < 300 else row[:150] + b" ... " + row[-150:]


def without_agent(raw):
    """runsd names itself in each request."""
    fields = [line for line in raw.split(b"\r\n") if not line.startswith(b"User-Agent: runsd version=")]
    return b"\r\n".join(fields)


def request_row(row, upstreams, piece):
    """Sends a row through runsd; the request and its bytes where it is passed on."""
    sent, want = row[:2]
    got = said(80, sent + LAST, piece if len(sent) < 2000 else None)
    seen = {port: upstream.take() for port, upstream in upstreams.items()}
    case = (want if isinstance(want, int) else shown(want), shown(got), seen)
    if isinstance(want, int):
        # With a 500 the request was in order, and only its host is nobody's: the next one is served.
        goes_on = want == 500 and sent.startswith(b"GET / HTTP/1.1")
        refusal, *others = responses(got, [b"GET", b"GET"] if goes_on else [b"GET"])
        assert refusal.first == b"%d" % want and refusal.all(b"proxy-status")[0].startswith(b"runsd; error="), case
        assert [one.body for one in others] == [b"/last"] * goes_on, case
        assert [one.second for one, _ in sum(seen.values(), [])] == [b"/last"] * goes_on, case
        return None
    port = OTHER if b"\r\nHost: 127.0.0.1:8098\r\n" in want else ECHO
    assert seen[port], case
    (message, raw), *more = seen.pop(port)
    more += sum(seen.values(), [])
    assert without_agent(raw) == want, case
    assert [one.second for one, _ in more] == [b"/last"], case
    first, last = responses(got, [message.first, b"GET"])
    assert first.body == message.second[:50] and last.body == b"/last", case
    return message, raw


def each(rows, check, *others):
    """What the check makes of each row; all that fail are told of at once."""
    made, faults = [], []
    for row in rows:
        try:
            made.append((row, check(row, *others)))
        except (AssertionError, strict.Malformed, strict.Incomplete, OSError) as err:
            faults.append(f"{shown(row[0])!r}: {err!r}"[:1500])
    assert not faults, "\n".join(faults)
    return made


def read_by(peer, data, upstream):
    """The one request for which a peer takes these bytes, with the host it is for; `None` where it refuses them."""
    got = said(PORTS[peer][0], data + LAST)
    seen = upstream.take()
    case = (peer, shown(data), shown(got), seen)
    if not seen:
        assert got[9:10] in (b"4", b"5") or not got, case
        return None
    (message, _), *more = seen
    assert [one.second for one, _ in more] == [b"/last"], case
    (name,) = message.all(b"x-read-host")
    return described(message, name)


def described(message, host):
    """What has to be the same, whoever reads it."""
    target, host = message.second, host.lower()
    if target.startswith(b"http://"):
        host, slash, path = target[7:].partition(b"/")
        target = slash + path
    return message.first, target, host.removesuffix(b":80").rstrip(b".").removesuffix(b".run.internal"), message.body


def alike(row, message, raw, upstream):
    """Both peers read what was passed on as it was meant, and what it was made of alike, or not at all."""
    (authority,) = message.all(b"host")
    for peer in PORTS:
        got = read_by(peer, raw, upstream)
        host = authority.partition(b":")[0] if peer == "nginx" else authority
        want = None if peer in row[2:] else described(message, host)
        assert got == want, (peer, "as passed on", got, want)
        got = read_by(peer, row[0], upstream)
        host = b"other" if authority.endswith(b"98") else b"echo"
        assert got in (None, described(message, host)), (peer, "as it came", got)


def requests():
    upstreams = {port: Upstream(port) for port in (ECHO, OTHER)}
    passed = each(REQUESTS, request_row, upstreams, None)
    assert each(REQUESTS, request_row, upstreams, 7) == passed, "in pieces they are others"
    passed = [(row, *made) for row, made in passed if made]
    with Peers(ECHO):
        each(passed, lambda one: alike(*one, upstreams[ECHO]))
    print(json.dumps([[text(row[0]), text(raw)] for row, _, raw in passed]))


def response_row(row, upstream, piece):
    """What a client gets where the upstream says what the row says; `None` where it is refused."""
    said_up, want, *flags = row
    small = piece and "stray" not in flags and len(said_up) < 2000
    upstream.says[b"/row"] = said_up, piece if small else len(said_up) or 1, "closes" in flags
    method = b"HEAD" if "head" in flags else b"GET"
    got = said(80, method + b" /row HTTP/1.1\r\nHost: echo\r\n\r\n" + LAST)
    # A GET is sent again where a kept connection ended without a byte.
    seen = [message.second for message, _ in upstream.take()]
    case = (want if isinstance(want, (int, str)) else shown(want), shown(got), seen)
    if want == CUT or small and want == 502 and got.startswith(b"HTTP/1.1 200 "):
        try:
            read = strict.response(got, method, closed=True)
        except strict.Incomplete:
            return None
        raise AssertionError(read, case)
    if want == 502:
        first, *last = responses(got, [method, b"GET"])
        assert first.first == b"502" and first.all(b"proxy-status")[0].startswith(b"runsd; error="), case
        assert [one.body for one in last] == [b"/last"], case
        return None
    assert got.startswith(want), case
    ends = b"\r\nConnection: close\r\n" in want
    last = responses(got[len(want) :], [] if ends else [b"GET"])
    assert [one.body for one in last] == ([] if ends else [b"/last"]), case
    return method, want


def response_alike(row, method, passed, upstream):
    """A client behind either peer gets the same response of what was passed on, and of what it was made of."""
    (want, _), flags = strict.response(passed, method, closed=True), row[2:]
    for peer in [peer for peer in PORTS if peer not in flags]:
        for wire in (passed, row[0]):
            upstream.says[b"/row"] = wire, len(wire), "closes" in flags or b"\r\nConnection: close\r\n" in wire
            got = said(PORTS[peer][0], method + b" /row HTTP/1.1\r\nHost: echo\r\n\r\n" + LAST)
            upstream.take()
            try:
                first, rest = strict.response(got, method, closed=True)
            except strict.Malformed:
                # haproxy sends the first line on as it came.
                assert wire == row[0] and not row[0].startswith(b"HTTP/1.1 200 OK\r\n"), (peer, got)
                continue
            assert not rest or responses(rest, [b"GET"])[0].body == b"/last", (peer, got)
            if wire == passed or first.first != b"502":
                assert (first.first, first.body) == (want.first, want.body), (peer, shown(wire), shown(got))


def responded():
    upstream = Upstream(ECHO)
    passed = each(RESPONSES, response_row, upstream, None)
    each(RESPONSES, response_row, upstream, 7)
    passed = [(row, *made) for row, made in passed if made]
    with Peers(ECHO):
        each(passed, lambda one: response_alike(*one, upstream))
    print(json.dumps([[text(method), text(wire)] for _, method, wire in passed]))


def text(data):
    return data.decode("latin-1")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
