package dashboards_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/pages"
	"github.com/pg-reliability/pg_reliability_exporter/internal/pgtest/stack"
)

// exotic is what pages show only beside a container engine, an object store, pgBackRest or pg_stat_statements, of a
// schema that nobody looks after, of a second database, or after what happens to none of the servers here: the code must
// declare it. The test of the panels' data sees all but the first and pgBackRest.
var exotic = regexp.MustCompile(`^(pg_reliability_container_|pg_reliability_restarts_total\{.*kind="container"|` +
	`pg_reliability_backup_(offsite_|wal_archived_)|pg_reliability_md5_passwords|pgbouncer_stats_(client_parses|server_parses|binds|server_assignments)_total|pg_reliability_last_(outage|restart)_|pg_reliability_collector_errors_|` +
	`pg_reliability_(oldest_snapshot|prepared_transactions_oldest|slot_xmin)_age_transactions|pg_stat_user_tables_last_|` +
	`pg_stat_statements_|pg_reliability_statements|pg_reliability_(io|progress|wait_event)_|pg_reliability_(wal|database)_(read|write|sync)_seconds_total|` +
	`pg_reliability_(table|index)_bloat_(size|ratio)|pg_reliability_(unused|redundant)_index_|pg_reliability_(foreign_key|unvalidated_constraint)_|` +
	`pg_reliability_unlogged_table_|pg_reliability_database_visit_|pg_stat_user_tables_idx_|pg_reliability_partitioned_table_|pg_reliability_default_partition_)`)

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// A panel that reads a metric or a label nobody exports stays empty: each is looked up on the real pages.
func TestEveryMetricAndLabelIsOnARealPage(t *testing.T) {
	programs := pages.New()
	s := stack.New(t, "..")
	programs.Programs(t, s)
	programs.Backups(t, s)
	pgtest.EachVersion(t, pages.Server(), func(t *testing.T, c *pgtest.Cluster) {
		p := programs.Clone()
		p.Servers(t, s, c)
		l, err := pages.NewLookup(p, rules(t))
		if err != nil {
			t.Fatal(err)
		}
		l.Version = pages.Major(t, c)
		l.Exotic = exotic
		seen := map[string]bool{} // panels are on several boards
		for _, name := range slices.Sorted(maps.Keys(shipped(t))) {
			for _, p := range shipped(t)[name].Panels {
				for _, q := range p.Targets {
					if seen[q.Expr] {
						continue
					}
					seen[q.Expr] = true
					labels, errs := l.Check(asked(q.Expr))
					for _, err := range errs {
						t.Errorf("%s: %q %s: %v", name, p.Title, q.RefID, err)
					}
					for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
						if !slices.Contains(labels, m[1]) && !regexp.MustCompile(`"`+m[1]+`"`).MatchString(q.Expr) {
							t.Errorf("%s: %q %s: no series it reads has the label %s of the legend", name, p.Title, q.RefID, m[1])
						}
					}
				}
			}
		}
		counters(t, l)
	})
}

// A counter that is read in the background stands still between two readings: a rate over less sees none or one of them.
func TestRatesSpanTheReadingsInTheBackground(t *testing.T) {
	all, err := declared.All()
	if err != nil {
		t.Fatal(err)
	}
	rated := 0
	for name, b := range shipped(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				for _, s := range pages.Selectors(q.Expr) {
					refresh := all[s.Metric].Refresh
					if s.Range != "$__rate_interval" || refresh == 0 {
						continue
					}
					rated++
					if step, err := time.ParseDuration(q.Interval); err != nil || step < refresh {
						t.Errorf("%s: %q %s has the step %q, and %s is read every %s", name, p.Title, q.RefID, q.Interval, s.Metric, refresh)
					}
				}
			}
		}
	}
	if rated == 0 {
		t.Error("no rate is of a counter that is read in the background")
	}
}

// counters fails where a rate is taken of what is no counter.
func counters(t *testing.T, l *pages.Lookup) {
	t.Helper()
	for name, b := range shipped(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				for _, s := range pages.Selectors(asked(q.Expr)) {
					rated := slices.Contains([]string{"rate", "irate", "increase"}, s.Function)
					switch typ := l.Type(s.Metric); {
					case rated && typ == "gauge":
						t.Errorf("%s: %q %s: %s of the gauge %s", name, p.Title, q.RefID, s.Function, s.Metric)
					case !rated && typ == "counter" && s.Metric != "pg_stat_database_checksum_failures" && // any at all is bad
						s.Metric != "pg_stat_statements_query_id" && // always 1, for its label; postgres_exporter calls it a counter
						!strings.HasPrefix(s.Metric, "patroni_"): // it calls positions in WAL and timelines counters
						t.Errorf("%s: %q %s: the counter %s as it is", name, p.Title, q.RefID, s.Metric)
					}
				}
			}
		}
	}
}
