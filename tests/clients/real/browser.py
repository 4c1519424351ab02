"""Headless Chromium on page.html, which sends what it saw in the end."""

import queue
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

HERE = __file__.rsplit("/", 1)[0]
SEEN = queue.Queue()


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        with open(f"{HERE}/page.html", "rb") as file:
            self.wfile.write(file.read())

    def do_POST(self):
        SEEN.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
# The services say nothing of other origins, so that web security would hide them.
command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-web-security"]
command += [f"--user-data-dir={tempfile.mkdtemp()}", f"http://127.0.0.1:{server.server_port}/?suffix={sys.argv[1]}"]
with tempfile.TemporaryFile("w+") as log:
    chromium = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        text = SEEN.get(timeout=60)
    except queue.Empty:
        log.seek(0)
        raise SystemExit(f"the page said nothing in 60 s: {log.read()[-3000:]}")
    finally:
        chromium.kill()
assert text.endswith("\nend"), text[-2000:]
print(text)
