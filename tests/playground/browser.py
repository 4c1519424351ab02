"""The page in Chromium, as people use it: by mouse, by keys, on a phone, in
the dark. `browser.py URL CONTROL AXE PICTURES`: the page, the miniature's
control socket, axe.min.js, and a folder for screenshots."""

import http.client
import json
import pathlib
import socket
import sys
import time
import urllib.parse

from webdriver import CONTROL as CTRL, ENTER, LEFT, RIGHT, SHIFT, TAB, Browser

URL, SOCKET, AXE, PICTURES = sys.argv[1:]
PICTURES = pathlib.Path(PICTURES)
LOOKS = {"desktop": (1280, 900), "phone": (390, 844)}


class Miniature(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def control(method, path, order=None):
    connection = Miniature("control")
    connection.request(method, path, json.dumps(order) if order else None)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    return json.loads(body)


def link(tab, **parameters):
    return f"{URL}#{tab}?{urllib.parse.urlencode(parameters)}"


def show(browser, address=URL):
    """Opens the page anew, by way of another: a new fragment alone is no new page."""
    browser.open("about:blank")
    browser.open(address)
    browser.until("return document.documentElement.dataset.ready !== undefined")


def send(browser, **request):
    show(browser, link("request", **request))
    browser.click("#send")


def ended(browser):
    browser.until("return document.querySelector('#times .total')")


def notices(browser):
    return browser.script("return [...document.querySelectorAll('#notes .notice')].map(e => e.innerText).join('\\n')")


def a_greeting_and_its_times(browser):
    show(browser)
    browser.click("#examples li:first-child a")
    browser.click("#send")
    ended(browser)
    assert "200 OK" in browser.text("#status")
    assert browser.text("#chunks pre").startswith("Hello from hello in us-east1")
    assert "HTTP/1.1 · 51 bytes" in browser.text("#meta"), browser.text("#meta")
    steps = "return [...document.querySelectorAll('#times tbody th')].map(e => e.innerText)"
    assert browser.script(steps) == ["Name", "Connect to runsd", "First byte", "Body", "Total"]
    browser.click("#inside")
    browser.until("return document.querySelectorAll('#times .within').length === 4")
    assert browser.script(steps)[6:] == ["Address of the service", "Token", "Connect and TLS", "First byte"]
    assert browser.script("return location.hash") == "#request?url=http%3A%2F%2Fhello"
    asked = browser.script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert asked and all(name.startswith(URL) for name in asked), asked


def events_come_one_by_one(browser):
    def event(text):
        data = f"data: {text}\n\n"
        return {"say": f"{len(data):x}\r\n{data}\r\n"}

    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = [
        {"until": "\r\n\r\n"},
        {"say": head},
        event("first"),
        {"wait": ["cues", "one seen", 1]},
        event("second"),
        {"wait": ["cues", "two seen", 1]},
        event("third"),
        {"say": "0\r\n\r\n"},
    ]
    control("POST", "/scripted", {"services": {"ticker": [script]}})
    send(browser, url="http://ticker")
    for word, cue, later in [("first", "one seen", "second"), ("second", "two seen", "third")]:
        browser.until("return document.querySelector('#chunks').innerText.includes(arguments[0])", word)
        # The service has not been allowed to send more: this stands there alone.
        assert later not in browser.text("#chunks")
        assert browser.script("return document.querySelector('#stop').hidden") is False
        control("POST", "/cue", {"name": cue})
    ended(browser)
    assert browser.text("#chunks").count("data:") == 3
    assert "3 pieces" in browser.text("#meta")
    assert "Complete" in browser.text("#said")


def what_is_stopped_is_over(browser):
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwait\r\n"
    control("POST", "/scripted", {"services": {"endless": [[{"until": "\r\n\r\n"}, {"say": head}]]}})
    send(browser, url="http://endless")
    browser.until("return document.querySelector('#chunks').innerText.includes('wait')")
    browser.click("#stop")
    ended(browser)
    assert "Stopped" in notices(browser)
    # All the way: the service sees it, too.
    control("GET", "/wait?what=ended&which=endless&times=1")


def forbidden_and_what_to_grant(browser):
    send(browser, url="http://forbidden")
    browser.until("return document.querySelector('#notes .notice')")
    assert "403 Forbidden" in browser.text("#status")
    hint = notices(browser)
    assert "may not call https://forbidden-123456789012.us-east1.run.app" in hint, hint
    assert "roles/run.invoker" in hint, hint
    browser.screenshot(PICTURES / "forbidden.png")


def errors_have_sentences(browser):
    for url, sentence in [
        ("http://metadata/computeMetadata/v1/", "metadata is not a service, and this page asks services only"),
        ("http://169.254.169.254/", "is an address"),
        ("http://hello:8080/", "only port 80 is runsd's"),
        ("https://hello", "runsd speaks plain http://"),
    ]:
        send(browser, url=url)
        browser.until("return document.querySelector('#notes .notice')")
        assert sentence in notices(browser), notices(browser)
        assert "No answer" in browser.text("#status")
    # One of runsd's own.
    control("POST", "/frontend", {"mode": "no-tls", "cut": True})
    send(browser, url="http://slow")
    ended(browser)
    control("POST", "/frontend", {"mode": "ok"})
    assert "502" in browser.text("#status")
    said = notices(browser)
    assert "runsd answered this itself" in said and "tls_protocol_error" in said, said
    browser.screenshot(PICTURES / "error.png")


def what_runsd_changes_and_no_token(browser):
    for protocol in ["http1", "http2"]:
        send(browser, url="http://echo/headers", protocol=protocol, header="X-Question: who?")
        ended(browser)
        browser.script("document.querySelector('#way').open = true")
        way = browser.text("#way")
        assert "Seen by the service" in way.replace("SEEN", "Seen"), way
        assert "echo-123456789012.us-east1.run.app" in way and "runsd version=" in way, way
        assert "for https://echo-123456789012.us-east1.run.app" in way, way
        last = control("GET", "/stats")["last"]["echo-123456789012.us-east1.run.app"]
        token = dict(last["headers"])["authorization"]
        page = browser.script("return document.documentElement.innerHTML")
        assert token.rsplit(".", 1)[0] in page and "[signature elided]" in page
        assert token.rsplit(".", 1)[1] not in page


def websocket_and_grpc(browser):
    send(browser, url="http://ws", protocol="websocket", body="one\ntwo")
    ended(browser)
    # What was sent and what came may be shown in turn: each of them is in order.
    chunk = "[e.className.trim(), e.querySelector('pre').textContent]"
    lines = browser.script(f"return [...document.querySelectorAll('.chunk')].map(e => {chunk})")
    for kind in ("chunk out", "chunk"):
        assert [text for line, text in lines if line == kind] == ["one", "two"], lines
    assert len(lines) == 4, lines
    send(browser, url="http://grpc", protocol="grpc-health")
    ended(browser)
    assert browser.text("#chunks pre") == "SERVING"
    assert "gRPC status 0" in notices(browser)


def a_link_fills_the_form_and_sends_nothing(browser):
    before = control("GET", "/stats")["requests"]
    show(browser, link("request", url="http://status/418", method="DELETE", header="X-A: b", body="c"))
    form = browser.script(
        "const f = document.querySelector('#ask'); return [f.url.value, f.method.value, f.headers.value, f.body.value]"
    )
    assert form == ["http://status/418", "DELETE", "X-A: b", "c"], form
    assert control("GET", "/stats")["requests"] == before
    browser.click("#send")
    ended(browser)
    assert "418" in browser.text("#status")
    # What opens doors is left out of a link.
    browser.script("document.querySelector('#headers').value = 'Authorization: Bearer x\\nX-A: b'")
    browser.click("#send")
    ended(browser)
    here = browser.script("return location.hash")
    assert "X-A" in here and "uthorization" not in here, here


def a_lookup_shows_its_way(browser):
    show(browser, link("lookup", name="metadata", type="A"))
    browser.click("#look button")
    browser.until("return document.querySelector('#found-title').innerText === '169.254.169.254'")
    tries = browser.text("#tries")
    assert "metadata.run.internal." in tries and "NXDOMAIN" in tries, tries
    assert "by way of search domain google.internal" in tries, tries
    for name, kind, found in [
        ("external.example", "MX", "10 mail.external.example."),
        ("external.example", "TYPE65", "HTTPS"),
        ("nothing.example", "A", "there is no A record"),
        ("hello", "A", "127.0.0.1"),
        ("hello", "NONSENSE", "expected one such as A"),
    ]:
        show(browser, link("lookup", name=name, type=kind))
        browser.click("#look button")
        browser.until("return document.querySelector('#found').innerText.includes(arguments[0])", found)


def the_container_is_described(browser):
    show(browser, f"{URL}#container")
    browser.until("return document.querySelectorAll('#checks li').length >= 10")
    checks = browser.text("#checks")
    assert "Cloud Run, by K_SERVICE" in checks and "123456789012-compute@" in checks, checks
    assert "search run.internal google.internal" in browser.text("#resolv")
    assert "uid 0" in browser.text("#who")


def keys_alone(browser):
    def focused():
        return browser.script("const e = document.activeElement; return e.id || e.name + e.value || e.tagName")

    show(browser)
    browser.type([TAB])
    assert focused() == "tab-request"
    visible = (
        "const s = getComputedStyle(document.activeElement);"
        "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2"
    )
    assert browser.script(visible)
    browser.type([RIGHT])
    assert focused() == "tab-lookup"
    browser.type([TAB, *"hello"])  # what is there is selected, and so replaced
    assert browser.script("return document.querySelector('#name').value") == "hello"
    browser.type([ENTER])
    browser.until("return document.querySelector('#found-title').innerText === '127.0.0.1'")
    browser.type([[SHIFT, TAB], LEFT])
    assert focused() == "tab-request"
    seen = []
    while focused() != "url":
        browser.type([TAB])
        seen.append(focused())
        assert len(seen) < 40, seen
    browser.type([[CTRL, "a"], *"http://hello.europe-west1", ENTER])
    browser.until("return document.querySelector('#chunks').innerText.includes('europe-west1')")
    assert focused() == "url"
    # From there each thing is reached once, and seen when it is.
    seen = []
    while (focused(), "BODY") != ("BODY", "BODY"):
        browser.type([TAB])
        if focused() == "BODY":
            break
        assert browser.script("""
            const e = document.activeElement, s = getComputedStyle(e.type === 'radio' ? e.nextElementSibling : e);
            return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1"""), focused()
        seen.append(focused())
        assert len(seen) < 40, seen
    assert [word for word in seen if word in ("send", "protocolhttp1", "copy", "inside")] == [
        "send",
        "protocolhttp1",
        "copy",
        "inside",
    ], seen


def everyone_can_read_it(browser):
    axe = pathlib.Path(AXE).read_text()
    for tab in ["request", "lookup", "container"]:
        fill(browser, tab)
        # In the driver's own world, so that the page's policy stays as it is.
        browser.script(axe + "; return null")
        for scheme in ["light", "dark"]:
            for look, (width, height) in LOOKS.items():
                browser.looks(scheme, width, height)
                where = f"{tab}, {scheme}, {look}"
                wide = browser.script("return document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{where}: {wide} px too wide"
                browser.screenshot(PICTURES / f"{tab}-{scheme}-{look}.png")
                audit = "axe.run(document, { resultTypes: ['violations'] }).then(arguments[0])"
                found = browser.call("POST", "/execute/async", {"args": [], "script": audit})
                problems = [
                    (one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found["violations"]
                ]
                assert not problems, f"{where}: {json.dumps(problems, indent=1)}"
        browser.looks("light", *LOOKS["desktop"])


def fill(browser, tab):
    """A tab with something on it."""
    if tab == "request":
        send(browser, url="http://echo/headers", header="X-Question: who?")
        ended(browser)
        browser.click("#inside")
        browser.until("return document.querySelector('#times .within')")
        browser.script("for (const more of document.querySelectorAll('details')) more.open = true")
    elif tab == "lookup":
        show(browser, link("lookup", name="metadata", type="A"))
        browser.click("#look button")
        browser.until("return document.querySelector('#tries ul')")
    else:
        show(browser, f"{URL}#container")
        browser.until("return document.querySelectorAll('#checks li').length >= 10")
        browser.until("return !document.querySelector('#check').disabled")


TESTS = [
    a_greeting_and_its_times,
    events_come_one_by_one,
    what_is_stopped_is_over,
    forbidden_and_what_to_grant,
    errors_have_sentences,
    what_runsd_changes_and_no_token,
    websocket_and_grpc,
    a_link_fills_the_form_and_sends_nothing,
    a_lookup_shows_its_way,
    the_container_is_described,
    keys_alone,
    everyone_can_read_it,
]

if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        browser.looks("light", *LOOKS["desktop"])
        for test in TESTS:
            started = time.monotonic()
            try:
                test(browser)
            except BaseException:
                print(f"{test.__name__}: failed", flush=True)
                browser.screenshot(PICTURES / "failed.png")
                raise
            print(f"{test.__name__}: ok, {time.monotonic() - started:.1f} s", flush=True)
        complaints = browser.complaints()
        assert not complaints, complaints
