package job_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pg-reliability/pg_reliability_exporter/backup/restore"
)

// TestNothingOfADatabasesOwnerRunsAsTheJob: its owner chooses what others' sessions there find first, and what a planner computes. Each of
// these notes in a file of the server who ran it; the job's role and the one that restores must not be among them.
func TestNothingOfADatabasesOwnerRunsAsTheJob(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	sql := []string{
		`CREATE SCHEMA evil AUTHORIZATION app`, `GRANT USAGE ON SCHEMA evil TO PUBLIC`, `ALTER SCHEMA public OWNER TO app`, `SET ROLE app`,
		`CREATE FUNCTION evil.ran() RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS $$ BEGIN
		   IF current_user <> 'app' AND session_user <> 'postgres' THEN RAISE EXCEPTION 'evil ran as %', current_user; END IF;
		   IF current_user <> 'app' THEN RAISE LOG 'evil ran as %', current_user; END IF;
		   RETURN true; END $$`,
		`CREATE FUNCTION evil.of(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM evil.ran(); RETURN 1; END $$`,
		`CREATE TABLE public.planned (i int, j int)`, `INSERT INTO public.planned SELECT i, i FROM generate_series(1, 50) i`,
		// Constants in an index's expression, its condition and in statistics are computed when a query on the table is planned.
		`CREATE INDEX ON public.planned ((i + evil.of(1)))`, `CREATE INDEX ON public.planned (j) WHERE evil.of(2) = 1`,
	}
	for _, types := range []string{"integer, integer", "name, name", "text, text", `"char", "char"`, "oid, oid", "boolean, boolean",
		"name, text"} {
		left, right, _ := strings.Cut(types, ", ")
		for i, op := range []string{"<>", "=", "!~", "||"} {
			name := "evil.op" + string(rune('a'+i))
			sql = append(sql, `CREATE FUNCTION `+name+`(`+types+`) RETURNS boolean LANGUAGE sql COST 0.0001 AS 'SELECT evil.ran()'`,
				`CREATE OPERATOR evil.`+op+` (FUNCTION = `+name+`, LEFTARG = `+left+`, RIGHTARG = `+right+`)`)
		}
	}
	sql = append(sql, `RESET ROLE`, `ALTER DATABASE shop SET search_path = evil, pg_catalog`,
		`ALTER DATABASE shop SET statement_timeout = '1s'`,
		`ALTER DATABASE shop SET quote_all_identifiers = on`, `ALTER DATABASE shop SET default_transaction_read_only = on`)
	if err := b.pg.ExecIn(ctx, "shop", sql...); err != nil {
		t.Fatal(err)
	}
	b.job.Verify = true
	backup := b.run(t)
	if rep, err := b.restorer(t, b.pg).Restore(ctx, restore.Options{Backup: backup, Database: "shop", DropOld: true}); err != nil ||
		rep.Rows != backup.Manifest.Rows() {
		t.Errorf("restored %d rows, %v", rep.Rows, err)
	}
	for _, line := range strings.Split(b.pg.Log(), "\n") {
		if strings.Contains(line, "evil ran as") {
			t.Errorf("%s", line)
		}
	}
}
