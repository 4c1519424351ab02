"""HTTP/2 frame by frame with the package h2; each function is one test of tests/http2.rs."""

import re
import socket
import subprocess

import h2.config
import h2.connection
import h2.events
import h2.settings
import miniature
from miniature import equal


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("hello", 80), timeout=20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.status, self.head, self.body, self.ended, self.goaway = {}, {}, {}, {}, None
        self.greeted, self.lazy, self.events = False, False, 0

    def start(self):
        self.h2.initiate_connection()
        self.flush()

    def ask(self, service, path="/", body=None):
        stream = self.h2.get_next_available_stream_id()
        head = {":method": "POST" if body else "GET", ":authority": service, ":scheme": "http", ":path": path}
        self.h2.send_headers(stream, head.items(), end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        return stream

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def until(self, done):
        """Reads events until `done()`; False when the connection ends first."""
        self.flush()
        while not done():
            data = self.socket.recv(65536)
            if not data:
                return False
            for event in self.h2.receive_data(data):
                self.see(event)
            self.flush()
        return True

    def see(self, event):
        self.events += 1
        match event:
            case h2.events.RemoteSettingsChanged():
                self.greeted = True
            case h2.events.ResponseReceived():
                self.head[event.stream_id] = dict(event.headers)
                self.status[event.stream_id] = dict(event.headers)[":status"]
            case h2.events.DataReceived():
                self.body[event.stream_id] = self.body.get(event.stream_id, b"") + event.data
                if not self.lazy:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended[event.stream_id] = "end"
            case h2.events.StreamReset():
                self.ended[event.stream_id] = "reset"
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code

    def answer(self, stream):
        equal(self.until(lambda: stream in self.ended), True)
        return self.status.get(stream), self.body.get(stream, b"")


HELLO = ("200", b"Hello from hello in us-east1, project 123456789012\n")


def hasty():
    """All at once, before any SETTINGS came."""
    client = Client()
    client.h2.initiate_connection()
    streams = [client.ask("hello") for _ in range(50)]
    client.flush()
    for stream in streams:
        equal(client.answer(stream), HELLO)


def patient():
    """Nothing but the preface before the SETTINGS came and ours were acknowledged."""
    client = Client()
    client.start()
    equal(client.until(lambda: client.greeted), True)
    stream = client.ask("hello")
    equal(client.answer(stream), HELLO)


def other_authority():
    client = Client()
    client.start()
    slow = client.ask("hello", "/")
    equal(client.answer(slow), HELLO)
    for number in range(30):
        # More than the connection's window in all, which has to come back.
        mine, other = client.ask("hello"), client.ask("echo", body=b"x" * 16000)
        client.flush()
        equal(client.answer(other)[0], "421")
        equal(client.answer(mine), HELLO)


def upstream_dies():
    """Where the answer had begun, and where it had not."""
    for service, path, counted in [("sse", "/?n=1000&ms=50", "requests"), ("slow", "/?ms=60000", "requests")]:
        client = Client()
        client.start()
        stream = client.ask(service, path)
        client.flush()
        if service == "sse":
            equal(client.until(lambda: stream in client.body), True)
        miniature.wait(counted, service)
        miniature.order("frontend", cut=True)
        client.until(lambda: False)
        want = ("reset", "200") if service == "sse" else ("end", "502")
        equal((client.ended.get(stream), client.status.get(stream)), want)
        assert client.goaway is not None, "no GOAWAY"


def silent_upstream():
    """The kernel asks after it; ss tells when next."""
    client = Client()
    client.start()
    equal(client.answer(client.ask("hello")), HELLO)
    command = ["ss", "-tnoH", "state", "established", "dport = :443"]
    timers = []
    # Until what was sent last is acknowledged it is another timer.
    while timers != ["keepalive"]:
        timers = re.findall(r"timer:\((\w+),", subprocess.check_output(command, text=True))
        assert len(timers) <= 1, timers
    # And the connection is good still.
    equal(client.answer(client.ask("hello")), HELLO)


def client_leaves():
    """By RST_STREAM, and by closing the connection."""
    client = Client()
    client.start()
    stream = client.ask("slow", "/?ms=60000")
    client.flush()
    miniature.wait("requests", "slow", 1)
    client.h2.reset_stream(stream, 8)
    client.flush()
    miniature.wait("gone", "slow", 1)
    client.ask("slow", "/?ms=60000")
    client.flush()
    miniature.wait("requests", "slow", 2)
    client.socket.close()
    miniature.wait("gone", "slow", 2)


def refused_tokens():
    """A token that is void is dropped each time, the second time with an answer out of the table."""
    client = Client()
    client.start()
    for _ in range(3):
        equal(client.answer(client.ask("hello")), HELLO)
        miniature.order("frontend", revoke=True)
        equal(client.answer(client.ask("hello"))[0], "401")
    equal(client.answer(client.ask("hello")), HELLO)
    equal(list(miniature.stats()["token_fetches"].values()), [4])
    equal(miniature.stats()["protocols"], {"h2": 1})


def sentences():
    """A refusal beside an upstream says its sentence in a header: a body would take of its window."""
    client = Client()
    client.start()
    equal(client.answer(client.ask("hello")), HELLO)
    stream = client.ask("echo")
    equal(client.answer(stream), ("421", b""))
    said = client.head[stream]["proxy-status"]
    assert "open one for each" in said, said


def credit_at_the_end():
    """A client that gives credit for a whole response only: its window is the upstream's to the last octet."""
    client = Client()
    client.lazy = True
    client.start()
    window = client.h2.local_settings.initial_window_size
    for size in (window, window, 1):
        body = b"x" * size
        stream = client.h2.get_next_available_stream_id()
        head = {":method": "POST", ":authority": "echo", ":scheme": "http", ":path": "/"}
        client.h2.send_headers(stream, head.items())
        sent = 0
        while sent < size:
            free = min(client.h2.local_flow_control_window(stream), 16384, size - sent)
            if not free:
                had = client.events
                equal(client.until(lambda: client.events > had), True)
                continue
            client.h2.send_data(stream, body[sent : sent + free])
            sent += free
            client.flush()
        client.h2.end_stream(stream)
        status, got = client.answer(stream)
        equal((status, len(got)), ("200", size))
        client.h2.increment_flow_control_window(size)


if __name__ == "__main__":
    miniature.main(globals())
