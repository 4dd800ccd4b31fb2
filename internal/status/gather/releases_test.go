package gather

import (
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

func TestHowFarBehindIsLeftOutWhereItIsNotKnown(t *testing.T) {
	made := time.Date(2026, 8, 13, 0, 0, 0, 0, time.UTC)
	known := gaugeFamily("pg_reliability_minor_releases_known_timestamp_seconds", float64(made.Unix()))
	var s status.Server
	newPage([]*dto.MetricFamily{known}).releases(&s)
	if s.ReleasesKnownAt == nil || !s.ReleasesKnownAt.Equal(made) || s.MinorReleasesBehind != nil {
		t.Errorf("by a list that is too old: %+v", s)
	}
	behind := gaugeFamily("pg_reliability_minor_releases_behind", 3)
	if newPage([]*dto.MetricFamily{known, behind}).releases(&s); s.MinorReleasesBehind == nil || *s.MinorReleasesBehind != 3 {
		t.Errorf("3 behind: %+v", s)
	}
	newPage(nil).releases(nil)
}
