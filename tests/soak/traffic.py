"""The soak's application: clients of all kinds at once, and faults at random.

    traffic.py SECONDS SEED

Prints a line of JSON each second, and one at the end. A call that fails counts as
a failure, unless a fault lay in its time and may do just that (FAULTS says what):
then it is counted apart, as excused.
"""

import asyncio
import collections
import json
import os
import random
import sys
import time
import urllib.request

import clients
import grpc
from clients import Failed, Left

CONTROL = "http://192.0.2.53"
WORKERS = 24
PATIENCE = 100  # seconds for a call: more than any time-out of runsd's
RUNSD = os.getppid()

KINDS = {
    clients.requests: 8,
    clients.reused: 2,
    clients.events: 2,
    clients.leaver: 4,
    clients.streams: 4,
    clients.calls: 6,
    clients.echoes: 3,
    clients.names: 4,
}

# What has no answer from the upstream, or not all of it. `cut` is an answer that
# began and did not end, which its client can tell.
UPSTREAM = {"connection_terminated", "POST terminated", "connection_refused", "connection_timeout"}
UPSTREAM |= {"destination_unavailable", "connection_read_timeout", "http_response_incomplete"}
UPSTREAM |= {"cut", "reset", "goaway", "UNAVAILABLE", "INTERNAL"}
TLS = {"tls_protocol_error", "tls_certificate_error", "tls_alert_received"}
# Revoked tokens stay until there are new ones, so that a fault may do what the one before did.
TOKEN = {"proxy_configuration_error", "401", "UNAUTHENTICATED", "UNAVAILABLE"}
# grpcio's word for a 401 with a page, when that ends before it has sent all.
TOKEN |= {"UNKNOWN"}
NAMESERVER = {"dns_timeout", "dns_error", "SERVFAIL", "UNAVAILABLE"}

# room, order, order of its end, and what its calls may fail with.
FAULTS = [
    ("frontend", {"cut": True}, {"cut": False}, UPSTREAM),
    ("frontend", {"mode": "refuse", "cut": True}, {"mode": "ok", "cut": False}, UPSTREAM),
    ("frontend", {"mode": "reset"}, {"mode": "ok"}, UPSTREAM | TLS),
    ("frontend", {"mode": "silent"}, {"mode": "ok"}, UPSTREAM | TLS),
    ("frontend", {"mode": "no-tls"}, {"mode": "ok"}, UPSTREAM | TLS),
    ("frontend", {"mode": "alert"}, {"mode": "ok"}, UPSTREAM | TLS),
    ("frontend", {"mode": "bad-cert"}, {"mode": "ok"}, UPSTREAM | TLS),
    ("frontend", {"delay_ms": 300}, {"delay_ms": 0}, set()),
    # A server that refused an upload may close after its answer, unannounced.
    ("frontend", {"revoke": True}, {}, TOKEN | {"POST terminated"}),
    # What can be repeated is.
    ("drain", {}, {}, {"goaway", "POST terminated"}),
    ("metadata", {"mode": "500"}, {"mode": "ok"}, TOKEN),
    ("metadata", {"mode": "garbage"}, {"mode": "ok"}, TOKEN),
    ("metadata", {"mode": "silent"}, {"mode": "ok"}, TOKEN),
    ("metadata", {"mode": "refuse", "cut": True}, {"mode": "ok", "cut": False}, TOKEN),
    ("dns", {"mode": "silent"}, {"mode": "ok"}, NAMESERVER),
    ("dns", {"mode": "servfail"}, {"mode": "ok"}, NAMESERVER),
    ("dns", {"delay_ms": 300}, {"delay_ms": 0}, set()),
]
# Seconds after a fault in which what began earlier may still fail.
AFTER = 2


class Soak:
    def __init__(self, seconds, seed):
        self.dice = random.Random(seed)
        self.start = time.monotonic()
        self.end = self.start + seconds
        self.counts = collections.Counter()
        self.kinds = collections.Counter()
        self.bytes = 0
        self.faults = []  # [from, to, errors, what]
        self.failures = []
        self.excused = collections.Counter()

    async def run(self):
        await order("metadata", {"exp_in": 10})
        async with grpc.aio.insecure_channel("grpc:80", options=clients.GRPC) as channel:
            workers = [asyncio.create_task(self.work(self.dice.getrandbits(64), channel)) for _ in range(WORKERS)]
            sampler = asyncio.create_task(self.sample())
            await self.make_faults()
            await asyncio.gather(*workers)
        # What is idle may stay for a while, threads may not.
        await asyncio.sleep(1)
        sampler.cancel()
        self.say(over=True, kinds=self.kinds, excuses=self.excused)

    async def work(self, seed, channel):
        dice = random.Random(seed)
        kinds = [kind for kind, weight in KINDS.items() for _ in range(weight)]
        while time.monotonic() < self.end:
            is_well = await self.one(dice.choice(kinds), dice, channel)
            await asyncio.sleep(dice.random() / (50 if is_well else 2))

    async def one(self, kind, dice, channel):
        """One call; whether it went as it should."""
        self.kinds[kind.__name__] += 1
        start = time.monotonic()
        try:
            more = [channel] if kind is clients.calls else []
            self.bytes += await asyncio.wait_for(kind(dice, *more), PATIENCE)
            self.counts["done"] += 1
            return True
        except Left:
            self.counts["left"] += 1
            return True
        except Failed as failed:
            self.failed(kind, start, failed.error, str(failed))
        except asyncio.TimeoutError:
            self.failed(kind, start, "stuck", f"for {PATIENCE} s")
        except Exception as other:
            self.failed(kind, start, type(other).__name__, repr(other))
        return False

    def failed(self, kind, start, error, text):
        now = time.monotonic()
        for begin, end, errors, what in self.faults:
            if begin <= now and start <= end + AFTER and error in errors:
                self.counts["excused"] += 1
                self.excused[f"{what}: {error}"] += 1
                return
        self.counts["failed"] += 1
        recent = [what for begin, end, _, what in self.faults if start <= end + 15]
        line = f"{kind.__name__}, from {start - self.start:.2f} s to {now - self.start:.2f} s: {text}; faults: {recent}"
        self.say(failure=line[:1000])

    async def make_faults(self):
        """One at a time, with a pause in which nothing may fail."""
        deck = []
        while (left := self.end - time.monotonic()) > 3:
            await asyncio.sleep(min(left, self.dice.uniform(0.5, 2.5)))
            if not deck:
                deck = self.dice.sample(FAULTS, len(FAULTS))
            room, begin, end, errors = deck.pop()
            fault = [time.monotonic(), float("inf"), errors, f"{room} {json.dumps(begin)}"]
            self.faults.append(fault)
            await order(room, begin)
            await asyncio.sleep(self.dice.uniform(0.1, 1.2))
            if end:
                await order(room, end)
            fault[1] = time.monotonic()
            self.counts["faults"] += 1

    async def sample(self):
        while True:
            self.say()
            await asyncio.sleep(1)

    def say(self, **more):
        with open(f"/proc/{RUNSD}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        print(
            json.dumps(
                {
                    "s": round(time.monotonic() - self.start, 1),
                    "kB": int(status["VmRSS"].split()[0]),
                    "peak": int(status["VmHWM"].split()[0]),
                    "threads": int(status["Threads"]),
                    "descriptors": len(os.listdir(f"/proc/{RUNSD}/fd")),
                    "bytes": self.bytes,
                    **self.counts,
                    **more,
                }
            ),
            flush=True,
        )


async def order(room, settings):
    def post():
        with urllib.request.urlopen(f"{CONTROL}/{room}", json.dumps(settings).encode(), timeout=20):
            pass

    await asyncio.to_thread(post)


asyncio.run(Soak(float(sys.argv[1]), int(sys.argv[2])).run())
