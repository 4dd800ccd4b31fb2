package gather

import (
	"github.com/pg-reliability/pg_reliability_exporter/collector/sqlmetric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

// releases says how far behind its own series a server is, as far as the exporter's list of releases tells, and how old that is.
func (p page) releases(s *status.Server) {
	made := p.number(sqlmetric.MinorReleasesKnownTimestampSeconds)
	if s == nil || made == nil {
		return
	}
	s.ReleasesKnownAt = timeOf(moment(*made))
	if behind := p.number(sqlmetric.MinorReleasesBehind); behind != nil {
		n := int64(*behind)
		s.MinorReleasesBehind = &n
	}
}
