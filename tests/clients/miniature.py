"""What every client here needs: the miniature's control, and a main."""

import json
import sys
import urllib.parse
import urllib.request

CONTROL = "http://192.0.2.53"


def order(room, **settings):
    """Holds from the moment this returns: order("frontend", mode="refuse")."""
    with urllib.request.urlopen(f"{CONTROL}/{room}", json.dumps(settings).encode(), timeout=10):
        pass


def stats():
    with urllib.request.urlopen(f"{CONTROL}/stats", timeout=10) as answer:
        return json.load(answer)


def wait(what, service, times=1):
    """Waits until the miniature has counted that."""
    query = urllib.parse.urlencode({"what": what, "which": host(service), "times": times})
    with urllib.request.urlopen(f"{CONTROL}/wait?{query}", timeout=25):
        pass


def host(service):
    return f"{service}-123456789012.us-east1.run.app"


def equal(got, want):
    assert got == want, f"got {got!r}; want {want!r}"


def main(scenarios):
    """Runs the function that is named on the command line."""
    scenarios[sys.argv[1]]()
    print("ok")
