package main

import "github.com/pg-reliability/pg_reliability_exporter/internal/manual"

// manualPage is what the man page says beyond --help; the paths are the packages'.
func manualPage() manual.Page {
	return manual.Page{
		Short: "back up a PostgreSQL server, prove each backup by restoring it, bring it back",
		Files: []manual.File{
			{Path: "/etc/pg_reliability/backup.env", Meaning: "Variables of the systemd service."},
			{Path: "/etc/pg_reliability/backup.password", Meaning: "Password of the role reliability_backup; you make it, readable for the group " +
				"pg_reliability."},
			{Path: "/var/lib/pg_reliability_backup", Meaning: "The repository of the backups, unless the variables say otherwise. No package " +
				"manager deletes it."},
			{Path: "/usr/share/pg_reliability/sql", Meaning: "SQL of the role."},
		},
		Groups: []manual.Group{
			{Title: "Flags of every command", Flags: []string{"help", "version", "repository", "client-dir", "log"}},
		},
		Values:  values(),
		SeeAlso: []string{"pg_reliability_exporter(1)", "pg_dump(1)", "pg_restore(1)", "pgbackrest(1)"},
	}
}
