package collector

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Backups shows what the catalogue of a backup repository says. It is read here, and not by the job, so that a job
// that is dead shows as a growing age.
type Backups struct {
	catalogue *prometheus.Registry
}

// NewBackups takes the collector that reads the catalogue. It reads the disk in each Collect, which may hang where
// the disk does.
func NewBackups(catalogue prometheus.Collector) (*Backups, error) {
	b := &Backups{catalogue: prometheus.NewRegistry()}
	if err := b.catalogue.Register(catalogue); err != nil {
		return nil, fmt.Errorf("register the catalogue's metrics: %w", err)
	}
	return b, nil
}

// Name implements Source.
func (*Backups) Name() string { return "backup" }

// Help implements Source.
func (*Backups) Help() string { return "Backups: ages, sizes, verifications and what a restore takes." }

// Descs implements Source. The catalogue's own collector knows them; none is made in SQL.
func (*Backups) Descs() []*Desc { return nil }

// Collect implements Source.
func (b *Backups) Collect(_ context.Context, out *Sink) error {
	families, err := b.catalogue.Gather()
	for _, f := range families {
		addFamily(out, f)
	}
	if err != nil {
		return fmt.Errorf("read the backup catalogue: %w", err)
	}
	return nil
}

// addFamily takes over a family of gauges and counters.
func addFamily(out *Sink, f *dto.MetricFamily) {
	d := &Desc{Name: f.GetName(), Help: f.GetHelp(), Type: Gauge}
	if f.GetType() == dto.MetricType_COUNTER {
		d.Type = Counter
	}
	for _, m := range f.GetMetric() {
		var names, values []string
		for _, l := range m.GetLabel() {
			names, values = append(names, l.GetName()), append(values, l.GetValue())
		}
		if d.Labels == nil {
			d.Labels = names
		}
		if !slices.Equal(names, d.Labels) {
			continue
		}
		out.Add(d, m.GetGauge().GetValue()+m.GetCounter().GetValue()+m.GetUntyped().GetValue(), values...)
	}
}
