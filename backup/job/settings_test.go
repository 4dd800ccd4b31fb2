package job_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/backup/server"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// ownersSettings are settings that the owner of a database may give it, and with which a session of ours would be somebody else, could not
// log in, or could not go on. Each row is a database of its own, with all of the row's settings. A setting has the oldest version
// that knows it.
var ownersSettings = map[string][]ownersSetting{
	"role":     {{"role", "mallory", 0}},
	"identity": {{"session_authorization", "mallory", 0}},
	"library":  {{"local_preload_libraries", "no_such_library", 0}},
	"views":    {{"restrict_nonsystem_relation_kind", "view, foreign-table", 15}},
	"sessions": {
		{"search_path", "evil, pg_catalog", 0}, {"row_security", "on", 0}, {"default_tablespace", "pg_default", 0},
		{"temp_tablespaces", "pg_default", 0}, {"statement_timeout", "1", 0}, {"lock_timeout", "1", 0},
		{"idle_in_transaction_session_timeout", "1", 0}, {"idle_session_timeout", "1", 14}, {"transaction_timeout", "1", 17},
		{"client_connection_check_interval", "1", 14}, {"tcp_user_timeout", "1", 0},
		{"default_transaction_deferrable", "on", 0}, {"default_transaction_isolation", "serializable", 0},
		{"default_transaction_read_only", "on", 0}, {"exit_on_error", "on", 0}, {"client_min_messages", "debug5", 0},
		{"debug_print_parse", "on", 0}, {"icu_validation_level", "error", 16}, {"default_table_access_method", "heap", 0},
		{"check_function_bodies", "on", 0}, {"vacuum_cost_delay", "100", 0}, {"quote_all_identifiers", "on", 0},
	},
}

type ownersSetting struct {
	name, value string
	since       int
}

func TestSettingsOfADatabaseChangeNothingForTheJob(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	major := b.pg.Install.Major
	must := func(database string, statements ...string) {
		t.Helper()
		if err := b.pg.ExecIn(ctx, database, statements...); err != nil {
			t.Fatal(err)
		}
	}
	must("postgres", "CREATE ROLE mallory LOGIN PASSWORD '"+pgtest.Password+"'")
	for name, settings := range ownersSettings {
		must("postgres", "CREATE DATABASE "+name+" OWNER mallory")
		must(name, "CREATE TABLE public.item AS SELECT g AS id, 'a' || g AS v FROM pg_catalog.generate_series(1, 50) g",
			"CREATE VIEW public.few AS SELECT * FROM public.item WHERE id < 10", "CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM public.few",
			"CREATE UNIQUE INDEX ON public.item (id)", "ALTER TABLE public.item ADD CHECK (id > 0)",
			"CREATE COLLATION public.odd (PROVIDER = icu, LOCALE = 'und')")
		as, err := b.pg.Connect(ctx, "postgres")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := as.Exec(ctx, "SET SESSION AUTHORIZATION mallory"); err != nil {
			t.Fatal(err)
		}
		for _, s := range settings {
			if s.since > major {
				continue
			}
			list := strings.ReplaceAll(server.Literal(s.value), ", ", "', '")
			if _, err := as.Exec(ctx, "ALTER DATABASE "+name+" SET "+s.name+" = "+list); err != nil {
				t.Fatalf("%s: the owner may not set %s: %v", name, s.name, err)
			}
		}
		_ = as.Close(ctx)
	}
	b.job.Verify = true
	check := func(as string) catalog.Backup {
		t.Helper()
		res, err := b.job.Run(context.Background())
		if err != nil {
			t.Fatalf("as %s: %v", as, err)
		}
		if res.Backup.Health != catalog.Verified || res.Backup.Manifest.Incomplete {
			t.Errorf("as %s: the backup is %s (%s), incomplete: %t, %v", as, res.Backup.Health, res.Backup.Problem, res.Backup.Manifest.Incomplete,
				res.Backup.Manifest.Omitted)
		}
		for name := range ownersSettings {
			if _, ok := res.Backup.Manifest.Database(name); !ok {
				t.Errorf("as %s: database %s is not in the backup", as, name)
			}
		}
		return *res.Backup
	}
	check(backupRole)
	b.job.Request.Target, _ = server.Parse(b.pg.DSN(pgtest.Superuser, "postgres"), nil)
	backup := check(pgtest.Superuser)
	const settings = `SELECT string_agg(datname || ': ' || x, ', ' ORDER BY datname, x) FROM pg_db_role_setting s
		JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) AS x WHERE datname !~ '_before_'`
	before := query(t, b.pg, "postgres", settings)
	for _, name := range []string{"role", "sessions"} { // of the others the bootstrap tells
		if _, err := b.restorer(t, b.pg).Restore(ctx, restore.Options{Backup: backup, Database: name}); err != nil {
			t.Errorf("restore %s: %v", name, err)
		}
	}
	if after := query(t, b.pg, "postgres", settings); after != before {
		t.Errorf("after the restores the settings are\n%s, were\n%s", after, before)
	}
	fresh := pgtest.New(t, pgtest.Options{NoMonitorRole: true})
	if _, err := b.restorer(t, fresh).Bootstrap(ctx, restore.BootstrapOptions{}); err != nil {
		t.Errorf("bootstrap: %v", err)
	}
	if after := query(t, fresh, "postgres", settings); after != before {
		t.Errorf("after the bootstrap the settings are\n%s, were\n%s", after, before)
	}
}
