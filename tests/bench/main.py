"""The rows of the benchmark, and what is wanted of them."""

import os
import subprocess
import sys

from load import DIR, Dns, Grpc, HERE, Load, at_rate, grpc_calls, h2load, wrk
from report import HEADER, Report
from single import ColdStart, First, Memory, Size
from world import World

BOTH, H2 = ["haproxy", "nginx"], ["haproxy", "nghttpx"]
ROWS = {
    "h1-1": ("HTTP/1.1, 1 connection", Load(wrk(1, "/"), BOTH, 1.05)),
    "h1-8": ("HTTP/1.1, 8 connections", Load(wrk(8, "/"), BOTH)),
    "h1-64": ("HTTP/1.1, 64 connections", Load(wrk(64, "/"), BOTH, 0.95, of="nginx")),
    "h1-rate": ("HTTP/1.1, 64 connections, 3,200 requests a second", Load(at_rate(64, 50), BOTH, cpu=1.0, rate=3_200)),
    "h2-1": ("h2c, 1 stream at a time", Load(h2load(1, 1), H2, 1.2)),
    "h2-128": ("h2c, 4 connections x 32 streams", Load(h2load(4, 32), H2, 1.3)),
    "grpc": ("gRPC calls, 4 connections x 32 streams", Grpc(grpc_calls(4, 32), H2, 1.1)),
    "down": ("answers of 10 MB, 2 connections", Load(wrk(2, "/10m", scale=10), BOTH, 1.1, unit="MB/s")),
    "up": ("uploads of 10 MB, 2 connections", Load(wrk(2, "/upload", "upload.lua", 10), BOTH, 1.1, unit="MB/s")),
    "dns-own": ("DNS, names of services", Dns("own")),
    "dns-fwd": ("DNS, forwarded", Dns("forwarded")),
    "memory": ("resident memory", Memory()),
    "first": ("the first request after the start", First()),
    "coldstart": ("what a start costs beyond the program that is started", ColdStart()),
    "size": ("the binary", Size()),
}


def main():
    asked = sys.argv[1:]
    if asked == ["--list"]:
        for name, (title, _) in ROWS.items():
            print(f"{name:11} {title}")
        return
    for name in asked:
        if name not in ROWS:
            raise SystemExit(f"bench: no row {name!r}; expected one of {' '.join(ROWS)}")
    rows = {name: ROWS[name] for name in asked or ROWS}
    world = World(DIR)
    report = Report(sum(1 + row.steps() for _, row in rows.values()), "-".join(["bench", *asked]))
    try:
        world.upstream()
        report.say(HEADER)
        for name, (title, row) in rows.items():
            report.begin(name, title, isinstance(row, Load))
            row.measure(world, report)
    finally:
        report.progress.clear()
        world.stop_all()
    report.end(f"{DIR}/figures.json")
    chart = [sys.executable, f"{HERE}/chart.py", "bench", f"{DIR}/figures.json", f"{DIR}/bench.svg"]
    subprocess.run(chart, check=True)
    print(f"chart: {DIR}/bench.svg".replace(f"{os.getcwd()}/", ""))


if __name__ == "__main__":
    main()
