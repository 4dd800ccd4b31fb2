package collector

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// ask runs some embedded collectors as the exporter's role.
func ask(t *testing.T, c *pgtest.Cluster, database string, names ...string) map[string]float64 {
	t.Helper()
	all := embeddedDefinitions(t)
	var defs []definition.Definition
	for _, name := range names {
		defs = append(defs, only(all, name)...)
	}
	return runAll(t, c, database, defs, definition.RolePrimary, map[string]bool{})
}

// has compares series with what they must be; a negative number means absent.
func has(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for series, v := range want {
		is, ok := got[series]
		if ok != (v >= 0) || ok && is != v {
			t.Errorf("%s = %v (there: %v), want %v", series, is, ok, v)
		}
	}
}

func TestInvalidIndexesAreThoseNobodyBuilds(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		index := func(table, name string) string {
			return fmt.Sprintf(`pg_reliability_invalid_index_size_bytes|datname="postgres"|schemaname="public"|relname=%q|indexrelname=%q`, table,
				name)
		}
		const count = `pg_reliability_invalid_indexes|datname="postgres"`
		must(t, c.Exec(ctx,
			"CREATE TABLE twins (id int)", "INSERT INTO twins SELECT g % 10 FROM generate_series(1, 20000) AS g",
			"CREATE TABLE busy (id int)", "CREATE INDEX busy_id ON busy (id)",
			"CREATE TABLE parts (id int) PARTITION BY RANGE (id)",
			"CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9)",
		))
		has(t, ask(t, c, "postgres", "invalid_indexes"), map[string]float64{count: 0})

		if err := c.Exec(ctx, "CREATE UNIQUE INDEX CONCURRENTLY twins_id ON twins (id)"); err == nil {
			t.Fatal("the index could be made")
		}
		got := ask(t, c, "postgres", "invalid_indexes")
		if size, ok := got[index("twins", "twins_id")]; !ok || got[count] != 1 {
			t.Errorf("size %v, %v; want one invalid index: %v", size, ok, got)
		}
		must(t, c.Exec(ctx, "CREATE INDEX parts_id ON ONLY parts (id)"))
		has(t, ask(t, c, "postgres", "invalid_indexes"), map[string]float64{count: 2, index("parts", "parts_id"): 0})
		must(t, c.Exec(ctx, "CREATE INDEX part_id ON part (id)", "ALTER INDEX parts_id ATTACH PARTITION part_id"))

		// Commands that wait for an open transaction, with an index that is invalid meanwhile.
		for _, command := range []string{
			"CREATE INDEX CONCURRENTLY busy_more ON busy (id)", "REINDEX TABLE CONCURRENTLY busy", "DROP INDEX CONCURRENTLY busy_id",
		} {
			open := hold(t, c, "postgres", "BEGIN", "INSERT INTO busy VALUES (1)")
			worker := connectSuper(t, c, "postgres")
			done := make(chan error, 1)
			go func() {
				_, err := worker.Exec(context.Background(), command)
				done <- err
			}()
			pgtest.Eventually(t, 20*time.Second, func() error {
				n, err := c.Query(ctx, "postgres", "SELECT count(*)::text FROM pg_index AS i WHERE NOT indisvalid AND indrelid = 'busy'::regclass"+
					" AND EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
				if err == nil && n == "0" {
					err = fmt.Errorf("%s: no index of busy is invalid", command)
				}
				return err
			})
			has(t, ask(t, c, "postgres", "invalid_indexes"),
				map[string]float64{count: 1, index("twins", "twins_id"): got[index("twins", "twins_id")]})
			if command[0] == 'C' {
				must(t, c.Exec(ctx, "REVOKE pg_monitor FROM "+pgtest.Monitor))
				has(t, ask(t, c, "postgres", "invalid_indexes"), map[string]float64{count: -1}) // somebody builds: who knows what
				must(t, c.Exec(ctx, "GRANT pg_monitor TO "+pgtest.Monitor))
			}
			must(t, open.Close(context.Background()))
			must(t, <-done)
		}
		must(t, c.Exec(ctx, "DROP INDEX twins_id"))
		has(t, ask(t, c, "postgres", "invalid_indexes"), map[string]float64{count: 0, index("twins", "twins_id"): -1})
	})
}

func TestSequencesEndWithTheirColumns(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		totals := func(name string) string { return "pg_reliability_sequences" + name + `|datname="postgres"` }
		sequence := func(name string) string {
			return fmt.Sprintf(`pg_reliability_sequence_used_ratio|datname="postgres"|schemaname="public"|sequencename=%q`, name)
		}
		const int4 = 1<<31 - 1
		half := float64(int4/2) / int4
		must(t, c.Exec(ctx,
			"CREATE TABLE serial4 (id serial)",
			"CREATE SEQUENCE wide", "CREATE TABLE narrow (id int DEFAULT nextval('wide'))", // no owner
			"CREATE TABLE identity2 (id smallint GENERATED ALWAYS AS IDENTITY)",
			"CREATE DOMAIN small AS int", "CREATE SEQUENCE owned", "CREATE TABLE domain4 (id small)", "ALTER SEQUENCE owned OWNED BY domain4.id",
			"CREATE SEQUENCE unfed",
			"CREATE SEQUENCE down INCREMENT -1 MINVALUE -100",
			"CREATE SEQUENCE below MINVALUE -100 MAXVALUE 100",
			"CREATE SEQUENCE round MAXVALUE 10 CYCLE",
			"CREATE SEQUENCE turn CYCLE", "CREATE TABLE turned (id int DEFAULT nextval('turn'))", // its column ends first
			"CREATE SEQUENCE unused", "CREATE TEMP SEQUENCE passing",
			"CREATE SEQUENCE secret", "SELECT nextval('secret')",
			fmt.Sprintf("SELECT setval('serial4_id_seq', %d)", int4/2),
			fmt.Sprintf("SELECT setval('wide', %d)", int4/2),
			"SELECT setval('identity2_id_seq', 32767)",
			fmt.Sprintf("SELECT setval('owned', %d)", 2*int4),
			fmt.Sprintf("SELECT setval('unfed', %d)", int4/2),
			"SELECT setval('down', -50)", "SELECT setval('below', 0)", "SELECT setval('round', 9)",
			fmt.Sprintf("SELECT setval('turn', %d)", int4/2),
		))
		// As users get it, pg_monitor reads no sequence.
		has(t, ask(t, c, "postgres", "sequences"), map[string]float64{
			totals(""): 10, totals("_unreadable"): 10, totals("_omitted"): 0, totals("_worst_used_ratio"): -1,
		})
		runScript(t, c, "../deploy/sql/sequences.sql")
		must(t, c.Exec(ctx, "REVOKE SELECT ON SEQUENCE secret FROM "+pgtest.Monitor))
		want := map[string]float64{
			totals(""): 10, totals("_unreadable"): 1, totals("_omitted"): 0, totals("_worst_used_ratio"): 2,
			sequence("serial4_id_seq"): half, sequence("wide"): half, sequence("identity2_id_seq"): 1, sequence("owned"): 2,
			sequence("unfed"): float64(int4/2) / float64(1<<63-1), sequence("down"): 0.5, sequence("below"): 0.5, sequence("turn"): half,
			sequence("round"): -1, sequence("unused"): -1, sequence("secret"): -1, sequence("passing"): -1,
		}
		// below starts at -100, as far as it may go; its middle is 0.
		has(t, ask(t, c, "postgres", "sequences"), want)

		// Nobody waits for one that is being altered.
		hold(t, c, "postgres", "BEGIN", "ALTER SEQUENCE owned CACHE 2")
		want[sequence("owned")], want[totals("_worst_used_ratio")] = -1, 1
		has(t, ask(t, c, "postgres", "sequences"), want)

		// Those made later can be read, too, and however many there are, few are.
		must(t, c.Exec(ctx, "DO $$ BEGIN FOR i IN 1..250 LOOP EXECUTE 'CREATE SEQUENCE many' || i; END LOOP; END $$",
			"SELECT setval('many7', 9223372036854775807)"))
		got := ask(t, c, "postgres", "sequences")
		has(t, got, map[string]float64{totals(""): 260, totals("_unreadable"): 1, totals("_omitted"): 59})
		// The fullest tables are not among those left out.
		has(t, got, map[string]float64{sequence("identity2_id_seq"): 1})
		must(t, c.Exec(ctx, "DO $$ BEGIN FOR i IN 1..50 LOOP PERFORM setval('many' || i, i); END LOOP; END $$"))
		n := 0
		for series := range ask(t, c, "postgres", "sequences") {
			if strings.HasPrefix(series, "pg_reliability_sequence_used_ratio|") {
				n++
			}
		}
		if n != 20 {
			t.Errorf("%d sequences have metrics of their own, want 20", n)
		}
	})
}

func TestPasswordsEnd(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		ends := func(role string) string {
			return fmt.Sprintf("pg_reliability_role_password_expiry_timestamp_seconds|rolname=%q", role)
		}
		const expired = "pg_reliability_roles_password_expired"
		has(t, ask(t, c, "postgres", "role_passwords"), map[string]float64{expired: 0})
		must(t, c.Exec(t.Context(),
			"CREATE ROLE old LOGIN VALID UNTIL '2001-09-09 01:46:40 UTC'",
			"CREATE ROLE soon LOGIN REPLICATION VALID UNTIL '2096-10-02 07:06:40 UTC'",
			"CREATE ROLE never LOGIN VALID UNTIL 'infinity'",
			"CREATE ROLE always LOGIN VALID UNTIL '-infinity'",
			"CREATE ROLE open LOGIN",
			"CREATE ROLE of_many VALID UNTIL '2096-10-02 07:06:40 UTC'",
		))
		has(t, ask(t, c, "postgres", "role_passwords"), map[string]float64{
			expired: 2, ends("old"): 1e9, ends("soon"): 4e9, ends("never"): -1, ends("always"): -1, ends("open"): -1, ends("of_many"): -1,
		})
		// What is over long since does not hide what is next.
		must(t, c.Exec(t.Context(), "DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE ROLE gone%s LOGIN VALID UNTIL %L', i, "+
			"'2020-01-01'); END LOOP; END $$"))
		got := ask(t, c, "postgres", "role_passwords")
		has(t, got, map[string]float64{expired: 32, ends("soon"): 4e9, ends("old"): -1})
		if len(got) != 21 {
			t.Errorf("%d series, want 20 roles and their number", len(got))
		}
	})
}

func TestStatementsOfEveryVersionOfTheExtension(t *testing.T) {
	t.Parallel()
	settings := map[string]string{
		"shared_preload_libraries": "'pg_stat_statements'", "pg_stat_statements.track": "all", "pg_stat_statements.max": "100",
		"track_io_timing": "on", "work_mem": "'64kB'",
	}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
		ctx := t.Context()
		must(t, c.Exec(ctx, "CREATE DATABASE gone", "CREATE ROLE passing LOGIN SUPERUSER", "CREATE DATABASE loaded",
			"CREATE SCHEMA \"odd schema\"",
			"GRANT USAGE ON SCHEMA \"odd schema\" TO "+pgtest.Monitor))
		if got := ask(t, c, "postgres", "statements", "statements_info", "statements_text"); len(got) != 0 {
			t.Errorf("without the extension: %v", got)
		}
		for _, x := range []struct {
			version   string // empty is the newest
			wal, info bool
		}{{"1.7", false, false}, {"1.8", true, false}, {"", true, c.Install.Major >= 14}} {
			create := "CREATE EXTENSION pg_stat_statements SCHEMA \"odd schema\""
			if x.version != "" {
				create += " VERSION '" + x.version + "'"
			}
			must(t, c.Exec(ctx, "DROP EXTENSION IF EXISTS pg_stat_statements", create, "SELECT \"odd schema\".pg_stat_statements_reset()",
				"DROP TABLE IF EXISTS rows"))
			must(t, c.Exec(ctx,
				"CREATE TABLE rows (id int, t text)",
				"INSERT INTO rows SELECT g, repeat('x', 100) FROM generate_series(1, 5000) AS g",
				"DO $$ BEGIN PERFORM count(*) FROM rows WHERE id = 1; END $$",
				"SELECT count(*) FROM rows WHERE id = 2", // the same, top level
				"SELECT DISTINCT t || id FROM rows ORDER BY 1 DESC",
			))
			id, err := c.Query(ctx, "postgres", "SELECT queryid::text FROM \"odd schema\".pg_stat_statements WHERE query LIKE 'INSERT INTO rows%'")
			must(t, err)
			got := ask(t, c, "postgres", "statements", "statements_info", "statements_text")
			series := func(metric, id string) string {
				return fmt.Sprintf(`%s|user="postgres"|datname="postgres"|queryid=%q`, metric, id)
			}
			has(t, got, map[string]float64{
				series("pg_stat_statements_calls_total", id): 1, series("pg_stat_statements_rows_total", id): 5000,
				"pg_reliability_statements_omitted": 0, fmt.Sprintf("pg_reliability_statements_own_role|own_role=%q", pgtest.Monitor): 1,
			})
			wal, ok := got[series("pg_reliability_statements_wal_bytes_total", id)]
			if ok != x.wal || ok && wal < 500_000 {
				t.Errorf("extension %q: WAL of an INSERT of half a megabyte: %v, %v", x.version, wal, ok)
			}
			if s := got[series("pg_stat_statements_seconds_total", id)]; s <= 0 || s > 30 {
				t.Errorf("extension %q: INSERT took %v s", x.version, s)
			}
			if _, ok := got["pg_reliability_statements_deallocations_total"]; ok != x.info {
				t.Errorf("extension %q: deallocations are there: %v, want %v", x.version, ok, x.info)
			}
			if _, ok := got[series("pg_stat_statements_block_read_seconds_total", id)]; !ok {
				t.Errorf("extension %q: no block_read_seconds", x.version)
			}
			twice, err := c.Query(ctx, "postgres", "SELECT min(queryid)::text FROM \"odd schema\".pg_stat_statements WHERE query LIKE 'SELECT "+
				"count(*) FROM rows WHERE%'")
			must(t, err)
			if n := got[series("pg_stat_statements_calls_total", twice)]; n != 2 {
				t.Errorf("extension %q: %v calls of a statement on two levels", x.version, n)
			}
			sorted, err := c.Query(ctx, "postgres", "SELECT queryid::text FROM \"odd schema\".pg_stat_statements WHERE query LIKE 'SELECT "+
				"DISTINCT%'")
			must(t, err)
			for _, of := range []string{"read", "written"} {
				if b := got[series("pg_reliability_statements_temp_"+of+"_bytes_total", sorted)]; b < 100_000 {
					t.Errorf("extension %q: %v temporary bytes %s by a sort of half a megabyte", x.version, b, of)
				}
			}
		}

		// Of databases and roles that are gone nobody knows the names.
		must(t, c.ExecIn(ctx, "gone", "SELECT 'in gone'"))
		passing, err := pgx.Connect(ctx, c.SocketDSN("passing", "postgres"))
		must(t, err)
		_, err = passing.Exec(ctx, "SELECT 'by passing', 2")
		must(t, err)
		must(t, passing.Close(ctx))
		must(t, c.Exec(ctx, "DROP DATABASE gone", "DROP ROLE passing"))
		for series := range ask(t, c, "postgres", "statements") {
			if strings.Contains(series, `"gone"`) || strings.Contains(series, `"passing"`) || strings.Contains(series, `=""`) {
				t.Errorf("%s", series)
			}
		}

		// Texts are normalised, and a password is never among them.
		must(t, c.Exec(ctx, "CREATE ROLE r PASSWORD 'hidden1'", "SELECT 'hidden2' AS\n\t v, pg_sleep(0.3)", "SELECT pg_sleep(0.3), "+
			strings.Repeat("1, ", 300)+"2"))
		shown, longest := false, 0
		for series := range ask(t, c, "postgres", "statements_text") {
			_, quoted, _ := strings.Cut(series, "|query=")
			text, err := strconv.Unquote(quoted)
			must(t, err)
			shown, longest = shown || text == "SELECT $1 AS v, pg_sleep($2)", max(longest, len(text))
			if strings.Contains(series, "hidden") {
				t.Errorf("%s", series)
			}
		}
		if !shown || longest != 120 {
			t.Errorf("the text of a SELECT is shown: %v; the longest has %d bytes, want 120", shown, longest)
		}

		// As many as there may be, and those that are thrown out.
		var many strings.Builder
		for i := range 150 {
			fmt.Fprintf(&many, "PERFORM %s2; ", strings.Repeat("1, ", i))
		}
		must(t, c.Exec(ctx, "DO $$ BEGIN "+many.String()+"END $$"))
		got := ask(t, c, "postgres", "statements", "statements_info")
		calls := 0
		for series := range got {
			if strings.HasPrefix(series, "pg_stat_statements_calls_total|") {
				calls++
			}
		}
		if calls != 50 || got["pg_reliability_statements_omitted"] != got["pg_reliability_statements"]-50 {
			t.Errorf("%d statements are shown, %v omitted of %v", calls, got["pg_reliability_statements_omitted"], got["pg_reliability_statements"])
		}
		if c.Install.Major >= 14 && got["pg_reliability_statements_deallocations_total"] == 0 {
			t.Error("nothing was thrown out of 100 statements")
		}
	})
}

// The extension can exist where its library is not loaded: after a restore, say. Each query on it fails then.
func TestStatementsWithoutTheirLibraryAreSkipped(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"pg_stat_statements.max": "100"}})
	must(t, c.Exec(t.Context(), "CREATE EXTENSION pg_stat_statements"))
	if got := ask(t, c, "postgres", "statements", "statements_info"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func runScript(t *testing.T, c *pgtest.Cluster, file string) {
	t.Helper()
	script, err := os.ReadFile(file)
	must(t, err)
	_, err = connectSuper(t, c, "postgres").PgConn().Exec(t.Context(), string(script)).ReadAll()
	must(t, err)
}
