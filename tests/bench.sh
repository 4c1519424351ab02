#!/usr/bin/env bash
# runsd beside other programs in its place, in a world of its own.
#
#   tests/bench.sh [ROW...]     all rows, or those named; --list tells their names
#
#   ROUNDS=5 SECONDS_EACH=2     how often, and how long each time
#   RUNSD_BIN=dist/runsd        the binary to measure
#   RUNSD_OLD=FILE              another one, interleaved with it: what did a change bring?
#   BENCH_DIR=target/bench      where figures and the chart are put; of its own for a run beside another
#
# Client, proxy and upstream share a network namespace of their own: nothing
# outside is touched, and nothing outside is asked. The upstream is nginx with
# TLS, which also plays the metadata server; the nameserver is a small C
# program. Every proxy sends the same token of 786 bytes. In each round every
# program has its turn, and another one is first, so that a noisy second is
# everyone's: the ratios tell more than the figures. These are left in BENCH_DIR, as
# figures.json, and a chart of them, bench.svg. What README shows are copies:
#
#   make bench && cp target/bench/{bench,coldstart}.svg tests/bench/
#
# A profile of runsd during a row: who takes the time, and which system calls.
#
#   PROFILE='perf record -g -o /tmp/perf.data -p' tests/bench.sh h1-64; perf report -i /tmp/perf.data
#   PROFILE='strace -cf -p'                       tests/bench.sh h1-64
#   PROFILE='perf stat -e instructions:u,cycles,context-switches -p' tests/bench.sh h1-64
#
# Names for it need a binary with symbols: target/static/*/release/runsd.
# Instructions instead of time, from the first: valgrind --tool=callgrind runsd ….
set -euo pipefail
cd "$(dirname "$0")/.."
export RUNSD_BIN=${RUNSD_BIN-$PWD/dist/runsd}
export BENCH_DIR=${BENCH_DIR-$PWD/target/bench}

if [ "${INSIDE-}" != yes ]; then
  mkdir -p "$BENCH_DIR"
  gcc -O2 -Wall -o "$BENCH_DIR/nameserver" tests/bench/nameserver.c
  # An ordinary user may bind port 53 in a user namespace of his own.
  user=()
  [ "$(id -u)" = 0 ] || user=(-Ur)
  INSIDE=yes exec unshare "${user[@]}" -nm "$0" "$@"
fi

ip link set lo up
ip address add 169.254.169.254/32 dev lo # metadata server and nameserver
ip address add 198.18.0.1/32 dev lo      # the front end of *.run.app
ulimit -n "$(ulimit -Hn)"
exec env PYTHONDONTWRITEBYTECODE=1 python3 tests/bench/main.py "$@"
