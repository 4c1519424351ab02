#!/bin/sh
# Each exit code, and commands that cannot be run, each in PIDs of its own, so that runsd is
# PID 1 of them. What became another code is said; then what is left of resolv.conf.
code=0
while [ $code -lt 256 ]; do
  unshare -pf /runsd -- sh -c "exit $code" || [ $? = $code ] || echo "$code became another"
  code=$((code + 1))
done
for command in /none /etc/resolv.conf; do
  unshare -pf /runsd -- $command
  echo $?
done
cat /etc/resolv.conf
