// Package declared lists every metric there is: what each room declares. The catalogue of metrics, the names that users' collectors
// may not have, and the checks of boards, alerts and documents read this list.
package declared

import (
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
	"github.com/pg-reliability/pg_reliability_exporter/collector"
	"github.com/pg-reliability/pg_reliability_exporter/collector/definition"
	"github.com/pg-reliability/pg_reliability_exporter/collector/pgbouncer"
	"github.com/pg-reliability/pg_reliability_exporter/collector/source"
	"github.com/pg-reliability/pg_reliability_exporter/internal/fleet"
	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/probe"
	"github.com/pg-reliability/pg_reliability_exporter/internal/serverlog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/sessions"
	"github.com/pg-reliability/pg_reliability_exporter/internal/watchdog"
	"github.com/pg-reliability/pg_reliability_exporter/internal/web"
)

// Backups is the name of the room whose metrics the backup job shows, too.
const Backups = "Backups"

// Room is a heading and the metrics below it.
type Room struct {
	Name    string
	Metrics []*metric.Desc
}

// Rooms are all metrics that are made without SQL; those of the libraries (the process, Go, HTTP) are not among them.
func Rooms() []Room {
	return []Room{
		{"Availability", probe.Declared()},
		{"Samples of sessions", sessions.Declared()},
		{"Volumes", source.DeclaredVolumes()},
		{"Container", source.DeclaredContainer()},
		{"PgBouncer", pgbouncer.Declared()},
		{"Server log", serverlog.Declared()},
		{"Watchdog", watchdog.Declared()},
		{"Objectives", source.DeclaredObjectives()},
		{"The exporter itself", slices.Concat(collector.Declared(), web.Declared())},
		{"Fleet", fleet.Declared()},
		{Backups, metrics.Declared()},
	}
}

// Metric is a metric with what is known of it beside its description.
type Metric struct {
	*metric.Desc
	// Refresh is how often it is read in the background; zero means in each scrape.
	Refresh time.Duration

	sql []definition.Definition // each with the one metric; none where it is made without SQL
}

// On is whether a major version of PostgreSQL such as 13 has the metric.
func (m Metric) On(major int) bool {
	version := major*10000 + 9999 // its newest minor version
	return len(m.sql) == 0 || slices.ContainsFunc(m.sql, func(d definition.Definition) bool {
		_, asked := d.SQLFor(version)
		return asked && len(d.MetricsFor(version)) > 0
	})
}

// All are the metrics of all rooms and of the collectors that come with the program, by name. One whose name stands in a column of
// the query is not among them.
func All() (map[string]Metric, error) {
	all := map[string]Metric{}
	for _, room := range Rooms() {
		for _, d := range room.Metrics {
			all[d.Name] = Metric{Desc: d}
		}
	}
	definitions, err := collector.Embedded()
	if err != nil {
		return nil, err
	}
	for _, d := range definitions {
		for _, m := range d.Metrics {
			if m.Name != "" {
				is := all[m.Name]
				d.Metrics = []definition.Metric{m}
				is.Desc, is.Refresh, is.sql = m.Desc(), d.Refresh, append(is.sql, d)
				all[m.Name] = is
			}
		}
	}
	return all, nil
}
