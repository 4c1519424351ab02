"""Talks to ws://ws with the package websockets; each function is one test of tests/websocket.rs."""

import miniature
from miniature import equal
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def socket(url="ws://ws/"):
    return connect(url, max_size=None, proxy=None)


def echoes():
    with socket() as ws:
        for number in range(1000):
            ws.send(f"number {number}")
            equal(ws.recv(timeout=20), f"number {number}")
    equal(ws.close_code, 1000)


def big():
    message = bytes(range(251)) * ((8 << 20) // 251)
    with socket() as ws:
        ws.send(message)
        equal(ws.recv(timeout=30) == message, True)


def ping():
    with socket() as ws:
        assert ws.ping(b"are you there").wait(20), "no pong"


def closed_by_the_client():
    ws = socket()
    ws.close(4001, "enough")
    # What the service echoed.
    equal((ws.protocol.close_rcvd.code, ws.protocol.close_rcvd.reason), (4001, "enough"))


def closed_by_the_server():
    with socket() as ws:
        ws.send("close 4002")
        try:
            ws.recv(timeout=20)
        except ConnectionClosed as closed:
            equal((closed.rcvd.code, closed.rcvd_then_sent), (4002, True))
        else:
            raise AssertionError("still open")


def gone():
    """Without a goodbye from here, and without one from there."""
    with socket() as ws:
        ws.send("hello")
        equal(ws.recv(timeout=20), "hello")
        ws.socket.close()
    miniature.wait("gone", "ws")
    with socket() as ws:
        ws.send("leave")
        try:
            ws.recv(timeout=20)
        except ConnectionClosed as closed:
            equal(closed.rcvd, None)
        else:
            raise AssertionError("still open")


def refused():
    for service, status in [("hello", 200), ("forbidden", 403)]:
        try:
            socket(f"ws://{service}/")
        except InvalidStatus as error:
            equal(error.response.status_code, status)
        else:
            raise AssertionError("that is no WebSocket")


if __name__ == "__main__":
    miniature.main(globals())
