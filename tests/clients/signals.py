"""An application that sends runsd, which is PID 1, each signal there is, and
waits for it to come; by system calls, because libc keeps three of them for
itself. Those are not passed on, and end nobody.

With --before it becomes runsd while signals wait for it; the application says
which of them it was sent.
"""

import ctypes
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
PROCMASK, TIMEDWAIT, SETMASK = 14, 128, 2
EARLY = [1, 2, 10, 15, 64]
LIBCS = [32, 33, 34]
# KILL, STOP and CHLD, and the faults: ILL TRAP ABRT BUS FPE SEGV SYS.
KEPT = [9, 19, 17, 4, 5, 6, 7, 8, 11, 31] + LIBCS


def hold():
    everything = ctypes.c_uint64(2**64 - 1)
    libc.syscall(PROCMASK, SETMASK, ctypes.byref(everything), None, 8)


def take(signals):
    """The next of them, or -1 when none comes for a long time."""
    wanted = ctypes.c_uint64(sum(1 << (n - 1) for n in signals))
    patience = (ctypes.c_long * 2)(20, 0)
    return libc.syscall(TIMEDWAIT, ctypes.byref(wanted), None, ctypes.byref(patience), 8)


def each():
    hold()
    signals = [n for n in range(1, 65) if n not in KEPT]
    for time in range(3):
        for n in LIBCS:
            os.kill(1, n)
        for n in signals:
            os.kill(1, n)
            got = take(signals)
            if got != n:
                sys.exit(f"round {time}: sent {n}, got {got}")
    print(f"{len(signals)} signals, 3 times")


def before():
    hold()
    me = os.getpid()
    if os.fork() == 0:
        for n in EARLY:
            os.kill(me, n)
        os._exit(0)
    os.wait()
    os.execv("/runsd", ["/runsd", "--", sys.executable, __file__, "--after"])


def after():
    print(*sorted(take(EARLY) for _ in EARLY))


{"": each, "--before": before, "--after": after}[sys.argv[1] if len(sys.argv) > 1 else ""]()
