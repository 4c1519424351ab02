"""Draws what was measured, as SVG that reads in light and dark.

chart.py bench FIGURES.json OUT.svg       of tests/bench.sh
chart.py coldstart TABLE.txt OUT.svg      of tests/coldstart.sh
"""

import json
import statistics
import sys
import textwrap
from html import escape

from report import machine

WIDTH, LEFT, BAR, GAP = 880, 310, 15, 14
ROOM = WIDTH - LEFT - 230  # for bars; figures stand at their right
STYLE = """
  svg { font: 13px system-ui, sans-serif; --back: #fff; --ink: #1c2128; --soft: #59636e; --line: #d0d7de;
    --ours: #0969da; --peer: #8c959f; --s1: #0a3069; --s2: #0969da; --s3: #54aeff; --s4: #b6e3ff;
    --on: #fff; --off: #0a3069 }
  @media (prefers-color-scheme: dark) {
    svg { --back: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #3d444d;
      --ours: #4493f8; --peer: #6e7681; --s1: #cae8ff; --s2: #79c0ff; --s3: #388bfd; --s4: #1f4b99;
      --on: #0d1117; --off: #e6edf3 }
  }
  text { fill: var(--ink); paint-order: stroke; stroke: var(--back); stroke-width: 3px; stroke-linejoin: round }
  .soft { fill: var(--soft) } .head { font-weight: 600; font-size: 15px }
  .back { fill: var(--back) } .ours { fill: var(--ours) } .peer { fill: var(--peer) } .strong { font-weight: 600 }
  .one { stroke: var(--soft); stroke-dasharray: 3 3 } .rule { stroke: var(--line) } .whisker { stroke: var(--ink) }
  .s1 { fill: var(--s1) } .s2 { fill: var(--s2) } .s3 { fill: var(--s3) } .s4 { fill: var(--s4) }
  .on { fill: var(--on); stroke: none } .off { fill: var(--off); stroke: none }
"""


class Chart:
    def __init__(self, title):
        self.title, self.said, self.body, self.y = title, [], [], 34
        self.text(20, title, "head")

    def text(self, x, text, kind="", anchor="start", dy=0):
        self.body.append(
            f'<text x="{x:.0f}" y="{self.y + dy:.0f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def bar(self, x, width, kind):
        self.body.append(
            f'<rect x="{x:.1f}" y="{self.y - 11}" width="{max(width, 1):.1f}" height="{BAR - 3}" class="{kind}"/>'
        )

    def line(self, x1, y1, x2, y2, kind):
        self.body.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def whisker(self, low, high, dy=-5):
        middle = self.y + dy
        self.line(low, middle, high, middle, "whisker")
        for x in (low, high):
            self.line(x, middle - 3, x, middle + 3, "whisker")

    def head(self, title, what):
        self.y += 34
        self.line(20, self.y - 20, WIDTH - 20, self.y - 20, "rule")
        self.text(20, title, "head")
        self.text(WIDTH - 20, what, "soft", "end")
        self.y += 10

    def svg(self):
        self.y += 30
        self.text(20, machine(), "soft")
        height = self.y + 16
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img" aria-labelledby="title desc">\n<title id="title">{escape(self.title)}</title>\n'
            f'<desc id="desc">{escape(" ".join(self.said))}</desc>\n<style>{STYLE}</style>\n'
            f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>\n' + "\n".join(self.body) + "\n</svg>\n"
        )


def digits(value, unit):
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def panel(chart, title, groups, is_more_better):
    """Groups of bars, each scaled by the best of the peers, which is at 1."""
    if not groups:
        return
    chart.head(title, "longer is better" if is_more_better else "shorter is better")
    better = max if is_more_better else min
    scaled = []
    for name, lines in groups:
        medians = {line: statistics.median(values) for line, (values, _) in lines.items()}
        peers = [line for line in lines if line not in ("runsd", "old")]
        best = "tini-static" if "tini-static" in peers else better(peers, key=medians.get)
        scaled.append((name, lines, medians, best))
    # Longer than three times the best is cut, and the figure says how long.
    highs = [max(values) / medians[best] for _, lines, medians, best in scaled for values, _ in lines.values()]
    unit = ROOM / min(max(highs), 3)
    end = chart.y + sum(GAP + BAR * len(lines) for _, lines, _, _ in scaled)
    chart.line(LEFT + unit, chart.y + 4, LEFT + unit, end + 4, "one")
    for name, lines, medians, best in scaled:
        chart.y += GAP
        for number, part in enumerate(textwrap.wrap(name, 32), 1):
            chart.text(20, part, dy=BAR * number)
        for line, (values, measure) in sorted(lines.items(), key=lambda pair: pair[0] != "runsd"):
            chart.y += BAR
            is_ours, ratio = line == "runsd", medians[line] / medians[best]
            chart.text(LEFT - 8, line, "strong" if is_ours else "soft", "end")
            chart.bar(LEFT, min(ratio * unit, ROOM), "ours" if is_ours else "peer")
            ends = [min(value / medians[best] * unit, ROOM) + LEFT for value in (min(values), max(values))]
            if len(values) > 1:
                chart.whisker(*ends)
            figure = digits(medians[line], measure)
            if is_ours and best != line:
                figure += f", {ratio:.2f} × {best}"
                chart.said.append(f"{name}: runsd {figure}.")
            chart.text(max(ends[1], LEFT + min(ratio * unit, ROOM)) + 8, figure, "strong" if is_ours else "soft")


def bench(path):
    with open(path) as file:
        rows = json.load(file)["rows"]
    more, cpu, less = [], [], []
    for name, row in rows.items():
        groups = {}
        for line in row["lines"]:
            if line["name"] != "no proxy":
                groups.setdefault(line["what"], {})[line["name"]] = (line["values"], line["unit"])
        for what, lines in groups.items():
            title = f"{row['title']}: {what}" if what else row["title"]
            is_load = row["more_is_better"] and not what
            scale, measure = (1 / 1000, "MB") if "kB" in {unit for _, unit in lines.values()} else (1, None)
            lines = {key: ([v * scale for v in values], measure or unit) for key, (values, unit) in lines.items()}
            if name != "h1-rate" or what:  # there all do as many as are asked for
                (more if is_load else less).append((title, lines))
        costs = {line["name"]: ([v * 100 for v in line["cpu"]], "µs") for line in row["lines"] if line["cpu"]}
        if name in ("h1-rate", "h1-64", "h2-128", "grpc"):
            cpu.append((row["title"], costs))
    chart = Chart("runsd beside other proxies and servers in its place")
    chart.y += 20
    chart.text(
        20,
        "Medians; whiskers from the least to the most of all rounds; the dashed line is the best of the others.",
        "soft",
    )
    panel(chart, "Load", more, True)
    panel(chart, "CPU of a request or call", cpu, False)
    panel(chart, "Memory, starts, size", less, False)
    return chart


def coldstart(path):
    with open(path) as file:
        table = [row.rsplit(None, 4) for row in file.read().splitlines()[1:]]
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in table}
    median = {name: row[0] for name, row in rows.items()}
    true = median["true"]
    started = {"runsd": median["runsd without ports"], "tini-static": median.get("tini-static")}
    steps = {}
    for name, total in started.items():
        if name in rows:
            alone = median[f"{name} alone"]
            steps[name] = [alone, total - alone - true]
    ports = median["runsd without DNS"]
    steps["runsd"] += [ports - median["runsd without ports"], median["runsd"] - ports]
    legend = [
        "its own process: loaded, flags read, and its end",
        "starts the application, and reaps it",
        "listens for HTTP: two sockets",
        "listens for DNS: four sockets, and resolv.conf",
    ]
    chart = Chart("What a cold start takes longer, in milliseconds")
    chart.y += 20
    chart.text(20, "Beyond what the application takes alone. Medians; whiskers are the quartiles.", "soft")
    chart.y += 12
    names = [name for name in rows if " " not in name and name != "true"]
    names.sort(key=lambda name: (name != "runsd", median[name]))
    unit = ROOM / max(rows[name][2] - true for name in names)
    for name in names:
        chart.y += BAR + 10
        chart.text(LEFT - 178, name, "strong" if name == "runsd" else "", "end")
        x = LEFT - 170
        for number, took in enumerate(steps.get(name, []), 1):
            chart.bar(x, max(took, 0) * unit, f"s{number}")
            if took * unit > 12:
                chart.text(x + took * unit / 2, str(number), "on" if number < 3 else "off", "middle")
            x += max(took, 0) * unit
        if name not in steps:
            chart.bar(x, rows[name][3] * unit, "peer")
        ends = [LEFT - 170 + max(rows[name][at] - true, 0) * unit for at in (1, 2)]
        chart.whisker(*ends, dy=5)
        figure = f"{rows[name][3]:.2f} ms"
        if name != "tini-static" and "tini-static" in rows:
            figure += f", {rows[name][3] / rows['tini-static'][3]:.2f} × tini-static"
        chart.text(max(ends[1], LEFT - 170 + rows[name][3] * unit) + 8, figure, "strong" if name == "runsd" else "soft")
        chart.said.append(f"{name}: {figure}.")
    chart.y += 12
    for number, what in enumerate(legend, 1):
        chart.y += BAR + 5
        chart.bar(20, 16, f"s{number}")
        chart.text(28, str(number), "on" if number < 3 else "off", "middle")
        took = ", ".join(f"{name} {of[number - 1]:.2f} ms" for name, of in steps.items() if number <= len(of))
        chart.text(44, f"{what}: {took}")
        chart.said.append(f"{what}: {took}.")
    return chart


if __name__ == "__main__":
    kind, source, target = sys.argv[1:]
    with open(target, "w") as out:
        out.write({"bench": bench, "coldstart": coldstart}[kind](source).svg())
