#!/bin/sh
# Before removal (dpkg: remove; rpm: 0), not before an upgrade: stop the services.
set -e

case "$1" in
  remove | 0) ;;
  *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl --quiet disable --now pg_reliability_exporter.service pg_reliability_backup.service
fi
