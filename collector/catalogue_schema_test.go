package collector

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// named is the series of something of a table in the schema public, by its labels behind relname.
func named(metric, relname string, more ...string) string {
	s := fmt.Sprintf(`%s|datname="postgres"|schemaname="public"|relname=%q`, metric, relname)
	for i := 0; i+1 < len(more); i += 2 {
		s += fmt.Sprintf(`|%s=%q`, more[i], more[i+1])
	}
	return s
}

const inPostgres = `|datname="postgres"`

func TestIndexesThatNobodyNeeds(t *testing.T) {
	t.Parallel()
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(),
			"CREATE TABLE a (id int PRIMARY KEY, b int, c text, d int, EXCLUDE USING btree (d WITH =))",
			"INSERT INTO a SELECT g, g, g::text, g FROM generate_series(1, 5000) AS g",
			"CREATE INDEX copied ON a (b, c)", "CREATE INDEX copy ON a (b, c)", "CREATE INDEX beginning ON a (b)",
			"CREATE INDEX other_order ON a (c, b)", "CREATE INDEX down ON a (b DESC)", "CREATE INDEX pattern ON a (c text_pattern_ops)",
			"CREATE INDEX part ON a (b) WHERE d > 5", "CREATE INDEX same_part ON a (b)   WHERE d > 5",
			"CREATE INDEX lowered ON a (lower(c))", "CREATE INDEX lowered_too ON a ( lower(c) )", "CREATE INDEX uppered ON a (upper(c))",
			"CREATE UNIQUE INDEX of_key ON a (id)", "CREATE INDEX covering ON a (b) INCLUDE (d)",
			"CREATE TABLE p (id int, at int) PARTITION BY RANGE (at)",
			"CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)", "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
			"CREATE INDEX p_id ON p (id)", "CREATE INDEX p_at ON p (at)",
			"INSERT INTO p SELECT g, g % 20 FROM generate_series(1, 100) AS g",
			"CREATE TEMP TABLE passing (id int PRIMARY KEY)",
			"VACUUM ANALYZE a",
		))
		session := hold(t, c, "postgres", "SET enable_seqscan = off", "SET enable_bitmapscan = off",
			"SELECT count(*) FROM a WHERE lower(c) = '7'", "SELECT id FROM p2 WHERE at = 13")
		must(t, session.Close(t.Context()))
		instead := func(index, of string) string {
			return named("pg_reliability_redundant_index_size_bytes", "a", "indexrelname", index, "instead", of)
		}
		unused := func(table, index string) string {
			return named("pg_reliability_unused_index_size_bytes", table, "indexrelname", index)
		}
		pgtest.Eventually(t, 10*time.Second, func() error { // 13 and 14 hear of a scan half a second later
			got := ask(t, c, "postgres", "unused_indexes")
			if _, there := got[unused("p", "p_at")]; there || got["pg_reliability_unused_indexes"+inPostgres] != 12 {
				return fmt.Errorf("the scans are not counted yet: %v", got)
			}
			return nil
		})
		got := ask(t, c, "postgres", "user_indexes", "unused_indexes", "redundant_indexes", "stat_user_indexes", "statio_user_indexes")
		has(t, got, map[string]float64{
			"pg_reliability_user_indexes" + inPostgres: 19, "pg_reliability_user_indexes_omitted" + inPostgres: 0,
			unused("p", "p_id"): 2 * 8192, unused("p1", "p1_id_idx"): -1, unused("a", "a_pkey"): -1, unused("a", "a_d_excl"): -1,
			unused("a", "of_key"):                                                                     -1,
			"pg_reliability_redundant_indexes" + inPostgres:                                           5,
			named("pg_stat_user_indexes_idx_scan", "p2", "indexrelname", "p2_at_idx"):                 1,
			named("pg_stat_user_indexes_idx_scan", "a", "indexrelname", "uppered"):                    0,
			named("pg_reliability_index_last_scan_timestamp_seconds", "a", "indexrelname", "uppered"): -1,
		})
		for _, series := range []string{
			instead("copy", "copied"), instead("beginning", "copied"), instead("same_part", "part"),
			instead("lowered_too", "lowered"), instead("of_key", "a_pkey"), unused("a", "copied"),
			named("pg_stat_user_indexes_size_bytes", "a", "indexrelname", "copied"),
		} {
			if got[series] < 8192 {
				t.Errorf("%s = %v, want some pages", series, got[series])
			}
		}
		if at := got[named("pg_reliability_index_last_scan_timestamp_seconds", "p2", "indexrelname", "p2_at_idx")]; c.Install.Major >= 16 &&
			math.Abs(at-float64(time.Now().Unix())) > 600 {
			t.Errorf("the newest scan was at %v", at)
		}
		if b := got[named("pg_statio_user_indexes_idx_blks_hit_total", "p2", "indexrelname", "p2_at_idx")]; b < 1 {
			t.Errorf("%v blocks of a scanned index hit", b)
		}

		// Nobody waits for an index that is locked.
		hold(t, c, "postgres", "BEGIN", "REINDEX INDEX copied")
		has(t, ask(t, c, "postgres", "stat_user_indexes"), map[string]float64{
			named("pg_stat_user_indexes_size_bytes", "a", "indexrelname", "copied"): -1, named("pg_stat_user_indexes_idx_scan", "a", "indexrelname",
				"copied"): 0,
		})
	})
}

func TestSchemasThatAreHidden(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	for _, schema := range []string{"tmp_1", "tmpx", `"it's"`, "kept"} {
		must(t, c.Exec(t.Context(), "CREATE SCHEMA "+schema, "CREATE TABLE "+schema+".t (id int)", "CREATE INDEX i ON "+schema+".t (id)",
			"CREATE SEQUENCE "+schema+".s"))
	}
	defs := embeddedDefinitions(t)
	definition.Hide(defs, definition.Hidden{Schemas: []string{"tmp_*", "it's"}})
	got := runAll(t, c, "postgres", defs, definition.RolePrimary, map[string]bool{})
	for schema, shown := range map[string]bool{"tmp_1": false, "it's": false, "tmpx": true, "kept": true} {
		series := fmt.Sprintf(`pg_stat_user_tables_seq_scan|datname="postgres"|schemaname=%q|relname="t"`, schema)
		if _, there := got[series]; there != shown {
			t.Errorf("%s is there: %v, want %v", series, there, shown)
		}
	}
	has(t, got, map[string]float64{
		"pg_reliability_user_tables" + inPostgres: 2, "pg_reliability_user_indexes" + inPostgres: 2, "pg_reliability_sequences" + inPostgres: 2,
		"pg_reliability_unused_indexes" + inPostgres: 2, "pg_reliability_tables_without_primary_key" + inPostgres: 2,
	})
}

func TestWhatASchemaLacks(t *testing.T) {
	t.Parallel()
	names := []string{"primary_keys", "foreign_keys", "unvalidated_constraints", "unlogged_tables", "partitioned_tables", "user_tables_detail"}
	pgtest.EachVersion(t, pgtest.Options{}, func(t *testing.T, c *pgtest.Cluster) {
		totals := func(keys, foreign, constraints, unlogged, partitioned, strays float64) map[string]float64 {
			return map[string]float64{
				"pg_reliability_tables_without_primary_key" + inPostgres: keys, "pg_reliability_foreign_keys_without_index" + inPostgres: foreign,
				"pg_reliability_unvalidated_constraints" + inPostgres: constraints, "pg_reliability_unlogged_tables" + inPostgres: unlogged,
				"pg_reliability_partitioned_tables" + inPostgres: partitioned, "pg_reliability_partitioned_tables_omitted" + inPostgres: 0,
				"pg_reliability_default_partitions_rows" + inPostgres: strays,
			}
		}
		has(t, ask(t, c, "postgres", names...), totals(0, 0, 0, 0, 0, 0))
		must(t, c.Exec(t.Context(),
			"CREATE TABLE whole (id int, part int, PRIMARY KEY (id, part))", "CREATE TABLE keyless (id int UNIQUE)",
			"INSERT INTO keyless SELECT generate_series(1, 1000)", "VACUUM ANALYZE keyless",
			"CREATE TABLE fast (id int PRIMARY KEY, a int, b int, c int, FOREIGN KEY (a, b) REFERENCES whole)", "CREATE INDEX ON fast (b, a, c)",
			"CREATE TABLE slow (id int PRIMARY KEY, a int, b int, CONSTRAINT slow_whole FOREIGN KEY (a, b) REFERENCES whole)",
			"CREATE INDEX ON slow (a)", "CREATE INDEX ON slow (id, a, b)", "CREATE INDEX ON slow (a, b) WHERE id > 7", "ANALYZE slow",
			"ALTER TABLE keyless ADD CONSTRAINT late CHECK (id > 0) NOT VALID",
			"CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY)",
			"CREATE TABLE parts (id int, at int) PARTITION BY RANGE (at)",
			"CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)",
			"CREATE TABLE parts_rest PARTITION OF parts DEFAULT PARTITION BY RANGE (at)",
			"CREATE TABLE parts_2 PARTITION OF parts_rest FOR VALUES FROM (100) TO (200)", "CREATE TABLE parts_3 PARTITION OF parts_rest DEFAULT",
			"CREATE INDEX ON parts (id)",
			"CREATE TABLE lists (id int PRIMARY KEY) PARTITION BY LIST (id)", "CREATE TABLE lists_rest PARTITION OF lists DEFAULT",
			"INSERT INTO parts SELECT g, g FROM generate_series(0, 249) AS g",
			"CREATE TEMP TABLE passing (id int)",
		))
		if c.Install.Major >= 18 {
			must(t, c.Exec(t.Context(), "ALTER TABLE keyless ADD CONSTRAINT never CHECK (id > 0) NOT ENFORCED"))
		}
		sum := func(metric string) string { return named("pg_reliability_partitioned_table_"+metric, "parts") }
		counted := func(metric string, want float64) { // what a session has done is counted when it has ended
			pgtest.Eventually(t, 10*time.Second, func() error {
				if n := ask(t, c, "postgres", "partitioned_tables")[sum(metric)]; n != want {
					return fmt.Errorf("%s is %v, want %v", metric, n, want)
				}
				return nil
			})
		}
		counted("live_rows", 250)
		must(t, c.Exec(t.Context(), "VACUUM ANALYZE parts_1, parts_2, parts_3, lists_rest"))
		must(t, c.Exec(t.Context(), "DELETE FROM parts WHERE id < 10"))
		counted("dead_rows", 10)
		got := ask(t, c, "postgres", names...)
		has(t, got, totals(2, 1, 1, 1, 2, 150))
		has(t, got, map[string]float64{
			named("pg_reliability_table_without_primary_key_size_bytes", "keyless"):                             5 * 8192,
			named("pg_reliability_table_without_primary_key_size_bytes", "parts"):                               0,
			named("pg_reliability_table_without_primary_key_size_bytes", "parts_1"):                             -1,
			named("pg_reliability_foreign_key_without_index_table_size_bytes", "slow", "conname", "slow_whole"): 0,
			named("pg_reliability_unvalidated_constraint_table_size_bytes", "keyless", "conname", "late"):       5 * 8192,
			named("pg_reliability_unlogged_table_size_bytes", "fleeting"):                                       0,
			sum("partitions"): 3, sum("live_rows"): 240, sum("dead_rows"): 10, sum("size_bytes"): 3 * 8192, sum("index_size_bytes"): 6 * 8192,
			named("pg_reliability_partitioned_table_partitions", "lists"):       1,
			named("pg_reliability_default_partition_rows", "parts_rest"):        150,
			named("pg_reliability_default_partition_rows", "parts_3"):           -1,
			named("pg_reliability_default_partition_rows", "lists_rest"):        0,
			named("pg_reliability_table_rows_inserted_since_vacuum", "parts_1"): 0,
		})
		if age, ok := got[named("pg_reliability_table_xid_age", "keyless")]; !ok || age < 1 || age > 1000 {
			t.Errorf("age of a new table: %v, %v", age, ok)
		}
		_, there := got[named("pg_reliability_table_xid_age", "parts")]
		if there {
			t.Error("a partitioned table has transaction ids of its own")
		}
	})
}

// bloatFixtures are tables whose bloat is measured by pgstattuple: name, columns, rows, and what happens to them.
var bloatFixtures = []struct {
	name, columns, values, then string
	rows                        int
}{
	{"numbers", "id bigint PRIMARY KEY, a int, b int", "g, g, g", "", 60000},
	{"narrow", "id int PRIMARY KEY", "g", "DELETE FROM narrow WHERE id % 2 = 0", 60000},
	{"padded", "a \"char\", id bigint PRIMARY KEY, b smallint, c double precision, d bool", "'x', g, 1, g, true",
		"DELETE FROM padded WHERE id % 10 < 3", 60000},
	{"texts", "id int PRIMARY KEY, t text, u text", "g, md5(g::text), repeat('u', g % 40)", "DELETE FROM texts WHERE id % 3 = 0", 60000},
	{"nulls", "id int PRIMARY KEY, a int, t text, b timestamptz", "g, CASE WHEN g % 2 = 0 THEN g END, CASE WHEN g % 3 > 0 THEN " +
		"md5(g::text) END, CASE WHEN g % 5 = 0 THEN now() END", "", 200000},
	{"wide", "id int PRIMARY KEY, t text, j jsonb", "g, repeat(md5(g::text), 12), jsonb_build_object('a', g, 'b', md5(g::text))",
		"DELETE FROM wide WHERE id % 4 <> 0", 60000},
	{"filled", "id uuid PRIMARY KEY, n numeric, at timestamptz", "md5(g::text)::uuid, g / 7.0, now()",
		"UPDATE filled SET at = at + '1s' WHERE n < 1500", 60000},
	{"repeated", "id int PRIMARY KEY, kind int, name text", "g, g % 20, 'name ' || g % 300", "UPDATE repeated SET kind = kind + 1 WHERE id " +
		"% 2 = 0", 250000},
}

func TestBloatAgainstPgstattuple(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"autovacuum": "off"}
	pgtest.EachVersion(t, pgtest.Options{Settings: settings}, func(t *testing.T, c *pgtest.Cluster) {
		must(t, c.Exec(t.Context(), "CREATE EXTENSION pgstattuple", "CREATE TABLE secret AS SELECT generate_series(1, 40000) AS id",
			"CREATE INDEX ON secret (id, id, id)", "CREATE TABLE fresh AS SELECT generate_series(1, 40000) AS id", "VACUUM secret, fresh",
			"CREATE TABLE small AS SELECT generate_series(1, 1000) AS id", "ANALYZE small, secret"))
		for _, f := range bloatFixtures {
			fill := "CREATE TABLE " + f.name + " (" + f.columns + ")"
			if f.name == "filled" {
				fill += " WITH (fillfactor = 80)"
			}
			must(t, c.Exec(t.Context(), fill, "INSERT INTO "+f.name+" SELECT "+f.values+" FROM generate_series(1, "+strconv.Itoa(f.rows)+") AS g"))
		}
		must(t, c.Exec(t.Context(), "CREATE INDEX repeated_kind ON repeated (kind)", "CREATE INDEX repeated_name ON repeated (name)",
			"CREATE INDEX texts_t ON texts (t)", "CREATE INDEX texts_both ON texts (u, id)", "CREATE INDEX nulls_a ON nulls (a)",
			"CREATE INDEX upper_t ON texts (upper(t))"))
		for _, f := range bloatFixtures {
			if f.then != "" {
				must(t, c.Exec(t.Context(), f.then))
			}
			must(t, c.Exec(t.Context(), "VACUUM ANALYZE "+f.name))
		}

		got := ask(t, c, "postgres", "table_bloat", "index_bloat")
		has(t, got, map[string]float64{
			"pg_reliability_table_bloat_unreadable" + inPostgres: 10, "pg_reliability_index_bloat_unreadable" + inPostgres: 15,
			"pg_reliability_table_bloat_omitted" + inPostgres: 0, "pg_reliability_table_bloat_unanalyzed" + inPostgres: 0,
		})
		must(t, c.Exec(t.Context(), "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+pgtest.Monitor, "REVOKE SELECT ON secret FROM "+
			pgtest.Monitor))
		got = ask(t, c, "postgres", "table_bloat", "index_bloat")
		has(t, got, map[string]float64{
			"pg_reliability_table_bloat_unreadable" + inPostgres: 1, "pg_reliability_index_bloat_unreadable" + inPostgres: 1,
			"pg_reliability_table_bloat_unanalyzed" + inPostgres: 1, "pg_reliability_index_bloat_unanalyzed" + inPostgres: 1,
			// its statistics belong to the index, which can't be granted
			named("pg_reliability_index_bloat_ratio", "texts", "indexrelname", "upper_t"): -1,
			named("pg_reliability_table_bloat_ratio", "secret"):                           -1,
			named("pg_reliability_table_bloat_ratio", "small"):                            -1,
			named("pg_reliability_table_bloat_ratio", "fresh"):                            -1,
		})
		compare := func(what, sql string) {
			measured, err := c.Query(t.Context(), "postgres", sql)
			must(t, err)
			var is float64
			_, err = fmt.Sscan(measured, &is)
			must(t, err)
			estimate, ok := got[what]
			if !ok {
				t.Errorf("no %s", what)
			}
			off := 100 * math.Abs(estimate-is)
			t.Logf("%5.1f %% estimated, %5.1f %% real: %s", 100*estimate, 100*is, what)
			allowed := 7.0
			if strings.Contains(what, "repeated") { // equal entries that updates have moved apart
				allowed = 13
			}
			if off > allowed {
				t.Errorf("%s is off by %.1f percent points: %.1f estimated, %.1f real", what, off, 100*estimate, 100*is)
			}
		}
		if c.Install.Major >= 14 {
			must(t, c.Exec(t.Context(), "GRANT pg_read_all_data TO "+pgtest.Monitor))
			if _, there := ask(t, c, "postgres", "index_bloat")[named("pg_reliability_index_bloat_ratio", "texts", "indexrelname",
				"upper_t")]; !there {
				t.Error("an index of an expression is not estimated for who reads all data")
			}
		}
		for _, f := range bloatFixtures {
			fill := 100
			if f.name == "filled" {
				fill = 80
			}
			// What is free or dead, less what the fillfactor leaves free on purpose.
			compare(named("pg_reliability_table_bloat_ratio", f.name), fmt.Sprintf(
				"SELECT greatest(0, (dead_tuple_len + free_space) / table_len::float8 - %d / 100.0)::text FROM pgstattuple('%s')", 100-fill, f.name))
		}
		for _, index := range [][2]string{
			{"numbers", "numbers_pkey"}, {"narrow", "narrow_pkey"}, {"padded", "padded_pkey"}, {"texts", "texts_pkey"}, {"texts", "texts_t"},
			{"texts", "texts_both"}, {"nulls", "nulls_a"}, {"wide", "wide_pkey"}, {"filled", "filled_pkey"},
			{"repeated", "repeated_kind"}, {"repeated", "repeated_name"},
		} {
			compare(named("pg_reliability_index_bloat_ratio", index[0], "indexrelname", index[1]), fmt.Sprintf(
				"SELECT greatest(0, 1 - (leaf_pages * avg_leaf_density / 90 + internal_pages + 1) * current_setting('block_size')::int / "+
					"index_size)::text FROM pgstatindex('%s')", index[1]))
		}
	})
}
