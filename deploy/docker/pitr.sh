#!/bin/sh
# The backup job of deploy/compose/pitr.yml. A stanza that exists is left as it is.
set -eu
pgbackrest --stanza=main stanza-create
exec pg_reliability_backup schedule --verify --init --scratch-dir=/scratch --pgbackrest-type=incr "$@"
