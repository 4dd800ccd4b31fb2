package probe

import (
	"maps"
	"strconv"
)

// RecoveryBuckets are the bounds of pg_reliability_recovery_duration_seconds in seconds, close together around the objective of recovering
// within 30 s.
func RecoveryBuckets() []float64 {
	return []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 120, 300, 900, 3600}
}

// histogram of seconds that outlives the exporter.
type histogram struct {
	Count uint64  `json:"count"`
	Sum   float64 `json:"sum"`
	// Cumulative counts by upper bound, without +Inf.
	Cumulative map[string]uint64 `json:"cumulative"`
}

func newHistogram() histogram { return histogram{Cumulative: map[string]uint64{}} }

func (h *histogram) observe(v float64) {
	h.Count++
	h.Sum += v
	for _, bound := range RecoveryBuckets() {
		if v <= bound {
			h.Cumulative[bucketName(bound)]++
		}
	}
}

// buckets as Prometheus takes them. They never decrease, also where an older version kept other bounds.
func (h *histogram) buckets() map[float64]uint64 {
	b := map[float64]uint64{}
	var least uint64
	for _, bound := range RecoveryBuckets() {
		least = min(h.Count, max(least, h.Cumulative[bucketName(bound)]))
		b[bound] = least
	}
	return b
}

func (h *histogram) clone() histogram {
	return histogram{Count: h.Count, Sum: h.Sum, Cumulative: maps.Clone(h.Cumulative)}
}

func bucketName(bound float64) string { return strconv.FormatFloat(bound, 'g', -1, 64) }
