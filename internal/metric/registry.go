package metric

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// collector shows a room's metrics to the library's registry.
type collector struct {
	fill        func(*Sink)
	instruments []prometheus.Collector
	descs       map[*Desc]*prometheus.Desc
}

// NewCollector makes what the library's registry takes of a room: fill adds the samples of each collection, instruments are the
// library's own, which count as things happen. A sample of a metric that is not declared is an error of the collection.
func NewCollector(declared []*Desc, fill func(*Sink), instruments ...prometheus.Collector) prometheus.Collector {
	c := &collector{fill: fill, instruments: instruments, descs: make(map[*Desc]*prometheus.Desc, len(declared))}
	for _, d := range declared {
		c.descs[d] = prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, i := range c.instruments {
		i.Collect(ch)
	}
	var out Sink
	c.fill(&out)
	for _, s := range out.Samples {
		d, declared := c.descs[s.Desc]
		switch {
		case !declared:
			err := fmt.Errorf("metric %s is not declared", s.Desc.Name)
			ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		case len(s.Labels) != len(s.Desc.Labels):
			ch <- prometheus.NewInvalidMetric(d, fmt.Errorf("metric %s has the labels %q", s, s.Desc.Labels))
		default:
			ch <- collected{s.legible(), d}
		}
	}
}

// collected is a sample as the registry wants it.
type collected struct {
	sample Sample
	desc   *prometheus.Desc
}

func (c collected) Desc() *prometheus.Desc { return c.desc }

func (c collected) Write(out *dto.Metric) error {
	m := dtoMetric(c.sample, c.sample.Desc.Exposed(), c.sample.Desc.order())
	out.Label, out.Gauge, out.Counter, out.Untyped, out.Histogram = m.Label, m.Gauge, m.Counter, m.Untyped, m.Histogram
	return nil
}

// CounterVec is an instrument that counts as things happen; the room hands it to NewCollector.
func (d *Desc) CounterVec() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
}

// HistogramVec is an instrument that observes as things happen; the room hands it to NewCollector. o has its buckets.
func (d *Desc) HistogramVec(o prometheus.HistogramOpts) *prometheus.HistogramVec {
	o.Name, o.Help = d.Name, d.Help
	return prometheus.NewHistogramVec(o, d.Labels)
}
