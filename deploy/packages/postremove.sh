#!/bin/sh
# After removal, dpkg's purge included: backups, counts, passwords and the user that owns them stay. Nobody's last backup is
# deleted by a package manager.
set -e

if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
case "$1" in
  purge | 0)
    for kept in /var/lib/pg_reliability_backup /var/lib/pg_reliability_exporter /etc/pg_reliability; do
      if [ -e "$kept" ]; then echo "pg-reliability: $kept is kept; delete it yourself if nothing in it is needed"; fi
    done
    ;;
esac
