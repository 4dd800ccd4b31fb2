// Package sql holds the scripts that an administrator runs, for those who run them from Go.
package sql

import _ "embed"

// MonitoringRole makes the exporter's role. It is plain SQL, without psql's commands, and may be run again.
//
//go:embed monitoring_role.sql
var MonitoringRole string
