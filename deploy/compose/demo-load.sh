#!/bin/sh
# A light load on the sample schema, as the application's role. pgbench ends when the server does; then the container
# is started again.
set -eu
umask 077
printf '*:*:*:*:%s\n' "$(cat /run/secrets/app_password)" >/tmp/pgpass
export PGPASSFILE=/tmp/pgpass
exec pgbench --no-vacuum --client=2 --rate=5 --time=86400 --progress=60 --file=/demo-load.sql
