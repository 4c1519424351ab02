"""Clients of Python that may follow http_proxy: `proxied.py CLIENT`. Each asks one service and
raises where it does not reach it. With TOLD=1 one is told to follow it."""

import os
import sys


def urllib():
    import urllib.request

    urllib.request.urlopen("http://hello").read()


def requests():
    import requests

    requests.get("http://hello").raise_for_status()


def niquests():
    import niquests

    niquests.get("http://hello").raise_for_status()


def httpx():
    import httpx

    httpx.get("http://hello").raise_for_status()


def http_client():
    import http.client

    connection = http.client.HTTPConnection("hello")
    connection.request("GET", "/")
    connection.getresponse().read()


def aiohttp():
    import asyncio

    import aiohttp

    async def get():
        async with aiohttp.ClientSession(trust_env="TOLD" in os.environ) as session:
            async with session.get("http://hello") as answer:
                await answer.read()

    asyncio.run(get())


def websockets():
    from websockets.sync.client import connect

    with connect("ws://ws/") as socket:
        socket.send("x")
        assert socket.recv() == "x"


def websocket_client():
    import websocket

    socket = websocket.create_connection("ws://ws/")
    socket.send("x")
    assert socket.recv() == "x"


def grpcio():
    import grpc

    with grpc.insecure_channel("grpc:80") as channel:
        channel.unary_unary("/test.Echo/Unary")(b"x", timeout=20)


globals()[sys.argv[1]]()
