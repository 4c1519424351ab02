"""Drives Chromium through chromedriver (WebDriver, w3.org/TR/webdriver2), as
far as the test of the page needs it."""

import base64
import http.client
import json
import re
import shutil
import subprocess
import tempfile

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en",
    # The page is at an address: no other name has to be found, nor could be.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# How long a script of the page may wait for what it waits for.
PATIENCE_MS = 20_000
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Failed(Exception):
    pass


class Browser:
    """A window. Ends with the `with` block that it is made for."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory()
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.driver.stdout:
            if port := re.search(r"started successfully on port (\d+)", line):
                self.port = int(port[1])
                break
        else:
            raise Failed("chromedriver did not start")

    def __enter__(self):
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={self.profile.name}"]}
        capabilities = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": PATIENCE_MS},
        }
        self.session = ""
        self.session = self.call("POST", "", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
        return self

    def __exit__(self, *problem):
        try:
            if self.session:
                self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = json.dumps(body or {}) if method == "POST" else None
        session = f"/session/{self.session}" if self.session else "/session"
        connection.request(method, session + path, sent)
        value = json.loads(connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise Failed(f"{method} {path} {str(sent)[:200]}: {value['error']}: {value['message']}")
        return value

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def script(self, text, *arguments):
        return self.call("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def until(self, condition, *arguments):
        """Waits until a condition of the page holds: the page is looked at after
        each change of it."""
        text = f"""
            const done = arguments[arguments.length - 1];
            const holds = (...arguments) => {{ {condition} }};
            const look = () => {{
                const value = holds(...[...arguments].slice(0, -1));
                if (value) {{ watcher.disconnect(); done(true); }}
            }};
            const watcher = new MutationObserver(look);
            watcher.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
            look();"""
        try:
            self.call("POST", "/execute/async", {"script": text, "args": list(arguments)})
        except Failed as problem:
            shown = self.script("return document.querySelector('main').innerText")
            raise Failed(f"waited in vain for: {condition} {arguments}\n{problem}\nthe page says:\n{shown}") from None

    def text(self, selector):
        return self.script("return document.querySelector(arguments[0]).innerText", selector)

    def click(self, selector):
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        self.call("POST", f"/element/{found[ELEMENT]}/click")

    def type(self, keys):
        """Presses keys one after the other, wherever the focus is. A list is pressed together."""
        steps = []
        for key in keys:
            together = key if isinstance(key, list) else [key]
            steps += [{"type": "keyDown", "value": one} for one in together]
            steps += [{"type": "keyUp", "value": one} for one in reversed(together)]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def looks(self, scheme, width, height):
        """The colour scheme and the size of the window."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.devtools("Emulation.setEmulatedMedia", features=features)
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def screenshot(self, path):
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        """What the console has of errors."""
        entries = self.call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]


TAB, ENTER, SPACE = "\ue004", "\ue007", " "
LEFT, RIGHT, CONTROL, SHIFT = "\ue012", "\ue014", "\ue009", "\ue008"
