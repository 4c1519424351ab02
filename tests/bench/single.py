"""Rows without load: memory, starts, and the binary's size."""

import asyncio
import os
import socket
import ssl
import statistics
import subprocess
import time

from load import DIR, OURS, PORTS, ROUNDS, number
from report import at_least, at_most
from world import FRONT, HOST, METADATA, RUNSD


class Memory:
    """Resident at rest, with 1,000 connections idle, and with 1,000 busy."""

    programs = [*OURS, "haproxy", "nginx"]

    def steps(self):
        return len(self.programs)

    def measure(self, world, report):
        for name in self.programs:
            report.step(name)
            world.stop(name)
            world.start(name)
            time.sleep(0.3)  # what starts with it is over
            rest = world.resident(name)
            idle, answered = asyncio.run(connections(world, name, "/"))
            world.stop(name)
            world.start(name)
            busy, whole = asyncio.run(connections(world, name, "/slow"))
            for what, kilobytes, wanted in [
                ("at rest", rest, [at_most("kB", rest, 2_000)]),
                ("1,000 idle", idle, [at_most("kB", idle, 25_000), at_least("answered", answered, 1_000)]),
                ("1,000 busy", busy, [at_most("kB", busy, 52_000), at_least("answered", whole, 1_000)]),
            ]:
                aims = wanted if name == "runsd" else ()
                report.line(name, [kilobytes], "kB", 0, what, wanted=aims, what=what)
            world.stop(name)


async def connections(world, name, path):
    """What is resident with 1,000 connections: the most seen while they were
    all at it for a slow answer, and after a pause else."""
    is_slow = path == "/slow"
    most = 0
    streams = []

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", PORTS[name])
        streams.append(writer)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: hello\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        length = number(head.decode(), r"(?i)content-length: (\d+)")
        await asyncio.wait_for(reader.readexactly(int(length)), 60)
        return head.startswith(b"HTTP/1.1 200")

    # With a little pause between them, as no listener's queue is endless.
    tasks = []
    for i in range(1000):
        tasks.append(asyncio.create_task(one()))
        if i % 50 == 49:
            await asyncio.sleep(0.02)
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.1)
        most = max(most, world.resident(name))
    if not is_slow:
        await asyncio.sleep(2)
        most = world.resident(name)
    answered = sum(1 for task in tasks if not task.exception() and task.result())
    for writer in streams:
        writer.close()
    return most, answered


class First:
    """The first request after the start, when all is cold, beside its round
    trips one after the other: region, token, address, TLS and the request."""

    def steps(self):
        return ROUNDS

    def measure(self, world, report):
        context = ssl.create_default_context(cafile=f"{DIR}/ca.pem")
        firsts, sums = [], []
        for turn in range(ROUNDS):
            report.step(f"round {turn + 1} of {ROUNDS}")
            for _ in range(10):
                sums.append(timed(lambda: round_trips(world, context)))
                world.stop("runsd")
                world.start("runsd")
                firsts.append(timed(first_request))
        ratio = statistics.median(firsts) / statistics.median(sums)
        wanted = [at_most("of its round trips", ratio, 1.3)]
        report.line("runsd", firsts, "ms", 2, f"{ratio:.2f} round trips", wanted=wanted)
        report.line("round trips", sums, "ms", 2)


def timed(work):
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def first_request():
    with socket.create_connection(("127.0.0.1", RUNSD)) as tcp:
        get(tcp, "hello", "/")


def round_trips(world, context):
    base = "/computeMetadata/v1/instance/"
    for path in [f"{base}region", f"{base}service-accounts/default/identity?audience=https://{HOST}"]:
        with socket.create_connection((METADATA, 80)) as tcp:
            get(tcp, METADATA, path)
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"".join(
        bytes([len(label)]) + label.encode() for label in [*HOST.split("."), ""]
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(question + b"\0\1\0\1", (METADATA, 53))
        udp.recv(600)
    with socket.create_connection((FRONT, 443)) as tcp:
        with context.wrap_socket(tcp, server_hostname=HOST) as tls:
            get(tls, HOST, "/", f"Authorization: Bearer {world.token}\r\n")


def get(stream, host, path, more=""):
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nMetadata-Flavor: Google\r\n{more}\r\n".encode())
    answer = stream.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"bench: {host}{path}: {answer[:300]!r}")


class ColdStart:
    """What a start costs beyond the program that is started."""

    def steps(self):
        return 1

    def measure(self, world, report):
        report.step(f"{60 * ROUNDS} starts of each")
        world.stop("runsd")
        world.stop("dnsmasq")
        command = ["tests/coldstart.sh", str(60 * ROUNDS)]
        done = subprocess.run(command, env={**os.environ, "INSIDE": ""}, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"bench: coldstart.sh ended with {done.returncode}:\n{done.stdout}")
        # Below its head, and below "true" itself, which the others start.
        rows = [row.rsplit(None, 4) for row in done.stdout.splitlines()[2:]]
        beyond = {row[0]: float(row[-1]) for row in rows if " " not in row[0]}
        ratio = beyond["runsd"] / beyond["tini-static"]
        wanted = [at_most("of tini-static", ratio, 0.9)]
        for name, value in beyond.items():
            of = f"{value / beyond['tini-static']:.2f} tini-static"
            report.line(name, [value], "ms", 3, of, wanted=wanted if name == "runsd" else ())


class Size:
    def steps(self):
        return 0

    def measure(self, world, report):
        size = os.path.getsize(os.environ["RUNSD_BIN"])
        report.line("runsd", [size], "bytes", wanted=[at_most("bytes", size, 1_999_999)])
        report.line("limit", [2_000_000], "bytes")
        if "RUNSD_OLD" in os.environ:
            report.line("old", [os.path.getsize(os.environ["RUNSD_OLD"])], "bytes")
