package definition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
	"github.com/pg-reliability/pg_reliability_exporter/internal/yamlfile"
)

var extensionVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)

// reader turns one file's YAML nodes into definitions and collects every mistake with its line.
type reader struct{ yamlfile.Reader }

func (r *reader) document(n *yaml.Node) []Definition {
	var defs []Definition
	if isQueries(yamlfile.Resolve(n)) {
		r.Fail(n, "the file holds postgres_exporter's queries, and is no list of collectors",
			"Name it with --extend.query-path, and move it out of this directory.")
		return nil
	}
	for _, item := range r.List(n, "the file", "Begin each collector with \"- name: \".") {
		defs = append(defs, r.definition(item))
	}
	return defs
}

// isQueries is whether a document looks like a file of postgres_exporter's: queries by name, with their metrics.
func isQueries(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	for i := 1; i < len(n.Content); i += 2 {
		if v := yamlfile.Resolve(n.Content[i]); v.Kind == yaml.MappingNode && slices.ContainsFunc(v.Content, func(k *yaml.Node) bool {
			return k.Value == "query" || k.Value == "metrics"
		}) {
			return true
		}
	}
	return false
}

func (r *reader) definition(n *yaml.Node) Definition {
	d := Definition{File: r.File, Line: n.Line, Scope: ScopeCluster, Enabled: true}
	f := r.Fields(n, "a collector", "name", "help", "scope", "refresh", "timeout", "enabled", "off_because", "requires", "top", "top_of",
		"labels",
		"queries", "metrics")
	d.Name = r.Required(n, f, "name", "Name the collector as in \"name: orders\".")
	d.Help = r.Required(n, f, "help", "Say in one sentence what the collector measures.")
	if v := f["scope"]; v != nil {
		d.Scope = Scope(r.OneOf(v, "scope", string(ScopeCluster), string(ScopeDatabase)))
	}
	if v := f["refresh"]; v == nil {
		r.Fail(n, "a collector without refresh", "Write \"refresh: live\" for queries under a millisecond, otherwise a duration such as 1m.")
	} else if r.Text(v, "refresh") != "live" {
		d.Refresh = r.Duration(v, "refresh")
	}
	if !d.Live() {
		d.Timeout = min(DefaultTimeout, d.Refresh)
	}
	if v := f["timeout"]; v != nil {
		switch t := r.Duration(v, "timeout"); {
		case d.Live():
			r.Fail(v, "timeout of a live collector", "Remove it: live queries have the scrape's budget. Or give refresh a duration.")
		case t > d.Refresh:
			r.Fail(v, fmt.Sprintf("timeout %s is longer than refresh %s", t, d.Refresh), "Choose a timeout up to the refresh interval.")
		default:
			d.Timeout = t
		}
	}
	if v := f["enabled"]; v != nil {
		d.Enabled = r.Boolean(v, "enabled")
	}
	if v := f["off_because"]; v != nil {
		d.OffReason = r.Text(v, "off_because")
	}
	switch {
	case !d.Enabled && d.OffReason == "":
		r.Fail(n, "off by default without a reason", "Add \"off_because: \" with what it costs or needs.")
	case d.Enabled && d.OffReason != "":
		r.Fail(f["off_because"], "off_because of a collector that is on", "Add \"enabled: false\" or remove off_because.")
	}
	if v := f["requires"]; v != nil {
		d.Requires = r.requirements(v)
	}
	var labels []string
	if v := f["labels"]; v != nil {
		labels = r.labels(v)
	}
	if v := f["queries"]; v == nil {
		r.Fail(n, "a collector without queries", "Add \"queries:\" with a list of {versions, sql}.")
	} else {
		for _, q := range r.List(v, "queries", "Write \"- versions: \">=13\"\" and \"sql: |\" below it.") {
			d.Queries = append(d.Queries, r.query(q))
		}
	}
	if v := f["metrics"]; v == nil {
		r.Fail(n, "a collector without metrics", "Add \"metrics:\" with a list of {name, column, type, help}.")
	} else {
		for _, m := range r.List(v, "metrics", "Write \"- {name: ..., column: ..., type: gauge, help: ...}\".") {
			d.Metrics = append(d.Metrics, r.metric(m, labels))
		}
	}
	r.top(n, &d, f)
	if d.Scope == ScopeDatabase {
		r.perDatabase(n, &d)
	}
	return d
}

func (r *reader) requirements(n *yaml.Node) Requirements {
	var q Requirements
	f := r.Fields(n, "requires", "role", "extension", "extension_version")
	if v := f["role"]; v != nil {
		q.Role = r.OneOf(v, "role", RolePrimary, RoleStandby)
	}
	if v := f["extension"]; v != nil {
		q.Extension = r.Text(v, "extension")
	}
	if v := f["extension_version"]; v != nil {
		q.ExtensionVersion = r.Text(v, "extension_version")
		switch {
		case q.Extension == "":
			r.Fail(v, "extension_version without extension", "Say which extension is required.")
		case !extensionVersion.MatchString(q.ExtensionVersion):
			r.Fail(v, fmt.Sprintf("extension_version %q is not a version", q.ExtensionVersion), "Write the oldest one that will do, such as "+
				"\"1.9\".")
		}
	}
	return q
}

func (r *reader) query(n *yaml.Node) Query {
	q := Query{Line: n.Line}
	f := r.Fields(n, "a query", "versions", "sql", "optional")
	if v := f["versions"]; v != nil {
		q.Versions = r.versions(v)
	}
	if v := f["sql"]; v == nil {
		r.Fail(n, "a query without sql", "Add \"sql: |\" with one statement, indented below it.")
	} else {
		q.Line = v.Line
		q.SQL = strings.TrimSpace(r.Text(v, "sql"))
		switch n := statements(q.SQL); {
		case n == 0:
			r.Fail(v, "sql is empty", "Write one SELECT.")
		case n > 1:
			r.Fail(v, fmt.Sprintf("sql holds %d statements", n), "Write one; make another collector of the others.")
		}
	}
	if v := f["optional"]; v != nil {
		for _, o := range r.List(v, "optional", "Write \"- {function: pg_ls_waldir(), otherwise: ...}\".") {
			q.Optional = append(q.Optional, r.optional(o, q.SQL))
		}
	}
	return q
}

// functionSignature is a function as has_function_privilege takes it.
var functionSignature = regexp.MustCompile(`^[a-z_][a-z0-9_.]*\([a-z0-9_ ,.\[\]]*\)$`)

func (r *reader) optional(n *yaml.Node, sql string) Optional {
	f := r.Fields(n, "an optional function", "function", "text", "otherwise")
	o := Optional{
		Function: r.Required(n, f, "function", "Name it with the types of its arguments, such as \"pg_ls_waldir()\"."),
		Otherwise: r.Required(n, f, "otherwise", "Say what stands in the query in its place where the role may not call it, such as "+
			"\"NULL::pg_lsn\"."),
	}
	o.Text = o.Function
	if v := f["text"]; v != nil {
		o.Text = r.Text(v, "text")
	}
	switch {
	case o.Function == "":
	case !functionSignature.MatchString(o.Function):
		r.Fail(n, fmt.Sprintf("%q is not a function with the types of its arguments", o.Function), "Write it such as \"pg_database_size(oid)\".")
	case o.Text == "" || !strings.Contains(sql, o.Text):
		r.Fail(n, fmt.Sprintf("%q is not in the query", o.Text), "Say with \"text: \" what stands there in place of the function.")
	}
	return o
}

func (r *reader) metric(n *yaml.Node, labels []string) Metric {
	m := Metric{Line: n.Line, Labels: labels, Type: metric.Gauge}
	f := r.Fields(n, "a metric", "name", "name_prefix", "name_column", "help_column", "column", "type", "help", "labels", "versions")
	if f["name"] != nil || f["name_prefix"] == nil {
		m.Name = r.Required(n, f, "name", "Add \"name: \", or name_prefix and name_column where a column holds the names.")
	}
	if v := f["name_prefix"]; v != nil {
		m.NamePrefix = r.Text(v, "name_prefix")
		m.NameColumn = r.Required(n, f, "name_column", "Say which column holds the rest of the name.")
		if m.Name != "" {
			r.Fail(v, "a metric with name and name_prefix", "Remove one of the two.")
		}
	} else if v := f["name_column"]; v != nil {
		r.Fail(v, "name_column without name_prefix", "Add a name_prefix such as myapp_, so that names of others can't be met.")
	}
	if v := f["help_column"]; v != nil {
		m.HelpColumn = r.Text(v, "help_column")
	}
	m.Column = r.Required(n, f, "column", "Say which column of the query holds the value.")
	if v := f["type"]; v == nil {
		r.Fail(n, "a metric without type", "Add \"type: gauge\", or counter for what only grows.")
	} else {
		m.Type = metric.Type(r.OneOf(v, "type", string(metric.Gauge), string(metric.Counter)))
	}
	m.Help = r.Required(n, f, "help", "Say in one sentence what the value means, with its unit.")
	if v := f["labels"]; v != nil {
		m.Labels = r.labels(v)
	}
	if v := f["versions"]; v != nil {
		m.Versions = r.versions(v)
	}
	return m
}

func (r *reader) labels(n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		r.Fail(n, "labels is not a list", "Write the columns that are labels, as in \"labels: [datname, state]\".")
		return nil
	}
	out := make([]string, 0, len(n.Content))
	for _, c := range n.Content {
		out = append(out, r.Text(c, "label"))
	}
	return out
}

func (r *reader) versions(n *yaml.Node) Range {
	s := r.Text(n, "versions")
	v, err := ParseRange(s)
	if err != nil && n.Kind == yaml.ScalarNode {
		r.Fail(n, fmt.Sprintf("versions %q: %s", s, err), "Write bounds such as \">=13\", \"<17\" or \">=14 <17\".")
	}
	return v
}
