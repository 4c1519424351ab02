"""Reads server-sent events and says how late each came.

The events are those of http://sse. A command, curl for one, may fetch them;
without one, http.client does.
"""

import http.client
import subprocess
import sys
import time

COUNT = 20
PATH = f"/?n={COUNT}&ms=20"


def main(command):
    if command:
        events = subprocess.Popen([*command, f"http://sse{PATH}"], stdout=subprocess.PIPE).stdout
    else:
        connection = http.client.HTTPConnection("sse", timeout=20)
        connection.request("GET", PATH)
        events = connection.getresponse()
        assert events.headers["content-type"] == "text/event-stream"
    late = []
    while line := events.readline():
        if line.startswith(b"data: "):
            late.append(time.time() * 1000 - int(line[6:]))
    assert len(late) == COUNT, f"{len(late)} events"
    print(f"{max(late):.0f}")


main(sys.argv[1:])
