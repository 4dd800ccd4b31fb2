package collector

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/common/model"

	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// oddDatabase has what breaks naive quoting, of SQL and of labels.
const oddDatabase = "odd \"name\" with ünïcode, {braces}=\\"

// answer is a query's result in text form; a nil value is NULL.
type answer struct {
	columns []string
	rows    [][]*string
}

func query(conn *pgx.Conn, sql string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience(20*time.Second))
	defer cancel()
	// Prepared, because the columns of an empty result are known only so.
	prepared, err := conn.PgConn().Prepare(ctx, "", sql, nil)
	if err != nil {
		return answer{}, err
	}
	result := conn.PgConn().ExecPrepared(ctx, "", nil, nil, nil).Read()
	if result.Err != nil {
		return answer{}, result.Err
	}
	var a answer
	for _, f := range prepared.Fields {
		a.columns = append(a.columns, f.Name)
	}
	for _, r := range result.Rows {
		row := make([]*string, len(r))
		for i, v := range r {
			if v != nil {
				s := string(v)
				row[i] = &s
			}
		}
		a.rows = append(a.rows, row)
	}
	return a, nil
}

// samples maps each series to its value; problems are what the engine would have to drop.
func samples(d *definition.Definition, version int, a answer) (series map[string]float64, problems []string) {
	series = map[string]float64{}
	for _, m := range d.MetricsFor(version) {
		index := func(column string) int {
			i := slices.Index(a.columns, column)
			if i < 0 {
				problems = append(problems, fmt.Sprintf("metric %s%s: no column %q in %v", m.Name, m.NamePrefix, column, a.columns))
			}
			return i
		}
		value := index(m.Column)
		wanted := m.Labels
		if m.NameColumn != "" {
			wanted = append([]string{m.NameColumn, m.HelpColumn}, wanted...)
		}
		var labels []int
		for _, l := range wanted {
			labels = append(labels, index(l))
		}
		if value < 0 || slices.Contains(labels, -1) {
			continue
		}
		for _, row := range a.rows {
			if row[value] == nil {
				continue
			}
			v, err := strconv.ParseFloat(*row[value], 64)
			if err != nil {
				problems = append(problems, fmt.Sprintf("metric %s: %v", m.Name, err))
			}
			name, labels := m.Name, labels
			if m.NameColumn != "" {
				name, labels = m.NamePrefix+*row[labels[0]], labels[2:]
			}
			if !model.LegacyValidation.IsValidMetricName(name) {
				problems = append(problems, fmt.Sprintf("%q is no metric's name", name))
			}
			var key strings.Builder
			key.WriteString(name)
			for i, l := range labels {
				text := ""
				if row[l] != nil {
					text = *row[l]
				}
				fmt.Fprintf(&key, "|%s=%q", m.Labels[i], text)
			}
			if _, twice := series[key.String()]; twice {
				problems = append(problems, "two rows for "+key.String())
			}
			series[key.String()] = v
		}
	}
	return series, problems
}

// connectMonitor opens a session as the exporter's role with the exporter's settings.
func connectMonitor(t testing.TB, c *pgtest.Cluster, database string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(c.DSN(pgtest.Monitor, database))
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = "pg_reliability_exporter"
	var conn *pgx.Conn
	pgtest.Eventually(t, 10*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience(5*time.Second))
		defer cancel()
		conn, err = pgx.ConnectConfig(ctx, cfg)
		return err
	})
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, set := range []string{
		"SET search_path = pg_catalog", "SET default_transaction_read_only = on", "SET jit = off", "SET TimeZone = 'UTC'",
		"SET statement_timeout = '10s'", "SET lock_timeout = '1s'",
	} {
		if _, err := conn.Exec(context.Background(), set); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

func serverVersion(t testing.TB, conn *pgx.Conn) int {
	t.Helper()
	var s string
	if err := conn.QueryRow(context.Background(), "SHOW server_version_num").Scan(&s); err != nil {
		t.Fatal(err)
	}
	v, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// inhabit gives a primary a standby, databases of every kind, slots, tables, and sessions that hold,
// await and prepare. It returns the standby.
func inhabit(t *testing.T, c *pgtest.Cluster) *pgtest.Cluster {
	t.Helper()
	ctx := context.Background()
	standby, err := c.Standby(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Close() })
	ctx, cancel := context.WithTimeout(ctx, pgtest.Patience(time.Minute))
	defer cancel()
	quoted := pgx.Identifier{oddDatabase}.Sanitize()
	must(t, c.Exec(ctx,
		"CREATE DATABASE "+quoted,
		"CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
		"CREATE DATABASE closed",
		"ALTER DATABASE closed ALLOW_CONNECTIONS false",
		"CREATE DATABASE denied CONNECTION LIMIT 3",
		"REVOKE ALL ON DATABASE denied FROM PUBLIC",
		"CREATE ROLE \"role with \"\"quotes\"\"\" LOGIN VALID UNTIL '2099-01-01'",
		"SELECT pg_create_physical_replication_slot('repmgr_slot_7', true)",
		"SELECT pg_create_physical_replication_slot('unused')",
		"SELECT pg_create_logical_replication_slot('logical', 'test_decoding')",
		"SELECT pg_stat_reset()",
		"SELECT pg_stat_reset_shared('archiver')",
	))
	// Before any transaction is left open: a logical slot waits for the end of all of them.
	hold(t, c, "postgres", "SELECT pg_create_physical_replication_slot('temp_1', true, true)",
		"SELECT pg_create_logical_replication_slot('temp_2', 'test_decoding', true)",
		"SELECT pg_create_logical_replication_slot('temp_3', 'test_decoding', true)")
	for _, database := range []string{"postgres", oddDatabase} {
		must(t, c.ExecIn(ctx, database,
			"CREATE SCHEMA \"Sch.ema\"",
			"CREATE TABLE \"Sch.ema\".\"T \"\"1\"\"\" (id int PRIMARY KEY, t text)",
			"INSERT INTO \"Sch.ema\".\"T \"\"1\"\"\" SELECT g, 'x' FROM generate_series(1, 1000) AS g",
			"VACUUM ANALYZE \"Sch.ema\".\"T \"\"1\"\"\"",
			"CREATE SEQUENCE \"Sch.ema\".\"S \"\"1\"\"\"",
			"SELECT nextval('\"Sch.ema\".\"S \"\"1\"\"\"')",
			"GRANT SELECT ON SEQUENCE \"Sch.ema\".\"S \"\"1\"\"\" TO "+pgtest.Monitor,
			"CREATE EXTENSION pg_stat_statements SCHEMA \"Sch.ema\"",
			"GRANT USAGE ON SCHEMA \"Sch.ema\" TO "+pgtest.Monitor,
			"CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at)",
			"CREATE TABLE parted_2026 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
			"CREATE TABLE held (id int PRIMARY KEY, t text)",
			"CREATE TABLE indexed (id int PRIMARY KEY, t text)",
			"CREATE MATERIALIZED VIEW mat AS SELECT 1 AS one",
			"CREATE UNLOGGED TABLE unlogged (id int)",
			"CREATE TABLE parted_rest PARTITION OF parted DEFAULT",
			"CREATE TABLE child (id int REFERENCES \"Sch.ema\".\"T \"\"1\"\"\", other int)",
			"ALTER TABLE child ADD CONSTRAINT late CHECK (other > 0) NOT VALID",
			"CREATE INDEX child_other ON child (other)", "CREATE INDEX child_same ON child (other)",
			"CREATE TABLE large AS SELECT generate_series(1, 60000) AS id", "CREATE INDEX large_id ON large (id)",
			"VACUUM ANALYZE large", "SELECT id FROM large WHERE id = 7", "GRANT SELECT ON large TO "+pgtest.Monitor,
		))
		if err := c.ExecIn(ctx, database, "CREATE UNIQUE INDEX CONCURRENTLY invalid ON \"Sch.ema\".\"T \"\"1\"\"\" (t)"); err == nil {
			t.Fatal("a unique index of values that are not")
		}
		// Sessions that stay: two temporary tables of one name, an open transaction with
		// ACCESS EXCLUSIVE on a table and on an index, another that waits for the table.
		holder := hold(t, c, database, "CREATE TEMP TABLE scratch (id int)", "BEGIN",
			"LOCK TABLE held IN ACCESS EXCLUSIVE MODE", "REINDEX INDEX indexed_pkey")
		_ = hold(t, c, database, "CREATE TEMP TABLE scratch (id int)")
		waiter := connectSuper(t, c, database)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = waiter.Exec(context.Background(), "BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
		}()
		t.Cleanup(func() { _ = holder.Close(context.Background()); <-done })
	}
	hold(t, c, "postgres", "BEGIN", "CREATE TABLE prepared (id int)", "PREPARE TRANSACTION 'forgotten'")
	must(t, standby.Configure(map[string]string{"primary_slot_name": "repmgr_slot_7"}))
	must(t, standby.Reload())
	must(t, c.Exec(ctx, "SELECT pg_switch_wal()", "CREATE TABLE later (id int)"))
	pgtest.Eventually(t, 20*time.Second, func() error {
		return expect(ctx, c, map[string]string{"SELECT (archived_count > 0)::text FROM pg_stat_archiver": "true"})
	})
	changed := map[string]string{"max_connections": "51", "archive_command": "'false'"} // the first waits for a restart
	if c.Install.Major >= 14 {
		changed["track_wal_io_timing"] = "on"
	}
	must(t, c.Configure(changed))
	must(t, c.Reload())
	must(t, c.Exec(ctx, "SELECT pg_switch_wal()", "CHECKPOINT", "CREATE TABLE even_later (id int)"))

	pgtest.Eventually(t, 20*time.Second, func() error {
		return expect(ctx, c, map[string]string{
			"SELECT count(*)::text FROM pg_stat_replication AS r JOIN pg_replication_slots AS s ON s.active_pid = r.pid": "1",
			"SELECT count(*)::text FROM pg_locks WHERE NOT granted":                                                      "2",
			"SELECT count(*)::text FROM pg_replication_slots WHERE temporary":                                            "3",
			"SELECT (count(*) > 0)::text FROM pg_settings WHERE pending_restart":                                         "true",
			"SELECT (failed_count > 0)::text FROM pg_stat_archiver":                                                      "true",
		})
	})
	pgtest.Eventually(t, 20*time.Second, func() error {
		return expect(ctx, standby, map[string]string{
			"SELECT status FROM pg_stat_wal_receiver":                          "streaming",
			"SELECT (pg_last_xact_replay_timestamp() IS NOT NULL)::text":       "true",
			"SELECT count(*)::text FROM pg_class WHERE relname = 'even_later'": "1",
			"SELECT count(*)::text FROM pg_database WHERE datname = 'denied'":  "1",
		})
	})
	return standby
}

func expect(ctx context.Context, c *pgtest.Cluster, want map[string]string) error {
	for sql, text := range want {
		got, err := c.Query(ctx, "postgres", sql)
		if err != nil {
			return err
		}
		if got != text {
			return fmt.Errorf("%s: %q, want %q", sql, got, text)
		}
	}
	return nil
}

// hold runs statements in a superuser's session that stays open until the test's end.
func hold(t testing.TB, c *pgtest.Cluster, database string, statements ...string) *pgx.Conn {
	t.Helper()
	conn := connectSuper(t, c, database)
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience(20*time.Second))
	defer cancel()
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return conn
}

func connectSuper(t testing.TB, c *pgtest.Cluster, database string) *pgx.Conn {
	t.Helper()
	conn, err := c.Connect(context.Background(), database)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
