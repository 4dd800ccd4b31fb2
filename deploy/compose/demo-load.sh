#!/bin/sh
# A light load on the sample schema, as the application's role. pgbench ends when the server does, and five seconds
# after the server's host has fallen silent; then the container is started again.
set -eu
umask 077
printf '*:*:*:*:%s\n' "$(sed 's/[\\:]/\\&/g' /run/secrets/app_password)" >/tmp/pgpass
export PGPASSFILE=/tmp/pgpass
pgbench --no-vacuum --client=2 --rate=5 --time=86400 --progress=60 --file=/demo-load.sql 'connect_timeout=5 tcp_user_timeout=5000' &
# Process 1 of a container gets no signal that it does not ask for.
trap 'kill $!; exit 0' TERM INT
wait $!
