#!/bin/sh
# The playground in a Cloud Run in miniature: a page to try runsd from, at a
# port of this machine's loopback, with services to ask. Ctrl-C ends all of it.
#
#   PORT=8000 make playground    at that port, instead of a free one
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cloudrun=${CLOUDRUN:-$here/../target/debug/examples/cloudrun}
playground=${PLAYGROUND:-$here/../target/debug/examples/playground}
runsd=${RUNSD_BIN:-$here/../dist/runsd}
for program in "$cloudrun" "$playground" "$runsd"; do
  [ -x "$program" ] || { echo "$program is not there; run \`make playground\`" >&2; exit 1; }
done

# Nobody but this machine reaches it, and nothing real is behind it.
exec "$cloudrun" --publish "${PORT:-0}" --runsd "$runsd" --bind "$playground:/playground" \
  --env PLAYGROUND_OPEN=1 --env "PLAYGROUND_EXAMPLES=$(cat "$here/playground/examples.json")" \
  "$@" -- /runsd -- /playground
