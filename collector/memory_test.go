package collector_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
)

// The samples of all servers together are bounded. Who has many gives up some when another comes who has few.
func TestTheSamplesOfAllServersAreBoundedTogether(t *testing.T) {
	c := pgtest.New(t, pgtest.Options{})
	const total = 20_000
	rows := func(name, refresh string, n int) string {
		return fmt.Sprintf("- name: %s\n  help: For a test.\n  refresh: %s\n  labels: [l]\n  queries:\n    - sql: SELECT g AS v, 'l' || g AS "+
			"l FROM generate_series(1, %d) AS g\n"+
			"  metrics:\n    - {name: test_%[1]s, column: v, type: gauge, help: For a test.}\n", name, refresh, n)
	}
	budget := metric.NewBudget(metric.Cost(total, 5*total))
	// Each cut is told of the collector that was cut; left is how many samples a page still has.
	left := func(b *bench) (samples int, cut float64) {
		for name, v := range b.scrape(t, pgtest.Patience(10*time.Second)) {
			switch {
			case strings.HasPrefix(name, "test_"):
				samples++
			case strings.HasPrefix(name, "pg_reliability_collector_errors_total{") && strings.Contains(name, `reason="no_memory"`):
				cut += v
			}
		}
		return samples, cut
	}
	var list metric.List
	source := collector.ScheduledSource{Source: counted{"source", list.Gauge("test_source", "For a test.", "n"), 200, 0}, Interval: time.Hour}
	large := startWithin(t, c, budget, rows("cached", "1h", 3*total), source)
	pgtest.Eventually(t, 20*time.Second, func() error {
		if n, cut := left(large); n < total*9/10 || n > total || cut < total {
			return fmt.Errorf("the only server has %d samples, %v are told to be left out", n, cut)
		}
		return nil
	})
	_, cutBefore := left(large)
	small := startWithin(t, c, budget, rows("cached", "1h", total/4)+rows("live", "live", 100))
	pgtest.Eventually(t, 20*time.Second, func() error {
		if n, cut := left(small); n != total/4+100 || cut != 0 {
			return fmt.Errorf("the server with few has %d samples, %v are told to be left out", n, cut)
		}
		// The larger one is cut at once, an hour before its next run.
		if n, cut := left(large); n > total*3/4 || n < total/2 || cut <= cutBefore {
			return fmt.Errorf("the larger one has %d samples, %v are told to be left out", n, cut)
		}
		return nil
	})
}
