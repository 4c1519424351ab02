"""Reads server-sent events and says how late each came.

The events are those of http://sse; with the word "stdin" somebody else, curl
for one, has asked for them.
"""

import http.client
import sys
import time

COUNT = 20


def main(source):
    if source == "stdin":
        events = sys.stdin.buffer
    else:
        connection = http.client.HTTPConnection("sse", timeout=20)
        connection.request("GET", f"/?n={COUNT}&ms=20")
        events = connection.getresponse()
        assert events.headers["content-type"] == "text/event-stream"
    late = []
    while line := events.readline():
        if line.startswith(b"data: "):
            late.append(time.time() * 1000 - int(line[6:]))
    assert len(late) == COUNT, f"{len(late)} events"
    print(f"{max(late):.0f}")


main(sys.argv[1])
