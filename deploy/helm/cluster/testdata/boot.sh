#!/usr/bin/env bash
# boot.sh DIRECTORY COMMAND... gives a node what it expects of a machine, then runs the command. It runs in namespaces of its
# own (unshare --net --mount --pid), so that nothing here is seen outside, and is the first process there.
set -euo pipefail
dir=$1
shift

# The node's address needs a device that stays up; a pair is there on each kernel that can run containers.
ip link set lo up
ip link add node0 type veth peer name node0-peer
ip link set node0-peer up
ip addr add 10.77.0.1/24 dev node0
ip link set node0 up
ip route add default dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

# What containerd, the kubelet and the network's plugins write outside of the directories they are told.
mkdir "$dir/log" "$dir/lib"
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$dir/log" /var/log
mount --bind "$dir/lib" /var/lib
mkdir -p /run/lock
{ echo '10.77.0.1 node'; cat /etc/hosts; } >"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts

# The kubelet would set these for the whole machine, for good; here it finds them as it wants them.
mkdir "$dir/sysctl"
while read -r name value; do
  [ -e "/proc/sys/$name" ] || continue
  echo "$value" >"$dir/sysctl/${name##*/}"
  mount --bind "$dir/sysctl/${name##*/}" "/proc/sys/$name"
done <<'SYSCTL'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SYSCTL

"$@"
exit $? # not exec: a shell buries orphans
