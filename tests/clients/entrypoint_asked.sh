#!/bin/sh
# Runs the ENTRYPOINT and CMD that are its arguments and asks the server they start at $PORT. What
# has ended by then has printed it itself. What runsd says goes to stderr, and nothing else.
log=$(mktemp)
"$@" 2>"$log" &
app=$!
until curl -s "http://127.0.0.1:$PORT"; do
  kill -0 $app 2>/dev/null || exec grep runsd: "$log" >&2
done
kill $app
wait $app
grep runsd: "$log" >&2
