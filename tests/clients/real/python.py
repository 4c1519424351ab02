"""Clients of Python: each function is one, and has the suffix of the names."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from facts import BODY, asked, fact

STATUSES = ("204", "404", "500", "503")


def chunks():
    for at in range(0, len(BODY), 99_991):
        yield BODY[at : at + 99_991]


def urllib(suffix):
    import urllib.error
    import urllib.request

    def get(url, body=None):
        try:
            with urllib.request.urlopen(url, body, timeout=30) as answer:
                return answer.status, answer.getheaders(), answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers.items(), answer.read()

    fact("get", *get(f"http://hello{suffix}"))
    fact("post", *get(f"http://echo{suffix}", BODY))
    fact("stream", *get(f"http://bytes{suffix}/300000?chunked=1"))
    for status in STATUSES:
        fact(status, *get(f"http://status{suffix}/{status}"))
    asked(get(f"http://echo{suffix}/headers")[2])
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda at: get(f"http://bytes{suffix}/{at}"), range(100))
        fact("twenty", body=b"".join(b"%d" % status + body for status, _, body in answers))


def requests(suffix):
    import requests

    with requests.Session() as session:

        def get(what, method, url, **more):
            answer = session.request(method, url, timeout=30, **more)
            fact(what, answer.status_code, answer.headers.items(), answer.content)

        get("get", "GET", f"http://hello{suffix}")
        get("post", "POST", f"http://echo{suffix}", data=BODY)
        get("chunked", "POST", f"http://echo{suffix}", data=chunks())
        get("stream", "GET", f"http://bytes{suffix}/300000?chunked=1")
        for status in STATUSES:
            get(status, "GET", f"http://status{suffix}/{status}")
        get("delete", "DELETE", f"http://echo{suffix}")
        asked(session.get(f"http://echo{suffix}/headers", timeout=30).text)
        bodies = [session.get(f"http://bytes{suffix}/{at}", timeout=30).content for at in range(50)]
        fact("fifty", body=b"".join(bodies))
        with ThreadPoolExecutor(20) as pool:
            bodies = pool.map(lambda at: session.get(f"http://bytes{suffix}/{at}", timeout=30).content, range(100))
            fact("twenty", body=b"".join(bodies))


async def all_of_it(suffix, get, body, content):
    """The same of two clients; `content` is what they call a body to send."""

    async def pieces():
        for piece in chunks():
            yield piece

    await get("get", "GET", f"http://hello{suffix}")
    await get("post", "POST", f"http://echo{suffix}", **{content: BODY})
    await get("chunked", "POST", f"http://echo{suffix}", **{content: pieces()})
    await get("stream", "GET", f"http://bytes{suffix}/300000?chunked=1")
    for status in STATUSES:
        await get(status, "GET", f"http://status{suffix}/{status}")
    asked((await body(f"http://echo{suffix}/headers")).decode())
    fact("fifty", body=b"".join([await body(f"http://bytes{suffix}/{at}") for at in range(50)]))
    bodies = await asyncio.gather(*(body(f"http://bytes{suffix}/{at}") for at in range(20)))
    fact("twenty", body=b"".join(bodies))


def httpx(suffix, **options):
    import httpx

    async def run():
        async with httpx.AsyncClient(timeout=30, **options) as client:

            async def get(what, method, url, **more):
                answer = await client.request(method, url, **more)
                fact(what, answer.status_code, answer.headers.multi_items(), answer.content)

            async def body(url):
                return (await client.get(url)).content

            await all_of_it(suffix, get, body, "content")

    asyncio.run(run())


def httpx_http_2(suffix):
    httpx(suffix, http1=False, http2=True)


def aiohttp(suffix):
    import aiohttp

    async def run():
        async with aiohttp.ClientSession() as session:

            async def get(what, method, url, **more):
                async with session.request(method, url, **more) as answer:
                    fact(what, answer.status, answer.headers.items(), await answer.read())

            async def body(url):
                async with session.get(url) as answer:
                    return await answer.read()

            await all_of_it(suffix, get, body, "data")
            async with session.ws_connect(f"ws://ws{suffix}/") as ws:
                await ws.send_bytes(BODY[:100_000])
                fact("websocket", body=(await ws.receive()).data)
                await ws.send_str("close 4001")
                await ws.receive()
                fact("closed", ws.close_code)

    asyncio.run(run())


def grpcio(suffix):
    import grpc

    with grpc.insecure_channel(f"grpc{suffix}:80") as channel:

        def seen(what, call, body=b""):
            trailers = [[name, str(value)] for name, value in call.trailing_metadata() or ()]
            fact(what, call.code().name, trailers, body, said=call.details())

        message, call = channel.unary_unary("/test.Echo/Unary").with_call(BODY, timeout=30)
        seen("post", call, message)
        call = channel.unary_stream("/test.Echo/ServerStream")(b"1000", timeout=30)
        seen("stream", call, b"".join(call))
        call = channel.stream_stream("/test.Echo/Bidi")(iter([b"one", b"", b"three"]), timeout=30)
        seen("both", call, b"".join(call))
        for method in ("Fail", "TrailersOnly", "NoSuch"):
            try:
                channel.unary_unary(f"/test.Echo/{method}")(b"", timeout=30)
            except grpc.RpcError as error:
                seen(method, error)
        unary = channel.unary_unary("/test.Echo/Unary")
        fact("fifty", body=b"".join(unary(b"%d" % at, timeout=30) for at in range(50)))
        calls = [unary.future(b"%d" % at, timeout=30) for at in range(20)]
        fact("twenty", body=b"".join(call.result() for call in calls))


globals()[sys.argv[1]](sys.argv[2])
