#!/bin/sh
# Makes what docker-compose.yml needs and a repository can't hold: a password for each role and a token for backups
# over HTTP, one file each, and the group of the engine's socket in .env. What exists is never overwritten: run it as often as you like.
#
#   deploy/compose/secrets.sh [DIRECTORY]     (default: secrets/ beside docker-compose.yml)
#
# Compose hands a file to a container with the owner and mode it has here, and each container runs as a user of its
# own. So the directory is closed to everybody but you, and the files in it are readable: outside by you alone,
# inside by the container they are given to.
set -eu
umask 077

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$root/secrets}

mkdir -p "$dir"
chmod 700 "$dir"
# For the receivers of alerts/receivers: /etc/alertmanager/secrets in the container.
[ -d "$dir/alertmanager" ] || { mkdir "$dir/alertmanager" && chmod 755 "$dir/alertmanager"; }

for name in postgres_password exporter_password backup_password replication_password app_password grafana_password backup_token; do
  [ ! -e "$dir/$name" ] || continue
  new=$(mktemp "$dir/.new-XXXXXX")
  # 192 bits, in letters that no connection string, shell or YAML file has to quote.
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$new"
  [ "$(wc -c <"$new")" -eq 48 ] || { rm -f "$new"; echo "secrets: no random numbers from /dev/urandom" >&2; exit 1; }
  chmod 444 "$new"
  # ln fails where mv would overwrite: of two runs at once, one password wins.
  ln "$new" "$dir/$name" 2>/dev/null || [ -e "$dir/$name" ]
  rm -f "$new"
  echo "secrets: made $dir/$name"
done

# The socket proxy is no root and reads the engine's socket through its group.
socket=${DOCKER_SOCKET:-/var/run/docker.sock}
if [ -z "${1:-}" ] && [ -S "$socket" ] && ! grep -qs '^DOCKER_GID=' "$root/.env"; then
  # After what somebody's editor left without a line break.
  [ -z "$(tail -c 1 "$root/.env" 2>/dev/null)" ] || echo >>"$root/.env"
  echo "DOCKER_GID=$(stat -Lc %g "$socket" 2>/dev/null || stat -Lf %g "$socket")" >>"$root/.env"
  echo "secrets: DOCKER_GID in .env is the group of $socket"
fi
