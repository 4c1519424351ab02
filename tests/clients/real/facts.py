"""What every client written in Python prints, and what it sends."""

import hashlib
import json

BODY = bytes(at % 251 for at in range(1_000_000))


def fact(what, status=None, headers=None, body=b"", **more):
    body = body.encode() if isinstance(body, str) else body
    seen = {"what": what, "status": status, "body": f"{len(body)} {hashlib.sha256(body).hexdigest()}", **more}
    if headers is not None:
        seen["headers"] = list(headers)
    print(json.dumps(seen), flush=True)


def asked(body):
    """/headers of the service `echo`: its body is not the same twice, as ports are in it."""
    print(json.dumps({"what": "asked", "asked": body if isinstance(body, str) else body.decode()}), flush=True)
