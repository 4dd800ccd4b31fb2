package metrics_test

import (
	"errors"
	"maps"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog/catalogtest"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
)

// gather collects and checks what is sent against what is described.
func gather(t *testing.T, c *metrics.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.Metrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

func TestARepositoryThatIsMissingIsSaidWithItsReason(t *testing.T) {
	got := gather(t, metrics.New(filepath.Join(t.TempDir(), "none"), time.Now))
	up, why := got["pg_reliability_backup_catalog_up"], got["pg_reliability_backup_catalog_error_info"]
	if up == nil || up.Metric[0].GetGauge().GetValue() != 0 || why == nil || why.Metric[0].Label[0].GetValue() == "" {
		t.Errorf("catalog_up %v, its reason %v", up, why)
	}
	for name := range got { // unknown is absent, never 0
		if strings.HasSuffix(name, "_age_seconds") && name != "pg_reliability_backup_catalog_age_seconds" ||
			strings.HasSuffix(name, "_backup_count") {
			t.Errorf("%s is told of a repository that was never read", name)
		}
	}
}

func TestAChangeOfTheRepositorysStateIsToldOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	c := metrics.New(dir, time.Now)
	var told []error
	c.OnChange(func(err error) { told = append(told, err) })
	gather(t, c)
	gather(t, c)
	if len(told) != 1 || !errors.Is(told[0], catalog.ErrNoRepository) {
		t.Fatalf("told of %v, want once that there is none", told)
	}
	if _, err := catalog.Init(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	gather(t, c)
	gather(t, c)
	if len(told) != 2 || told[1] != nil {
		t.Fatalf("told of %v, want once that it is back", told)
	}
}

func TestAnEmptyRepositoryHasNoAgesAndNoneOfEachState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	if _, err := catalog.Init(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	got := gather(t, metrics.New(dir, time.Now))
	if up := got["pg_reliability_backup_catalog_up"]; up == nil || up.Metric[0].GetGauge().GetValue() != 1 {
		t.Fatalf("catalog_up %v", up)
	}
	count := got["pg_reliability_backup_count"]
	if count == nil || len(count.Metric) != len(catalog.Healths()) {
		t.Fatalf("states %v, want each of %v", count, catalog.Healths())
	}
	for _, m := range count.Metric {
		if m.GetUntyped().GetValue() != 0 {
			t.Errorf("an empty repository has %v", m)
		}
	}
	for _, name := range []string{"pg_reliability_backup_age_seconds", "pg_reliability_backup_verified_age_seconds",
		"pg_reliability_rpo_seconds"} {
		if got[name] != nil {
			t.Errorf("%s is %v without a backup", name, got[name])
		}
	}
}

// TestWhenTheNewestOnesFilesWereReadIsAMetric: by any check that passed; one that failed, or could not be made, is no look.
func TestWhenTheNewestOnesFilesWereReadIsAMetric(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	repo, err := catalog.Init(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ids := catalogtest.Many(t, repo, 1)
	now := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		verified, checked time.Duration // ago; 0 never
		result            string
		want              float64 // -1: absent
	}{
		{0, 0, "", -1},
		{0, 10 * time.Minute, catalog.Impossible, -1},
		{0, 10 * time.Minute, catalog.Passed, 600},
		{20 * time.Minute, 10 * time.Minute, catalog.Passed, 600},
		{20 * time.Minute, 10 * time.Minute, catalog.Impossible, 1200},
	} {
		err := repo.UpdateStatus(t.Context(), ids[0], func(s *catalog.Status) {
			*s = catalog.Status{}
			if tc.verified > 0 {
				s.Verified = &catalog.Verification{At: now.Add(-tc.verified), Level: 3, Result: catalog.Passed}
			}
			if tc.checked > 0 {
				s.Checked = &catalog.Verification{At: now.Add(-tc.checked), Level: 1, Result: tc.result}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		got := -1.0
		if f := gather(t, metrics.New(dir, func() time.Time { return now }))["pg_reliability_backup_read_back_age_seconds"]; f != nil {
			got = f.Metric[0].GetGauge().GetValue()
		}
		if math.Abs(got-tc.want) > 1e-6 {
			t.Errorf("verified %s ago, checked %s ago with the result %q: read back %v s ago, want %v", tc.verified, tc.checked, tc.result, got,
				tc.want)
		}
	}
}

// TestWhatTheCageLackedIsAMetric: a rehearsal without a part of its cage shows, and so does one with all of it.
func TestWhatTheCageLackedIsAMetric(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	repo, err := catalog.Init(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ids := catalogtest.Many(t, repo, 1)
	for _, lacking := range [][]string{{"signals", "no word of the list"}, nil} {
		err := repo.UpdateStatus(t.Context(), ids[0], func(s *catalog.Status) {
			s.Verified = &catalog.Verification{At: time.Now(), Level: 3, Result: catalog.Passed, UncagedParts: lacking}
		})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, m := range gather(t, metrics.New(dir, time.Now))["pg_reliability_backup_verify_uncaged"].GetMetric() {
			got[m.Label[0].GetValue()] = m.GetGauge().GetValue()
		}
		want := map[string]float64{"files": 0, "truncate": 0, "signals": float64(len(lacking) / 2), "network": 0}
		if !maps.Equal(got, want) {
			t.Errorf("lacking %q: %v, want %v", lacking, got, want)
		}
	}
}

// TestTheServerThatIsLatestByItsOwnScheduleIsTold: of two servers with one repository, each with a daemon of its own or none. Neither
// another's pace nor a clock that was ahead hides that one is late.
func TestTheServerThatIsLatestByItsOwnScheduleIsTold(t *testing.T) {
	now := time.Date(2026, 11, 23, 22, 15, 0, 0, time.UTC)
	const hour, soon = time.Hour, 10 * time.Minute
	plan := func(server, expression string, next time.Duration) catalog.Schedule {
		return catalog.Schedule{Server: server, Expression: expression, TimeZone: "UTC", Next: now.Add(next), LastDue: now.Add(-hour),
			IntervalSeconds: 60}
	}
	daily, hourly := plan("1", "0 2 * * *", 4*hour), plan("2", "0 * * * *", hour)
	for name, tc := range map[string]struct {
		ages       [2]time.Duration // of the servers 1 and 2
		plans      []catalog.Schedule
		age, limit float64 // -1: absent
	}{
		"the daily one is older and in time, the hourly one is late": {
			[2]time.Duration{20 * hour, 5 * hour}, []catalog.Schedule{hourly, daily}, 5 * 3600, 900,
		},
		"both are in time":             {[2]time.Duration{20 * hour, soon}, []catalog.Schedule{daily, hourly}, 600, 900},
		"the daily one is late":        {[2]time.Duration{45 * hour, soon}, []catalog.Schedule{daily, hourly}, 45 * 3600, 20.25 * 3600},
		"one has no daemon":            {[2]time.Duration{25 * hour, soon}, []catalog.Schedule{hourly}, 600, 900},
		"one has no daemon and is old": {[2]time.Duration{50 * hour, soon}, []catalog.Schedule{hourly}, 50 * 3600, 26 * 3600},
		"one is of the future":         {[2]time.Duration{-hour, soon}, []catalog.Schedule{daily, hourly}, -1, 20.25 * 3600},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repository")
			repo, err := catalog.Init(dir, now)
			if err != nil {
				t.Fatal(err)
			}
			for i, age := range tc.ages {
				at := now.Add(-age)
				d, err := repo.Begin(at)
				if err != nil {
					t.Fatal(err)
				}
				d.Manifest.Engine, d.Manifest.External = "x", &catalog.External{Label: "F"}
				d.Manifest.Server.SystemIdentifier = []string{"1", "2"}[i]
				if _, err := d.Publish(at); err != nil {
					t.Fatal(err)
				}
			}
			err = repo.UpdateState(t.Context(), func(s *catalog.State) {
				for _, p := range tc.plans {
					*s = s.WithSchedule(p)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			got := gather(t, metrics.New(dir, func() time.Time { return now }))
			for name, want := range map[string]float64{"age": tc.age, "age_limit": tc.limit} {
				have := -1.0
				if f := got["pg_reliability_backup_"+name+"_seconds"]; f != nil {
					have = f.Metric[0].GetGauge().GetValue()
				}
				if have != want {
					t.Errorf("%s is %v, want %v", name, have, want)
				}
			}
			next := got["pg_reliability_backup_next_run_timestamp_seconds"].GetMetric()[0].GetGauge().GetValue()
			if want := now.Add(hour); int64(next) != want.Unix() {
				t.Errorf("the next run is at %v, want the hourly one's", next)
			}
		})
	}
}
