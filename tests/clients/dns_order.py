"""Several questions at once on one TCP connection, of which the first is
answered last; and what comes after an answer that is sent twice."""

import socket
import struct
import sys

from dns_bytes import OURS, exactly, question


def out_of_order():
    names = ["slow.external.example", "external.example", "hello.run.internal"]
    asked = [question(name, 1) for name in names]
    with socket.create_connection((OURS, 53), timeout=20) as s:
        s.sendall(b"".join(struct.pack("!H", len(q)) + q for q in asked))
        ids = [exactly(s, struct.unpack("!H", exactly(s, 2))[0])[:2] for _ in asked]
    by_id = {q[:2]: name for q, name in zip(asked, names)}
    print(by_id[ids[-1]], len(set(ids)))


def once():
    """Every answer came twice to runsd; none comes twice from there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(20)
        s.connect((OURS, 53))
        for number in range(50):
            asked = question("external.example", 1)
            s.send(asked)
            answer = s.recv(512)
            assert answer[:2] == asked[:2] and answer.endswith(bytes([192, 0, 2, 3])), (number, answer)
    print("once")


{"order": out_of_order, "once": once}[sys.argv[1]]()
