#!/usr/bin/env python3
"""Progress of what takes long: which step, how far, and how long still.

    tests/progress.py test COMMAND...    of `cargo test`: a step is a test
    tests/progress.py demo COMMAND...    of lines like "# 3 of 8: what it is"

On a terminal one line at its bottom is drawn anew as steps end; lines of the
command stay above it. Where there is no terminal the command runs as it is, and
its lines are the progress. Either way its exit status and signals are its own.

How long it takes still is told by the last run, from target/progress.
"""

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time

KEPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/progress")
ESCAPE = re.compile(r"\033\[[0-9;]*m")
TEST_ENDED = re.compile(r"^test (\S+).* \.\.\. (\w+)")
STEP_BEGINS = re.compile(r"^# (\d+) of (\d+): (.*)")


class Progress:
    """The line at the bottom of a terminal."""

    def __init__(self, name, total, out=sys.stderr):
        self.file, self.out = os.path.join(KEPT, f"{name}.json"), out
        self.total, self.done, self.failed = total, 0, 0
        self.what, self.is_ended = "", False
        self.is_drawn = False
        self.begun = time.monotonic()
        self.ends = []  # seconds after the start at which each step ended
        try:
            with open(self.file) as file:
                self.last = json.load(file)
        except (OSError, ValueError):
            self.last = []

    def step(self, what, is_large=False):
        """The next step, `what`, begins; the one before it is over. Where there
        is no terminal, those that are large have a line."""
        if self.what:
            self.end_step()
        self.what = what
        if is_large and not self.out.isatty():
            print(self.text(), file=self.out, flush=True)
        self.draw()

    def end_step(self):
        self.done += 1
        self.ends.append(self.elapsed())

    def elapsed(self):
        return time.monotonic() - self.begun

    def left(self):
        """Seconds that it takes still, as far as one can tell."""
        if not self.last or not self.total:
            return self.ends[-1] / self.done * (self.total - self.done) if self.ends else None
        # As the last run went on from here; it may have had fewer steps.
        at = self.done * len(self.last) // self.total
        behind = self.last[at - 1] if at else 0
        of_step = self.last[min(at, len(self.last) - 1)] - behind
        since = self.elapsed() - (self.ends[-1] if self.ends else 0)
        return self.last[-1] - behind - min(since, of_step)

    def text(self):
        left = self.left()
        # Tests run side by side: of them those are counted that have ended.
        number = self.done if self.is_ended else min(self.done + 1, self.total)
        parts = [f"{number} of {self.total}: {self.what}".removesuffix(": ")]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [clock(self.elapsed())] if self.elapsed() >= 1 else []
        parts += [f"about {clock(left)} left"] if left is not None and left >= 1 else []
        return ", ".join(parts)

    def draw(self):
        if self.out.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.out.write(f"\r\033[K\033[2m{self.text()[:width]}\033[m")
            self.out.flush()
            self.is_drawn = True

    def clear(self):
        """Makes room for a line of somebody else."""
        if self.is_drawn:
            self.out.write("\r\033[K")
            self.out.flush()
            self.is_drawn = False

    def end(self, is_whole=True):
        """All is over; a run that is whole is what the next is told by."""
        self.clear()
        if is_whole:
            if self.done < self.total:
                self.end_step()
            os.makedirs(KEPT, exist_ok=True)
            with open(self.file, "w") as file:
                json.dump([round(end, 2) for end in self.ends], file)


def clock(seconds):
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def main():
    kind, command = sys.argv[1], sys.argv[2:]
    if not sys.stdout.isatty() or not sys.stderr.isatty():
        os.execvp(command[0], command)
    total = 0
    if kind == "test":
        # This also compiles them, and there cargo shows how far it is.
        listed = subprocess.run([*command, "--", "--list"], stdout=subprocess.PIPE, text=True)
        if listed.returncode:
            sys.exit(status(listed.returncode))
        total = len(re.findall(r": test$", listed.stdout, re.M))
    # For the same end of both: the terminal is ours, and so they are in order.
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "CLICOLOR_FORCE": "1"}
    )
    progress = Progress(kind, total)
    code = None
    while code is None:
        try:
            follow(child.stdout.fileno(), progress)
            code = child.wait()
        except KeyboardInterrupt:
            pass  # it had the signal, too: how it ends is its own affair
    progress.end(code == 0)
    sys.exit(status(code))


def status(code):
    return code if code >= 0 else 128 - code  # as shells have it


def follow(pipe, progress):
    """Passes lines on to their end, and counts."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], 1)[0]:
            if not rest:
                progress.draw()  # the time has gone on
            continue
        bytes_read = os.read(pipe, 65536)
        *lines, rest = (rest + bytes_read).split(b"\n")
        for line in [*lines, *([rest] if rest and not bytes_read else [])]:
            take(line.decode(errors="replace"), progress)
        if not bytes_read:
            return
        progress.draw()


def take(line, progress):
    plain = ESCAPE.sub("", line)
    ended, begins = TEST_ENDED.match(plain), STEP_BEGINS.match(plain)
    if ended:
        progress.what, progress.is_ended = ended[1], True
        progress.end_step()
        progress.failed += ended[2] == "FAILED"
        if ended[2] == "ok":
            return  # the number says it
    elif begins:
        progress.total = int(begins[2])
        progress.step(begins[3])
    progress.clear()
    print(line, flush=True)


if __name__ == "__main__":
    main()
