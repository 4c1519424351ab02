"""Floods runsd with names that nobody answers, and looks what else still works:
our own names, the proxy, and an answer for whoever waited longest."""

import socket
import struct
import urllib.request

from dns_bytes import OURS, question


def code(answer):
    return answer[3] & 15


client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect((OURS, 53))
client.settimeout(20)
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.connect((OURS, 53))
own.settimeout(20)


def hello():
    """Our own name, in the middle of it: all that came before has been read then."""
    asked = question("hello.run.internal", 1)
    own.send(asked)
    answer = own.recv(512)
    assert answer[:2] == asked[:2] and answer.endswith(bytes([127, 0, 0, 1])), answer


# 1,000 are under way at most: of 1,200 the first 200 are answered, in order.
for number in range(1200):
    asked = struct.pack("!H", number) + question(f"n{number}.slow.example", 1)[2:]
    client.send(asked)
    if number % 20 == 19:
        hello()
for number in range(200):
    answer = client.recv(512)
    assert answer[:2] == struct.pack("!H", number), (number, answer)
    assert code(answer) == 2, answer

# And however many come, the proxy has its turn: name, token, request.
for round in range(20):
    for number in range(200):
        client.send(question(f"n{number}.slow.example", 1))
    with urllib.request.urlopen("http://hello", timeout=20) as answer:
        assert answer.status == 200
    hello()
print("well")
