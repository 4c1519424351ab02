"""The one table, and the same figures as a file, of which the charts are made.

A row answers with what was wanted, and whether it was reached.
"""

import json
import os
import platform
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from progress import Progress

HEADER = f"  {'':14}{'median':>12} {'unit':8}{'spread':>19}  {'of':>24}  {'CPU s/10,000':>12}  {'failed':>6}  wanted"


class Report:
    """Prints lines as they come, below the rows they belong to."""

    def __init__(self, steps, name):
        self.progress = Progress(name, steps)
        self.rows, self.wanted = {}, []
        self.row = None

    def begin(self, name, title, is_more_better):
        self.row = name
        self.rows[name] = {"title": title, "more_is_better": is_more_better, "lines": []}
        self.progress.step(name, is_large=True)
        self.say(f"{name}: {title}")

    def step(self, what):
        self.progress.step(f"{self.row}, {what}")

    def say(self, text):
        self.progress.clear()
        print(text, flush=True)
        self.progress.draw()

    def line(self, name, values, unit, digits=0, of="", cpu=None, failed=None, wanted=(), what=""):
        median = statistics.median(values)
        spread = f"{min(values):,.{digits}f}-{max(values):,.{digits}f}" if len(values) > 1 else ""
        cost = "" if cpu is None else f"{statistics.median(cpu):.3f}"
        count = "" if failed is None else failed
        said = "; ".join(f"{aim} {'reached' if is_met else 'MISSED'}" for aim, is_met in wanted)
        text = f"  {name:14}{median:12,.{digits}f} {unit:8}{spread:>19}  {of:>24}  {cost:>12}  {count:>6}  {said}"
        self.say(text.rstrip())
        self.wanted += [(self.row, aim, is_met) for aim, is_met in wanted]
        self.rows[self.row]["lines"].append(
            {"name": name, "what": what, "values": values, "unit": unit, "cpu": cpu or [], "failed": failed or 0}
        )

    def end(self, path):
        """Says what was reached, and writes the figures down."""
        self.progress.end()
        missed = [(row, aim) for row, aim, is_met in self.wanted if not is_met]
        reached = len(self.wanted) - len(missed)
        print(f"wanted: {reached} of {len(self.wanted)} reached")
        for row, aim in missed:
            print(f"  MISSED: {row}: {aim}")
        with open(path, "w") as file:
            json.dump({"machine": machine(), "rows": self.rows}, file, indent=1)


def at_least(what, got, wanted):
    return f"{what} {said(got)} >= {wanted:,}", got >= wanted


def at_most(what, got, wanted):
    return f"{what} {said(got)} <= {wanted:,}", got <= wanted


def said(number):
    return f"{number:,}" if isinstance(number, int) else f"{number:.2f}"


def machine():
    """Where it was measured, and when."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith(("model name", "CPU part"))]
    kernel = ".".join(platform.release().split(".")[:2])
    model = models[0] if models else platform.machine()
    return f"{model}, {os.cpu_count()} cores, Linux {kernel}, {time.strftime('%Y-%m-%d')}"
