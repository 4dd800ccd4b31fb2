#!/bin/sh
# After unpacking: the user, the directories, and a restart of what ran already. Called by dpkg (configure [OLD-VERSION]) and
# rpm (1 for an installation, 2 for an upgrade). Nothing is enabled or started that was not: there is no password yet.
set -e

case "$1" in
  configure) upgrade=${2:+yes} ;;
  1) upgrade= ;;
  2) upgrade=yes ;;
  *) exit 0 ;; # dpkg undoes a failed removal: nothing was changed
esac

systemd-sysusers pg_reliability.conf
systemd-tmpfiles --create pg_reliability.conf

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  if [ -n "$upgrade" ]; then
    systemctl try-restart pg_reliability_exporter.service pg_reliability_backup.service
  fi
fi
if [ -z "$upgrade" ]; then
  echo "pg-reliability: next, run: pg_reliability_backup setup (--dry-run says what it does; /usr/share/doc/pg-reliability/install.md)"
fi
