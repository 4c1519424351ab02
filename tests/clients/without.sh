#!/bin/sh
# Calls beside a runsd whose kernel lacks what the arguments say (without.py), so that it is no one
# else's problem; with its exit code.
mkfifo /tmp/up /tmp/down
python3 /tests/clients/without.py "$@" -- \
  /runsd -- sh -c '(exit 3) & echo up >/tmp/up; read x </tmp/down; exit 7' &
read -r _ </tmp/up
curl -sS http://hello http://external.example/x
echo down >/tmp/down
wait $!
