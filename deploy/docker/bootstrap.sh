#!/bin/sh
# What happens once after each `docker compose up`, before applications start: the roles, then the data.
#
# A server with data in it keeps all of it. An empty one gets the newest good backup, else the first schema. A
# repository that lost its backups is an error, and nothing begins from nothing. Roles that exist keep what they have
# through a restore, so the passwords are those of secrets/, whatever the backup's were.
set -eu

database=${POSTGRES_DB:?the name of the database}
sql=/deploy/sql

psql() { command psql --no-psqlrc --quiet --no-password --set=ON_ERROR_STOP=1 "$@"; }

# Read by psql from the file: not in argv, which `docker top` shows. The server is told to note it nowhere.
password() { # password ROLE SECRET
  PGOPTIONS='-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic -c pg_stat_statements.track=none' \
    psql --dbname=postgres <<SQL
\\set password \`cat /run/secrets/$2\`
SELECT pg_catalog.format('ALTER ROLE %I PASSWORD %L', '$1', :'password')
 WHERE EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '$1')
\\gexec
SQL
}

PGPASSWORD=$(cat /run/secrets/postgres_password)
export PGPASSWORD PGHOST=postgres PGUSER=postgres PGDATABASE="$database"

psql --dbname=postgres --file=$sql/monitoring_role.sql
psql --dbname=postgres --file=$sql/backup_role.sql
psql --dbname=postgres <<'SQL'
SET client_min_messages = warning;
SELECT 'CREATE ROLE reliability_replication'
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'reliability_replication')
\gexec
ALTER ROLE reliability_replication LOGIN REPLICATION CONNECTION LIMIT 5;
SQL
password reliability_exporter exporter_password
password reliability_backup backup_password
password reliability_replication replication_password

set --
[ ! -f $sql/init_db.sql ] || set -- --schema=$sql/init_db.sql
pg_reliability_backup bootstrap --init --database="$database" "$@"

password shop_app app_password # of the sample schema; without it there is no such role
# The write probe's table is in the application's database: that is where writes must work.
psql --dbname="$database" --file=$sql/heartbeat.sql
# How far sequences have come: those there are, and those that their owners will make.
psql --dbname="$database" --file=$sql/sequences.sql
# Where the exporter looks.
psql --dbname="$database" --command='SET client_min_messages = warning' --command='CREATE EXTENSION IF NOT EXISTS pg_stat_statements'
