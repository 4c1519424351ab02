#!/bin/sh
# control_group.sh MEMORY PIDS COMMAND...: runs COMMAND under a runsd that is in a
# control group of its own, of so many bytes and processes, and says what the group
# counted: processes that it did not let start, processes that it killed.
set -e
memory=$1 pids=$2
shift 2
name=runsd-test-$(cat /proc/sys/kernel/random/uuid)
mount -t tmpfs none /tmp
mkdir -p /sys/fs/cgroup /tmp/two
mount -t cgroup2 none /tmp/two
if grep -qw memory /tmp/two/cgroup.controllers; then
  mount --move /tmp/two /sys/fs/cgroup
  cd /sys/fs/cgroup
  echo "+memory +pids" >cgroup.subtree_control
  groups=$PWD/$name
  mkdir "$groups"
  echo "$memory" >"$groups/memory.max"
  killed="$groups/memory.events"
else
  groups=
  for controller in memory pids; do
    mkdir -p "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" none "/sys/fs/cgroup/$controller"
    mkdir "/sys/fs/cgroup/$controller/$name"
    groups="$groups /sys/fs/cgroup/$controller/$name"
  done
  echo "$memory" >"/sys/fs/cgroup/memory/$name/memory.limit_in_bytes"
  killed="/sys/fs/cgroup/memory/$name/memory.oom_control"
fi
for group in $groups; do
  [ ! -e "$group/pids.max" ] || { echo "$pids" >"$group/pids.max" && events=$group/pids.events; }
done
enter="for group in $groups; do echo 0 >\$group/cgroup.procs; done"
leave="for group in $groups; do echo 0 >\$group/../cgroup.procs; done"
sh -c "$enter; exec /runsd -- sh -c '$leave; exec \"\$@\"' sh \"\$@\"" sh "$@"
echo "not started: $(awk '/^max / { print ($2 > 0) }' "$events"), killed: $(awk '/^oom_kill / { print $2 }' "$killed")"
echo "$groups" | xargs rmdir
