package watchdog

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// The metrics of the watchdog.
var (
	declared metric.List

	descArmed = declared.Gauge("pg_reliability_watchdog_armed", "Whether the watchdog would restart a server that hangs: 0 where another "+
		"exporter has its lease, or nobody can. Absent without --watchdog.")
	descActs = declared.Counter("pg_reliability_watchdog_restarts_total", "Times the watchdog had the server restarted, by whether the "+
		"action "+
		"was done or failed.", "result")
	descWithheld = declared.Counter("pg_reliability_watchdog_withheld_total", "Silences of --watchdog.after in which the watchdog left the "+
		"server alone: it was shutting down, starting, recovering, its disk was full or failing, no connection was made, or it had been "+
		"restarted often enough. The log says which.")
	descLast = declared.Gauge("pg_reliability_watchdog_last_restart_timestamp_seconds", "When the watchdog last had the server restarted; "+
		"absent before the first time. Survives restarts of the exporter.")
)

// Declared lists the watchdog's metrics.
func Declared() []*metric.Desc { return declared }

// Metrics are for a registry.
func (w *Watchdog) Metrics() prometheus.Collector { return metric.NewCollector(declared, w.fill) }

func (w *Watchdog) fill(out *metric.Sink) {
	v := w.View()
	out.Bool(descArmed, v.Armed)
	out.Add(descActs, float64(v.Done), "done")
	out.Add(descActs, float64(v.Failed), "failed")
	out.Add(descWithheld, float64(v.Withheld))
	out.Time(descLast, v.Last)
}
