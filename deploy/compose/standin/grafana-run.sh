#!/bin/sh
# What docker-compose.yml uses of the official image's start script.
set -eu
GF_SECURITY_ADMIN_PASSWORD=$(cat "$GF_SECURITY_ADMIN_PASSWORD__FILE")
export GF_SECURITY_ADMIN_PASSWORD
unset GF_SECURITY_ADMIN_PASSWORD__FILE
exec /usr/share/grafana/bin/grafana server --homepath=/usr/share/grafana --packaging=docker cfg:default.log.mode=console \
  cfg:default.paths.data=/var/lib/grafana cfg:default.paths.logs=/var/log/grafana \
  cfg:default.paths.plugins=/var/lib/grafana/plugins cfg:default.paths.provisioning=/etc/grafana/provisioning
