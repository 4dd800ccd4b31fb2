// Package definition is the language of metrics/*.yml: what a collector asks the server, and which metrics the answer's columns
// become. It reads and checks files, ours and users', and makes samples of rows; it asks no server and keeps no state.
package definition

import (
	"reflect"
	"slices"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

// Definition is one collector written as data: what it asks the server and which metrics the
// answer's columns become. A value that is NULL is not emitted, a label that is NULL is empty.
type Definition struct {
	// Name is the collector's name in flags, ?collect[] and labels.
	Name string
	// Help is one line for --help and the catalogue of metrics.
	Help string
	// Scope says what the values are of: the whole server, or each database.
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
	// Top is how many rows the queries return, over all databases of a server together; @top@ stands for it. 0 is without such a bound.
	Top int
	// TopOf names the collector whose Top this one has, so that both speak of the same tables.
	TopOf string
	// BuiltIn: it came with the program. What others' queries change of a session is undone.
	BuiltIn bool
	// File and Line are where the collector is written.
	File string
	Line int

	conditions []string // what @schemas@ and its like stand for, each behind its name; nil hides nothing
	made       *made    // nil where nothing is kept of what is made of it
}

// Scope says what a collector's values are of, and with it where the queries run.
type Scope string

const (
	// ScopeCluster: of the whole server. They run in the database of the connection.
	ScopeCluster Scope = "cluster"
	// ScopeDatabase: of one database. They run in each that is visited, and each metric has the label datname.
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
	Type   metric.Type
	// Help is the family's help; with HelpColumn only a description for the catalogue.
	Help string
	// Labels are columns of the row, and are the labels' names.
	Labels []string
	// Versions is where the metric exists; the zero value is every version of the collector.
	Versions Range
	Line     int

	shared *shared // nil but in what MetricsFor returns
}

// DefaultTimeout bounds a background refresh whose definition names no timeout.
const DefaultTimeout = 10 * time.Second

// Same is whether another definition says the same, wherever it is written.
func (d *Definition) Same(o *Definition) bool {
	a, b := *d, *o
	a.made, b.made = nil, nil
	if reflect.DeepEqual(&a, &b) { // at once where their parts are the same ones, as of those that no reload reads again
		return true
	}
	a, b = d.alone(), o.alone()
	return reflect.DeepEqual(&a, &b)
}

// alone is the definition without its place and what is made of it.
func (d *Definition) alone() Definition {
	a := *d
	a.File, a.Line, a.made = "", 0, nil
	a.Queries, a.Metrics = slices.Clone(a.Queries), slices.Clone(a.Metrics)
	for i := range a.Queries {
		a.Queries[i].Line = 0
	}
	for i := range a.Metrics {
		a.Metrics[i].Line = 0
	}
	return a
}

// Live is whether the queries belong to the scrape itself.
func (d *Definition) Live() bool { return d.Refresh == 0 }

// SQLFor is the statement for a server_version_num such as 160004; false when there is none.
func (d *Definition) SQLFor(version int) (string, bool) { return d.SQLWithTop(version, d.Top) }

// MetricsFor lists the metrics that exist for a server_version_num. They are not to be changed.
func (d *Definition) MetricsFor(version int) []Metric {
	if d.made != nil {
		return d.made.metricsFor(d.Metrics, version)
	}
	var out []Metric
	for _, m := range d.Metrics {
		if m.Versions.Contains(version) {
			out = append(out, m)
		}
	}
	return out
}

// Desc describes the metric; that of one whose name stands in a column has none.
func (m *Metric) Desc() *metric.Desc {
	return &metric.Desc{Name: m.Name, Help: m.Help, Type: m.Type, Labels: m.Labels}
}

// sameFamily is whether two metrics may share one family.
func (m *Metric) sameFamily(o *Metric) bool {
	return m.Type == o.Type && m.Help == o.Help && slices.Equal(m.Labels, o.Labels)
}
