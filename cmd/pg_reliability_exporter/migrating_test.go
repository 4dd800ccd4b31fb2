package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// A file of postgres_exporter's queries works as it is, beside ours; what can't be taken is named.
func TestQueriesOfPostgresExporterAreServed(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Exec(t.Context(), "CREATE TABLE orders (state text)", "INSERT INTO orders SELECT 'open' FROM generate_series(1, 7)",
		"GRANT SELECT ON orders TO "+pgtest.Monitor); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	text := `
pg_orders:
  query: "SELECT state, count(*) AS total FROM public.orders GROUP BY state;"
  metrics:
    - state: {usage: "LABEL", description: "State."}
    - total: {usage: "GAUGE", description: "Orders."}
pg_database:
  query: "SELECT datname, 1 AS size_bytes FROM pg_database"
  metrics:
    - datname: {usage: "LABEL", description: "Name."}
    - size_bytes: {usage: "GAUGE", description: "Size."}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := launchWith(t, map[string]string{"DATA_SOURCE_NAME": c.MonitorDSN(), "PG_EXPORTER_EXTEND_QUERY_PATH": file,
		"PG_EXPORTER_AUTO_DISCOVER_DATABASES": "true"})
	pgtest.Eventually(t, 30*time.Second, func() error {
		p := r.scrape(t)
		return errors.Join(p.is(`pg_orders_total{state="open"}`, 7), p.is("pg_exporter_last_scrape_error", 0))
	})
	p := r.scrape(t)
	if p["pg_exporter_scrapes_total"] < 2 || p["pg_exporter_last_scrape_duration_seconds"] <= 0 ||
		p[`pg_database_size_bytes{datname="postgres"}`] < 1000 {
		t.Errorf("scrapes %v, duration %v", p["pg_exporter_scrapes_total"], p["pg_exporter_last_scrape_duration_seconds"])
	}
	if want := "queries.yaml:11: metric pg_database_size_bytes is there already, from collector database. HINT: "; !strings.Contains(
		r.logs.String(), want) {
		t.Errorf("the log has no %q", want)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 30*time.Second, func() error { return r.scrape(t).is("pg_exporter_last_scrape_error", 1) })
}

// A query that finds a table by a search path alone is named with its line and the remedy.
func TestQueriesWithoutASchemaAreNamed(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Exec(t.Context(), "CREATE TABLE orders ()", "GRANT SELECT ON orders TO "+pgtest.Monitor); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	text := `
pg_orders:
  query: SELECT count(*) AS total FROM orders
  metrics:
    - total: {usage: "GAUGE", description: "Orders."}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := launch(t, c.MonitorDSN(), "--extend.query-path="+file)
	pgtest.Eventually(t, 30*time.Second, func() error {
		if want := `queries.yaml:2: ERROR: relation \"orders\" does not exist (SQLSTATE 42P01). HINT: Sessions of ours find nothing but what ` +
			`PostgreSQL has itself: write the schema, such as public.orders"`; !strings.Contains(r.logs.String(), want) {
			return fmt.Errorf("the log has no %q:\n%s", want, r.logs)
		}
		return nil
	})
}

// What has the same name in Debian's postgres_exporter has the same value here, or docs/migrating.md says why not.
func TestSharedNamesHaveTheValuesOfPostgresExporter(t *testing.T) {
	if os.Getenv("PG_RELIABILITY_LONG") == "" {
		t.Skip("takes a minute, in which every collector has run: set PG_RELIABILITY_LONG=1")
	}
	const rival = "/usr/bin/prometheus-postgres-exporter"
	if _, err := os.Stat(rival); err != nil {
		t.Skip("no prometheus-postgres-exporter. HINT: internal/pgtest/install.sh postgres_exporter")
	}
	c := pgtest.New(t, pgtest.Options{})
	if err := c.Exec(t.Context(), "CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) AS g", "ANALYZE t",
		"SELECT count(*) FROM t"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 10*time.Second, func() error { // before ours reads the tables, which it does once a minute
		n, err := c.Query(t.Context(), "postgres", "SELECT n_live_tup::text FROM pg_stat_user_tables WHERE relname = 't' AND seq_scan > 0")
		if err == nil && n != "1000" {
			err = fmt.Errorf("%s rows", n)
		}
		return err
	})
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	theirs := &running{url: fmt.Sprintf("http://127.0.0.1:%d", port), logs: &pgtest.Buffer{}}
	cmd := exec.CommandContext(ctx, rival, fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	cmd.Env = append(os.Environ(), "DATA_SOURCE_NAME="+c.MonitorDSN()+"?sslmode=disable")
	if strings.Contains(c.MonitorDSN(), "?") {
		cmd.Env[len(cmd.Env)-1] = "DATA_SOURCE_NAME=" + c.MonitorDSN()
	}
	cmd.Stderr = theirs.logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	ours := launch(t, c.MonitorDSN())
	pgtest.Eventually(t, 30*time.Second, func() error {
		if status, _, err := theirs.get(t, "/metrics"); err != nil || status != http.StatusOK {
			return fmt.Errorf("postgres_exporter: %d, %w\n%s", status, err, theirs.logs)
		}
		return ours.scrape(t).is(`pg_stat_user_tables_n_live_tup{datname="postgres",relname="t",schemaname="public"}`, 1000)
	})
	var wrong []string
	compared := map[string]bool{}
	pgtest.Eventually(t, 10*time.Second, func() error { // values of both move; nearly the same moment is enough
		a, b := bySeries(theirs.scrape(t)), bySeries(ours.scrape(t))
		families := map[string]bool{}
		for series := range b {
			families[familyOf(series)] = true
		}
		wrong = nil
		for series, want := range a {
			family := familyOf(series)
			// Objects that all databases share are a database without a name there.
			if !families[family] || !strings.HasPrefix(family, "pg_") || corrected(family) || strings.Contains(series, `datname=""`) {
				continue
			}
			compared[family] = true
			got, ok := b[series]
			if !ok && want == 0 || math.IsNaN(want) {
				continue // unknown is absent, and so is a count of nothing
			}
			if !ok || math.Abs(got-want) > max(2, 0.1*math.Abs(want)) {
				wrong = append(wrong, fmt.Sprintf("%s: theirs %v, ours %v (there: %v)", series, want, got, ok))
			}
		}
		if len(wrong) > 0 {
			slices.Sort(wrong)
			return errors.New(strings.Join(wrong, "\n"))
		}
		return nil
	})
	if len(compared) < 200 {
		t.Errorf("only %d families were compared", len(compared))
	}
}

// corrected are families that mean something else here, as docs/migrating.md says, or belong to one of the exporters alone.
func corrected(family string) bool {
	for _, prefix := range []string{"pg_exporter_", "pg_up", "pg_replication_lag", "pg_stat_activity_max_tx_duration", "pg_static"} {
		if strings.HasPrefix(family, prefix) {
			return true
		}
	}
	return false
}

func familyOf(series string) string {
	family, _, _ := strings.Cut(series, "{")
	return family
}

// bySeries has the labels in order and without server, which newer versions of postgres_exporter don't have.
func bySeries(p page) map[string]float64 {
	out := map[string]float64{}
	for series, v := range p {
		family, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		var kept []string
		for _, l := range strings.Split(labels, ",") {
			if l != "" && !strings.HasPrefix(l, "server=") {
				kept = append(kept, l)
			}
		}
		slices.Sort(kept)
		out[family+"{"+strings.Join(kept, ",")+"}"] += v
	}
	return out
}
