package collector

import (
	"context"
	"strings"
	"unicode/utf8"
)

// MetricType is a sample's Prometheus type.
type MetricType string

const (
	Gauge   MetricType = "gauge"
	Counter MetricType = "counter"
)

// Desc describes one metric.
type Desc struct {
	Name   string
	Help   string
	Type   MetricType
	Labels []string
}

// Source measures what is not SQL. The engine runs it in the background, never in a scrape: a mount
// that hangs or a socket that does not answer costs its own data alone.
type Source interface {
	// Name is the collector's name in flags and labels.
	Name() string
	// Help is one line for --help and the catalogue of metrics.
	Help() string
	// Descs lists every metric Collect may emit.
	Descs() []*Desc
	// Collect emits what could be measured and returns an error for what could not.
	Collect(ctx context.Context, out *Sink) error
}

// Sink takes the samples of one collection.
type Sink struct {
	samples []sample
}

type sample struct {
	desc   *Desc
	labels []string // values, in the order of desc.Labels
	value  float64
}

// Add takes one sample. labelValues are in the order of d.Labels.
func (s *Sink) Add(d *Desc, value float64, labelValues ...string) {
	for i, v := range labelValues {
		if !utf8.ValidString(v) {
			labelValues[i] = strings.ToValidUTF8(v, "\uFFFD") // a database may have any bytes in its names
		}
	}
	s.samples = append(s.samples, sample{desc: d, labels: labelValues, value: value})
}
