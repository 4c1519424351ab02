#!/usr/bin/env bash
# What runsd adds to a cold start, beside other programs that start one more.
#
#   tests/coldstart.sh [ROUNDS]
#
# Each round starts every row once, so that a noisy second is everyone's. runsd
# meets what it meets on Cloud Run: ports 53 and 80 are free, and before each
# start /etc/resolv.conf is as the platform writes it. Both are of a namespace
# of our own: nothing outside is touched, and nothing outside is asked.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1-300}
dir=target/coldstart
mkdir -p $dir

if [ "${INSIDE-}" != yes ]; then
  cc=$(command -v musl-gcc || command -v gcc)
  echo 'int main(void) { return 0; }' | "$cc" -O2 -static -x c -o $dir/true -
  gcc -O2 -Wall -o $dir/coldstart tests/coldstart.c
  # An ordinary user may bind port 53 in a user namespace of his own.
  user=$([ "$(id -u)" = 0 ] || echo -Ur)
  INSIDE=yes exec unshare $user -nm "$0" "$rounds"
fi

ip link set lo up
printf 'nameserver 169.254.169.254\nsearch google.internal\n' >$dir/as-given
cp $dir/as-given $dir/resolv.conf
mount --bind $dir/resolv.conf /etc/resolv.conf
export K_SERVICE=coldstart
unset SSL_CERT_FILE # as there: the roots are those built in
export TINI_SUBREAPER=1 # it warns when it is not PID 1

true=$PWD/$dir/true
rows=("$true")
for program in tini-static tini dumb-init catatonit; do
  if path=$(command -v $program); then rows+=("$path -- $true"); else echo "$program: not installed"; fi
done
if path=$(command -v busybox); then rows+=("$path true"); fi
rows+=("$PWD/dist/runsd -- $true")
$dir/coldstart "$rounds" $dir/as-given "${rows[@]}"
