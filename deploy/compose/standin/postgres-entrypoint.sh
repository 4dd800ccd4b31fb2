#!/bin/sh
# What docker-compose.yml uses of the contract of the official PostgreSQL image's entrypoint: an empty PGDATA is made
# with initdb, POSTGRES_INITDB_ARGS, the password of POSTGRES_PASSWORD_FILE and POSTGRES_DB; meanwhile a temporary server
# listens on its socket alone and runs /docker-entrypoint-initdb.d; then the server becomes process 1. Called as
# docker-ensure-initdb.sh, it ends before that.
set -eu
mkdir -p "$PGDATA"
chmod 700 "$PGDATA" 2>/dev/null || :
if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  [ -n "${POSTGRES_PASSWORD_FILE:-}" ] || { echo "Error: Database is uninitialized and superuser password is not specified." >&2; exit 1; }
  # shellcheck disable=SC2086 # several arguments are meant
  initdb --username="${POSTGRES_USER:-postgres}" --pwfile="$POSTGRES_PASSWORD_FILE" --pgdata="$PGDATA" ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  shift
  pg_ctl --pgdata="$PGDATA" --wait --options="$* -c listen_addresses='' -p 5432" start
  if [ -n "${POSTGRES_DB:-}" ] && [ "$POSTGRES_DB" != postgres ]; then
    psql --username="${POSTGRES_USER:-postgres}" --dbname=postgres --set=db="$POSTGRES_DB" <<'SQL'
CREATE DATABASE :"db";
SQL
  fi
  for f in /docker-entrypoint-initdb.d/*.sql; do
    [ ! -f "$f" ] || psql --username="${POSTGRES_USER:-postgres}" --dbname="${POSTGRES_DB:-postgres}" --set=ON_ERROR_STOP=1 --file="$f"
  done
  pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
  set -- postgres "$@"
fi
case $0 in *docker-ensure-initdb.sh) exit 0 ;; esac
exec "$@"
