"""Plays the table of hostile requests of HTTP/2, as smuggling.py does those of HTTP/1: a second
request on the same connection has to find its response, the upstream is the package h2, which
lets nothing malformed pass, and nginx and haproxy, which write requests of HTTP/1 of what they
get, take what runsd sends on, and what it got, for the same request, or for none."""

import socket
import threading

import h2.config
import h2.connection
import h2.events
import hpack
import hyperframe.frame as frames
from hostile_streams import RESET, ROWS
from peers import PORTS, Peers
from smuggling import TIMEOUT, Upstream, described, each

RUNSD, BEHIND_PEERS = 8097, 8099
LAST = [(":method", "GET"), (":scheme", "http"), (":authority", "echo"), (":path", "/last")]


class StrictUpstream:
    """Keeps the requests that have come to their end, and answers with their paths."""

    def __init__(self, port):
        self.seen, self.faults = [], []
        self.listener = socket.create_server(("127.0.0.1", port), backlog=100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, peer):
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        connection, streams = h2.connection.H2Connection(config), {}
        connection.initiate_connection()
        with peer:
            try:
                while True:
                    peer.sendall(connection.data_to_send())
                    data = peer.recv(65536)
                    if not data:
                        return
                    for event in connection.receive_data(data):
                        self.see(connection, streams, event)
            except ConnectionError:
                pass
            except Exception as err:
                self.faults.append(repr(err))

    def see(self, connection, streams, event):
        match event:
            case h2.events.RequestReceived():
                streams[event.stream_id] = [(text(name), text(value)) for name, value in event.headers], b""
            case h2.events.DataReceived():
                fields, body = streams[event.stream_id]
                streams[event.stream_id] = fields, body + event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                fields, body = streams[event.stream_id]
                self.seen.append((fields, body))
                connection.send_headers(event.stream_id, [(":status", "200")])
                connection.send_data(event.stream_id, dict(fields)[":path"].encode(), end_stream=True)

    def take(self):
        seen, self.seen = self.seen, []
        assert not self.faults, self.faults
        return seen


def text(data):
    return data.decode("latin-1")


def octets(fields):
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def sent(encoder, stream, request):
    """The frames of a request: fields, pieces of a body, trailers."""
    out = b""
    for at, part in enumerate(request):
        flags = ["END_STREAM"] if at + 1 == len(request) else []
        if isinstance(part, str):
            out += frames.DataFrame(stream, part.encode("latin-1"), flags=flags).serialize()
            continue
        block = encoder.encode(octets(part))
        first, *rest = [block[n : n + 16000] for n in range(0, len(block), 16000)]
        parts = [frames.HeadersFrame(stream, first, flags=flags)]
        parts += [frames.ContinuationFrame(stream, piece) for piece in rest]
        parts[-1].flags.add("END_HEADERS")
        out += b"".join(part.serialize() for part in parts)
    return out


def asked(port, request):
    """What streams 1 and 3 came to, the second being `LAST`: status and body, or `RESET`."""
    encoder, decoder, left, ended = hpack.Encoder(), hpack.Decoder(), b"", {}
    wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.SettingsFrame(0).serialize()
    wire += sent(encoder, 1, request) + sent(encoder, 3, [LAST])
    status, bodies = {}, {1: b"", 3: b""}
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as s:
        s.sendall(wire)
        while len(ended) < 2:
            try:
                data = s.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                break
            left += data
            while len(left) >= 9 and len(left) >= 9 + int.from_bytes(left[:3]):
                frame, length = frames.Frame.parse_frame_header(memoryview(left[:9]))
                frame.parse_body(memoryview(left[9 : 9 + length]))
                left = left[9 + length :]
                stream = frame.stream_id
                if isinstance(frame, frames.HeadersFrame):
                    assert "END_HEADERS" in frame.flags, frame
                    status.setdefault(stream, dict(decoder.decode(frame.data, raw=True)).get(b":status", b"").decode())
                elif isinstance(frame, frames.DataFrame):
                    bodies[stream] += frame.data
                elif isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
                    s.sendall(frames.SettingsFrame(0, flags=["ACK"]).serialize())
                if isinstance(frame, frames.RstStreamFrame):
                    ended.setdefault(stream, RESET)
                elif "END_STREAM" in frame.flags:
                    ended.setdefault(stream, (status[stream], bodies[stream].decode("latin-1")))
    return ended.get(1), ended.get(3)


def body_of(request):
    return "".join(part for part in request if isinstance(part, str)).encode("latin-1")


def row(row, upstream):
    """Sends a row through runsd; the fields of what it passed on, without those that it adds."""
    request, want = row[:2]
    first, last = asked(80, request)
    seen = upstream.take()
    case = (str(want)[:300], first, last, str(seen)[:600])
    assert last == ("200", "/last"), case
    if not isinstance(want, list):
        assert (first if want == RESET else first and first[0]) == str(want), case
        assert [dict(fields)[":path"] for fields, _ in seen] == ["/last"], case
        return None
    # Two streams end in any order.
    mine = [one for one in seen if dict(one[0])[":path"] != "/last"]
    assert len(seen) == 2 and len(mine) == 1, case
    ((fields, body),) = mine
    fields = [pair for pair in fields if pair[0] != "user-agent"]
    assert (fields, body) == (want, body_of(request)), case
    assert first == ("200", dict(want)[":path"]), case
    return fields


def alike(row, passed, upstream):
    """Both peers read what was passed on as it was meant, and what it was made of alike, or not at all."""
    request, fields = row[0], dict(passed)
    for peer in PORTS:
        for wire, host in (([passed, *request[1:]], fields[":authority"]), (request, "echo")):
            first, _ = asked(PORTS[peer][1], wire)
            seen = [message for message, _ in upstream.take() if message.second != b"/last"]
            case = (peer, str(wire)[:300], first, seen)
            assert len(seen) < 2 and (seen or first == RESET or not first or first[0][0] in "45"), case
            want = fields[":method"].encode(), fields[":path"].encode(), host.encode(), body_of(request)
            for message in seen:
                (name,) = message.all(b"x-read-host")
                name += b":8097" if peer == "nginx" and host.endswith(":8097") else b""
                assert described(message, name) == want, case
            assert seen or wire is request or peer in row[2:], case


def main():
    upstream, behind_peers = StrictUpstream(RUNSD), Upstream(BEHIND_PEERS)
    passed = [one for one in each(ROWS, row, upstream) if one[1]]
    assert len(ROWS) > 100 and len(passed) > 20, (len(ROWS), len(passed))
    with Peers(BEHIND_PEERS):
        each(passed, lambda one: alike(*one, behind_peers))


if __name__ == "__main__":
    main()
