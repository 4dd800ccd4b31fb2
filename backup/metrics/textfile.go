package metrics

import (
	"bytes"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

// textfilePatience is how long a job waits for its repository to write the metrics of.
const textfilePatience = time.Minute

// WriteTextfile writes a collector's metrics where node_exporter's textfile collector reads them:
// whole, or not at all. The name must end in .prom, or node_exporter does not look at it.
func WriteTextfile(path string, c *Collector) error {
	c.Read(textfilePatience)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c.Metrics()); err != nil {
		return fmt.Errorf("write the textfile: %w", err)
	}
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("write the textfile: %w", err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return fmt.Errorf("write the textfile: %w", err)
		}
	}
	if err := atomicfile.Write(path, b.Bytes(), 0o644); err != nil {
		return failure.New(failure.Other, "write the textfile: %w", err).
			WithHint("Its directory must exist, and this user must be able to write to it.")
	}
	return nil
}
