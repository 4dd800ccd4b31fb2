package collector_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/postgres"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
)

// TestRowsOfAnotherServerAreNotShown: an hour's rows belong to the server that they were read from.
func TestRowsOfAnotherServerAreNotShown(t *testing.T) {
	t.Parallel()
	c := pgtest.New(t, pgtest.Options{})
	set := func(v int) {
		t.Helper()
		if err := c.Exec(t.Context(), "DROP TABLE IF EXISTS v", fmt.Sprintf("CREATE TABLE v AS SELECT %d AS n", v),
			"GRANT SELECT ON v TO "+pgtest.Monitor); err != nil {
			t.Fatal(err)
		}
	}
	set(1)
	b := start(t, c, `
- name: hourly
  help: x
  scope: cluster
  refresh: 1h
  queries:
    - sql: SELECT n FROM public.v
  metrics:
    - {name: app_n, column: n, type: gauge, help: x}
`)
	leads := func(system string, began time.Time) {
		b.prober.now.Store(&probe.Snapshot{
			Probes: map[probe.Kind]probe.Result{probe.Read: {At: time.Now(), Reason: postgres.OK}},
			Server: probe.Server{Role: probe.Primary, SystemIdentifier: system, StartTime: began},
		})
	}
	noon := time.Now().Add(-time.Hour)
	shows := func(v float64) {
		t.Helper()
		pgtest.Eventually(t, 20*time.Second, func() error { return check(b.scrape(t, 5*time.Second), map[string]float64{"app_n": v}) })
	}
	leads("1", noon)
	shows(1)
	if err := c.Exec(t.Context(), "DROP TABLE v"); err != nil { // the other server has none
		t.Fatal(err)
	}
	leads("2", noon.Add(time.Minute))
	want(t, b.scrape(t, 5*time.Second), map[string]float64{"app_n": -1, `pg_reliability_collector_success{collector="hourly"}`: 0})
	set(2)
	shows(2)
	set(3)
	leads("2", noon.Add(2*time.Minute)) // a restart; the other one was moments ago
	want(t, b.scrape(t, 5*time.Second), map[string]float64{"app_n": 2})
	b.engine.MetLongAgo()
	shows(3)
}
