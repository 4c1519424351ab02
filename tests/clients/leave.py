"""Clients that ask and leave while their upstream is dialled; each function is one test of tests/upstreams.rs."""

import json
import os
import socket
import struct
import time

from scripted import control, main

RUNSD = os.getppid()
# The first bytes of a connection over HTTP/2 (RFC 9113 section 3.4), and SETTINGS without any.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS = 4, 1
END_STREAM_AND_HEADERS = 0x5
RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: close(2) resets


def count(what):
    return len(os.listdir(f"/proc/{RUNSD}/{what}"))


def get(host):
    s = socket.create_connection((host, 80))
    s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return s


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def h2(host):
    s = socket.create_connection((host, 80))
    # GET, http, / and :authority (RFC 7541 appendix A).
    block = b"\x82\x86\x84" + bytes([0x41, len(host)]) + host.encode()
    s.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM_AND_HEADERS, 1, block))
    return s


def nothing_stays(kind, seconds, host, room, order):
    """Whether threads and descriptors are as few as before, once they are or after so many seconds."""
    get("hello").recv(65536)
    before = None
    while before != (before := (count("task"), count("fd"))):
        get("hello").recv(65536)
    control("POST", f"/{room}", json.loads(order))
    ask = h2 if kind == "h2" else get
    socks = [ask(host) for _ in range(20)]
    while count("task") < before[0] + 20:
        get("hello").recv(65536)
    for s in socks:
        if kind == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        s.close()
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        if count("task") <= before[0] + 1 and count("fd") <= before[1] + 2:
            break
        get("hello").recv(65536)
    print(count("task") <= before[0] + 1, count("fd") <= before[1] + 2)


def give_up():
    """Clients of a service that is still reached, after those that gave up on another."""
    for _ in range(200):
        get("blackhole").close()
    start = time.monotonic()
    for _ in range(50):
        s = get("hello")
        print(s.recv(12).decode())
        s.close()
    print("in time" if time.monotonic() - start < 30 else "late")


if __name__ == "__main__":
    main(globals())
