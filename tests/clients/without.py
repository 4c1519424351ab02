"""Runs a program on a kernel that lacks something, as gVisor may:

    without.py prctl:36=EINVAL recvmmsg=ENOSYS -- /runsd -- app

Each word is a system call, first arguments if it is about them only, and what
it fails with; 0 has it succeed and do nothing, as options that are accepted and
ignored.
"""

import ctypes
import errno
import os
import struct
import sys

CALLS = {  # of x86-64
    "rt_sigaction": 13,
    "madvise": 28,
    "socket": 41,
    "setsockopt": 54,
    "rt_sigtimedwait": 128,
    "sigaltstack": 131,
    "sched_setscheduler": 144,
    "prctl": 157,
    "sched_getaffinity": 204,
    "signalfd4": 289,
    "recvmmsg": 299,
    "prlimit64": 302,
    "sendmmsg": 307,
    "getrandom": 318,
    "membarrier": 324,
    "statx": 332,
    "rseq": 334,
    "pidfd_open": 434,
    "clone3": 435,
}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, SYS_SECCOMP = 38, 1, 317


def op(code, value, unless=0):
    """One instruction; `unless` is how many to skip where it is not equal."""
    return struct.pack("HBBI", code, 0, unless, value)


def rule(word):
    what, _, result = word.partition("=")
    name, *arguments = what.split(":")
    tests = [(0, CALLS[name])]  # where it is in seccomp_data, and what it is
    tests += [(16 + 8 * n, int(value)) for n, value in enumerate(arguments) if value]
    code = 0 if result == "0" else getattr(errno, result)
    left = 2 * len(tests)  # instructions up to the end of this rule
    ops = []
    for offset, value in tests:
        left -= 2
        ops += [op(LOAD, offset), op(EQUAL, value, left + 1)]
    return b"".join(ops) + op(RETURN, ERRNO | code)


def main():
    at = sys.argv.index("--")
    command = sys.argv[at + 1 :]
    program = b"".join(map(rule, sys.argv[1:at])) + op(RETURN, ALLOW)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, filter) != 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


main()
