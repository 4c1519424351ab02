"""What curl cannot be: bytes in, bytes out; each function is one test of tests/http1.rs."""

import resource
import socket

from scripted import dial, head, main, rest, rest_of

# Of WebSockets (RFC 6455 sections 5.2 and 7.4.1).
FIN, MASKED = 0x80, 0x80
TEXT, CLOSE = 1, 8
NORMAL_CLOSURE = (1000).to_bytes(2)


def answer(s):
    """Head and body, by its length."""
    fields = head(s)
    length = [line.split(":")[1] for line in fields.lower().split("\r\n") if line.startswith("content-length:")]
    return fields, rest_of(s, int(length[0]) if length else 0).decode()


def until(s, end):
    got = b""
    while not got.endswith(end):
        got += rest_of(s, 1)
    return got


def trailers():
    s = dial("trailers")
    s.sendall(b"GET / HTTP/1.1\r\nHost: trailers\r\nTE: trailers\r\n\r\n")
    print(until(s, b"\r\n0\r\nx-checksum: 0xcafe\r\n\r\n").decode())


def http_1_0():
    s = dial()
    for _ in range(2):
        s.sendall(b"GET / HTTP/1.0\r\nHost: hello\r\nConnection: keep-alive\r\n\r\n")
        head, body = answer(s)
        print("connection: keep-alive" in head.lower(), len(body))
    s.sendall(b"GET / HTTP/1.0\r\nHost: hello\r\n\r\n")
    print(len(rest(s).split(b"\r\n\r\n")[1]))
    s = dial("hints")
    s.sendall(b"GET / HTTP/1.0\r\nHost: hints\r\n\r\n")
    print(rest(s).decode().split(" ")[1])
    s = dial()
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    print(rest(s).decode().split(" ")[1])


def in_order():
    s = dial("echo")
    one = b"POST / HTTP/1.1\r\nHost: echo\r\nContent-Length: 3\r\n\r\n"
    two = b"POST / HTTP/1.1\r\nHost: echo\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
    three = b"GET http://hello/ HTTP/1.1\r\nHost: nonsense.example\r\nConnection: close\r\n\r\n"
    s.sendall(one + b"one" + one + b"ONE" + three)
    got = rest(s)
    print(got.count(b"HTTP/1.1 200"), got.index(b"one") < got.index(b"ONE") < got.index(b"Hello"))
    s = dial("echo")
    s.sendall(two)
    until(s, b"two")
    until(s, b"0\r\n\r\n")
    print("chunked")


def half_closed():
    s = dial("slow")
    s.sendall(b"GET /?ms=2500 HTTP/1.1\r\nHost: slow\r\n\r\n")
    s.shutdown(socket.SHUT_WR)
    print(rest(s).decode().split("\r\n\r\n")[1])


def web_socket():
    s = dial("ws")
    s.sendall(
        b"GET / HTTP/1.1\r\nHost: ws\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    # The key and its answer are those of RFC 6455 section 1.3.
    fields = head(s)
    print(fields.split()[1], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in fields)

    def frame(opcode, data):
        """One whole message, masked with zeros (RFC 6455 section 5.2)."""
        return bytes([FIN | opcode, MASKED | len(data)]) + b"\0\0\0\0" + data

    for i in range(100):
        s.sendall(frame(TEXT, b"number %03d" % i))
        got = rest_of(s, 12)
        assert got[2:] == b"number %03d" % i, got
    s.sendall(frame(CLOSE, NORMAL_CLOSURE))
    print(rest(s)[:4])


def thousand():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    socks = [dial() for _ in range(1000)]
    for s in socks:
        s.sendall(b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n")
    answers = [answer(s) for s in socks]
    # What is no greeting is printed whole, each text once.
    print(sum(body.startswith("Hello") for _, body in answers), *{body for _, body in answers if "Hello" not in body})


if __name__ == "__main__":
    main(globals())
