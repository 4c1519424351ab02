"""Bytes behind an Upgrade of HTTP/1.1; each function is one test of tests/websocket.rs."""

import glob
import os
import socket
import time

import miniature
from miniature import equal


def tunnel(path):
    """A connection to http://tunnel after its 101."""
    connection = socket.create_connection(("tunnel", 80), timeout=25)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: tunnel\r\nConnection: upgrade\r\nUpgrade: bytes\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection


def everything(connection):
    return b"".join(iter(lambda: connection.recv(65536), b""))


def client_ends_first():
    """The service answers when it has heard all, and not before."""
    connection = tunnel("/last-word")
    connection.sendall(b"x" * 1000000)
    connection.shutdown(socket.SHUT_WR)
    equal(everything(connection), b"1000000 bytes")


def service_ends_first():
    """The client goes on after the service has said its last word."""
    connection = tunnel("/first-word")
    equal(everything(connection), b"that is all")
    for _ in range(100):
        connection.sendall(b"x" * 10000)
    connection.shutdown(socket.SHUT_WR)
    miniature.wait("received", "1000000-of-tunnel")


def gone_in_silence():
    """A service that says nothing keeps no thread for a client that is gone,
    but does for one that waits."""
    waiting, gone = tunnel("/silent"), tunnel("/silent")
    for connection in (waiting, gone):
        connection.shutdown(socket.SHUT_WR)
    miniature.wait("received", "tunnel", 2)
    equal(threads(), 2)
    # The kernel would remember a closed end for a minute, and answer for it.
    gone.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
    gone.close()
    until = time.monotonic() + 25
    while threads() > 1 and time.monotonic() < until:
        os.sched_yield()
    equal(threads(), 1)
    waiting.close()


def threads():
    """How many connections runsd, our parent, has at work."""
    names = []
    for path in glob.glob("/proc/1/task/*/comm"):
        try:
            names.append(open(path).read().strip())
        except OSError:
            pass  # it has just ended
    return names.count("http")


if __name__ == "__main__":
    miniature.main(globals())
