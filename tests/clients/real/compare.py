"""Runs one client twice, through runsd and directly, and compares what it saw.

    compare.py SUFFIX_OF_DIRECT_NAMES COMMAND...

The client has the suffix of its names as its last word, "" or ".direct.example", and
does with http://NAME{suffix} what it can of: GET, POST of 1 MB, a streamed answer, statuses,
50 requests one after another, 20 at once, and looks at what the service saw. It prints a line of
JSON for each thing it saw: {"what", "status", "headers", "body"}, the body being its
length and SHA-256. Prints what was the same, or fails with what was not.
"""

import json
import re
import subprocess
import sys

# Of a connection and not of an answer (RFC 9110 section 7.6.1), or a clock's.
PASSING = {"connection", "keep-alive", "transfer-encoding", "date", "proxy-connection", "trailer"}
# Of requests, what the README says is changed; what tells the two names apart; and
# what is of the connection to the service.
CHANGED = {"authorization", "host", "x-serverless-authorization"} | PASSING | {"te", "upgrade", "http2-settings"}


def main():
    suffix, *command = sys.argv[1:]
    through, direct = run(command, ""), run(command, suffix)
    wrong = [what for what in direct | through if through.get(what) != direct.get(what)]
    for what in wrong:
        print(f"{what}\n  through {through.get(what)}\n  direct  {direct.get(what)}")
    if wrong or not direct:
        raise SystemExit(f"{' '.join(command)}: {len(wrong)} of {len(direct)} things differ")
    print(" ".join(direct))


def run(command, suffix):
    done = subprocess.run([*command, suffix], capture_output=True, text=True, timeout=100)
    if done.returncode != 0:
        raise SystemExit(f"{command} {suffix!r}: {done.returncode}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    seen = {}
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        one = json.loads(line)
        what = one.pop("what")
        if "headers" in one:
            headers = one["headers"].items() if isinstance(one["headers"], dict) else one["headers"]
            one["headers"] = sorted([name.lower(), value] for name, value in headers if name.lower() not in PASSING)
        if "asked" in one:
            one["asked"] = asked(one["asked"])
        seen[what] = one
    return seen


def asked(text):
    """What the service saw of a request, without what is documented to differ."""
    request = json.loads(text)
    headers = []
    for name, value in request["headers"]:
        if name == "user-agent":
            value = re.sub(r"^runsd version=[^;]*(; )?", "", value)
        # A client without one has runsd's alone.
        if name not in CHANGED and value:
            headers.append([name, value.replace(".direct.example", "")])
    path = re.sub(r"^https?://[^/]+", "", request["target"])
    return [request["method"], path, sorted(headers)]


main()
