"""Clients that are commands: each function is one, and has the suffix of the names."""

import os
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from facts import BODY, asked, fact

UPLOAD = f"{tempfile.mkdtemp()}/upload"
with open(UPLOAD, "wb") as file:
    file.write(BODY)


def run(command, codes=(0,)):
    done = subprocess.run(shlex.split(command), capture_output=True, timeout=60)
    assert done.returncode in codes, (command, done.returncode, done.stderr)
    return done.stdout


def curl(suffix, options="", most=50):
    """Status, headers and body of one answer, from what `curl -i` prints of the last one."""

    def get(what, words):
        head, body = run(f"curl -sS -i {options} {words}").split(b"\r\n\r\n", 1)
        while head.split()[1].startswith(b"1"):  # an interim answer
            head, body = body.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        fact(what, int(status.split()[1]), [line.split(": ", 1) for line in lines], body)

    get("get", f"http://hello{suffix}")
    get("post", f"-H Expect: --data-binary @{UPLOAD} http://echo{suffix}")
    get("stream", f"'http://bytes{suffix}/300000?chunked=1'")
    for status in ("204", "404", "500", "503"):
        get(status, f"http://status{suffix}/{status}")
    asked(run(f"curl -sS {options} http://echo{suffix}/headers"))
    many = f"'http://bytes{suffix}/[1-{most}]'"
    # Over HTTP/2 the service sends a body all the same, and curl 7.88 has no second request.
    get("put", f"-X PUT -d short http://echo{suffix}")
    if "http2-prior" not in options:
        get("head", f"-I http://hello{suffix}")
        fact("fifty", body=run(f"curl -sS {options} -w '%{{http_code}}' {many}"))
        parallel = "--no-progress-meter --parallel --parallel-max 20 -o /dev/null -w '%{http_code} '"
        fact("twenty", body=run(f"curl -sS {options} {parallel} {many}"))
        return
    with ThreadPoolExecutor(20) as pool:
        bodies = pool.map(lambda at: run(f"curl -sS {options} http://bytes{suffix}/{at}"), range(20))
        fact("twenty", body=b"".join(bodies))


def curl_http_1_0(suffix):
    curl(suffix, "--http1.0", 20)


def curl_http_1_1(suffix):
    curl(suffix, "--http1.1")


def curl_http_2(suffix):
    curl(suffix, "--http2-prior-knowledge")


def curl_upgrade(suffix):
    """Asks to go on in HTTP/2; either answer is right (RFC 9110 section 7.8)."""
    curl(suffix, "--http2", 20)


def curl_expect(suffix):
    """As for each large upload: it waits for 100 (Continue)."""
    fact("post", body=run(f"curl -sS -H 'Expect: 100-continue' --data-binary @{UPLOAD} http://echo{suffix}"))
    fact("put", body=run(f"curl -sS -H 'Expect: 100-continue' -T {UPLOAD} http://echo{suffix}"))
    fact("chunked", body=run(f"curl -sS -H 'Transfer-Encoding: chunked' -T {UPLOAD} http://echo{suffix}"))


def wget(suffix):
    by_wget("wget", suffix, f"--post-file={UPLOAD}", "--content-on-error", 8)
    fifty = " ".join(f"http://bytes{suffix}/{at}" for at in range(50))
    fact("fifty", body=run(f"wget -q -O - {fifty}"))


def busybox(suffix):
    by_wget("busybox wget", suffix, f"--post-data={'x' * 50_000}", "", 1)


def by_wget(program, suffix, upload, on_error, code_of_404):
    def get(words, codes=(0,)):
        return run(f"{program} -q -O - {words}", codes)

    fact("get", body=get(f"http://hello{suffix}"))
    fact("post", body=get(f"{upload} http://echo{suffix}"))
    fact("stream", body=get(f"'http://bytes{suffix}/300000?chunked=1'"))
    fact("404", body=get(f"{on_error} http://status{suffix}/404", (code_of_404,)))
    asked(get(f"http://echo{suffix}/headers"))
    with ThreadPoolExecutor(20) as pool:
        bodies = pool.map(lambda at: get(f"http://bytes{suffix}/{at}"), range(20))
        fact("twenty", body=b"".join(bodies))


def git(suffix):
    """Clones, pushes 1 MB and fetches, from `git http-backend` behind repository.py."""
    os.environ |= {"GIT_CONFIG_NOSYSTEM": "1", "HOME": tempfile.mkdtemp(), "GIT_TERMINAL_PROMPT": "0"}
    url = "http://repository/" if suffix == "" else "http://127.0.0.1:8181/"
    work = tempfile.mkdtemp()
    who = "-c user.name=one -c user.email=one@example.com -c commit.gpgsign=false"
    # A path of this suffix's own, and a body without a length, as of each larger push.
    url += f"{suffix or 'through'}.git"
    run(f"git clone -q {url} {work}/first")
    for number in range(3):
        with open(f"{work}/first/file{number}", "wb") as file:
            file.write(os.urandom(1_000_000))
        run(f"git -C {work}/first add -A")
        run(f"git -C {work}/first {who} commit -q -m {number}")
        run(f"git -C {work}/first -c http.postBuffer=65536 push -q origin HEAD:refs/heads/main")
    run(f"git clone -q -b main {url} {work}/second")
    same = run(f"diff -r --exclude=.git {work}/first {work}/second") == b""
    fact("push", same and len(run(f"git -C {work}/second log --oneline").splitlines()))
    done = subprocess.run(["git", "ls-remote", url.replace(".git", "-none.git")], capture_output=True)
    fact("none", done.returncode)


globals()[sys.argv[1]](sys.argv[2])
