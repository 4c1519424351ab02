#!/bin/sh
# Prints the number of each of these signals as it comes, until stdin ends.
for number; do
  # shellcheck disable=SC2064 # this number, and not the last one
  trap "echo $number" "$number"
done
exec 3<&0
cat <&3 >&2 &
echo ready
while kill -0 $! 2>&-; do wait $!; done
exit 7
