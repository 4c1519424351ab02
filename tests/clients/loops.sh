#!/bin/sh
# Requests that would lead from runsd to runsd again, for tests/loops.rs: each prints its status
# and Proxy-Status.
port=${http_proxy:?}
port=${port##*:}
port=${port%/}
proxy=http://127.0.0.1:$port
get() { curl -sS -m 10 -o /dev/null -w '%{http_code} %header{proxy-status}\n' "$@"; }

# The proxy's own address, asked for by way of the proxy. As root, only the port is refused: then
# 0.0.0.0 and ::1 are there, too.
for host in 127.0.0.1 localhost LOCALHOST. 127.0.0.2 0.0.0.0 '[::1]' '[::]' \
  '[::ffff:127.0.0.1]' '[::ffff:7f00:2]' loopback.example alias.loopback.example; do
  get --noproxy '' -x "$proxy" "http://$host:$port/"
done
echo itself
get "$proxy/" --noproxy '*'
echo tunnels
for host in 127.0.0.1 localhost loopback.example; do
  curl -sS -m 10 -o /dev/null -w '%{http_connect}\n' --noproxy '' -p -x "$proxy" "http://$host:$port/" 2>/dev/null
done
echo http2
get --http2-prior-knowledge --noproxy '*' "http://localhost:$port/"

echo others
python3 -m http.server --bind 127.0.0.1 8181 2>/dev/null &
until curl -sS -o /dev/null http://127.0.0.1:8181/ --noproxy '*' 2>/dev/null; do :; done
curl -sS -m 10 -o /dev/null -w '%{http_code}\n' --noproxy '' -x "$proxy" http://localhost:8181/
kill $!
curl -sS -m 10 http://hello/
grep Threads "/proc/$PPID/status"
