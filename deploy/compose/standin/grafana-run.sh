#!/bin/sh
# What docker-compose.yml uses of the official image's start script.
set -eu
GF_SECURITY_ADMIN_PASSWORD=$(cat "$GF_SECURITY_ADMIN_PASSWORD__FILE")
export GF_SECURITY_ADMIN_PASSWORD
unset GF_SECURITY_ADMIN_PASSWORD__FILE
exec grafana server --homepath="$GF_PATHS_HOME" --config="$GF_PATHS_CONFIG" --packaging=docker cfg:default.log.mode=console \
  cfg:default.paths.data="$GF_PATHS_DATA" cfg:default.paths.logs="$GF_PATHS_LOGS" \
  cfg:default.paths.plugins="$GF_PATHS_PLUGINS" cfg:default.paths.provisioning="$GF_PATHS_PROVISIONING"
