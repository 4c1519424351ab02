"""`runsd -check` of a service that sends an interim response; the step of its status."""

import subprocess

from scripted import HEAD, say, script

INTERIM = "HTTP/1.1 103 Early Hints\r\n\r\n"
FINAL = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

script("hello", [HEAD, say(INTERIM), say(FINAL)])
out = subprocess.run(["/runsd", "-check", "hello"], capture_output=True, text=True)
print([" ".join(line.split()[:6]) for line in out.stdout.split("\n") if "GET /" in line])
