package collector

import (
	"context"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// Source measures what is not SQL. The engine runs it in the background, never in a scrape: a mount
// that hangs or a socket that does not answer costs its own data alone.
type Source interface {
	// Name is the collector's name in flags and labels.
	Name() string
	// Help is one line for --help and the catalogue of metrics.
	Help() string
	// Collect emits what could be measured, of the metrics its room declares, and returns an error for what could not.
	Collect(ctx context.Context, out *metric.Sink) error
}
