"""A token that is said, cut and echoed in every place, by a metadata server and upstreams that are
out of order, while runsd says all it can: then the token is hunted in everything that runsd put
out, whole and in pieces.

    python3 -B token_hunt.py [FLAG...]     the hunt: starts runsd with these flags
    python3 -B token_hunt.py inside        what its application does"""

import base64
import glob
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

from scripted import HEAD, control, dial, do, rest, say, script

METADATA = 8077
HERE = os.path.abspath(__file__)


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(number, expires=4102444800):
    """One that never ends, and has nothing in common with other texts."""
    noise = hashlib.sha512(b"%d" % number).hexdigest()
    claims = json.dumps({"exp": expires, "jti": noise})
    return ".".join([part(b'{"alg":"RS256"}'), part(claims.encode()), part(hashlib.sha512(noise.encode()).digest())])


# What the metadata server says, what a program brings in its environment, and what it sends itself.
TOKEN, BROUGHT, OWN = token(1), token(2), token(3)
LENGTH = 10


def pieces(text):
    """All that may not be seen: any so many characters of any part but the first, which all tokens share."""
    parts = text.split(".")[1:]
    return {part[at : at + LENGTH] for part in parts for at in range(len(part) - LENGTH + 1)}


PIECES = set.union(*map(pieces, (TOKEN, BROUGHT, OWN)))


def found(data):
    text = data.decode("latin-1")
    return sorted({text[at : at + LENGTH] for at in range(len(text))} & PIECES)


def flavored(body, status="200 OK", *fields):
    lines = [f"HTTP/1.1 {status}", "Metadata-Flavor: Google", *fields, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines)


HALF = TOKEN[: len(TOKEN) // 2]
GOOD = flavored(TOKEN)

# Each is the metadata server's answer to whatever is asked.
ANSWERS = [
    GOOD[:-40],  # the connection ends in the middle of the token
    GOOD[: GOOD.index(HALF) + 60],
    flavored(HALF),
    flavored(" " + TOKEN),
    flavored(TOKEN + "\r\nX: y"),
    flavored(f"<html>{TOKEN}</html>"),
    flavored(f'{{"id_token":"{TOKEN}"}}'),
    flavored(f"Bearer {TOKEN}"),
    flavored(TOKEN + "." + TOKEN),
    flavored(TOKEN + "\0"),
    flavored(TOKEN.replace(".", "")),
    flavored(TOKEN.replace(".", ".=", 1)),
    flavored(TOKEN * 100),
    flavored(TOKEN * 1000),
    flavored(token(1, expires=1000000000)),
    flavored(TOKEN, "500 Internal Server Error"),
    flavored(TOKEN, f"500 {TOKEN}"),
    flavored(TOKEN, "404 Not Found"),
    flavored("", "302 Found", f"Location: http://192.0.2.9/?{TOKEN}"),
    flavored(TOKEN, "200 OK", f"{TOKEN} x: y"),
    flavored(TOKEN, "200 OK", f"X: {TOKEN}\0"),
    flavored(TOKEN).replace("Content-Length: ", f"Content-Length: {TOKEN}"),
    f"HTTP/1.1 Bearer {TOKEN}\r\n\r\n",
    f"{TOKEN}\r\n\r\n",
    f"HTTP/1.1 200 OK\r\n\r\n{TOKEN}",
    f"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n",
    f"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{TOKEN}",
]


class MetadataServer:
    """Says what it is told to, and ends the connection."""

    def __init__(self):
        self.answer = GOOD
        self.listener = socket.create_server(("127.0.0.1", METADATA), backlog=50)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            peer, _ = self.listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(self.answer.encode())
                if self.answer == ANSWERS[1]:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


OK = "HTTP/1.1 200 OK\r\n"
BEARER = f"Bearer {TOKEN}"
FRAME = b"\0\0\0\4\0\0\0\0\0".decode()  # SETTINGS


def goaway(text):
    return (len(text) + 8).to_bytes(3).decode("latin-1") + "\7\0\0\0\0\0\0\0\0\0\0\0\0\1" + text


def echoes(authorization):
    """Whole responses, and what is none, of an upstream that says again what it was sent."""
    return [
        f"{OK}x: {authorization}\r\ncontent-length: 0\r\n\r\n",
        f"{OK}content-length: {len(authorization)}\r\n\r\n{authorization}",
        f"{OK}transfer-encoding: chunked\r\n\r\n0\r\nx: {authorization}\r\n\r\n",
        f"HTTP/1.1 200 {authorization}\r\ncontent-length: 0\r\n\r\n",
        f"{OK}location: https://other.example/{authorization}\r\ncontent-length: 0\r\n\r\n",
        f"{OK}set-cookie: {authorization}; Domain=run.app\r\ncontent-length: 0\r\n\r\n",
        f"HTTP/1.1 302 Found\r\nlocation: http://hello/?{authorization}\r\ncontent-length: 0\r\n\r\n",
        f"HTTP/1.1 103 Early Hints\r\nlink: {authorization}\r\n\r\n{OK}content-length: 0\r\n\r\n",
        f'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer error="invalid_token", '
        f'error_description="{authorization}"\r\ncontent-length: 0\r\n\r\n',
        *[f"HTTP/1.1 {n} x\r\ncontent-length: 2000\r\n\r\n{authorization.ljust(2000)}" for n in (401, 403, 404)],
        f"HTTP/1.1 101 Switching Protocols\r\nupgrade: {authorization}\r\nconnection: upgrade\r\n\r\n",
        f"{OK}content-length: {authorization}\r\n\r\n",
        f"{OK}transfer-encoding: {authorization}\r\n\r\n",
        f"{OK}{authorization}\r\n\r\n",
        f"{OK}{authorization}: x\r\n\r\n",
        f"{OK}x: {authorization}\0\r\n\r\n",
        f"{OK}transfer-encoding: chunked\r\n\r\n{authorization}\r\n",
        f"{OK}transfer-encoding: chunked\r\n\r\n5;{authorization}\r\nhello\r\n",
        f"{OK}transfer-encoding: chunked\r\n\r\n0\r\n{authorization}\r\n\r\n",
        f"HTTP/1.1 {authorization}\r\n\r\n",
        authorization,
        f"{OK}x: {authorization}",
        FRAME + goaway(authorization),
        FRAME + "\0\0\1\1\4\0\0\0\1\xff" + authorization,
    ]


def ask(*fields, host="hello"):
    """What runsd itself has to say; what an upstream said is its own affair."""
    s = dial()
    lines = ["POST / HTTP/1.1", f"Host: {host}", "Connection: close", *fields]
    s.sendall("\r\n".join([*lines, "", ""]).encode())
    own = rest(s)
    return own if b"Proxy-Status: runsd" in own else b""


def inside():
    """Sends what would make runsd tell of a token, and prints its own sentences."""
    server, told = MetadataServer(), []

    def try_it():
        told.append(ask())
        told.append(ask(f"Authorization: Bearer {OWN}"))
        curl = ["curl", "-sS", "-m", "20", "--http2-prior-knowledge", "-X", "POST", "-H", "te: trailers"]
        grpc = ["-H", "content-type: application/grpc", "-H", f"Authorization: Bearer {OWN}", "http://hello/a/b"]
        told.append(subprocess.run(curl + grpc, capture_output=True).stderr)

    for answer in ANSWERS if BROUGHT not in os.environ.values() else []:
        server.answer = answer
        told.append(ask())
        told.append(subprocess.run(CHECK, capture_output=True).stdout)
    server.answer = GOOD
    for echo in echoes(BEARER) + echoes(f"Bearer {OWN}"):
        script("hello", [HEAD, say(echo), do("close")])
        try_it()
    for malformed in (f"Authorization : Bearer {OWN}", f"Authorization: Bearer {OWN}\0", f"Bearer {OWN}"):
        told.append(ask(malformed))
    for mode in ("bad-cert", "expired", "no-tls", "alert", "reset", "refuse"):
        control("POST", "/frontend", {"mode": mode})
        try_it()
        told.append(subprocess.run(CHECK, capture_output=True).stdout)
    runsd = os.getppid()
    for path in glob.glob(f"/proc/{runsd}/cmdline") + glob.glob(f"/proc/{runsd}/task/*/comm"):
        with open(path, "rb") as file:
            told.append(file.read())
    sys.stdout.buffer.write(b"".join(told))
    sys.stdout.flush()
    os.kill(runsd, signal.SIGABRT)
    while os.getppid() == runsd:
        os.sched_yield()


CHECK = ["/runsd", "-v=9", "-gcp_region=us-east1", "-gcp_project_number=123456789012", "-check", "hello"]


def hunt(flags, environment):
    """Everything that runsd put out, by where."""
    os.chdir("/tmp")
    variables = {**os.environ, "GCE_METADATA_HOST": f"127.0.0.1:{METADATA}", **environment}
    command = ["/runsd", *flags, "--", "python3", "-B", HERE, "inside"]
    limit = ["prlimit", "--core=unlimited"]
    runsd = subprocess.Popen(limit + command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    outputs = {}
    readers = [
        threading.Thread(target=lambda name=name, pipe=pipe: outputs.update({name: pipe.read()}))
        for name, pipe in (("stdout", runsd.stdout), ("stderr", runsd.stderr))
    ]
    for reader in readers:
        reader.start()
    runsd.wait()
    for reader in readers:
        reader.join()
    for name in os.listdir("/tmp"):
        if name.startswith("core"):
            with open(name, "rb") as file:
                outputs[name] = file.read()
            os.remove(name)
    assert runsd.returncode == -signal.SIGABRT, (runsd.returncode, outputs)
    return outputs


def main(flags):
    for environment in ({}, {"CLOUD_RUN_ID_TOKEN": BROUGHT}):
        outputs = hunt(flags, environment)
        assert len(outputs["stderr"]) > 1000 and b"proxy-status: runsd" in outputs["stdout"].lower(), outputs
        for name, data in outputs.items():
            pieces = found(data)
            for piece in pieces[:5]:
                at = data.index(piece.encode())
                print(f"{name} has {piece!r}: {data[max(0, at - 200) : at + 100]!r}")
        assert not any(map(found, outputs.values()))
    print("nothing was found")


if __name__ == "__main__":
    inside() if sys.argv[1:] == ["inside"] else main(sys.argv[1:])
