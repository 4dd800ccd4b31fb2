package collector_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/jackc/pgx/v5"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// tablesOf is a collector of the tables of each database, and one of the whole server.
const tablesOf = `
- name: tables_of
  help: For a test.
  scope: database
  refresh: 1s
  timeout: 1s
  top: 12
  labels: [datname, relname]
  queries:
    - sql: |
        SELECT current_database() AS datname, relname, 1 AS there
          FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
         ORDER BY relname
         LIMIT @top@
  metrics:
    - {name: test_table, column: there, type: gauge, help: For a test.}
- name: of_the_server
  help: For a test.
  refresh: 1s
  timeout: 1s
  top: 12
  labels: [n]
  queries:
    - sql: SELECT n, 1 AS there FROM generate_series(1, 100) AS n LIMIT @top@
  metrics:
    - {name: test_of_the_server, column: there, type: gauge, help: For a test.}
`

// visitor is an engine that visits databases.
type visitor struct {
	*bench
	logins atomic.Int64
	log    *lockedLog
}

// lockedLog keeps what is logged.
type lockedLog struct{ lines chan string }

func (l *lockedLog) Log(keyvals ...any) error {
	select {
	case l.lines <- fmt.Sprint(keyvals...):
	default:
	}
	return nil
}

func (l *lockedLog) count(text string) (n int) {
	for range len(l.lines) {
		line := <-l.lines
		if strings.Contains(line, text) {
			n++
		}
		l.lines <- line
	}
	return n
}

// visit runs an engine with collectors of the given YAML on a cluster; the options' Connect is filled in. prepare is called before it runs.
func visit(t *testing.T, c *pgtest.Cluster, yaml string, o collector.Databases, prepare ...func(*collector.Engine)) *visitor {
	t.Helper()
	v := &visitor{bench: &bench{prober: &theProber{}}, log: &lockedLog{lines: make(chan string, 10_000)}}
	v.prober.says(postgres.OK, probe.Primary)
	connector, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: c.MonitorDSN(), Settings: postgres.Settings{
		ApplicationName: "pg_reliability_exporter", StatementTimeout: time.Second, LockTimeout: 250 * time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if v.pool, err = postgres.NewPool(
		postgres.PoolOptions{Connector: connector, Min: 1, Max: 4, Apart: 2, Logger: log.NewNopLogger()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.pool.Close)
	o.Connect = func(ctx context.Context, database string) (*postgres.Session, error) {
		v.logins.Add(1)
		return connector.InDatabase(database).Connect(ctx)
	}
	defs, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if yaml != "" {
		defs = define(t, yaml)
	}
	v.engine = collector.New(collector.Options{Pool: v.pool, Prober: v.prober, Logger: v.log, Definitions: defs, Databases: o})
	for _, p := range prepare {
		p(v.engine)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { v.engine.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

func TestEveryDatabaseIsVisited(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	ctx := t.Context()
	const odd = "odd \"name\" with ünïcode, {braces}=\\"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", odd, "locked", "denied", "closed", "x_skipped"} {
		must(c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()))
		must(c.ExecIn(ctx, name, "CREATE TABLE one (id int)"))
	}
	must(c.Exec(ctx, "REVOKE CONNECT ON DATABASE denied FROM PUBLIC", "ALTER DATABASE closed ALLOW_CONNECTIONS false",
		"CREATE TABLE own (id int)"))
	// A name that is no UTF-8 can be given from a database that has no encoding; Prometheus refuses a page that has it as it is.
	must(c.Exec(ctx, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"))
	must(c.ExecIn(ctx, "ascii", "SET client_encoding = SQL_ASCII",
		"CREATE DATABASE \"bytes\xff\" ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"))
	holder, err := c.Connect(ctx, "locked")
	must(err)
	defer func() { _ = holder.Close(context.Background()) }()
	for _, sql := range []string{"BEGIN", "LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE"} {
		_, err = holder.Exec(ctx, sql)
		must(err)
	}
	v := visit(t, c, tablesOf, collector.Databases{Exclude: []string{"x_*"}}, (*collector.Engine).HurryVisits)
	table := func(database, name string) string {
		return fmt.Sprintf("test_table{datname=%q,relname=%q}", database, name)
	}
	visited := func(database string) string {
		return fmt.Sprintf("pg_reliability_database_visit_success{datname=%q}", database)
	}
	soon := func(samples map[string]float64) {
		t.Helper()
		pgtest.Eventually(t, 20*time.Second, func() error { return check(v.scrape(t, time.Second), samples) })
	}
	oddTable := "test_table{datname=" + fmt.Sprintf("%q", odd) + ",relname=\"one\"}"
	soon(map[string]float64{
		table("postgres", "own"): 1, table("a", "one"): 1, table("b", "one"): 1, oddTable: 1, table("locked", "one"): -1,
		table("denied", "one"): -1, table("closed", "one"): -1, table("x_skipped", "one"): -1,
		visited("a"): 1, visited("bytes\uFFFD"): 1, visited("locked"): 0, visited("denied"): -1, visited("postgres"): -1,
		visited("x_skipped"): -1,
		`pg_reliability_databases_left_out{reason="excluded"}`: 1, `pg_reliability_databases_left_out{reason="denied"}`: 1,
		`pg_reliability_collector_success{collector="tables_of"}`: 1,
	})
	if n := v.scrape(t, time.Second)[`pg_reliability_database_visit_errors_total{datname="locked",reason="lock_timeout"}`]; n < 1 {
		t.Errorf("%v visits failed by the lock", n)
	}

	// One connection at a time beside those of the pool, and none of a scrape.
	before := v.logins.Load()
	for range 50 {
		v.scrape(t, time.Second)
		n, err := c.Query(ctx, "postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'pg_reliability_exporter' "+
			"AND datname <> 'postgres'")
		must(err)
		if n != "0" && n != "1" && n != "2" { // one may be saying goodbye
			t.Errorf("%s sessions in other databases at once", n)
		}
	}
	if logins := v.logins.Load() - before; logins > 40 {
		t.Errorf("%d logins during 50 scrapes", logins)
	}

	// Who renames or drops a database meets no session that stays, and its rows go with its name.
	pgtest.Eventually(t, 20*time.Second, func() error { return c.Exec(ctx, "ALTER DATABASE a RENAME TO renamed") })
	pgtest.Eventually(t, 20*time.Second, func() error { return c.Exec(ctx, "DROP DATABASE b") })
	_, err = holder.Exec(ctx, "ROLLBACK")
	must(err)
	soon(map[string]float64{
		table("a", "one"): -1, visited("a"): -1, table("renamed", "one"): 1, table("b", "one"): -1, visited("b"): -1, table("locked", "one"): 1,
		oddTable: 1,
	})
	if n := v.log.count("can't be visited: its rows alone are missingdatnamelocked"); n != 1 {
		t.Errorf("the log says %d times that a database is locked, want once", n)
	}

	// The limit is of all databases together: who has few tables leaves the rest to the others. What is of the server has no sharers.
	must(c.ExecIn(ctx, "renamed", "DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE many%s (id int)', i); END LOOP; END $$"))
	pgtest.Eventually(t, 20*time.Second, func() error {
		n := map[string]int{}
		for series := range v.scrape(t, time.Second) {
			if rest, ok := strings.CutPrefix(series, "test_table{datname="); ok {
				n[strings.SplitN(rest, ",", 2)[0]]++
			} else if strings.HasPrefix(series, "test_of_the_server{") {
				n["the server"]++
			}
		}
		if n[`"renamed"`] != 9 || n[`"postgres"`] != 1 || n[`"locked"`] != 1 || n["the server"] != 12 {
			return fmt.Errorf("rows shown: %v, want 9 tables of the 12 in one database, and all 12 of the whole server", n)
		}
		return nil
	})
}

// A role that is let into one database alone has its rows, and is not asked for the others all the time.
func TestDatabasesThatRefuseAreLeftAlone(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	for i := range 9 {
		if err := c.Exec(t.Context(), fmt.Sprintf("CREATE DATABASE d%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WriteHBA("local all all trust\nhost all postgres all trust\nhost postgres all all trust\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	v := visit(t, c, tablesOf, collector.Databases{})
	pgtest.Eventually(t, 20*time.Second, func() error {
		return check(v.scrape(t, time.Second), map[string]float64{
			`pg_reliability_database_visit_success{datname="d0"}`: 0, `pg_reliability_database_visit_success{datname="d8"}`: 0,
			`pg_reliability_database_visit_errors_total{datname="d0",reason="pg_hba"}`: 1,
			`pg_reliability_collector_success{collector="tables_of"}`:                  1,
		})
	})
	asked := v.logins.Load()
	age := func() float64 {
		return v.scrape(t, time.Second)[`pg_reliability_collector_data_age_seconds{collector="tables_of"}`]
	}
	for range 3 { // refreshes of the connection's own database
		pgtest.Eventually(t, 20*time.Second, func() error {
			if age() < 0.5 {
				return fmt.Errorf("still fresh")
			}
			return nil
		})
		pgtest.Eventually(t, 20*time.Second, func() error {
			if age() > 0.5 {
				return fmt.Errorf("not refreshed")
			}
			return nil
		})
	}
	if n := v.logins.Load(); n != asked {
		t.Errorf("%d further attempts within three refreshes", n-asked)
	}
}
