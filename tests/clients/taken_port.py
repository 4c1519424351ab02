"""Takes UDP port 53 and becomes runsd, which finds it taken; its application is a shell with $CALLS."""

import os
import socket

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
os.set_inheritable(s.fileno(), True)
os.execv("/runsd", ["/runsd", "--", "sh", "-c", os.environ["CALLS"]])
