"""An application whose parent, runsd, has many signals at once; each function is one test of tests/signals.rs."""

import os
import signal
import sys


def queued():
    """The kernel queues real-time signals, and each of them arrives."""
    real_time, runsd = [35, 50, 64], os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, real_time)
    os.kill(runsd, signal.SIGSTOP)
    for _ in range(500):
        for number in real_time:
            os.kill(runsd, number)
    os.kill(runsd, signal.SIGCONT)
    got = []
    while len(got) < 1500 and (info := signal.sigtimedwait(real_time, 10)):
        got.append(info.si_signo)
    print([got.count(number) for number in real_time])


def storm():
    """Orphans that end at once come in between."""
    real_time, runsd = [40, 45, 50], os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, real_time)
    for number in [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1]:
        signal.signal(number, signal.SIG_IGN)

    def send(number):
        """Each sender has a real-time signal of its own, and sends others that the kernel merges."""
        for n in range(1000):
            while True:
                try:
                    os.kill(runsd, number)
                    break
                except BlockingIOError:  # the kernel's queue is full
                    pass
            for merged in [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD]:
                os.kill(runsd, merged)
            if n % 50 == 0 and os.fork() == 0:
                os._exit(0)
        os._exit(0)

    for number in real_time:
        if os.fork() == 0:
            send(number)
    got = []
    while len(got) < 3000 and (info := signal.sigtimedwait(real_time, 10)):
        got.append(info.si_signo)
    print([got.count(number) for number in real_time])


def stop_taken_back():
    """SIGCONT takes SIGTSTP out of the kernel's queue. USR1 comes after it."""
    got, runsd = [], os.getppid()
    for number in [signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1]:
        signal.signal(number, lambda number, _: got.append(number))
    for _ in range(20):
        os.kill(runsd, signal.SIGSTOP)
        os.kill(runsd, signal.SIGTSTP)
        os.kill(runsd, signal.SIGUSR1)
        os.kill(runsd, signal.SIGCONT)
        while len(got) < 2:
            pass
        if sorted(got) != [signal.SIGUSR1, signal.SIGCONT]:
            break
        got.clear()
    print(got)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
