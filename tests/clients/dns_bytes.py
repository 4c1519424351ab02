"""Asks runsd and the nameserver itself the same questions, by UDP and TCP, and
tells which answers differ in a single byte behind the id."""

import os
import socket
import struct

OURS, THEIRS = "127.0.0.1", "169.254.169.254"


def name(text):
    labels = [label.encode() for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(text, kind, flags=0x0100, extra=b""):
    counts = (1, 0, 0, 1 if extra else 0)
    head = os.urandom(2) + struct.pack("!5H", flags, *counts)
    return head + name(text) + struct.pack("!2H", kind, 1) + extra


def opt(size, flags, data=b""):
    return b"\0" + struct.pack("!HHIH", 41, size, flags, len(data)) + data


def udp(server, query):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((server, 53))
        s.send(query)
        return s.recv(65535)


def exactly(s, count):
    data = b""
    while len(data) < count:
        part = s.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def tcp(server, queries):
    """All of them at once on one connection; the answers by their ids."""
    answers = {}
    with socket.create_connection((server, 53), timeout=5) as s:
        s.sendall(b"".join(struct.pack("!H", len(q)) + q for q in queries))
        for _ in queries:
            answer = exactly(s, struct.unpack("!H", exactly(s, 2))[0])
            answers[answer[:2]] = answer
    return answers


def main():
    KINDS = [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 48, 64, 65, 255, 257, 999, 65280]
    NAMES = [
        "external.example",
        "eXternal.EXAMPLE",
        "alias.external.example",
        "_grpc._tcp.external.example",
        "3.2.0.192.in-addr.arpa",
        "long.external.example",
        "nothing.example",
        "_tcp",
    ]
    COOKIE = struct.pack("!2H", 10, 8) + b"12345678"

    queries = [question(text, kind) for text in NAMES for kind in KINDS]
    queries += [question("external.example", 1, flags) for flags in (0x0000, 0x0110, 0x0120, 0x0140)]
    queries += [question("long.external.example", 16, 0x0100, opt(size, 0)) for size in (512, 1232, 4096, 65535)]
    queries += [question("external.example", 65, 0x0100, opt(1232, 0x8000, COOKIE))]

    differences = 0
    for query in queries:
        got, want = udp(OURS, query), udp(THEIRS, query)
        if got != want or got[:2] != query[:2]:
            differences += 1
            print("udp", query, got, want)
    for start in range(0, len(queries), 40):
        batch = queries[start : start + 40]
        got, want = tcp(OURS, batch), tcp(THEIRS, batch)
        if got != want or len(got) != len({q[:2] for q in batch}):
            differences += 1
            print("tcp", got, want)
    print(len(queries) > 100, differences)


if __name__ == "__main__":
    main()
