"""The world of the benchmark, and who stands in it: one class that starts
nginx as the upstream and the metadata server, and each program to measure.

All of them listen on ports of their own at once; who has no turn costs nothing.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import time

HOST = "hello-123456789012.us-east1.run.app"
FRONT = "198.18.0.1"
METADATA = "169.254.169.254"
RUNSD, OLD, HAPROXY, HAPROXY_H2, NGINX, NGHTTPX, DNSMASQ = 80, 81, 8101, 8102, 8103, 8104, 8153


def token():
    """A token that ends in years, of the 786 bytes that real ones have."""

    def part(text):
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    payload = {"aud": f"https://{HOST}", "exp": 4102444800, "iss": "https://accounts.google.com"}
    text = part('{"alg":"RS256","typ":"JWT"}') + "." + part(json.dumps(payload)) + "."
    return text + "s" * (786 - len(text))


def listens(address, port):
    """Whether somebody does there; a look that nobody notices."""
    wanted = f"{socket.inet_aton(address)[::-1].hex().upper()}:{port:04X}"
    with open("/proc/net/tcp") as file:
        sockets = [line.split() for line in file]
    return any(fields[1] == wanted and fields[3] == "0A" for fields in sockets)


class World:
    def __init__(self, directory):
        self.dir = directory
        self.token = token()
        self.programs = {}  # name -> Popen
        os.makedirs(f"{directory}/www", exist_ok=True)
        self.put("www/10m", b"x" * 10_000_000)
        self.put("www/slow", b"x" * 12_000)
        self.put("www/grpc", b"\0\0\0\0\5hello")  # one message
        self.certificates()
        self.mounts()

    def put(self, name, content):
        path = f"{self.dir}/{name}"
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def certificates(self):
        self.put("names", f"subjectAltName=DNS:{HOST}\n")
        for command in (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
            " -subj /CN=bench -keyout ca.key -out ca.pem",
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            " -subj /CN=run.app -keyout key.pem -out request.pem",
            "openssl x509 -req -days 30 -in request.pem -CA ca.pem -CAkey ca.key"
            " -CAcreateserial -extfile names -out cert.pem",
        ):
            subprocess.run(command.split(), cwd=self.dir, check=True, capture_output=True)

    def mounts(self):
        """resolv.conf and hosts, as the platform writes them; ours alone."""
        self.put("resolv.conf", f"nameserver {METADATA}\nsearch google.internal\n")
        # For clients that go to the upstream without a proxy.
        self.put("hosts", f"127.0.0.1 localhost\n{FRONT} {HOST}\n")
        for name in ("resolv.conf", "hosts"):
            subprocess.run(["mount", "--bind", f"{self.dir}/{name}", f"/etc/{name}"], check=True)

    def run(self, name, command, port=None, address="127.0.0.1", env=None):
        log = open(f"{self.dir}/{name}.log", "wb")
        # Of RUNSD_BIN and the like runsd would warn.
        ours = {key: value for key, value in os.environ.items() if not key.startswith("RUNSD_")}
        program = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**ours, **(env or {})},
            start_new_session=True,
        )
        self.programs[name] = program
        while port:
            if listens(address, port):
                return
            if program.poll() is not None:
                raise SystemExit(f"bench: {name} ended: {open(log.name).read()}")
            time.sleep(0.01)  # a benchmark, not a test

    def upstream(self):
        self.run("nameserver", [f"{self.dir}/nameserver", METADATA, "53"])
        conf = self.put("upstream.conf", self.nginx_conf("upstream", 2, UPSTREAM))
        if os.path.exists(f"{self.dir}/sink"):
            os.remove(f"{self.dir}/sink")  # of a run that was killed
        self.run("upstream", ["nginx", "-c", conf], 443, FRONT)

    def nginx_conf(self, name, workers, servers):
        text = NGINX_CONF + servers
        words = {"NAME": name, "WORKERS": workers, "DIR": self.dir, "HOST": HOST, "FRONT": FRONT}
        words |= {"METADATA": METADATA, "TOKEN": self.token, "PORT": NGINX}
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        return text

    def start(self, name):
        """Starts one program to measure, unless it is there."""
        if name not in self.programs:
            getattr(self, name.replace("-", "_"))()

    def stop(self, name):
        program = self.programs.pop(name, None)
        if program:
            program.terminate()
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    def stop_all(self):
        for name in reversed(list(self.programs)):
            self.stop(name)

    def runsd(self, binary=None, name="runsd", port=RUNSD, flags=()):
        binary = binary or os.environ["RUNSD_BIN"]
        env = {"K_SERVICE": "bench", "SSL_CERT_FILE": f"{self.dir}/ca.pem"}
        self.put("resolv.conf", f"nameserver {METADATA}\nsearch google.internal\n")
        command = [binary, *flags, f"-http_proxy_port={port}", "--", "sleep", "infinity"]
        self.run(name, command, port, env=env)

    def old(self):
        """The other runsd, for whom port 53 is taken."""
        self.runsd(os.environ["RUNSD_OLD"], "old", OLD, ["-skip_dns_hijack", f"-nameserver={METADATA}"])

    def haproxy(self):
        back = f"server s {FRONT}:443 ssl verify required ca-file {self.dir}/ca.pem sni str({HOST})"
        headers = f"http-request set-header Host {HOST}\n"
        headers += f'  http-request set-header Authorization "Bearer {self.token}"'
        conf = self.put(
            "haproxy.conf",
            f"""global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen h1
  bind 127.0.0.1:{HAPROXY}
  {headers}
  {back}
listen h2
  bind 127.0.0.1:{HAPROXY_H2} proto h2
  {headers}
  {back} alpn h2
""",
        )
        self.run("haproxy", ["haproxy", "-db", "-f", conf], HAPROXY)

    def nginx(self):
        conf = self.put("nginx.conf", self.nginx_conf("nginx", 1, PROXY))
        self.run("nginx", ["nginx", "-c", conf], NGINX)

    def nghttpx(self):
        command = [
            "nghttpx",
            "--conf=/dev/null",
            f"--frontend=127.0.0.1,{NGHTTPX};no-tls",
            f"--backend={FRONT},443;;tls;proto=h2;sni={HOST}",
            "--workers=1",
            "--single-process",
            "--no-via",
            f"--cacert={self.dir}/ca.pem",
            f"--add-request-header=authorization: Bearer {self.token}",
            "--accesslog-file=/dev/null",
            "--errorlog-file=/dev/stderr",
        ]
        self.run("nghttpx", command, NGHTTPX)

    def dnsmasq(self):
        # As fast as it can be: nothing is logged, nothing forwarded is kept, as
        # with runsd, and one port for all queries saves it two system calls
        # for each. Names of its own cost the same with --host-record for each.
        command = ["dnsmasq", "-k", "-C", "/dev/null", "-u", "root", f"-p{DNSMASQ}", "--pid-file="]
        command += ["--no-resolv", "--no-hosts", f"--server={METADATA}", "--cache-size=0"]
        command += ["--listen-address=127.0.0.1", "--bind-interfaces", "--dns-forward-max=10000"]
        command += ["--query-port=0"]
        command += ["--address=/run.internal/127.0.0.1"]
        self.run("dnsmasq", command, DNSMASQ)

    def processes(self, name):
        """Its processes, without the application under runsd."""
        top = self.programs[name].pid
        if name in ("runsd", "old"):
            return [top]
        family = subprocess.run(["pgrep", "-P", str(top)], capture_output=True, text=True)
        return [top, *map(int, family.stdout.split())]

    def cpu(self, name):
        """Seconds of CPU so far, with those of threads that have ended."""
        # A process's clock, as clock_getcpuclockid(3) numbers it: to the
        # nanosecond, where /proc has hundredths of a second.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.processes(name))

    def resident(self, name):
        """Kilobytes of memory."""
        kilobytes = 0
        for pid in self.processes(name):
            with open(f"/proc/{pid}/status") as file:
                kilobytes += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        return kilobytes

    def interrupt(self, program):
        program.send_signal(signal.SIGINT)
        program.wait()


NGINX_CONF = """
daemon off;
user root;
worker_processes @WORKERS@;
worker_rlimit_nofile 20000;
error_log stderr error;
pid @DIR@/@NAME@.pid;
events { worker_connections 8192; }
"""

UPSTREAM = """
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  client_body_buffer_size 11m;
  client_body_temp_path @DIR@/body;
  log_format bytes '$request_length';
  server {
    listen @FRONT@:443 ssl http2 backlog=4096;
    server_name @HOST@;
    http2_max_concurrent_streams 128;
    ssl_certificate @DIR@/cert.pem;
    ssl_certificate_key @DIR@/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    root @DIR@/www;
    location = / { default_type text/plain; return 200 "hello from the upstream\\n"; }
    location = /10m { }
    location = /slow { limit_rate_after 1; limit_rate 3k; }
    # Read to its end, and then no longer needed.
    location = /upload {
      proxy_pass http://unix:@DIR@/sink;
      proxy_method GET;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
    # One message as the answer to any call.
    location /bench.Bench/ {
      default_type application/grpc;
      error_page 405 =200 /grpc;
      add_trailer grpc-status 0;
      try_files /grpc =404;
    }
    location = /grpc { default_type application/grpc; add_trailer grpc-status 0; }
    location /bench.Bytes/ {
      access_log @DIR@/bytes.log bytes;
      return 200;
    }
  }
  server { listen unix:@DIR@/sink; location / { return 200 "thanks\\n"; } }
  server {
    listen @METADATA@:80;
    default_type text/plain;
    add_header Metadata-Flavor Google;
    location = /computeMetadata/v1/instance/region { return 200 "projects/123456789012/regions/us-east1"; }
    location = /computeMetadata/v1/instance/service-accounts/default/identity { return 200 "@TOKEN@"; }
    location = /computeMetadata/v1/instance/service-accounts/default/email { return 200 "bench@example.com"; }
  }
}
"""

PROXY = """
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  upstream front {
    server @FRONT@:443;
    keepalive 1000;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    location / {
      proxy_pass https://front;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host @HOST@;
      proxy_set_header Authorization "Bearer @TOKEN@";
      proxy_ssl_server_name on;
      proxy_ssl_name @HOST@;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate @DIR@/ca.pem;
    }
  }
}
"""
