package restore_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A materialized view over what can't be reached from here costs itself, and no backup its good name.
func TestAMaterializedViewOverWhatIsOutOfReach(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE far", "CREATE DATABASE shop")
	b.exec(t, "far", "CREATE TABLE rates AS SELECT generate_series(1, 3) AS i", "GRANT SELECT ON rates TO PUBLIC")
	b.exec(t, "shop", "CREATE EXTENSION postgres_fdw", "CREATE TABLE t AS SELECT generate_series(1, 5) AS i",
		"CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '"+b.pg.Dir+"', port '"+fmt.Sprint(b.pg.Port)+"', dbname 'far')",
		"CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user '"+pgtest.Superuser+"')",
		"CREATE FOREIGN TABLE remote (i int) SERVER far OPTIONS (table_name 'rates')",
		"CREATE MATERIALIZED VIEW near AS SELECT i FROM t", "CREATE MATERIALIZED VIEW nearer AS SELECT i FROM near WHERE i > 1",
		"CREATE MATERIALIZED VIEW rates AS SELECT i FROM remote", "CREATE UNIQUE INDEX ON rates (i)",
		"CREATE MATERIALIZED VIEW odd AS SELECT i FROM rates", "CREATE MATERIALIZED VIEW never AS SELECT 1 WITH NO DATA")
	backup := b.verified(t)
	r := b.restorer(t, b.pg)
	if rep, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true}); err != nil ||
		len(rep.Warnings) > 0 {
		t.Fatalf("restore: %+v, %v", rep, err)
	}
	const counts = "SELECT concat_ws(' ', (SELECT count(*) FROM near), (SELECT count(*) FROM nearer), (SELECT count(*) FROM rates), " +
		"(SELECT count(*) FROM odd))"
	if got := query(t, b.pg, "shop", counts); got != "5 4 3 3" {
		t.Errorf("rows of the views are %s", got)
	}
	b.exec(t, "postgres", "ALTER DATABASE far RENAME TO gone")
	rep, err := r.Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true})
	if err != nil || len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], ": public.odd, public.rates (") {
		t.Fatalf("restore: %+v, %v", rep, err)
	}
	if got := query(t, b.pg, "shop", "SELECT string_agg(relname || ' ' || relispopulated, ', ' ORDER BY relname) FROM pg_class WHERE "+
		"relkind = 'm'"); got !=
		"near true, nearer true, never false, odd false, rates false" {
		t.Errorf("the views are %s", got)
	}
}

// An event trigger that allows nothing keeps no view from being filled, and is there afterwards.
func TestAMaterializedViewUnderAnEventTrigger(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE shop")
	b.exec(t, "shop", "CREATE TABLE t AS SELECT generate_series(1, 5) AS i", "CREATE MATERIALIZED VIEW v AS SELECT i FROM t",
		"CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$not here$$; END'",
		"CREATE EVENT TRIGGER nothing ON ddl_command_start EXECUTE FUNCTION no()", "COMMENT ON EVENT TRIGGER nothing IS 'ours'",
		"ALTER EVENT TRIGGER nothing ENABLE ALWAYS")
	backup := b.verified(t)
	rep, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true})
	if err != nil || len(rep.Warnings) > 0 {
		t.Fatalf("restore: %+v, %v", rep, err)
	}
	if got := query(t, b.pg, "shop", "SELECT concat_ws(' ', (SELECT count(*) FROM v), evtname, evtenabled, obj_description(oid, 'pg_event_trigger')) "+
		"FROM pg_event_trigger"); got != "5 nothing A ours" {
		t.Errorf("rows of the view and the trigger: %s", got)
	}
}

// What is loaded in which order is in no file, which a killed restore would leave behind.
func TestARestoreWithMaterializedViewsWritesNoFile(t *testing.T) {
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE shop")
	b.exec(t, "shop", "CREATE MATERIALIZED VIEW v AS SELECT 1")
	backup := b.run(t)
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "there-is-none"))
	if _, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop", DropOld: true}); err != nil {
		t.Error(err)
	}
}
