"""Random HTTP/1 conversations through runsd with a recording upstream of one's own.

    python3 -B conversations.py SEED ROUNDS PORT

Client and upstream cut their bytes anywhere, answer early, leave early, and put requests into
bodies and responses behind responses. Two sentences are checked: what the upstream took for a
request was one of the client's requests, and what the client took for a response was the response
to the request whose turn it was. Nor does the client wait for what never comes."""

import fcntl
import os
import random
import re
import socket
import struct
import sys
import termios
import threading

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: echo\r\n\r\n"
STRAY = b"HTTP/1.1 200 OK\r\nx-id: stray\r\ncontent-length: 5\r\n\r\nstray"


# Seconds of silence, many times of what a busy machine needs.
TIMEOUT = 30
# The state of a connection that was reset, in TCP_INFO.
TCP_CLOSE = 7


class Closed(Exception):
    """The other side will send nothing more."""


class Stream:
    """A connection, read strictly by RFC 9112."""

    def __init__(self, sock):
        self.sock, self.input = sock, b""

    def more(self):
        try:
            got = self.sock.recv(65536)
        except TimeoutError:
            raise  # to wait for what never comes is a fault
        except OSError as err:
            raise Closed from err
        if not got:
            raise Closed
        self.input += got

    def head(self):
        while b"\r\n\r\n" not in self.input:
            self.more()
        head, _, self.input = self.input.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = {}
        for line in lines:
            name, value = re.fullmatch(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*(.*?)[ \t]*", line).groups()
            assert name.lower() not in fields or name.lower() == b"via", head
            fields[name.lower()] = value
        return first, fields

    def exactly(self, n):
        while len(self.input) < n:
            self.more()
        got, self.input = self.input[:n], self.input[n:]
        return got

    def line(self):
        while b"\r\n" not in self.input:
            self.more()
        got, _, self.input = self.input.partition(b"\r\n")
        return got

    def body(self, fields, until_close=False):
        assert not (b"content-length" in fields and b"transfer-encoding" in fields), fields
        if b"content-length" in fields:
            return self.exactly(int(fields[b"content-length"]))
        if b"transfer-encoding" in fields:
            got = b""
            while size := int(self.line().split(b";")[0], 16):
                got += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            while self.line():
                pass
            return got
        if until_close:
            try:
                while True:
                    self.more()
            except Closed:
                got, self.input = self.input, b""
                return got
        return b""

    def send_at_once(self, data):
        try:
            self.sock.sendall(data)
        except OSError as err:
            raise Closed from err

    def arrived(self):
        """Waits until the other side's kernel has all that was sent: on a busy machine that is not at once."""
        while int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4), sys.byteorder):
            if self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
                raise Closed
            os.sched_yield()

    def send(self, rng, data):
        """In pieces; between them the other side may run."""
        while data:
            ways = [len(data), rng.randint(1, len(data)), min(len(data), rng.randint(1, 20))]
            if (smuggled := data.find(SMUGGLED, 1)) > 0:
                ways += [smuggled] * 3
            n = rng.choice(ways)
            self.send_at_once(data[:n])
            data = data[n:]
            if data and rng.random() < 0.3:
                threading.Event().wait(rng.choice([0, 0.0005, 0.003]))


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def chunked(rng, data):
    out = b""
    while data:
        n = rng.randint(1, len(data))
        out += b"%x%s\r\n%s\r\n" % (n, rng.choice([b"", b"", b";a=b"]), data[:n])
        data = data[n:]
    return out + rng.choice([b"0\r\n\r\n", b"0\r\nx-end: 1\r\n\r\n"])


class Upstream:
    """Answers each request with its id, in every way that RFC 9112 allows and some that it does not."""

    def __init__(self, port, seed):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=100)
        self.seed, self.seen, self.faults = seed, {}, []
        # Requests to which nothing more will be sent.
        self.answered = set()
        self.lock = threading.Condition()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        number = 0
        while True:
            sock, _ = self.listener.accept()
            number += 1
            sock.settimeout(TIMEOUT)
            rng = random.Random(f"{self.seed} upstream {number}")
            threading.Thread(target=self.serve, args=(sock, rng), daemon=True).start()

    def serve(self, sock, rng):
        with sock:
            stream = Stream(sock)
            try:
                while self.request(stream, rng):
                    pass
            except (Closed, TimeoutError):
                pass
            except Exception as err:
                self.faults.append(f"upstream: {err!r}, then {stream.input[:100]!r}")

    def request(self, stream, rng):
        """One request and its response; whether the connection goes on."""
        first, fields = stream.head()
        method, target, version = first.split(b" ")
        ident = target.decode()
        with self.lock:
            self.seen[ident] = self.seen.get(ident, 0) + 1
        has_body = fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields
        early = has_body and rng.random() < 0.4
        if not early:
            if fields.get(b"expect") and rng.random() < 0.7:
                stream.send(rng, b"HTTP/1.1 100 Continue\r\n\r\n")
            stream.body(fields)
        elif rng.random() < 0.5 and stream.input == b"":
            stream.more()
        if rng.random() < 0.1:
            stream.send(rng, b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n")
        wire, ends = self.response(rng, method, ident)
        stray = b""
        if rng.random() < 0.05:
            wire = wire[: rng.randint(0, len(wire))]
            ends = True
        elif rng.random() < 0.2:
            stray = STRAY
        late = stray and fields.get(b"x-waits") and rng.random() < 0.5
        try:
            # Nobody asked for what comes behind the response: in one write with its end, or
            # later, where the client waits for that. What comes together with the next request
            # nobody could tell from its response.
            tail = max(0, len(wire) - 1000)
            stream.send(rng, wire[:tail])
            stream.send_at_once(wire[tail:] + (b"" if late else stray))
            if late:
                stream.send(rng, stray)
                stream.arrived()
        finally:
            with self.lock:
                self.answered.add(ident)
                self.lock.notify_all()
        if ends or rng.random() < (0.5 if early else 0.1):
            if rng.random() < 0.3:
                reset(stream.sock)
            return False
        if early:
            stream.body(fields)
        return True

    def response(self, rng, method, ident):
        status = rng.choice([200, 200, 200, 404, 413, 500, 204, 304])
        body = f"body of {ident} ".encode() * rng.choice([1, 3, 5000])
        head = f"HTTP/1.1 {status} x\r\nx-id: {ident}\r\n".encode()
        if status in (204, 304):
            return head + b"\r\n", False
        framing = rng.choice(["length", "length", "chunked", "close"])
        if framing == "length":
            head += b"content-length: %d\r\n" % len(body)
        elif framing == "chunked":
            head += b"transfer-encoding: chunked\r\n"
            body = chunked(rng, body)
        close = framing == "close" or rng.random() < 0.1
        if close:
            head += b"connection: close\r\n"
        return head + b"\r\n" + (b"" if method == b"HEAD" else body), close


def request(rng, ident, waits):
    """A request: its method, its bytes. `waits`: none follows before its response is over."""
    method = rng.choice([b"GET", b"GET", b"HEAD", b"POST", b"POST", b"PUT", b"DELETE"])
    head = method + f" {ident} HTTP/1.1\r\nHost: echo\r\n".encode()
    if waits:
        head += b"X-Waits: 1\r\n"
    body = b""
    if method in (b"POST", b"PUT") or rng.random() < 0.05:
        body = rng.choice([b"", SMUGGLED, b"x" * rng.randint(1, 300) + SMUGGLED, SMUGGLED * rng.choice([2, 500, 4000])])
        if rng.random() < 0.15:
            head += b"Expect: 100-continue\r\n"
        if rng.random() < 0.5:
            head += b"Content-Length: %d\r\n" % len(body)
        else:
            head += b"Transfer-Encoding: chunked\r\n"
            body = chunked(rng, body)
    return method, head + b"\r\n" + body


def conversation(upstream, seed, number):
    """One client connection."""
    rng = random.Random(f"{seed} client {number}")
    idents = [f"/{number}-{i}" for i in range(rng.randint(1, 6))]
    leaves = rng.random() < 0.2
    one_by_one = not leaves and rng.random() < 0.6
    parts = [request(rng, ident, one_by_one) for ident in idents]
    wire = b"".join(bytes for _, bytes in parts)
    if leaves:
        wire = wire[: rng.randint(0, len(wire))]
    with socket.create_connection(("echo", 80), timeout=TIMEOUT) as sock:
        stream = Stream(sock)
        responses, sender = [], None
        try:
            if one_by_one:
                for ident, (method, bytes) in zip(idents, parts):
                    # Beside: an early response may be larger than what the kernel keeps.
                    sender = threading.Thread(target=quietly, args=(stream, random.Random(rng.random()), bytes))
                    sender.start()
                    responses.append(response(stream, method))
                    sender.join()
                    if responses[-1] == ident:
                        with upstream.lock:
                            assert upstream.lock.wait_for(lambda: ident in upstream.answered, TIMEOUT)
            else:
                sender = threading.Thread(target=quietly, args=(stream, random.Random(rng.random()), wire, leaves))
                sender.start()
                for method, _ in parts:
                    responses.append(response(stream, method))
        except Closed:
            pass
        if sender:
            sender.join()
        for ident, got in zip(idents, responses):
            assert got in (ident, "runsd"), f"the response to {ident} is that of {got}"
    sent = {ident: method for ident, (method, _) in zip(idents, parts)}
    with upstream.lock:
        seen = {ident: n for ident, n in upstream.seen.items() if ident.startswith(f"/{number}-")}
    for ident, times in seen.items():
        assert ident in sent, f"the upstream got {ident}, which nobody sent"
        assert times == 1 or sent[ident] not in (b"POST",), f"{ident}, a {sent[ident]}, was sent {times} times"
    return len(responses)


def half_close(sock):
    sock.shutdown(socket.SHUT_WR)


def leave(sock):
    reset(sock)
    sock.shutdown(socket.SHUT_RDWR)


def quietly(stream, rng, data, leaves=False):
    try:
        stream.send(rng, data)
        if leaves:
            rng.choice([half_close, leave])(stream.sock)
    except (Closed, OSError):
        pass


def response(stream, method):
    """Whose response this is: the id of a request, or runsd's own."""
    while True:
        first, fields = stream.head()
        status = int(first.split(b" ")[1])
        if status >= 200:
            break
    ident = fields.get(b"x-id", b"runsd").decode()
    # Each request was in order: what is wrong is the upstream.
    assert ident != "runsd" or status == 502 and b"runsd" in fields[b"proxy-status"], (first, fields)
    body = b""
    if method != b"HEAD" and status not in (204, 304):
        body = stream.body(fields, until_close=True)
    if ident != "runsd":
        is_whole = body.replace(f"body of {ident} ".encode(), b"") == b""
        assert is_whole or b"connection" in fields, (ident, body[:100])
    return ident


def main(seed, rounds, port):
    upstream = Upstream(port, seed)
    faults, responses, next_round = [], 0, iter(range(rounds))
    lock = threading.Lock()

    def work():
        nonlocal responses
        while not faults and not upstream.faults:
            with lock:
                number = next(next_round, None)
            if number is None:
                return
            try:
                got = conversation(upstream, seed, number)
                with lock:
                    responses += got
            except Exception as err:
                faults.append(f"seed {seed}, conversation {number}: {err!r}")

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    strangers = [ident for ident in upstream.seen if not re.fullmatch(r"/\d+-\d+", ident)]
    for fault in faults + upstream.faults + strangers:
        print(fault)
    assert not (faults or upstream.faults or strangers)
    assert responses > rounds, responses
    print("nothing went astray")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
