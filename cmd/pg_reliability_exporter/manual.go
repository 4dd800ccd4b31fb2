package main

import (
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/manual"
)

// manualPage is what the man page says beyond the flags, and how --help groups them; the paths are the packages'.
func manualPage(definitions []definition.Definition) manual.Page {
	return manual.Page{
		Short: "export a PostgreSQL server's outages, restarts and metrics to Prometheus",
		Files: []manual.File{
			{Path: "/etc/pg_reliability/exporter.env", Meaning: "Variables of the systemd service."},
			{Path: "/etc/pg_reliability/exporter.password", Meaning: "Password of the role reliability_exporter; you make it, readable for the " +
				"group pg_reliability."},
			{Path: "/var/lib/pg_reliability_exporter", Meaning: "Counts that outlive the exporter."},
			{Path: "/usr/share/pg_reliability", Meaning: "SQL of the role, Prometheus rules, runbooks, dashboards."},
		},
		SeeAlso: []string{"pg_reliability_backup(1)", "systemctl(1)"},
		Groups: []manual.Group{
			{Title: "General", Flags: []string{"help", "version", "healthcheck", "config.file", "state.dir", "log.level", "log.format"}},
			{Title: "Connecting to the server", Flags: []string{"password", "pool", "session"}},
			{Title: "Finding outages", Flags: []string{"probe"}},
			{Title: "Finding their causes", Flags: []string{"log", "incident"}},
			{Title: "Restarting a server that hangs", Flags: []string{"watchdog"}},
			{Title: "Backups", Flags: []string{"backup", "objective"}},
			{Title: "Around the server: disks, its container, PgBouncer", Flags: []string{"volume", "container", "pgbouncer"}},
			{Title: "Which databases and statements are looked into", Flags: []string{"databases", "collector.exclude-schemas",
				"collector.statements.exclude-users", "collector.statements.exclude-databases"}},
			{Title: "Collectors in general, and of your own", Flags: []string{"collector.config-dir", "collector.disable-defaults",
				"collector.max-samples", "collector.max-memory", "extend"}},
			{Title: "Single collectors", Flags: []string{"collector"}, Brief: briefly(definitions)},
			{Title: "Serving metrics and pages", Flags: []string{"web", "scrape"}},
		},
	}
}

// briefly says in --help what a hundred flags of collectors say in full.
func briefly(definitions []definition.Definition) string {
	var on, off []string
	for _, d := range definitions {
		if d.Enabled {
			on = append(on, d.Name)
		} else {
			off = append(off, d.Name)
		}
	}
	return "--collector.NAME switches a collector on and --no-collector.NAME off; --collector.NAME.top=ROWS says how many rows those of " +
		"tables, indexes and the like may have. --help-long says what each of them does.\n\n" +
		"On by default: " + strings.Join(on, ", ") + ".\n\nOff by default: " + strings.Join(off, ", ") + "."
}
