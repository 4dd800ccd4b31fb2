#!/usr/bin/env bash
# Copies the alerts' rules and the dashboards into the chart, which is packaged without the rest of the repository.
set -euo pipefail
cd "$(dirname "$0")/pg-reliability/files"
rm -rf rules dashboards
mkdir rules dashboards
cp ../../../../alerts/*.rules.yml rules/
cp ../../../../dashboards/*.json dashboards/
