"""The clients of the soak: each call does one thing with a service, checks every
byte of what came, and returns how many those were.

A call that does not have what it should raises Failed, with what a person would
want to read, and with the error that runsd told, if it did.
"""

import asyncio
import contextlib
import socket
import struct

import grpc
import h2.connection
import h2.events
import h2.exceptions
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake

PERIOD = bytes(at % 251 for at in range(251 * 256))  # what the service `bytes` repeats


class Failed(Exception):
    """`error` is a type of Proxy-Status, a status, or "cut" where an answer began and did not end."""

    def __init__(self, error, text):
        super().__init__(f"{error}: {text}")
        self.error = error


class Left(Exception):
    """The client left, as it wanted to."""


def check(got, want, what):
    if got != want:
        same = next((at for at, (one, other) in enumerate(zip(got, want)) if one != other), "the end")
        raise Failed("wrong bytes", f"{what}: {len(got)} bytes, expected {len(want)}; they differ at {same}")


def pattern(length):
    return (PERIOD * (length // len(PERIOD) + 1))[:length]


def size(dice):
    """Up to 1 MB, and as many of one number of digits as of another, as of real bodies."""
    return int(10 ** dice.uniform(0, 6)) if dice.random() < 0.97 else 0


# -- HTTP/1.1, by hand.


class Connection:
    def __init__(self, host):
        self.host = host

    async def __aenter__(self):
        try:
            self.reader, self.writer = await asyncio.open_connection(self.host, 80)
        except OSError as error:
            raise Failed("dns" if isinstance(error, socket.gaierror) else "connect", f"{self.host}: {error}")
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def exchange(self, target, body=None, chunked=False, leave=None):
        """A request, and its answer's body. Leaves after so many bytes of the one or the other."""
        sending = asyncio.ensure_future(self.send(target, body, chunked, leave))
        try:
            return await self.answer(target, body, leave)
        except (asyncio.IncompleteReadError, OSError) as error:
            if leave is not None and sending.done() and isinstance(sending.exception(), Left):
                raise Left
            # By RST runsd ends an answer that is not whole, and RST may overtake its head.
            is_reset = isinstance(error, ConnectionResetError)
            raise Failed("cut" if is_reset else "no answer", f"{target}: {error!r}")
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, Left):
                await sending

    async def send(self, target, body, chunked, leave):
        head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\nHost: {self.host}\r\n"
        if body is None:
            self.writer.write((head + "\r\n").encode())
        elif chunked:
            self.writer.write((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            for at in range(0, len(body), 9973):
                part = body[at : at + 9973]
                self.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await self.writer.drain()
            self.writer.write(b"0\r\n\r\n")
        else:
            self.writer.write((head + f"Content-Length: {len(body)}\r\n\r\n").encode())
            if leave is not None and leave < len(body):
                self.writer.write(body[:leave])
                self.writer.transport.abort()
                raise Left
            self.writer.write(body)
        await self.writer.drain()

    async def answer(self, target, body, leave):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.rstrip().split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        try:
            got = await self.body(fields, leave)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Failed("cut", f"{target}: {error!r}")
        self.over = fields.get("connection", "").lower() == "close"
        if not status.startswith("HTTP/1.1 200"):
            error = told(fields, status.split()[1])
            if body is not None and error == "connection_terminated":
                error = "POST terminated"  # which runsd may not repeat
            raise Failed(error, f"{target}: {status}; {got[:300]}")
        if body is not None:
            check(got, body, f"the echo of {target}")
        return got

    async def body(self, fields, leave):
        if leave is not None:
            await self.reader.read(min(leave, 65536) or 1)
            self.writer.transport.abort()
            raise Left
        if "content-length" in fields:
            return await self.reader.readexactly(int(fields["content-length"]))
        if fields.get("transfer-encoding") != "chunked":
            self.over = True
            return await self.reader.read()
        got = b""
        while length := int(await self.reader.readuntil(b"\r\n"), 16):
            got += await self.reader.readexactly(length)
            await self.reader.readexactly(2)
        await self.reader.readuntil(b"\r\n")
        return got


async def requests(dice):
    """Several on one connection: downloads with a length or without, uploads either way."""
    done = 0
    service = dice.choice(["echo", "bytes"])
    async with Connection(service) as connection:
        for _ in range(dice.randrange(1, 8)):
            length = size(dice)
            if service == "echo":
                body = dice.randbytes(length)
                done += len(await connection.exchange("/echo", body, dice.random() < 0.5))
            else:
                chunked = "?chunked=1" if dice.random() < 0.5 else ""
                got = await connection.exchange(f"/{length}{chunked}")
                check(got, pattern(length), f"/{length}{chunked}")
                done += length
            if connection.over:
                break
    return done


async def reused(dice):
    """The upstream ends each connection after its answer without a word: nobody is to notice."""
    async with Connection("close") as connection:
        for _ in range(5):
            check(await connection.exchange("/quietly"), b"gone", "/quietly")
    return 20


async def events(dice):
    count = dice.randrange(1, 40)
    async with Connection("sse") as connection:
        got = await connection.exchange(f"/?n={count}&ms={dice.randrange(1, 40)}")
    numbers = [line for line in got.decode().split("\n") if line.startswith("id: ")]
    check(numbers, [f"id: {at}" for at in range(count)], "events")
    return len(got)


async def leaver(dice):
    """A client that leaves in the middle of its request, of its answer, or while it waits for it."""
    leave = size(dice)
    what = dice.randrange(3)
    async with Connection(["echo", "bytes", "slow"][what]) as connection:
        if what == 2:
            await connection.send("/?ms=60000", None, False, None)
            await asyncio.sleep(dice.random() / 4)
            connection.writer.transport.abort()
            raise Left
        await connection.exchange("/10000000", dice.randbytes(leave + 50_000) if what == 0 else None, False, leave)
    return 0


# -- HTTP/2, with prior knowledge.


async def streams(dice):
    """Echoes on several streams of one connection at once."""
    client = h2.connection.H2Connection()
    client.initiate_connection()
    bodies = {}
    for _ in range(dice.randrange(1, 6)):
        stream = client.get_next_available_stream_id()
        bodies[stream] = dice.randbytes(min(size(dice), 60_000))
        head = {":method": "POST", ":authority": "echo", ":scheme": "http", ":path": "/"}
        client.send_headers(stream, head.items())
    left, got, over = dict(bodies), {stream: b"" for stream in bodies}, set()
    async with Connection("echo") as connection:
        try:
            while len(over) < len(bodies):
                upload(client, left)
                connection.writer.write(client.data_to_send())
                data = await connection.reader.read(65536)
                if not data:
                    raise Failed("cut", "the end of an HTTP/2 connection")
                for event in client.receive_data(data):
                    take(client, event, got, over)
        except OSError as error:
            raise Failed("cut", repr(error))
        except h2.exceptions.ProtocolError as error:
            # After GOAWAY h2 has no ear for the PING that follows it.
            raise Failed("goaway" if "ConnectionState.CLOSED" in str(error) else "protocol", str(error))
    for stream, body in bodies.items():
        check(got[stream], body, f"stream {stream}")
    return sum(map(len, bodies.values()))


def upload(client, left):
    """As much of the bodies as there is room for."""
    for stream, body in list(left.items()):
        room = min(client.local_flow_control_window(stream), client.max_outbound_frame_size)
        client.send_data(stream, body[:room], end_stream=room >= len(body))
        left[stream] = body[room:]
        if room >= len(body):
            del left[stream]


def take(client, event, got, over):
    match event:
        case h2.events.ResponseReceived():
            fields = {name.decode(): value.decode() for name, value in event.headers}
            if fields[":status"] != "200":
                raise Failed(told(fields, fields[":status"]), f"over HTTP/2: {fields}")
        case h2.events.DataReceived():
            got[event.stream_id] += event.data
            client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        case h2.events.StreamEnded():
            over.add(event.stream_id)
        case h2.events.StreamReset():
            raise Failed("reset", f"{event}")
        case h2.events.ConnectionTerminated() if event.last_stream_id < max(got) or event.error_code:
            raise Failed("goaway", f"{event}")


# -- gRPC.

GRPC = [("grpc.max_receive_message_length", -1), ("grpc.initial_reconnect_backoff_ms", 100)]
GRPC += [("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]


async def calls(dice, channel):
    """A call of each kind; grpcio itself repeats what a GOAWAY left unserved."""
    try:
        match dice.randrange(4):
            case 0:
                message = dice.randbytes(size(dice))
                check(await channel.unary_unary("/test.Echo/Unary")(message, timeout=50), message, "Unary")
                return len(message)
            case 1:
                count = dice.randrange(1, 300)
                call = channel.unary_stream("/test.Echo/ServerStream")(b"%d" % count, timeout=50)
                got = [message async for message in call]
                check(got, [b"%d" % at for at in range(count)], "ServerStream")
                return sum(map(len, got))
            case 2:
                call = channel.stream_stream("/test.Echo/Bidi")(timeout=50)
                done = 0
                for _ in range(dice.randrange(1, 20)):
                    message = dice.randbytes(min(size(dice), 50_000))
                    await call.write(message)
                    check(await call.read(), message, "Bidi")
                    done += len(message)
                await call.done_writing()
                check(await call.read(), grpc.aio.EOF, "Bidi")
                return done
            case 3:
                call = channel.unary_unary("/test.Echo/Slow")(b"60000", timeout=50)
                await asyncio.sleep(dice.random() / 4)
                call.cancel()
                raise Left
    except grpc.aio.AioRpcError as error:
        # What grpcio says of a message for a call that is over by then, instead of its status.
        is_over = error.details() == "Internal error from Core"
        raise Failed("UNAVAILABLE" if is_over else error.code().name, error.details())


# -- WebSockets.


async def echoes(dice):
    done = 0
    try:
        # The opening may take as long as runsd gives the upstream, and the metadata server before it.
        options = {"compression": None, "max_size": None, "proxy": None, "open_timeout": 90, "close_timeout": 20}
        async with websocket("ws://ws/", **options) as socket:
            for _ in range(dice.randrange(1, 20)):
                message = dice.randbytes(size(dice))
                await socket.send(message)
                check(await socket.recv(), message, "a WebSocket's echo")
                done += len(message)
            if dice.random() < 0.2:
                socket.transport.abort()
                raise Left
    except (ConnectionClosed, EOFError) as error:
        raise Failed("cut", repr(error))
    except InvalidHandshake as error:
        response = getattr(error, "response", None)
        if response is None:
            raise Failed("cut", repr(error.__cause__ or error))
        raise Failed(told(response.headers, str(response.status_code)), repr(error))
    except OSError as error:
        raise Failed("connect", repr(error))
    return done


# -- DNS.

NAMES = [("hello.run.internal", "127.0.0.1"), ("HELLO.us-east1.run.internal", "127.0.0.1")]
NAMES += [("external.example", "192.0.2.3"), ("metadata.google.internal", "169.254.169.254")]


async def names(dice):
    """As a resolver does: over UDP three times, or over TCP."""
    name, address = dice.choice(NAMES)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = dice.randbytes(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    reply = await (by_tcp if dice.random() < 0.2 else by_udp)(query)
    if reply[3] & 15 != 0:
        raise Failed({2: "SERVFAIL", 3: "NXDOMAIN"}.get(reply[3] & 15, str(reply[3] & 15)), name)
    check(reply[:2], query[:2], "the id of a reply")
    check(reply[12 : len(query)], query[12:], f"the question of {name}")
    check(reply[-4:], socket.inet_aton(address), f"the address of {name}")
    return len(reply)


async def by_udp(query):
    transport, replies = await asyncio.get_running_loop().create_datagram_endpoint(
        Replies, remote_addr=("127.0.0.1", 53)
    )
    try:
        for _ in range(3):
            transport.sendto(query)
            with contextlib.suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(replies.queue.get(), 5)
        raise Failed("no reply", "three times 5 s")
    finally:
        transport.close()


async def by_tcp(query):
    reader, writer = await asyncio.open_connection("127.0.0.1", 53)
    try:
        writer.write(struct.pack(">H", len(query)) + query)
        length = struct.unpack(">H", await reader.readexactly(2))[0]
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Failed("no reply", f"by TCP: {error!r}")
    finally:
        writer.close()


class Replies(asyncio.DatagramProtocol):
    def __init__(self):
        self.queue = asyncio.Queue()

    def datagram_received(self, data, _):
        self.queue.put_nowait(data)


def told(fields, fallback):
    """The error type of Proxy-Status (RFC 9209), or what else there is."""
    said = fields.get("proxy-status") or ""
    return said.split("error=")[1].split(";")[0] if "error=" in said else fallback
