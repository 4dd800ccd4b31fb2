package collector_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
)

// longOnly skips what takes minutes.
func longOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("PG_RELIABILITY_LONG") == "" {
		t.Skip("takes minutes. HINT: Set PG_RELIABILITY_LONG=1")
	}
}

// fill makes tables with a primary key and another index, 250 in a transaction.
func fill(t *testing.T, c *pgtest.Cluster, database string, tables int) {
	t.Helper()
	const batch = 250
	for from := 0; from < tables; from += batch {
		sql := fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('CREATE TABLE t%%s (id bigint PRIMARY KEY, a int, b text)', i);"+
			" EXECUTE format('CREATE INDEX ON t%%s (a)', i); END LOOP; END $$", from, min(from+batch, tables)-1)
		if err := c.ExecIn(t.Context(), database, sql); err != nil {
			t.Fatal(err)
		}
	}
}

// page is a scrape's number of samples and its duration.
func (v *visitor) page(t *testing.T) (samples int, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	started := time.Now()
	for _, f := range v.engine.Gather(ctx, collector.Selection{}) {
		samples += len(f.DTO().Metric)
	}
	return samples, time.Since(started)
}

// visitedAll waits until each of n databases was visited well, and says how long that took.
func (v *visitor) visitedAll(t *testing.T, n int) time.Duration {
	t.Helper()
	started := time.Now()
	pgtest.Eventually(t, 5*time.Minute, func() error {
		time.Sleep(500 * time.Millisecond)
		good := 0
		for series, value := range v.scrape(t, 10*time.Second) {
			if strings.HasPrefix(series, "pg_reliability_database_visit_success{") && value == 1 {
				good++
			}
		}
		if good < n {
			return fmt.Errorf("%d of %d databases are visited", good, n)
		}
		return nil
	})
	return time.Since(started)
}

func TestThreeHundredDatabases(t *testing.T) {
	longOnly(t)
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "template1", 10)
	for i := range 300 {
		if err := c.Exec(t.Context(), fmt.Sprintf("CREATE DATABASE d%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	v := visit(t, c, "", collector.Databases{})
	var most, seen int
	stop, done := make(chan struct{}), sync.WaitGroup{}
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			n, err := c.Query(context.Background(), "postgres", "SELECT count(*)::text FROM pg_stat_activity WHERE datname LIKE 'd___' AND state "+
				"<> 'idle'")
			if err == nil {
				var is int
				_, _ = fmt.Sscan(n, &is)
				most, seen = max(most, is), seen+1
			}
		}
	})
	took := v.visitedAll(t, 300)
	close(stop)
	done.Wait()
	samples, scrape := v.page(t)
	t.Logf("300 databases visited in %s, %d logins; at most %d sessions at work at once (%d looks); a page has %d samples and takes %s",
		took.Round(time.Second), v.logins.Load(), most, seen, samples, scrape.Round(time.Millisecond))
	if took > pgtest.Patience(time.Minute) {
		t.Errorf("the first visits took %s, longer than a minute", took)
	}
	if most > 1 {
		t.Errorf("%d sessions at once in other databases", most)
	}
}

func TestFiftyDatabasesOfFiveHundredTables(t *testing.T) {
	longOnly(t)
	c := pgtest.New(t, pgtest.Options{})
	fill(t, c, "template1", 500)
	for i := range 50 {
		if err := c.Exec(t.Context(), fmt.Sprintf("CREATE DATABASE d%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	v := visit(t, c, "", collector.Databases{})
	took := v.visitedAll(t, 50)
	samples, scrape := v.page(t)
	t.Logf("50 databases of 500 tables visited in %s: a page has %d samples and takes %s", took.Round(time.Second), samples,
		scrape.Round(time.Millisecond))
	if samples > 40_000 {
		t.Errorf("%d samples, more than 40000", samples)
	}
}

func TestFiftyThousandTables(t *testing.T) {
	longOnly(t)
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"max_locks_per_transaction": "256", "autovacuum": "off"}})
	started := time.Now()
	fill(t, c, "postgres", 50_000)
	// What is found in many tables costs no more than what is found in none.
	for from := 0; from < 5_000; from += 250 {
		if err := c.Exec(t.Context(), fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('CREATE INDEX ON t%%s (a)', i); "+
			"EXECUTE format('ALTER TABLE t%%s ADD FOREIGN KEY (id) REFERENCES t%%s NOT VALID', i, i + 5000); END LOOP; END $$",
			from, from+249)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Exec(t.Context(), "ANALYZE pg_class, pg_attribute, pg_index, pg_constraint, pg_depend, pg_inherits"); err != nil {
		t.Fatal(err)
	}
	t.Logf("made in %s", time.Since(started).Round(time.Second))
	session, err := postgres.NewConnector(postgres.ConnectorOptions{DSN: c.MonitorDSN(), Settings: postgres.Settings{ApplicationName: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := session.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defs, err := collector.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defs {
		sql, ok := d.SQLFor(s.Version())
		if !ok || d.Scope != definition.ScopeDatabase {
			continue
		}
		best := time.Hour
		for range 3 { // the first fills the session's caches
			begin := time.Now()
			outcomes, err := s.Pipeline(t.Context(), []postgres.Statement{{SQL: sql, Timeout: time.Minute, MaxBytes: 64 << 20}},
				func(int, []pgconn.FieldDescription, [][]byte) {})
			if err != nil || outcomes[0].Err != nil {
				t.Fatalf("%s: %v, %v", d.Name, err, outcomes[0].Err)
			}
			best = min(best, time.Since(begin))
		}
		t.Logf("%8s %s", best.Round(time.Millisecond), d.Name)
		if best > pgtest.Patience(time.Second) {
			t.Errorf("%s takes %s", d.Name, best)
		}
	}
	v := visit(t, c, "", collector.Databases{})
	pgtest.Eventually(t, time.Minute, func() error {
		return check(v.scrape(t, 10*time.Second), map[string]float64{`pg_reliability_user_tables{datname="postgres"}`: 50_000})
	})
	best := time.Hour
	var samples int
	for range 5 {
		n, took := v.page(t)
		samples, best = n, min(best, took)
	}
	t.Logf("a page has %d samples and takes %s", samples, best.Round(time.Millisecond))
	if best > pgtest.Patience(100*time.Millisecond) {
		t.Errorf("a scrape takes %s", best)
	}
}
