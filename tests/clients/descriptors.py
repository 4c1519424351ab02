"""Connections where there are many or few descriptors; each function is one test of tests/containers.rs."""

import socket
import sys


def ask(s, host):
    s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def status(s):
    with s.makefile("rb") as f:
        return f.readline().split()[1].decode()


def crowd(count):
    return [socket.create_connection(("127.0.0.1", 80)) for _ in range(count)]


def as_many():
    """The first and the last of thousands of connections are served."""
    socks = crowd(4000)
    for s in (socks[-1], socks[0]):
        ask(s, "hello")
    print(status(socks[-1]), status(socks[0]))


def few():
    """More connections than there are descriptors for; then many to one upstream after the other."""
    codes = []
    for s in crowd(90):
        ask(s, "hello")
        codes.append(status(s))
        s.close()
    for region in ["us-east1", "us-west1", "europe-west1", "us-central1", "asia-east1"]:
        socks = crowd(34)
        for s in socks:
            ask(s, "hello." + region)
        for s in socks:
            codes.append(status(s))
            s.close()
    print(len(codes), set(codes))
    with open("/proc/1/stat") as file:
        ticks = file.read().rsplit(")")[1].split()[11:13]
    print("idle" if sum(map(int, ticks)) < 500 else ticks)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
