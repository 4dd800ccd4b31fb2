#!/usr/bin/env bash
# stage.sh ROOT lays everything but the programs and the configuration out as the packages install it.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$1/usr
share=$root/share

install -d "$root/lib/systemd/system" "$share/man/man1" "$share/bash-completion/completions" "$share/fish/vendor_completions.d"
install -m 644 deploy/systemd/*.service "$root/lib/systemd/system"
install -Dm 644 deploy/systemd/pg_reliability.sysusers.conf "$root/lib/sysusers.d/pg_reliability.conf"
install -Dm 644 deploy/systemd/pg_reliability.tmpfiles.conf "$root/lib/tmpfiles.d/pg_reliability.conf"

for page in bin/man/*.1; do gzip -9nc "$page" >"$share/man/man1/${page##*/}.gz"; done
install -m 644 bin/completion/bash/* "$share/bash-completion/completions"
install -m 644 bin/completion/fish/* "$share/fish/vendor_completions.d"

deploy/packages/documents.sh "$1"
data=$share/pg_reliability
install -d "$data/dashboards"
find dashboards -maxdepth 1 -name '*.json' -exec install -m 644 -t "$data/dashboards" {} +
install -Dm 644 -t "$data/systemd" deploy/systemd/examples/*

doc=$share/doc/pg-reliability
install -m 644 LICENSE "$doc/copyright"
install -m 644 bin/THIRD_PARTY_LICENCES "$doc"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
# Whatever the umask was.
chmod -R u=rwX,go=rX "$1"
