package fleet

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// The metrics of the fleet itself; what concerns one target is on that target's page.
var (
	declared metric.List

	descRejected = declared.Counter("pg_reliability_fleet_probes_rejected_total",
		"Requests to /probe that were turned away: malformed, unknown_module, denied (neither listed nor allowed), full (max_targets).",
		"reason")
	descDropped = declared.Counter("pg_reliability_fleet_targets_dropped_total",
		"Servers that are not listed and were no longer watched, because nobody scraped them or a reload forbade it.")
	descTargets = declared.Gauge("pg_reliability_fleet_targets",
		"Servers watched, by how they came: listed in the configuration, or on_demand by a scrape.", "kind")
	descLimit = declared.Gauge("pg_reliability_fleet_targets_limit", "Servers that may be watched at once: max_targets.")
)

// Declared lists the fleet's metrics of itself.
func Declared() []*metric.Desc { return declared }

// metrics are what is counted as it happens.
type metrics struct {
	rejected, dropped *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{rejected: descRejected.CounterVec(), dropped: descDropped.CounterVec()}
	m.dropped.WithLabelValues()
	for _, p := range []Problem{Malformed, UnknownModule, Denied, Full} {
		m.rejected.WithLabelValues(string(p))
	}
	return m
}

// Metrics are for the registry.
func (f *Fleet) Metrics() prometheus.Collector {
	return metric.NewCollector(declared, func(out *metric.Sink) {
		f.mu.Lock()
		listed, onDemand, limit := len(f.byName), len(f.onDemand), f.config.MaxTargets
		f.mu.Unlock()
		out.Add(descTargets, float64(listed), "listed")
		out.Add(descTargets, float64(onDemand), "on_demand")
		out.Add(descLimit, float64(limit))
	}, f.metrics.rejected, f.metrics.dropped)
}
