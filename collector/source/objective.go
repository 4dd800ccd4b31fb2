package source

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// The metrics of objectives: what was promised of a recovery, beside what is measured of it.
var (
	objectiveMetrics metric.List

	ObjectiveLoss = objectiveMetrics.Gauge("pg_reliability_objective_rpo_seconds",
		"How much may be lost, as --objective.rpo says; absent without it.")
	ObjectiveReturn = objectiveMetrics.Gauge("pg_reliability_objective_rto_seconds",
		"How long a restore may take, as --objective.rto says; absent without it.")
)

// DeclaredObjectives lists the metrics of objectives.
func DeclaredObjectives() []*metric.Desc { return objectiveMetrics }

// Objectives shows what was promised: how much may be lost, and how long a restore may take; zero is nothing.
func Objectives(loss, back time.Duration) prometheus.Collector {
	return metric.NewCollector(objectiveMetrics, func(out *metric.Sink) {
		if loss > 0 {
			out.Add(ObjectiveLoss, loss.Seconds())
		}
		if back > 0 {
			out.Add(ObjectiveReturn, back.Seconds())
		}
	})
}
