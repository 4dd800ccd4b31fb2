package restore_test

import (
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A server takes a security label from a provider that it has loaded: a backup with labels comes back without them where it has not, and
// what else is in it comes back whole.
func TestSecurityLabelsOfAProviderThatIsNotLoaded(t *testing.T) {
	t.Parallel()
	b := newServer(t, pgtest.Options{})
	b.exec(t, "postgres", "CREATE DATABASE shop")
	b.exec(t, "shop", "CREATE TABLE t AS SELECT 1 AS i", "CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
		"CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
		"CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
		"CREATE TABLE other (i int)", // has none
		// What SECURITY LABEL FOR nobody ON ... writes where the provider is loaded.
		`INSERT INTO pg_seclabel VALUES ('t'::regclass, 'pg_class'::regclass, 0, 'nobody', 'it''s secret'),
			('t'::regclass, 'pg_class'::regclass, 1, 'nobody', 'a column'), ('f'::regproc, 'pg_proc'::regclass, 0, 'nobody', 'a function'),
			((SELECT oid FROM pg_event_trigger), 'pg_event_trigger'::regclass, 0, 'nobody', 'a trigger')`)
	backup := b.verified(t)
	rep, err := b.restorer(t, b.pg).Restore(t.Context(), restore.Options{Backup: backup, Database: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(rep.Warnings, "\n"); !strings.Contains(all, `security label provider "nobody" is not loaded`) {
		t.Errorf("warnings %q don't name the labels", rep.Warnings)
	}
	const sql = `SELECT (SELECT count(*) FROM m) || ' ' || (SELECT count(*) FROM pg_event_trigger) || ' ' ||
		(SELECT count(*) FROM pg_seclabel)`
	if got := query(t, b.pg, "shop", sql); got != "1 1 0" {
		t.Errorf("rows of the view, event triggers, labels: %s", got)
	}
}
