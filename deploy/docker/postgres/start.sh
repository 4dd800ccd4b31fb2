#!/bin/sh
# The server. Where there is no cluster yet the image makes one, beside its place: it gets its name when it is whole and on
# the disk. What a power cut leaves of one that is made in its place is taken for a cluster by the next start, and never runs.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -d "$PGDATA" ] && ! rmdir "$PGDATA"; then
    echo "start: $PGDATA is neither a cluster nor empty, nothing was changed. HINT: Look what it holds; move it away to begin anew." >&2
    exit 1
  fi
  rm -rf "$PGDATA.new"
  PGDATA="$PGDATA.new" docker-ensure-initdb.sh "$@"
  sync
  mv "$PGDATA.new" "$PGDATA"
  sync
fi
exec docker-entrypoint.sh "$@"
