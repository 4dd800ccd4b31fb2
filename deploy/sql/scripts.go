// Package sql holds the scripts that an administrator runs, for those who run them from Go. They are plain SQL, without
// psql's commands, and may be run again.
package sql

import _ "embed"

// MonitoringRole makes the exporter's role.
//
//go:embed monitoring_role.sql
var MonitoringRole string

// BackupRole makes the backup job's role, on PostgreSQL 14 and newer.
//
//go:embed backup_role.sql
var BackupRole string

// Heartbeat makes the table of the exporter's write probe, in the database that the exporter connects to.
//
//go:embed heartbeat.sql
var Heartbeat string

// Sequences lets the exporter read how far a database's sequences have come.
//
//go:embed sequences.sql
var Sequences string
