"""An application under limits of processes, descriptors and memory; each function is one test of tests/limits.rs."""

import os
import socket
import sys

ORIGINAL = "nameserver 169.254.169.254\nsearch google.internal\n"


def connect():
    return socket.create_connection(("127.0.0.1", 80), timeout=60)


def ask(sock, head="GET / HTTP/1.1\r\nHost: hello\r\n\r\n", body=b""):
    sock.sendall(head.encode() + body)


def answer(sock):
    """Status, head and body of a response with a length, or 101."""
    text = b""
    while b"\r\n\r\n" not in text:
        more = sock.recv(65536)
        if not more:
            return "closed", "", ""
        text += more
    head, body = text.split(b"\r\n\r\n", 1)
    head = head.decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0]) if "content-length: " in head else 0
    while len(body) < length:
        body += sock.recv(65536)
    return head.split()[1], head, body.decode()


def resolves(name):
    try:
        return bool(socket.getaddrinfo(name, 80))
    except OSError:
        return False


def resolv_conf():
    with open("/etc/resolv.conf") as file:
        return file.read()


def by_tcp(name):
    """The response code for a name over TCP (RFC 7766), or "closed"."""
    sock = socket.create_connection(("127.0.0.1", 53), timeout=60)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    sock.sendall(len(query).to_bytes(2) + query)
    reply = sock.recv(65536)
    return reply[5] & 15 if len(reply) > 5 else "closed"


def large():
    """A body that has a thread of its own."""
    sock = connect()
    body = b"x" * 100_000
    ask(sock, f"POST / HTTP/1.1\r\nHost: hello\r\nContent-Length: {len(body)}\r\n\r\n", body)
    return answer(sock)


def upgrade():
    sock = connect()
    ask(
        sock,
        "GET / HTTP/1.1\r\nHost: ws\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    return answer(sock)


def frame(type, flags, stream, payload=b""):
    return len(payload).to_bytes(3) + bytes([type, flags]) + stream.to_bytes(4) + payload


def http2():
    """The status of a request over HTTP/2, from the header block's first field (RFC 7541 appendix A)."""
    sock = connect()
    block = b"\x82\x86\x84\x41\5hello"  # GET, http, /, :authority
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, block))
    file = sock.makefile("rb")
    while start := file.read(9):
        payload = file.read(int.from_bytes(start[:3]))
        if start[3] == 1:
            # :status 200, or its name and a literal.
            return "200" if payload[0] == 0x88 else payload[2:5].decode(), "", ""
    return "closed", "", ""


def processes():
    """What there is with so many threads: everything, or what was there without runsd."""
    if not resolves("hello"):
        # It is being put back.
        while resolv_conf() != ORIGINAL:
            os.sched_yield()
        print("original", resolves("external.example"))
        return
    # Each keeps its connection, and none waits for another one.
    socks = [connect() for _ in range(4)]
    statuses = set()
    for sock in socks:
        ask(sock)
        statuses.add(answer(sock)[0])
    assert statuses == {"200"}, statuses
    assert resolves("external.example")
    codes = {by_tcp("external.example"), by_tcp("hello.run.internal")}
    assert codes <= {0, 2}, codes
    refused = 0
    for request, served in ((large, "200"), (upgrade, "101"), (http2, "200")):
        status, head, text = request()
        if status == "503":
            # What HTTP/2 says with it is Huffman-coded.
            if request is not http2:
                assert "error=connection_limit_reached" in head, head
                assert "raise the limit of processes" in text, text
            refused += 1
        else:
            assert status == served, (request, status, head)
    print("served", refused, sorted(codes))


def idle(count):
    """All there is room for are idle: the longest idle one is closed for one more."""
    socks = []
    for _ in range(count):
        socks.append(connect())
        ask(socks[-1])
        assert answer(socks[-1])[0] == "200"
    more = connect()
    ask(more)
    print("one more", answer(more)[0])
    print("the first", answer(socks[0])[0])
    for sock in socks[1:]:
        ask(sock)
    print("the others", {answer(sock)[0] for sock in socks[1:]})


def silent(count):
    """The same with connections on which nothing was ever sent."""
    socks = [connect() for _ in range(count)]
    more = connect()
    ask(more)
    print("one more", answer(more)[0])
    ask(socks[-1])
    print("the last", answer(socks[-1])[0])


def tunnels(count):
    """The same with tunnels in which nothing was ever sent."""
    socks = []
    for _ in range(count):
        socks.append(connect())
        ask(socks[-1], "CONNECT hello:80 HTTP/1.1\r\nHost: hello:80\r\n\r\n")
        assert answer(socks[-1])[0] == "200"
    more = connect()
    ask(more)
    print("one more", answer(more)[0])
    ask(socks[-1])
    print("the last", answer(socks[-1])[0])


def many(count):
    """All at once, and each is answered, at once or in its turn."""
    socks = [connect() for _ in range(count)]
    for sock in socks:
        ask(sock)
    print(sorted({answer(sock)[0] for sock in socks}))


globals()[sys.argv[1]](*map(int, sys.argv[2:]))
