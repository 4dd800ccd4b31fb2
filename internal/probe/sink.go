package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sink sends constant metrics.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// time is absent while it is unknown.
func (s sink) time(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.gauge(d, float64(t.UnixMicro())/1e6, labels...)
	}
}

// states emits one metric per possible value, 1 for the one that holds. The value is the last label.
func states[T ~string](s sink, d *prometheus.Desc, all []T, holds T, labels ...string) {
	for _, v := range all {
		s.gauge(d, number(v == holds), append(append([]string{}, labels...), string(v))...)
	}
}
