#!/bin/sh
# A standby: copied from the primary once, through a slot, so that the primary keeps what it has not yet sent.
set -eu
slot=replica

pgpass() { printf '*:*:*:*:%s\n' "$(sed 's/[\\:]/\\&/g' /run/secrets/replication_password)"; }

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  rm -rf "$PGDATA" "$PGDATA.new"
  # Through a file: neither in `ps` nor in the environment that the server inherits.
  umask 077
  pgpass >/tmp/pgpass
  primary='host=postgres user=reliability_replication passfile=/tmp/pgpass sslmode=disable application_name=replica'
  # The slot of a copy that was broken off, or of a standby that was removed.
  PGOPTIONS='' psql "$primary dbname=postgres replication=database" --no-psqlrc --quiet \
    --command="DROP_REPLICATION_SLOT $slot" >/dev/null 2>&1 || true
  pg_basebackup --dbname="$primary" --pgdata="$PGDATA.new" --wal-method=stream --checkpoint=fast \
    --create-slot --slot=$slot --no-password
  touch "$PGDATA.new/standby.signal"
  mv "$PGDATA.new" "$PGDATA"
fi

# Anew at each start: /tmp is memory, and the password may have been changed.
umask 077
pgpass >/tmp/pgpass
exec postgres -c config_file=/etc/postgresql/postgresql.conf -c hba_file=/etc/postgresql/pg_hba.conf \
  -c primary_conninfo='host=postgres user=reliability_replication passfile=/tmp/pgpass sslmode=disable application_name=replica' \
  -c primary_slot_name=$slot
