#!/bin/sh
# boot.sh WORK PACKAGES NAME DIRECTORY... boots systemd in a container that sees this machine's own files, and writes into
# memory: what is installed there is gone with it. Runs in a mount namespace of its own (unshare --mount), so that nothing
# stays mounted. The directories are seen even when they are on another file system than /, or below /tmp.
set -eu
work=$1 packages=$2 name=$3
shift 3

mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
root=$work/root

# Nothing of an earlier installation, of this machine's clusters, or of its timers.
rm -rf "$root"/etc/pg_reliability "$root"/var/lib/pg_reliability_* "$root"/etc/postgresql "$root"/var/lib/postgresql
rm -rf "$root"/etc/systemd/system/timers.target.wants "$root"/usr/lib/systemd/system/timers.target.wants
# Memory needs no fsync.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/pg-reliability-test"
mkdir -p "$root/opt/packages"
cp "$packages"/*.deb "$packages"/*.rpm "$root/opt/packages/"

n=0
for directory; do
  shift
  n=$((n + 1))
  mkdir "$work/upper$n" "$work/work$n" "$work/$n"
  mount -t overlay -o "lowerdir=$directory,upperdir=$work/upper$n,workdir=$work/work$n" overlay "$work/$n"
  set -- "$@" "--bind=$work/$n:$directory"
done

set -- systemd-nspawn "$@" --quiet --keep-unit --register=no --machine="$name" --directory="$root" --private-network \
  --link-journal=no --resolv-conf=off --timezone=off --console=pipe --boot systemd.unit=basic.target
# With systemd as this machine's own first process, the container gets a control group of its own from it.
if [ -d /run/systemd/system ]; then set -- systemd-run --quiet --scope --property=Delegate=yes "$@"; fi
exec "$@"
