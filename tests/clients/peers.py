"""nginx and haproxy, as reverse proxies of one upstream on loopback, to compare their reading with."""

import os
import socket
import subprocess
import tempfile

# Where they listen: HTTP/1, and HTTP/2 by prior knowledge.
PORTS = {"nginx": (8201, 8211), "haproxy": (8202, 8212)}

# What a request was read to be for is told in a header. Heads are as large as runsd's, and
# nothing is kept back: a body goes up as it comes.
NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit; events {{}}
http {{
  access_log off; large_client_header_buffers 4 128k;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  scgi_temp_path {dir}/s; uwsgi_temp_path {dir}/u; client_max_body_size 0;
  server {{
    listen 127.0.0.1:8201; listen 127.0.0.1:8211 http2;
    location / {{
      proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_request_buffering off;
      proxy_buffering off; proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_set_header X-Read-Host $host;
    }}
  }}
}}
"""

HAPROXY = """
global
  log stderr format raw local0 emerg
  tune.bufsize 262144
  tune.http.maxhdr 8000
defaults
  mode http
  timeout connect 10s
  timeout client 20s
  timeout server 20s
frontend all
  bind 127.0.0.1:8202
  bind 127.0.0.1:8212 proto h2
  http-request set-header X-Read-Host %[req.hdr(host)]
  default_backend up
backend up
  server up 127.0.0.1:{upstream}
"""


class Peers:
    """Both of them, for as long as the block runs."""

    def __init__(self, upstream):
        self.upstream, self.running = upstream, []

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        # It goes on as another user.
        os.chmod(self.dir.name, 0o777)
        for name, config, command in [
            ("nginx", NGINX, ["nginx", "-c"]),
            ("haproxy", HAPROXY, ["haproxy", "-db", "-f"]),
        ]:
            path = f"{self.dir.name}/{name}.conf"
            with open(path, "w") as file:
                file.write(config.format(dir=self.dir.name, upstream=self.upstream))
            self.running.append(subprocess.Popen([*command, path]))
        for ports in PORTS.values():
            for port in ports:
                self.wait(port)

    def wait(self, port):
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                ended = [process.args[0] for process in self.running if process.poll() is not None]
                assert not ended, f"{ended} ended"
                os.sched_yield()

    def __exit__(self, *_):
        for process in self.running:
            process.kill()
            process.wait()
        self.dir.cleanup()
