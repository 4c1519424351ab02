"""An application of a job, which stops itself by SIGTSTP as before a maintenance event, and
repeats what it reads once it goes on."""

import os
import signal
import sys

signal.signal(signal.SIGTSTP, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
print("ready", flush=True)
print(sys.stdin.readline(), end="", flush=True)
sys.exit(8)
