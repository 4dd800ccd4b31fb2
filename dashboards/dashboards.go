// Package dashboards holds fifteen Grafana boards for PostgreSQL: overview, backups, replication, capacity, activity,
// sessions, statements, databases, tables, io, settings, pgbouncer, patroni, fleet and pipeline. Each is described in a file of its own;
// `go generate ./dashboards` writes the JSON files, which are what Grafana reads. Thresholds are the alerts' (package alerts): no number is written twice, and a
// test fails when the JSON is not what the descriptions and the thresholds say.
package dashboards

import (
	"fmt"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
)

//go:generate go run ./generate
//go:generate ../deploy/helm/sync.sh

// Files are the boards by file name, as Grafana 9.4 and newer read them.
func Files(config alerts.Config) (map[string][]byte, error) {
	files := map[string][]byte{}
	s, err := newSources(config)
	if err != nil {
		return nil, err
	}
	boards := []func(*sources) board{
		overview, backups, replication, capacity, activity, sessions, statements, databases, tables, diskIO, settings, pgbouncer,
		patroni, fleet, pipeline,
	}
	for _, describe := range boards {
		b := describe(s)
		text, err := b.json()
		if err == nil {
			err = s.err()
		}
		if err != nil {
			return nil, fmt.Errorf("the board %s: %w", b.uid, err)
		}
		files[strings.TrimPrefix(b.uid, uidPrefix)+".json"] = text
	}
	return files, nil
}
