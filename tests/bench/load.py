"""Rows of load: a tool against each program in turn."""

import os
import re
import shlex
import statistics
import subprocess
import time

from report import at_least, at_most
from world import DNSMASQ, HAPROXY, HAPROXY_H2, HOST, NGHTTPX, NGINX, OLD, RUNSD

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
DIR = os.environ.get("BENCH_DIR", "target/bench")
HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ["runsd", "old"] if os.environ.get("RUNSD_OLD") else ["runsd"]
PORTS = {"runsd": RUNSD, "old": OLD, "haproxy": HAPROXY, "nginx": NGINX, "nghttpx": NGHTTPX}


class Load:
    """`tool` runs on each program in every round, and each round begins with
    another one: who is first after a pause has no more than the others.

    Wanted is a `ratio` to the best of `peers`, or to the one that `of` names,
    and `cpu`, the CPU of a request, of what the better of them takes. With a
    `rate` all do as many as are asked for, or the machine is too busy.
    """

    def __init__(self, tool, peers, ratio=None, of=None, cpu=None, rate=None, unit="/s", direct=True):
        self.tool, self.peers, self.unit = tool, peers, unit
        self.ratio, self.of, self.cpu, self.rate, self.direct = ratio, of, cpu, rate, direct

    def steps(self):
        return ROUNDS

    def measure(self, world, report):
        names = [*OURS, *self.peers]
        for name in names:
            self.prepare(world, name)
        figures = {name: [] for name in names}
        costs = {name: [] for name in names}
        failures = dict.fromkeys(names, 0)
        for turn in range(ROUNDS):
            report.step(f"round {turn + 1} of {ROUNDS}")
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                self.prepare(world, name)
                before = world.cpu(name)
                with profiled(world, name):
                    figure, count, failed = self.tool(name)
                costs[name].append((world.cpu(name) - before) / max(count, 1) * 10_000)
                figures[name].append(figure)
                failures[name] += failed
            # What there is without any of them, once: that is nobody's figure.
            if self.direct and turn == ROUNDS // 2:
                figures["no proxy"] = [self.tool("no proxy")[0]]
        self.tell(report, figures, costs, failures)

    def prepare(self, world, name):
        world.start(name)

    def tell(self, report, figures, costs, failures):
        medians = {name: statistics.median(values) for name, values in figures.items()}
        best = max(self.peers, key=medians.get)
        cost = {name: statistics.median(values) for name, values in costs.items()}
        wanted = []
        if self.ratio:
            of = self.of or best
            wanted.append(at_least(f"of {of}", medians["runsd"] / medians[of], self.ratio))
        if self.cpu:
            cheapest = min(self.peers, key=cost.get)
            wanted.append(at_most(f"CPU of {cheapest}", cost["runsd"] / cost[cheapest], self.cpu))
        if self.rate:
            slowest = min(medians[name] for name in costs)
            wanted.append(at_least("of the rate, by the slowest", slowest / self.rate, 0.97))
        wanted.append(at_most("failed", failures["runsd"], 0))
        for name, values in figures.items():
            of = f"{medians[name] / medians[best]:.2f} {best}"
            aims = wanted if name == "runsd" else ()
            report.line(name, values, self.unit, 0, of, costs.get(name), failures.get(name), aims)


class Grpc(Load):
    """The same, and the octets of a call to the upstream: headers as sent, and the message."""

    def measure(self, world, report):
        super().measure(world, report)
        for name in [*OURS, *self.peers]:
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
            report.line(name, sizes, "B a call", what="octets of a call")


class Dns(Load):
    """Only one runsd can have port 53: beside an old one each starts when its
    turn comes, instead of the other."""

    def __init__(self, questions):
        super().__init__(dnsperf(questions), ["dnsmasq"], ratio=1.5, direct=False)
        self.has_port = None

    def measure(self, world, report):
        super().measure(world, report)
        if self.has_port:
            world.stop(self.has_port)
        self.has_port = None

    def prepare(self, world, name):
        if name not in OURS or len(OURS) == 1:
            world.start(name)
        elif self.has_port != name:
            for one in OURS:
                world.stop(one)
            world.runsd(os.environ["RUNSD_BIN" if name == "runsd" else "RUNSD_OLD"], name)
            self.has_port = name


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


def h2load(connections, streams, path="/", more=()):
    def tool(name):
        is_h1 = "--h1" in more
        port = HAPROXY_H2 if name == "haproxy" and not is_h1 else PORTS.get(name)
        url = f"https://{HOST}{path}" if name == "no proxy" else f"http://127.0.0.1:{port}{path}"
        host = HOST if name in ("no proxy", "nghttpx") else "hello"
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{SECONDS}", *more]
        text = output([*command, f"-H:authority: {host}", url])
        done = number(text, r"(\d+) succeeded")
        # At its end it counts heads of streams that it then leaves.
        failed = max(0, done - number(text, r"status codes: (\d+) 2xx"))
        failed += number(text, r"(\d+) failed") + number(text, r"(\d+) errored")
        return number(text, r"([\d.]+) req/s"), done, int(failed)

    return tool


def at_rate(connections, each):
    """HTTP/1.1 with so many requests a second of each connection, and no more:
    below what anybody here can do, what it takes is the figure."""
    return h2load(connections, 1, more=["--h1", f"--rps={each}"])


def grpc_calls(connections, streams):
    more = [f"-d{DIR}/www/grpc", "-Hcontent-type: application/grpc", "-Hte: trailers"]
    return h2load(connections, streams, "/bench.Bench/Call", more)


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
