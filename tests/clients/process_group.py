"""An application and its process group; each function is one test of tests/process_group.rs."""

import os
import signal
import sys


def own_group():
    """It can signal its own group, and leads it."""
    os.killpg(os.getpid(), 0)
    os.killpg(0, 0)
    print(os.getpid() == os.getpgrp())


def own_signal():
    """runsd passes the lower of two signals on first: when the second has come back from it,
    the first has had its time."""
    got = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(0, signal.SIGUSR1)
    os.kill(os.getppid(), signal.SIGUSR2)
    signal.sigwait([signal.SIGUSR2])
    print(len(got))


def late():
    """Each part of a pipeline puts the pipeline's group in the foreground before it begins, and
    this one does so when the application is there already."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    own = os.getpgrp()
    while not os.path.exists(os.environ["BEGUN"]):
        pass
    os.tcsetpgrp(2, own)
    print("go")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
