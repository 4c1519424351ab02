"""Calls http://grpc with grpcio; each function is one test of tests/grpc.rs."""

import asyncio
import json
import queue

import grpc
import miniature
from miniature import equal

BIG = 8 << 20
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
CHANNEL = grpc.insecure_channel("grpc:80", options=OPTIONS)


def unary():
    message, call = CHANNEL.unary_unary("/test.Echo/Unary").with_call(b"hello", timeout=20)
    equal(message, b"hello")
    equal(call.code(), grpc.StatusCode.OK)
    equal(dict(call.initial_metadata())["x-initial"], "first")
    trailers = dict(call.trailing_metadata())
    equal(trailers["x-last"], "after all")
    equal(trailers["x-last-bin"], b"\0\1\2\xff")


def streams():
    words = [b"one", b"", b"three" * 5000]
    equal(CHANNEL.stream_unary("/test.Echo/ClientStream")(iter(words), timeout=20), b"".join(words))
    numbers = CHANNEL.unary_stream("/test.Echo/ServerStream")(b"1000", timeout=20)
    equal(list(numbers), [str(number).encode() for number in range(1000)])
    # Each answer is here before the next question is asked.
    questions = queue.Queue()
    answers = CHANNEL.stream_stream("/test.Echo/Bidi")(iter(questions.get, None), timeout=20)
    for word in words * 10:
        questions.put(word)
        equal(next(answers), word)
    questions.put(None)
    equal(list(answers), [])
    equal(answers.code(), grpc.StatusCode.OK)


def big():
    message = bytes(range(251)) * (BIG // 251)
    equal(CHANNEL.unary_unary("/test.Echo/Unary")(message, timeout=60) == message, True)
    answers = CHANNEL.stream_stream("/test.Echo/Bidi")(iter([message] * 2), timeout=60)
    equal([answer == message for answer in answers], [True, True])


def status():
    fails("Fail", grpc.StatusCode.FAILED_PRECONDITION, "nothing to grüßen")
    fails("TrailersOnly", grpc.StatusCode.PERMISSION_DENIED, "not you")
    fails("NoSuch", grpc.StatusCode.UNIMPLEMENTED, "no such method")


def deadline():
    fails("Slow", grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", b"60000", timeout=0.3)
    miniature.wait("gone", "grpc")


def cancelled_by_the_client():
    calls = [
        CHANNEL.unary_unary("/test.Echo/Slow").future(b"60000"),
        CHANNEL.stream_stream("/test.Echo/Bidi")(iter(queue.Queue().get, None)),
    ]
    miniature.wait("requests", "grpc", 2)
    for call in calls:
        call.cancel()
    miniature.wait("gone", "grpc", 2)
    unary()


def ended_by_the_server():
    """The status comes while the client could still write."""
    answers = CHANNEL.stream_stream("/test.Echo/HalfClose")(iter(queue.Queue().get, None), timeout=20)
    equal(list(answers), [b"one", b"two"])
    equal(answers.code(), grpc.StatusCode.OK)
    unary()


def metadata():
    sent = [("x-one", "1"), ("x-twice", "a"), ("x-twice", "b"), ("x-raw-bin", b"\0\xff")]
    call = CHANNEL.unary_unary("/test.Echo/Metadata")
    headers = json.loads(call(b"", metadata=sent, timeout=20))["headers"]
    for pair in [["x-one", "1"], ["x-twice", "a"], ["x-twice", "b"], ["x-raw-bin", "AP8"], ["te", "trailers"]]:
        assert pair in headers, (pair, headers)
    tokens = [value for name, value in headers if name in ("authorization", "x-serverless-authorization")]
    assert len(tokens) == 1 and tokens[0].startswith("Bearer "), headers


def a_thousand_calls():
    call = CHANNEL.unary_unary("/test.Echo/Unary")
    for number in range(1000):
        equal(call(str(number).encode(), timeout=20), str(number).encode())
    seen = miniature.stats()
    equal(seen["requests"], {miniature.host("grpc"): 1000})
    equal(seen["protocols"], {"h2": 1})
    equal(list(seen["token_fetches"].values()), [1])


def a_hundred_streams():
    """All open at once: nobody finishes before all have had an answer."""

    async def all_of_them():
        async with grpc.aio.insecure_channel("grpc:80") as channel:
            calls = [channel.stream_stream("/test.Echo/Bidi")(timeout=30) for _ in range(100)]
            for word in [b"first", b"second" * 1000]:
                await asyncio.gather(*(call.write(word) for call in calls))
                equal(await asyncio.gather(*(call.read() for call in calls)), [word] * 100)
            await asyncio.gather(*(call.done_writing() for call in calls))
            codes = await asyncio.gather(*(call.code() for call in calls))
            equal(codes, [grpc.StatusCode.OK] * 100)

    asyncio.run(all_of_them())
    equal(miniature.stats()["protocols"], {"h2": 1})


def no_upstream():
    for mode, reason in [("refuse", "refused"), ("http1", "HTTP/2")]:
        miniature.order("frontend", mode=mode)
        fails("Unary", grpc.StatusCode.UNAVAILABLE, reason)
    miniature.order("frontend", mode="ok")
    unary()


def no_token():
    miniature.order("metadata", mode="refuse")
    fails("Unary", grpc.StatusCode.UNAVAILABLE, "metadata")
    miniature.order("metadata", mode="ok")
    unary()


def the_upstream_dies():
    calls = [CHANNEL.unary_unary("/test.Echo/Slow").future(b"60000", timeout=60) for _ in range(3)]
    miniature.wait("requests", "grpc", 3)
    miniature.order("frontend", cut=True)
    for call in calls:
        equal(call.code(), grpc.StatusCode.UNAVAILABLE)
    unary()


def not_allowed():
    """What the front end itself refuses, as grpcio understands it."""
    for service, code in [("forbidden", "PERMISSION_DENIED"), ("nobody", "UNIMPLEMENTED")]:
        with grpc.insecure_channel(f"{service}:80") as channel:
            for _ in range(3):
                fails("Unary", grpc.StatusCode[code], "", channel=channel)


def fails(method, code, details, message=b"", timeout=20, channel=CHANNEL):
    try:
        channel.unary_unary(f"/test.Echo/{method}")(message, timeout=timeout)
    except grpc.RpcError as error:
        assert error.code() == code and details in error.details(), error
    else:
        raise AssertionError(f"{method} did not fail")


if __name__ == "__main__":
    miniature.main(globals())
