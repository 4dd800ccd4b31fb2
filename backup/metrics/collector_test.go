package metrics_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
)

// gather collects and checks what is sent against what is described.
func gather(t *testing.T, c *metrics.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
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
		if strings.HasSuffix(name, "_age_seconds") && name != "pg_reliability_backup_catalog_age_seconds" || strings.HasSuffix(name, "_backup_count") {
			t.Errorf("%s is told of a repository that was never read", name)
		}
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
	for _, name := range []string{"pg_reliability_backup_age_seconds", "pg_reliability_backup_verified_age_seconds", "pg_reliability_rpo_seconds"} {
		if got[name] != nil {
			t.Errorf("%s is %v without a backup", name, got[name])
		}
	}
}
