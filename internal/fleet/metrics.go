package fleet

import "github.com/prometheus/client_golang/prometheus"

// metrics of the fleet itself; what concerns one target is on that target's page.
type metrics struct {
	fleet    *Fleet
	rejected *prometheus.CounterVec
	dropped  prometheus.Counter

	targets, limit *prometheus.Desc
}

func newMetrics(f *Fleet) *metrics {
	m := &metrics{
		fleet: f,
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pg_reliability_fleet_probes_rejected_total",
			Help: "Requests to /probe that were turned away: malformed, unknown_module, denied (neither listed nor allowed), full (max_targets).",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pg_reliability_fleet_targets_dropped_total",
			Help: "Servers that are not listed and were no longer watched, because nobody scraped them or a reload forbade it.",
		}),
		targets: prometheus.NewDesc("pg_reliability_fleet_targets", "Servers watched, by how they came: listed in the configuration, or on_demand by a scrape.", []string{"kind"}, nil),
		limit:   prometheus.NewDesc("pg_reliability_fleet_targets_limit", "Servers that may be watched at once: max_targets.", nil, nil),
	}
	for _, p := range []Problem{Malformed, UnknownModule, Denied, Full} {
		m.rejected.WithLabelValues(string(p))
	}
	return m
}

// Describe implements prometheus.Collector.
func (f *Fleet) Describe(ch chan<- *prometheus.Desc) {
	f.metrics.rejected.Describe(ch)
	f.metrics.dropped.Describe(ch)
	ch <- f.metrics.targets
	ch <- f.metrics.limit
}

// Collect implements prometheus.Collector.
func (f *Fleet) Collect(ch chan<- prometheus.Metric) {
	f.metrics.rejected.Collect(ch)
	f.metrics.dropped.Collect(ch)
	f.mu.Lock()
	listed, onDemand, limit := len(f.byName), len(f.onDemand), f.config.MaxTargets
	f.mu.Unlock()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(f.metrics.targets, listed, "listed")
	gauge(f.metrics.targets, onDemand, "on_demand")
	gauge(f.metrics.limit, limit)
}
