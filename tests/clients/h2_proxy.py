"""gRPC and HTTP/2 in situations of their own; each function is one test of tests/h2_clients.rs."""

import concurrent.futures
import os
import socket
import threading

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import miniature
from miniature import equal


def serve(port, **options):
    """A gRPC server in this container that answers with what it was asked."""
    executor = concurrent.futures.ThreadPoolExecutor(100)
    options = [(f"grpc.{name}", value) for name, value in options.items()]
    server = grpc.server(executor, options=options)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(lambda message, _: message),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
    equal(server.add_insecure_port(f"0.0.0.0:{port}"), port)
    server.start()
    return server


def slow(message, context):
    """Until its deadline is over."""
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait()
    return message


def serve_few(port, most):
    """A gRPC server that takes so many streams at once; one more ends the connection."""
    listener = socket.create_server(("127.0.0.1", port))

    def answer(peer):
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        limit = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: most}
        server.local_settings = h2.settings.Settings(client=False, initial_values=limit)
        server.initiate_connection()
        bodies = {}
        while True:
            peer.sendall(server.data_to_send())
            data = peer.recv(65536)
            if not data:
                return
            for event in server.receive_data(data):
                match event:
                    case h2.events.DataReceived():
                        body = bodies.get(event.stream_id, b"")
                        bodies[event.stream_id] = body + event.data
                        server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        stream = event.stream_id
                        server.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                        server.send_data(stream, bodies.pop(stream))
                        server.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                        # Each has its own segment, so that they do not all end at once.
                        peer.sendall(server.data_to_send())

    def accept():
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def through_http_proxy():
    """grpcio says CONNECT to $http_proxy, and HTTP/2 inside of it: for our names and for others."""
    assert os.environ["http_proxy"], "this test is for http_proxy"
    server = serve(9000)
    # The last one is no name of ours, and not exempt as 127.0.0.1 is.
    options = [("grpc.http_proxy", os.environ["http_proxy"])]
    for target in ["grpc:80", "grpc.run.internal:80", "127.0.0.2:9000"]:
        with grpc.insecure_channel(target, options=options) as channel:
            call = channel.unary_unary("/test.Echo/Unary")
            for message in [b"one", b"two"]:
                equal(call(message, timeout=20), message)
    server.stop(None)


def few_streams():
    """80 calls at once to a server that takes 10 streams, or 2, before the client can know: all have their answers."""
    for port, name, most in [(9000, "few", 10), (9001, "fewer", 2)]:
        serve_few(port, most)
        for _ in range(10):
            peer = socket.create_connection((name, 80), timeout=20)
            client = h2.connection.H2Connection()
            client.initiate_connection()
            want = {}
            for number in range(80):
                stream = client.get_next_available_stream_id()
                head = {":method": "POST", ":authority": name, ":scheme": "http", ":path": "/test.Echo/Unary"}
                client.send_headers(stream, head.items())
                client.send_data(stream, b"%d" % number, end_stream=True)
                want[stream] = b"%d" % number
            got, left = {}, set(want)
            while left:
                peer.sendall(client.data_to_send())
                data = peer.recv(65536)
                assert data, f"the connection ended with {len(left)} left"
                for event in client.receive_data(data):
                    match event:
                        case h2.events.DataReceived():
                            got[event.stream_id] = event.data
                        case h2.events.StreamEnded():
                            left.remove(event.stream_id)
            equal(got, want)


def few_streams_grpc():
    """The same by grpcio."""
    for port, name, most in [(9000, "few", 10), (9001, "fewer", 2)]:
        serve_few(port, most)
        with grpc.insecure_channel(f"{name}:80") as channel:
            call = channel.unary_unary("/test.Echo/Unary")
            calls = [call.future(b"%d" % number, timeout=30) for number in range(80)]
            codes = [str(call.code()) for call in calls]
            equal(codes.count("StatusCode.OK"), 80)


def deadlines():
    """3,000 calls with a deadline, 100 at once, and 30 beside them that take longer: none of those dies."""
    server = serve(9000)
    with grpc.insecure_channel("few:80") as channel:
        slow = channel.unary_unary("/test.Echo/Slow")
        long = [slow.future(b"long", timeout=60) for _ in range(30)]
        gate = threading.Semaphore(100)
        short = []
        for _ in range(3000):
            gate.acquire()
            call = slow.future(b"short", timeout=0.05)
            call.add_done_callback(lambda _: gate.release())
            short.append(call)
        equal({str(call.code()) for call in short}, {"StatusCode.DEADLINE_EXCEEDED"})
        equal([call.done() for call in long], [False] * 30)
        for call in long:
            call.cancel()
    server.stop(None)


def http1_only():
    """Two upstreams that speak HTTP/1.1 only, with TLS and without."""
    listener = socket.create_server(("127.0.0.1", 9000))

    def answer():
        while True:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    miniature.order("frontend", mode="http1")
    for name in ["few", "hello"]:
        with grpc.insecure_channel(f"{name}:80") as channel:
            try:
                channel.unary_unary("/test.Echo/Unary")(b"", timeout=20)
            except grpc.RpcError as error:
                equal(error.code(), grpc.StatusCode.UNAVAILABLE)
                assert "speaks HTTP/1.1 only, not HTTP/2; use HTTP/1.1 for this name" in error.details(), error
            else:
                raise AssertionError(f"{name} did not fail")


if __name__ == "__main__":
    miniature.main(globals())
