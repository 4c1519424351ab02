"""HTTP/1 messages read as RFC 9112 has them, and not one byte otherwise: what a recipient without
any leniency makes of bytes. `Malformed` says why it makes nothing of them."""

import re
from typing import NamedTuple

TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
FIELD = re.compile(rb"(%s):[ \t]*([\x21-\x7e\x80-\xff]?(?:[\x20-\x7e\x80-\xff\t]*[\x21-\x7e\x80-\xff])?)[ \t]*" % TOKEN)
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
EXTENSION = rb"[ \t]*;[ \t]*%s(?:[ \t]*=[ \t]*(?:%s|%s))?" % (TOKEN, TOKEN, QUOTED)
SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:%s)*[ \t]*" % EXTENSION)


class Malformed(Exception):
    pass


class Incomplete(Exception):
    """The message goes on behind the bytes that are here."""


class Message(NamedTuple):
    # Of a request: method, target. Of a response: status, reason.
    first: bytes
    second: bytes
    fields: list
    # "none", "length", "chunked" or "close".
    framing: str
    body: bytes

    def all(self, name):
        return [value for field, value in self.fields if field == name]


def request(data):
    """The first request in `data`, and what is behind it."""
    line, fields, rest = head(data)
    found = re.fullmatch(rb"(%s) ([\x21-\x7e]+) HTTP/1\.1" % TOKEN, line)
    if not found:
        raise Malformed(f"request line {line[:100]!r}")
    if len([name for name, _ in fields if name == b"host"]) != 1:
        raise Malformed("not one Host")
    framing, body, rest = framed(fields, rest, "none")
    return Message(*found.groups(), fields, framing, body), rest


def response(data, method, closed):
    """The first final response in `data`, and what is behind it; `closed`: nothing more will come."""
    line, fields, rest = head(data)
    found = re.fullmatch(rb"HTTP/1\.1 ([1-9]\d\d) ([\t\x20-\x7e\x80-\xff]*)", line)
    if not found:
        raise Malformed(f"status line {line[:100]!r}")
    status = int(found[1])
    if status < 200 and status != 101:
        return response(rest, method, closed)
    if method == b"HEAD" or status in (101, 204, 304):
        return Message(*found.groups(), fields, "none", b""), rest
    framing, body, rest = framed(fields, rest, "close")
    if framing == "close":
        if not closed:
            raise Incomplete
        body, rest = rest, b""
    return Message(*found.groups(), fields, framing, body), rest


def head(data):
    """The first line, the fields with their names in lower case, and what is behind the head."""
    if re.search(rb"(?<!\r)\n|\r(?!\n|$)", data.split(b"\r\n\r\n")[0]):
        raise Malformed("a bare CR or LF")
    text, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Incomplete
    first, *lines = text.split(b"\r\n")
    return first, [field(line) for line in lines], rest


def field(line):
    found = FIELD.fullmatch(line)
    if not found:
        raise Malformed(f"field {line[:100]!r}")
    return found[1].lower(), found[2]


def framed(fields, rest, otherwise):
    """How the body is delimited, the body, and what is behind it."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise Malformed("a length said twice")
    if codings:
        if codings[0].lower() != b"chunked":
            raise Malformed(f"coding {codings[0]!r}")
        return "chunked", *chunks(rest)
    if not lengths:
        return otherwise, b"", rest
    if not re.fullmatch(rb"\d{1,18}", lengths[0]):
        raise Malformed(f"length {lengths[0]!r}")
    size = int(lengths[0])
    if len(rest) < size:
        raise Incomplete
    return "length", rest[:size], rest[size:]


def chunks(rest):
    body = b""
    while True:
        text, rest = line(rest)
        found = SIZE_LINE.fullmatch(text)
        if not found:
            raise Malformed(f"chunk size {text[:100]!r}")
        size = int(found[1], 16)
        if not size:
            break
        if len(rest) < size + 2:
            raise Incomplete
        if rest[size : size + 2] != b"\r\n":
            raise Malformed("a chunk without its CRLF")
        body, rest = body + rest[:size], rest[size + 2 :]
    while True:
        text, rest = line(rest)
        if not text:
            return body, rest
        field(text)


def line(rest):
    text, end, rest = rest.partition(b"\r\n")
    if b"\n" in text or b"\r" in text.removesuffix(b"\r" if not end else b""):
        raise Malformed("a bare CR or LF")
    if not end:
        raise Incomplete
    return text, rest
