// Package grafana holds what Grafana is told about our boards, for those who write it from Go.
package grafana

import _ "embed"

// Dashboards says where the boards' files are: in /var/lib/grafana/dashboards/postgresql.
//
//go:embed provisioning/dashboards/postgresql.yml
var Dashboards string

// Datasources says where the boards' data is: at $PROMETHEUS_URL and $ALERTMANAGER_URL.
//
//go:embed provisioning/datasources/postgresql.yml
var Datasources string
