package collector

import (
	"slices"
	"time"
)

// Definition is one collector written as data: what it asks the server and which metrics the
// answer's columns become. A value that is NULL is not emitted, a label that is NULL is empty.
type Definition struct {
	// Name is the collector's name in flags, ?collect[] and labels.
	Name string
	// Help is one line for --help and the catalogue of metrics.
	Help string
	// Scope says what the values are of: the whole server, or the connection's database.
	Scope Scope
	// Refresh is how often the rows are read in the background; zero means live, in each scrape.
	Refresh time.Duration
	// Timeout bounds one background refresh. Zero for live queries, which have the scrape's budget.
	Timeout time.Duration
	// Enabled is whether the collector runs unless it is switched off.
	Enabled bool
	// OffReason says why it is off by default and what it needs or costs; empty when Enabled.
	OffReason string
	// Requires is what the server must be or have; where it is not met the collector has no data.
	Requires Requirements
	// Queries have version ranges that do not overlap; no range for a version means no data on it.
	Queries []Query
	// Metrics are made from each row.
	Metrics []Metric
	// File and Line are where the collector is written.
	File string
	Line int
}

// Scope says what a collector's values are of. The queries run once a server, in the database of the connection, either way.
type Scope string

const (
	// ScopeCluster: of the whole server.
	ScopeCluster Scope = "cluster"
	// ScopeDatabase: of the database of the connection alone. Users' own collectors may not say so: see Load.
	ScopeDatabase Scope = "database"
)

// Requirements of a collector; a zero field asks for nothing.
type Requirements struct {
	// Role is "primary", "standby" or empty.
	Role string
	// Extension must be installed in the database. @extschema@ in the queries stands for its schema.
	Extension string
	// ExtensionVersion is the oldest one that will do, such as 1.9.
	ExtensionVersion string
}

const (
	// RolePrimary and RoleStandby are the values of Requirements.Role.
	RolePrimary = "primary"
	RoleStandby = "standby"
)

// Query is one statement for a range of server versions.
type Query struct {
	Versions Range
	SQL      string
	// Optional are functions of it that the role may lack.
	Optional []Optional
	Line     int
}

// Metric is what one column of each row becomes.
type Metric struct {
	// Name is the metric family. Empty when NamePrefix and NameColumn are set: then the family's name
	// is the prefix followed by that column's text, and HelpColumn's text is its help.
	Name       string
	NamePrefix string
	NameColumn string
	HelpColumn string
	// Column holds the value, as a number; NULL means no sample.
	Column string
	Type   MetricType
	// Help is the family's help; with HelpColumn only a description for the catalogue.
	Help string
	// Labels are columns of the row, and are the labels' names.
	Labels []string
	// Versions is where the metric exists; the zero value is every version of the collector.
	Versions Range
	Line     int
}

// defaultTimeout bounds a background refresh whose definition names no timeout.
const defaultTimeout = 10 * time.Second

// Live is whether the queries belong to the scrape itself.
func (d *Definition) Live() bool { return d.Refresh == 0 }

// SQLFor is the statement for a server_version_num such as 160004; false when there is none.
func (d *Definition) SQLFor(version int) (string, bool) {
	for _, q := range d.Queries {
		if q.Versions.Contains(version) {
			return q.SQL, true
		}
	}
	return "", false
}

// MetricsFor lists the metrics that exist for a server_version_num.
func (d *Definition) MetricsFor(version int) []Metric {
	var out []Metric
	for _, m := range d.Metrics {
		if m.Versions.Contains(version) {
			out = append(out, m)
		}
	}
	return out
}

// sameFamily is whether two metrics may share one family.
func (m *Metric) sameFamily(o *Metric) bool {
	return m.Type == o.Type && m.Help == o.Help && slices.Equal(m.Labels, o.Labels)
}
