"""Half an hour, or as long as it is told, of everything at once, and nothing may go wrong.

    main.py MINUTES [SEED]

Starts runsd in the Cloud Run in miniature with traffic.py as its application, shows
how it goes, and writes what it saw each second to target/soak: samples.csv, curves.svg,
and runsd's own log. Ends with 1 when a call failed, or when memory, threads or
descriptors grew. RUNSD_BIN, CLOUDRUN_BIN and SOAK_DIR name other programs and another
place than the usual ones.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time

BASE = os.path.realpath(f"{__file__}/../../..")
OUT = os.environ.get("SOAK_DIR", f"{BASE}/target/soak")
# On a terminal one line shows how it goes; elsewhere a line each minute.
CLEAR = "\r\033[K" if sys.stderr.isatty() else ""
CURVES = [("kB", "resident, kB"), ("threads", "threads"), ("descriptors", "descriptors")]
# What the last third may have more of than the second: the first one is for warming up.
MARGIN = {"kB": 1024, "threads": 8, "descriptors": 24}


def main():
    seconds = float(sys.argv[1]) * 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    print(f"soak: {seconds:.0f} s, seed {seed}", flush=True)
    os.makedirs(OUT, exist_ok=True)
    with open(f"{OUT}/runsd.log", "wb") as log:
        samples, failures, status = run(seconds, seed, log)
    if not samples or not samples[-1].get("over"):
        raise SystemExit(f"soak: ended early with {status}; see {OUT}/runsd.log")
    write(samples)
    grown = report(samples, seconds)
    if failures or grown:
        raise SystemExit(f"soak: {len(failures)} failures; {', '.join(grown) or 'nothing'} grew; seed {seed}")


def run(seconds, seed, log):
    """What traffic.py said, line by line, and how cloudrun ended."""
    cloudrun = os.environ.get("CLOUDRUN_BIN", f"{BASE}/target/debug/examples/cloudrun")
    runsd = os.environ.get("RUNSD_BIN", f"{BASE}/dist/runsd")
    command = [cloudrun, "--runsd", runsd, "--bind", f"{BASE}/tests:/tests", "--bind", f"{BASE}/target/venv:/venv"]
    command += ["--", "/runsd", "--", "/venv/bin/python", "-B", "/tests/soak/traffic.py", str(seconds), str(seed)]
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
    samples, failures, shown = [], [], 0
    # Whoever ends this program ends the miniature, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("soak: ended"))
    try:
        for line in program.stdout:
            sample = json.loads(line)
            samples.append(sample)
            if "failure" in sample:
                failures.append(sample["failure"])
                print(f"{CLEAR}failed: {sample['failure']}", flush=True)
            every = 1 if CLEAR else 60
            if time.monotonic() - shown >= every:
                shown = time.monotonic()
                progress(sample, seconds)
        status = program.wait()
    finally:
        program.kill()
    print(end=CLEAR, file=sys.stderr, flush=True)
    return samples, failures, status


def progress(sample, seconds):
    get = sample.get
    line = (
        f"{get('s'):.0f} of {seconds:.0f} s: {get('done', 0):,} done, {get('left', 0):,} left, "
        f"{get('faults', 0)} faults, {get('excused', 0):,} excused, {get('failed', 0)} failed; "
        f"{get('kB'):,} kB, {get('threads')} threads, {get('descriptors')} descriptors"
    )
    print(f"{CLEAR}{line}", end="" if CLEAR else "\n", file=sys.stderr, flush=True)


def write(samples):
    columns = ["s", "kB", "threads", "descriptors", "done", "left", "faults", "excused", "failed", "bytes"]
    with open(f"{OUT}/samples.csv", "w") as file:
        print(*columns, sep=",", file=file)
        for sample in samples:
            print(*(sample.get(column, 0) for column in columns), sep=",", file=file)
    with open(f"{OUT}/curves.svg", "w") as file:
        print('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 480" font-family="sans-serif">', file=file)
        for row, (key, title) in enumerate(CURVES):
            most = max(sample[key] for sample in samples)
            last = samples[-1]["s"]
            top = 30 + row * 150
            places = ((20 + 600 * one["s"] / last, top + 110 - 105 * one[key] / most) for one in samples)
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            print(f'<text x="20" y="{top - 5}" font-size="12">{title}, up to {most:,}; {last:.0f} s</text>', file=file)
            print(f'<polyline points="{points}" fill="none" stroke="#1a73e8"/>', file=file)
            print(f'<path d="M20 {top}V{top + 110}H620" fill="none" stroke="#999"/>', file=file)
        print("</svg>", file=file)


def report(samples, seconds):
    """Prints the figures; which of them grew."""
    last = samples[-1]
    get = last.get
    calls = sum(last["kinds"].values())
    print(
        f"{calls:,} calls: {get('done', 0):,} done, {get('left', 0):,} left in the middle, {get('excused', 0):,} "
        f"excused by {get('faults', 0)} faults, {get('failed', 0)} failed; {get('bytes'):,} bytes checked"
    )
    print("  by kind: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(last["kinds"].items())))
    for excuse, count in sorted(last["excuses"].items()):
        print(f"  excused {count:6,}: {excuse}")
    grown = []
    under_load = [sample for sample in samples if sample["s"] <= seconds]
    thirds = [under_load[at * len(under_load) // 3 : (at + 1) * len(under_load) // 3] for at in range(3)]
    for key, title in CURVES:
        values = [sample[key] for sample in samples]
        medians = [round(statistics.median(sample[key] for sample in third)) for third in thirds]
        print(
            f"  {title:12} {sparkline(values)} first {values[0]:,}, medians of the thirds {medians}, "
            f"most {max(values):,}, in the end {values[-1]:,}"
        )
        if seconds >= 300 and medians[2] > medians[1] + MARGIN[key]:
            grown.append(title)
    print(f"  {OUT}/samples.csv, {OUT}/curves.svg")
    return grown


def sparkline(values, width=48):
    edges = [at * len(values) // width for at in range(width + 1)]
    means = [statistics.mean(values[at : max(end, at + 1)]) for at, end in zip(edges, edges[1:])]
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * mean / (max(means) or 1)))] for mean in means)


main()
