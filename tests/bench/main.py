"""The rows of the benchmark, and the one table made of them."""

import asyncio
import os
import re
import shlex
import socket
import ssl
import statistics
import subprocess
import sys
import time

from world import DNSMASQ, FRONT, HAPROXY, HAPROXY_H2, HOST, METADATA, NGHTTPX, NGINX, OLD, RUNSD
from world import World

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
DIR = os.environ["BENCH_DIR"]
HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ["runsd", "old"] if os.environ.get("RUNSD_OLD") else ["runsd"]
PORTS = {"runsd": RUNSD, "old": OLD, "haproxy": HAPROXY, "nginx": NGINX, "nghttpx": NGHTTPX}


def main():
    asked = sys.argv[1:]
    if asked == ["--list"]:
        for name, (title, *_) in ROWS.items():
            print(f"{name:11} {title}")
        return
    for name in asked:
        if name not in ROWS:
            raise SystemExit(f"bench: no row {name!r}; expected one of {' '.join(ROWS)}")
    world = World(DIR)
    missed = []
    try:
        world.upstream()
        print(HEADER)
        for name in asked or ROWS:
            title, measure, *rest = ROWS[name]
            print(f"{name}: {title}")
            missed += [f"{name} {what}" for what, is_met in measure(world, *rest) if not is_met]
    finally:
        world.stop_all()
    print(f"missed: {', '.join(missed)}" if missed else "all that is wanted is reached")


# -- The table: a line for each program, under the name of its row. A row answers
# with what was wanted, and whether it was reached.

HEADER = (
    f"  {'':14}{'median':>12} {'unit':8}{'spread':>19}  {'of':>24}  {'CPU s/10,000':>12}  {'failed':>6}  wanted"
)


def line(name, values, unit, digits=0, of="", cpu=None, failed=None, wanted=()):
    median = statistics.median(values)
    spread = f"{min(values):,.{digits}f}-{max(values):,.{digits}f}" if len(values) > 1 else ""
    cost = "" if cpu is None else f"{cpu:.3f}"
    failed = "" if failed is None else failed
    said = "; ".join(f"{what} {'reached' if is_met else 'MISSED'}" for what, is_met in wanted)
    text = f"  {name:14}{median:12,.{digits}f} {unit:8}{spread:>19}  {of:>24}  {cost:>12}  {failed:>6}  {said}"
    print(text.rstrip(), flush=True)


def at_least(what, got, wanted):
    return f"{what} >= {wanted:,}", got >= wanted


def at_most(what, got, wanted):
    return f"{what} <= {wanted:,}", got <= wanted


# -- Rows of load: a tool against each program in turn.


def load(world, tool, peers, target, unit="/s", direct=True, cpu=None):
    """Runs `tool` on each in every round."""
    names = [*OURS, *peers]
    for name in names:
        world.start(name)
    figures, costs, failures = {}, {}, {}
    for turn in range(ROUNDS):
        for name in [*names, *(["no proxy"] if direct else [])]:
            before = world.cpu(name) if name in names else 0
            with profiled(world, name):
                figure, count, failed = tool(name)
            if name in names:
                costs.setdefault(name, []).append((world.cpu(name) - before) / max(count, 1) * 10_000)
            figures.setdefault(name, []).append(figure)
            failures[name] = failures.get(name, 0) + failed
    medians = {name: statistics.median(values) for name, values in figures.items()}
    costs = {name: statistics.median(values) for name, values in costs.items()}
    best = max(peers, key=medians.get)
    wanted = [
        at_least("ratio", medians["runsd"] / medians[best], target),
        at_most("failed", failures["runsd"], 0),
    ]
    if cpu:
        ratio = costs["runsd"] / min(costs[name] for name in peers)
        wanted.append(at_most(f"CPU {ratio:.2f} of the better", ratio, cpu))
    for name, values in figures.items():
        of = f"{medians[name] / medians[best]:.2f} {best}"
        line(name, values, unit, 0, of, costs.get(name), failures[name], wanted if name == "runsd" else ())
    return wanted


class profiled:
    """Runs $PROFILE PID while runsd has its turn."""

    def __init__(self, world, name):
        command = os.environ.get("PROFILE")
        self.world = world
        self.command = name == "runsd" and command and [*shlex.split(command), str(world.programs[name].pid)]

    def __enter__(self):
        if self.command:
            self.program = subprocess.Popen(self.command)
            time.sleep(0.3)  # until it has attached

    def __exit__(self, *_):
        if self.command:
            self.world.interrupt(self.program)


def output(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 60)
    return done.stdout + done.stderr


def number(text, pattern, default=None):
    found = re.search(pattern, text)
    if found:
        return float(found[1].replace(",", ""))
    if default is None:
        raise SystemExit(f"bench: nothing like {pattern!r} in:\n{text}")
    return default


def wrk(connections, path, script=None, scale=1.0):
    def tool(name):
        if name == "no proxy":
            url, host = f"https://{HOST}{path}", HOST
        else:
            url, host = f"http://127.0.0.1:{PORTS[name]}{path}", "hello"
        more = ["-s", f"{HERE}/{script}"] if script else []
        command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout=20s"]
        text = output([*command, *more, f"-HHost: {host}", url])
        requests = number(text, r"(\d+) requests in")
        failed = number(text, r"Non-2xx or 3xx responses: (\d+)", 0)
        failed += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
        return number(text, r"Requests/sec:\s+([\d.]+)") * scale, requests, int(failed)

    return tool


def h2load(connections, streams, path="/", grpc=False):
    def tool(name):
        port = HAPROXY_H2 if name == "haproxy" else PORTS.get(name)
        url = f"https://{HOST}{path}" if name == "no proxy" else f"http://127.0.0.1:{port}{path}"
        host = HOST if name in ("no proxy", "nghttpx") else "hello"
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{SECONDS}"]
        command += [f"-H:authority: {host}"]
        if grpc:
            command += [f"-d{DIR}/www/grpc", "-Hcontent-type: application/grpc", "-Hte: trailers"]
        text = output([*command, url])
        done = number(text, r"(\d+) succeeded")
        # At its end it counts heads of streams that it then leaves.
        failed = max(0, done - number(text, r"status codes: (\d+) 2xx"))
        failed += number(text, r"(\d+) failed") + number(text, r"(\d+) errored")
        return number(text, r"([\d.]+) req/s"), done, int(failed)

    return tool


def dnsperf(questions):
    def tool(name):
        path = f"{DIR}/{questions}.txt"
        zone = "run.internal" if questions == "own" else "example.com"
        with open(path, "w") as file:
            file.writelines(f"name{i}.{zone} A\n" for i in range(500))
        port = DNSMASQ if name == "dnsmasq" else 53
        text = output(["dnsperf", "-s", "127.0.0.1", f"-p{port}", "-d", path, f"-l{SECONDS}", "-q100"])
        done = number(text, r"Queries completed:\s+(\d+)")
        failed = number(text, r"Queries lost:\s+(\d+)") + done - number(text, r"NOERROR (\d+)", 0)
        return number(text, r"Queries per second:\s+([\d.]+)"), done, int(failed)

    return tool


def dns(world, questions):
    ours = OURS.copy()
    OURS[1:] = []  # only one of them can have port 53
    wanted = load(world, dnsperf(questions), ["dnsmasq"], 1.0, direct=False)
    OURS[:] = ours
    return wanted


# -- gRPC


def grpc(world):
    wanted = load(world, h2load(4, 32, "/bench.Bench/Call", grpc=True), ["haproxy", "nghttpx"], 1.1)
    # To the upstream: headers as sent, and the message.
    for name in [*OURS, "haproxy", "nghttpx"]:
        log = f"{DIR}/bytes.log"
        open(log, "w").close()
        port = HAPROXY_H2 if name == "haproxy" else PORTS[name]
        host = HOST if name == "nghttpx" else "hello"
        command = ["h2load", "-n1000", "-c1", "-m1", f"-H:authority: {host}", f"-d{DIR}/www/grpc"]
        command += ["-Hcontent-type: application/grpc", "-Hte: trailers"]
        output([*command, f"http://127.0.0.1:{port}/bench.Bytes/Call"])
        with open(log) as file:
            sizes = [int(line) for line in file]
        if not sizes:
            raise SystemExit(f"bench: no call through {name} arrived")
        line(name, sizes, "B a call")
    return wanted


# -- Memory


def memory(world):
    for name in [*OURS, "haproxy", "nginx"]:
        world.stop(name)
        world.start(name)
        time.sleep(0.3)  # what starts with it is over
        rest = world.resident(name)
        idle, answered = asyncio.run(connections(world, name, "/"))
        world.stop(name)
        world.start(name)
        busy, whole = asyncio.run(connections(world, name, "/slow"))
        found = [
            ("at rest", rest, at_most("kB", rest, 1_500)),
            (f"idle, {answered:,} answered", idle, at_most("kB", idle, 25_000)),
            (f"busy, {whole:,} answered", busy, at_most("kB", busy, 52_000)),
        ]
        for what, kilobytes, aim in found:
            line(name, [kilobytes], "kB", 0, what, wanted=[aim] if name == "runsd" else ())
        if name == "runsd":
            wanted = [aim for _, _, aim in found] + [at_least("answered", whole, 1_000)]
        world.stop(name)
    return wanted


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


# -- Starts


def first(world):
    """The first request after the start, when all is cold, beside its round
    trips one after the other: region, token, address, TLS and the request."""
    context = ssl.create_default_context(cafile=f"{DIR}/ca.pem")
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"".join(
        bytes([len(label)]) + label.encode() for label in [*HOST.split("."), ""]
    )
    base = "/computeMetadata/v1/instance/"
    asked = [f"{base}region", f"{base}service-accounts/default/identity?audience=https://{HOST}"]
    firsts, sums = [], []
    for _ in range(10 * ROUNDS):
        begun = time.perf_counter()
        for path in asked:
            with socket.create_connection((METADATA, 80)) as tcp:
                get(tcp, METADATA, path)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(question + b"\0\1\0\1", (METADATA, 53))
            udp.recv(600)
        with socket.create_connection((FRONT, 443)) as tcp:
            with context.wrap_socket(tcp, server_hostname=HOST) as tls:
                get(tls, HOST, "/", f"Authorization: Bearer {world.token}\r\n")
        sums.append((time.perf_counter() - begun) * 1000)

        world.stop("runsd")
        world.start("runsd")
        begun = time.perf_counter()
        with socket.create_connection(("127.0.0.1", RUNSD)) as tcp:
            get(tcp, "hello", "/")
        firsts.append((time.perf_counter() - begun) * 1000)
    ratio = statistics.median(firsts) / statistics.median(sums)
    wanted = [at_most("ratio", ratio, 1.3)]
    line("runsd", firsts, "ms", 2, f"{ratio:.2f} round trips", wanted=wanted)
    line("round trips", sums, "ms", 2)
    return wanted


def get(stream, host, path, more=""):
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nMetadata-Flavor: Google\r\n{more}\r\n".encode())
    answer = stream.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"bench: {host}{path}: {answer[:300]!r}")


def coldstart(world):
    world.stop("runsd")
    world.stop("dnsmasq")
    command = ["tests/coldstart.sh", str(100 * ROUNDS)]
    text = subprocess.run(command, check=True, env={**os.environ, "INSIDE": ""}, stdout=subprocess.PIPE, text=True).stdout
    # Below its head, and below "true" itself, which the others start.
    rows = [row.split() for row in text.splitlines()[2:]]
    beyond = {row[0]: float(row[-1]) for row in rows}
    wanted = [at_most("ratio", beyond["runsd"] / beyond["tini-static"], 0.8)]
    for name, value in beyond.items():
        of = f"{value / beyond['tini-static']:.2f} tini-static"
        line(name, [value], "ms", 3, of, wanted=wanted if name == "runsd" else ())
    return wanted


def size(world):
    wanted = [at_most("bytes", os.path.getsize(os.environ["RUNSD_BIN"]), 2_000_000)]
    for name, binary in [("runsd", "RUNSD_BIN"), ("old", "RUNSD_OLD")]:
        if os.environ.get(binary):
            line(name, [os.path.getsize(os.environ[binary])], "bytes", wanted=wanted if name == "runsd" else ())
    return wanted


BOTH = ["haproxy", "nginx"]
ROWS = {
    "h1-1": ("HTTP/1.1, 1 connection", load, wrk(1, "/"), BOTH, 1.05),
    "h1-64": ("HTTP/1.1, 64 connections", load, wrk(64, "/"), BOTH, 1.1, "/s", True, 0.9),
    "h2-1": ("h2c, 1 stream at a time", load, h2load(1, 1), ["haproxy", "nghttpx"], 1.0),
    "h2-128": ("h2c, 4 connections x 32 streams", load, h2load(4, 32), ["haproxy", "nghttpx"], 1.1),
    "grpc": ("gRPC calls, 4 connections x 32 streams", grpc),
    "down": ("answers of 10 MB, 2 connections", load, wrk(2, "/10m", scale=10), BOTH, 1.0, "MB/s"),
    "up": ("uploads of 10 MB, 2 connections", load, wrk(2, "/upload", "upload.lua", 10), BOTH, 1.0, "MB/s"),
    "dns-own": ("DNS, names of services", dns, "own"),
    "dns-fwd": ("DNS, forwarded", dns, "forwarded"),
    "memory": ("resident memory: at rest, 1,000 connections idle, 1,000 busy", memory),
    "first": ("the first request after the start", first),
    "coldstart": ("what a start costs beyond the program that is started", coldstart),
    "size": ("the binary", size),
}

main()
