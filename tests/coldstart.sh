#!/usr/bin/env bash
# What runsd adds to a cold start, beside other programs that start one more.
#
#   tests/coldstart.sh [ROUNDS]
#
#   RUNSD_BIN=dist/runsd        the binary to measure
#   RUNSD_OLD=FILE              another one, interleaved with it
#
# Each round starts every row once, so that a noisy second is everyone's. runsd
# meets what it meets on Cloud Run: ports 53 and 80 are free, and before each
# start /etc/resolv.conf is as the platform writes it. Both are of a namespace
# of our own: nothing outside is touched, and nothing outside is asked.
#
# What the steps of a start take is told by rows of runsd that leave some out,
# and so nothing looks on while it is measured. The table is kept in target/bench,
# and a chart beside it.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1-300}
dir=${BENCH_DIR-target/bench}
mkdir -p "$dir"

if [ "${INSIDE-}" != yes ]; then
  cc=$(command -v musl-gcc || command -v gcc)
  echo 'int main(void) { return 0; }' | "$cc" -O2 -static -x c -o "$dir/true" -
  gcc -O2 -Wall -o "$dir/coldstart" tests/coldstart.c
  # An ordinary user may bind port 53 in a user namespace of his own.
  user=()
  [ "$(id -u)" = 0 ] || user=(-Ur)
  INSIDE=yes unshare "${user[@]}" -nm "$0" "$rounds" | tee "$dir/coldstart.txt"
  python3 tests/bench/chart.py coldstart "$dir/coldstart.txt" "$dir/coldstart.svg"
  exit
fi

ip link set lo up
printf 'nameserver 169.254.169.254\nsearch google.internal\n' >"$dir/as-given"
cp "$dir/as-given" "$dir/coldstart.resolv.conf"
mount --bind "$dir/coldstart.resolv.conf" /etc/resolv.conf
export K_SERVICE=coldstart
unset SSL_CERT_FILE # as there: the roots are those built in
export TINI_SUBREAPER=1 # it warns when it is not PID 1

# row LABEL WORD...: one more for each round.
rows=()
row() { rows+=("$(IFS=$'\t' && echo "$*")"); }

true=$(realpath "$dir/true")
runsd=$(realpath "${RUNSD_BIN:-dist/runsd}")
old=${RUNSD_OLD:+$(realpath "$RUNSD_OLD")}
unset RUNSD_BIN RUNSD_OLD # runsd would warn of them, as of any RUNSD_* that it does not know
row true "$true"
for program in tini-static tini dumb-init catatonit; do
  if path=$(command -v $program); then row $program "$path" -- "$true"; else echo "$program: not installed" >&2; fi
done
if path=$(command -v busybox); then row busybox "$path" true; fi
row runsd "$runsd" -- "$true"
[ -z "$old" ] || row old "$old" -- "$true"
row "runsd without DNS" "$runsd" -skip_dns_hijack -- "$true"
row "runsd without ports" "$runsd" -skip_dns_hijack -skip_http_proxy -- "$true"
row "runsd alone" "$runsd" -version
if path=$(command -v tini-static); then row "tini-static alone" "$path" --version; fi
"$dir/coldstart" "$rounds" "$dir/as-given" "${rows[@]}"
