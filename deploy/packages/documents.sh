#!/usr/bin/env bash
# documents.sh ROOT lays the guides, the rules and the runbooks out below ROOT/usr/share, with links that lead somewhere there:
# at three in the morning there may be no network. What is not installed is linked where the project lives.
set -euo pipefail
cd "$(dirname "$0")/../.."
share=$1/usr/share
doc=$share/doc/pg-reliability
data=$share/pg_reliability
home=https://github.com/pg-reliability/pg_reliability_exporter/blob/main

install -d "$doc" "$data/alerts/runbooks" "$data/alerts/receivers" "$data/sql"
install -m 644 docs/*.md "$doc"
install -m 644 deploy/sql/*.sql "$data/sql"
install -m 644 alerts/*.rules.yml alerts/alertmanager.yml alerts/README.md "$data/alerts"
install -m 644 alerts/receivers/* "$data/alerts/receivers"
install -m 644 alerts/runbooks/*.md "$data/alerts/runbooks"

sed -i -E \
  -e "s#\]\(\.\./alerts/(README\.md|runbooks|receivers|alertmanager\.yml|[a-z_]+\.rules\.yml)#](../../pg_reliability/alerts/\1#g" \
  -e "s#\]\(\.\./deploy/sql/#](../../pg_reliability/sql/#g" \
  -e "s#\]\(\.\./(\.?[A-Za-z])#](@HOME@/\1#g; s#\]\((images/|status\.schema\.json)#](@HOME@/docs/\1#g" -e "s#@HOME@#$home#g" "$doc"/*.md
sed -i -E "s#\]\(\.\./docs/#](../../doc/pg-reliability/#g; s#\]\(\.\./deploy/sql/#](../sql/#g" "$data/alerts/README.md"
sed -i -E "s#\]\(\.\./\.\./docs/#](../../../doc/pg-reliability/#g" "$data/alerts/runbooks/"*.md
