"""A neighbour: another network namespace, joined to this one by a link, tries what runsd listens on."""

import socket
import subprocess
import sys

# What this end of the link has, and what the other one.
ADDRESSES = [("198.51.100.1", "198.51.100.2/24"), ("fd00:7::1", "fd00:7::2/64")]


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def attempt(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(5)
    try:
        s.connect((address, port))
        if kind == "udp":
            # A query for hello., which runsd would answer at once.
            s.send(bytes.fromhex("000101000001000000000000") + b"\5hello\0\0\1\0\1")
            s.recv(512)
        return "open"
    except OSError as error:
        return "refused" if isinstance(error, ConnectionRefusedError) else repr(error)
    finally:
        s.close()


def add(addresses, link):
    ip("link", "set", link, "up")
    for address in addresses:
        ip("address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))


def neighbour():
    print("ready", flush=True)
    sys.stdin.readline()
    add([there for _, there in ADDRESSES], "there")
    for address, _ in ADDRESSES:
        for kind, port in (("tcp", 8080), ("tcp", 80), ("tcp", 53), ("udp", 53)):
            print(kind, port, attempt(kind, address, port))


def main():
    # Names lead to runsd, which listens with the first one.
    assert socket.gethostbyname("hello").startswith("127.")
    server = socket.create_server(("", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
    ip("link", "add", "here", "type", "veth", "peer", "name", "there")
    add([here + there[there.index("/") :] for here, there in ADDRESSES], "here")
    command = ["unshare", "--net", sys.executable, "-B", __file__, "there"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    ip("link", "set", "there", "netns", str(child.pid))
    said, _ = child.communicate("go\n", timeout=60)
    print(said, end="")
    server.close()


if __name__ == "__main__":
    neighbour() if len(sys.argv) > 1 else main()
