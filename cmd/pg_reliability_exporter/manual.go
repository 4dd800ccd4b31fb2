package main

import "github.com/pg-reliability/pg_reliability_exporter/internal/manual"

// manualPage is what the man page says beyond --help; the paths are the packages'.
func manualPage() manual.Page {
	return manual.Page{
		Short: "export a PostgreSQL server's outages, restarts and metrics to Prometheus",
		Files: []manual.File{
			{Path: "/etc/pg_reliability/exporter.env", Meaning: "Variables of the systemd service."},
			{Path: "/etc/pg_reliability/exporter.password", Meaning: "Password of the role reliability_exporter; you make it, readable for the group pg_reliability."},
			{Path: "/var/lib/pg_reliability_exporter", Meaning: "Counts that outlive the exporter."},
			{Path: "/usr/share/pg_reliability", Meaning: "SQL of the role, Prometheus rules, runbooks, dashboards."},
		},
		SeeAlso: []string{"pg_reliability_backup(1)", "systemctl(1)"},
	}
}
