"""Clients that say nothing, read nothing, or only come and go; each function is one test of
tests/slow_clients.rs. Nothing of them may stay behind: threads, descriptors or memory."""

import os
import resource
import socket
import struct
import sys
import time

RUNSD = os.getppid()
GET = b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"
# What may be left: kept upstream connections, and what an allocator keeps.
MARGIN = {"threads": 2, "descriptors": 8, "kB": 6_000}
PATIENCE = 40  # seconds until what is over has to be gone


def usage():
    with open(f"/proc/{RUNSD}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    descriptors = len(os.listdir(f"/proc/{RUNSD}/fd"))
    return {"threads": int(status["Threads"]), "descriptors": descriptors, "kB": int(status["VmRSS"].split()[0])}


def connect():
    return socket.create_connection(("127.0.0.1", 80), timeout=60)


def get():
    sock = connect()
    sock.sendall(GET)
    got = b""
    while more := sock.recv(65536):
        got += more
    sock.close()
    assert got.startswith(b"HTTP/1.1 200 "), got


def until_gone(before):
    """Asks until there is no more than before."""
    deadline = time.monotonic() + PATIENCE
    while True:
        get()
        now = usage()
        more = {key: now[key] - before[key] for key in now if now[key] > before[key] + MARGIN[key]}
        if not more:
            print("gone")
            return
        assert time.monotonic() < deadline, f"left behind: {more} of {now}"


def settled():
    """After so many requests as warm things up."""
    for _ in range(50):
        get()
    return usage()


def silent(most):
    """So many connections on which nothing is ever said, or as many as there may be descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = settled()
    socks = [connect() for _ in range(min(most, (hard - 1000) // 2))]
    get()
    with_all = usage()
    print(len(socks), "connections,", with_all, file=sys.stderr)
    each = (with_all["kB"] - before["kB"]) / len(socks)
    assert each < 40, f"{each} kB each"
    for sock in socks:
        sock.close()
    until_gone(before)


def deaf(count):
    """Clients that ask for 1 GB each and read none of it: no more of it is taken than the kernel's
    buffers and runsd's few hold."""
    before = settled()
    socks = []
    for _ in range(count):
        socks.append(connect())
        socks[-1].sendall(b"GET /1000000000 HTTP/1.1\r\nHost: bytes\r\n\r\n")
        # It has begun.
        assert socks[-1].recv(1, socket.MSG_PEEK)
    for _ in range(50):
        get()
    more = usage()["kB"] - before["kB"]
    assert more < count * 300, f"{more} kB for {count}"
    for sock in socks:
        sock.close()
    until_gone(before)


def churn(seconds):
    """A thousand connections a second: one is asked, one is left in the middle of its head, one has
    a response that nobody waits for, and one says nothing; half of them end with a RST."""
    before = settled()
    start, made = time.monotonic(), 0
    while (now := time.monotonic()) < start + seconds:
        if made > (now - start) * 1000:
            os.sched_yield()
            continue
        sock = connect()
        if made % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        match made % 4:
            case 0:
                sock.sendall(GET)
                got = sock.recv(65536)
                assert got.startswith(b"HTTP/1.1 200 "), got
            case 1:
                sock.sendall(GET[:20])
            case 2:
                sock.sendall(GET)
        sock.close()
        made += 1
    print(f"{made / seconds:.0f} a second", file=sys.stderr)
    until_gone(before)


def bodies(count):
    """So many large uploads at once, and a thousand clients beside them, in 64 MiB."""
    body = b"x" * 1_000_000
    socks = [connect() for _ in range(1000)]
    uploads = [connect() for _ in range(count)]
    head = f"POST / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sock in socks:
        sock.sendall(GET)
    statuses = set()
    for sock in socks:
        statuses.add(sock.recv(12))
        sock.close()
    for sock in uploads:
        try:
            sock.sendall(head + body)
            statuses.add(sock.recv(12))
        except OSError:
            statuses.add(b"closed")
        sock.close()
    print(sorted(statuses))


globals()[sys.argv[1]](int(sys.argv[2]))
