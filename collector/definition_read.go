package collector

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// reader turns one file's YAML nodes into definitions and collects every mistake with its line.
// It walks the nodes itself, because decoding into structs loses the lines.
type reader struct {
	file string
	errs []error
}

func (r *reader) fail(n *yaml.Node, what, hint string) {
	r.errs = append(r.errs, &FileError{r.file, n.Line, what, hint})
}

func (r *reader) document(n *yaml.Node) []Definition {
	var defs []Definition
	for _, item := range r.list(n, "the file", "Begin each collector with \"- name: \".") {
		defs = append(defs, r.definition(item))
	}
	return defs
}

func (r *reader) definition(n *yaml.Node) Definition {
	d := Definition{File: r.file, Line: n.Line, Scope: ScopeCluster, Enabled: true}
	f := r.fields(n, "a collector", "name", "help", "scope", "refresh", "timeout", "enabled", "off_because", "requires", "labels", "queries", "metrics")
	d.Name = r.required(n, f, "name", "Name the collector as in \"name: orders\".")
	d.Help = r.required(n, f, "help", "Say in one sentence what the collector measures.")
	if v := f["scope"]; v != nil {
		d.Scope = Scope(r.oneOf(v, "scope", string(ScopeCluster), string(ScopeDatabase)))
	}
	if v := f["refresh"]; v == nil {
		r.fail(n, "a collector without refresh", "Write \"refresh: live\" for queries under a millisecond, otherwise a duration such as 1m.")
	} else if r.text(v, "refresh") != "live" {
		d.Refresh = r.duration(v, "refresh")
	}
	if !d.Live() {
		d.Timeout = min(defaultTimeout, d.Refresh)
	}
	if v := f["timeout"]; v != nil {
		switch t := r.duration(v, "timeout"); {
		case d.Live():
			r.fail(v, "timeout of a live collector", "Remove it: live queries have the scrape's budget. Or give refresh a duration.")
		case t > d.Refresh:
			r.fail(v, fmt.Sprintf("timeout %s is longer than refresh %s", t, d.Refresh), "Choose a timeout up to the refresh interval.")
		default:
			d.Timeout = t
		}
	}
	if v := f["enabled"]; v != nil {
		d.Enabled = r.boolean(v, "enabled")
	}
	if v := f["off_because"]; v != nil {
		d.OffReason = r.text(v, "off_because")
	}
	switch {
	case !d.Enabled && d.OffReason == "":
		r.fail(n, "off by default without a reason", "Add \"off_because: \" with what it costs or needs.")
	case d.Enabled && d.OffReason != "":
		r.fail(f["off_because"], "off_because of a collector that is on", "Add \"enabled: false\" or remove off_because.")
	}
	if v := f["requires"]; v != nil {
		d.Requires = r.requirements(v)
	}
	var labels []string
	if v := f["labels"]; v != nil {
		labels = r.labels(v)
	}
	if v := f["queries"]; v == nil {
		r.fail(n, "a collector without queries", "Add \"queries:\" with a list of {versions, sql}.")
	} else {
		for _, q := range r.list(v, "queries", "Write \"- versions: \">=13\"\" and \"sql: |\" below it.") {
			d.Queries = append(d.Queries, r.query(q))
		}
	}
	if v := f["metrics"]; v == nil {
		r.fail(n, "a collector without metrics", "Add \"metrics:\" with a list of {name, column, type, help}.")
	} else {
		for _, m := range r.list(v, "metrics", "Write \"- {name: ..., column: ..., type: gauge, help: ...}\".") {
			d.Metrics = append(d.Metrics, r.metric(m, labels))
		}
	}
	return d
}

func (r *reader) requirements(n *yaml.Node) Requirements {
	var q Requirements
	f := r.fields(n, "requires", "role", "extension")
	if v := f["role"]; v != nil {
		q.Role = r.oneOf(v, "role", RolePrimary, RoleStandby)
	}
	if v := f["extension"]; v != nil {
		q.Extension = r.text(v, "extension")
	}
	return q
}

func (r *reader) query(n *yaml.Node) Query {
	q := Query{Line: n.Line}
	f := r.fields(n, "a query", "versions", "sql")
	if v := f["versions"]; v != nil {
		q.Versions = r.versions(v)
	}
	if v := f["sql"]; v == nil {
		r.fail(n, "a query without sql", "Add \"sql: |\" with one statement, indented below it.")
	} else {
		q.Line = v.Line
		q.SQL = strings.TrimSpace(r.text(v, "sql"))
		switch n := statements(q.SQL); {
		case n == 0:
			r.fail(v, "sql is empty", "Write one SELECT.")
		case n > 1:
			r.fail(v, fmt.Sprintf("sql holds %d statements", n), "Write one; make another collector of the others.")
		}
	}
	return q
}

func (r *reader) metric(n *yaml.Node, labels []string) Metric {
	m := Metric{Line: n.Line, Labels: labels, Type: Gauge}
	f := r.fields(n, "a metric", "name", "name_prefix", "name_column", "help_column", "column", "type", "help", "labels", "versions")
	if f["name"] != nil || f["name_prefix"] == nil {
		m.Name = r.required(n, f, "name", "Add \"name: \", or name_prefix and name_column where a column holds the names.")
	}
	if v := f["name_prefix"]; v != nil {
		m.NamePrefix = r.text(v, "name_prefix")
		m.NameColumn = r.required(n, f, "name_column", "Say which column holds the rest of the name.")
		if m.Name != "" {
			r.fail(v, "a metric with name and name_prefix", "Remove one of the two.")
		}
	} else if v := f["name_column"]; v != nil {
		r.fail(v, "name_column without name_prefix", "Add a name_prefix such as myapp_, so that names of others can't be met.")
	}
	if v := f["help_column"]; v != nil {
		m.HelpColumn = r.text(v, "help_column")
	}
	m.Column = r.required(n, f, "column", "Say which column of the query holds the value.")
	if v := f["type"]; v == nil {
		r.fail(n, "a metric without type", "Add \"type: gauge\", or counter for what only grows.")
	} else {
		m.Type = MetricType(r.oneOf(v, "type", string(Gauge), string(Counter)))
	}
	m.Help = r.required(n, f, "help", "Say in one sentence what the value means, with its unit.")
	if v := f["labels"]; v != nil {
		m.Labels = r.labels(v)
	}
	if v := f["versions"]; v != nil {
		m.Versions = r.versions(v)
	}
	return m
}

// fields are a mapping's values by key; unknown and repeated keys are mistakes.
func (r *reader) fields(n *yaml.Node, of string, known ...string) map[string]*yaml.Node {
	n = resolve(n)
	out := make(map[string]*yaml.Node)
	if n.Kind != yaml.MappingNode {
		r.fail(n, of+" is not a set of keys", "Write \"key: value\" pairs; known keys: "+strings.Join(known, ", ")+".")
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case strings.Contains(k.Value, " ") && v.Tag == "!!null":
			r.fail(k, fmt.Sprintf("%q looks like the rest of a text with a comma", k.Value), "Put the whole text in quotes.")
		case !slices.Contains(known, k.Value):
			r.fail(k, fmt.Sprintf("unknown key %q in %s", k.Value, of), "Known keys: "+strings.Join(known, ", ")+".")
		case out[k.Value] != nil:
			r.fail(k, fmt.Sprintf("key %q is there twice in %s", k.Value, of), "Remove one of the two.")
		default:
			out[k.Value] = resolve(v)
		}
	}
	return out
}

func (r *reader) list(n *yaml.Node, what, hint string) []*yaml.Node {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.fail(n, what+" is not a list, or an empty one", hint)
		return nil
	}
	return n.Content
}

func (r *reader) labels(n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "labels is not a list", "Write the columns that are labels, as in \"labels: [datname, state]\".")
		return nil
	}
	out := make([]string, 0, len(n.Content))
	for _, c := range n.Content {
		out = append(out, r.text(c, "label"))
	}
	return out
}

func (r *reader) required(n *yaml.Node, f map[string]*yaml.Node, key, hint string) string {
	v := f[key]
	if v == nil {
		r.fail(n, "no "+key, hint)
		return ""
	}
	s := r.text(v, key)
	if strings.TrimSpace(s) == "" && v.Kind == yaml.ScalarNode {
		r.fail(v, key+" is empty", hint)
	}
	return s
}

func (r *reader) text(n *yaml.Node, key string) string {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode {
		r.fail(n, key+" is not a text", "Write one value after \""+key+": \".")
		return ""
	}
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

func (r *reader) oneOf(n *yaml.Node, key string, words ...string) string {
	s := r.text(n, key)
	if !slices.Contains(words, s) && n.Kind == yaml.ScalarNode {
		r.fail(n, fmt.Sprintf("%s %q is unknown", key, s), "Write "+strings.Join(words, " or ")+".")
	}
	return s
}

func (r *reader) boolean(n *yaml.Node, key string) bool {
	return r.oneOf(n, key, "true", "false") == "true"
}

func (r *reader) duration(n *yaml.Node, key string) time.Duration {
	s := r.text(n, key)
	d, err := time.ParseDuration(s)
	const hint = "Write a duration such as 5s or 2m."
	switch {
	case n.Kind != yaml.ScalarNode:
	case err != nil && strings.Trim(s, "0123456789.") == "" && s != "":
		r.fail(n, fmt.Sprintf("%s %q has no unit", key, s), hint)
	case err != nil:
		r.fail(n, fmt.Sprintf("%s %q is not a duration", key, s), hint)
	case d < time.Second:
		r.fail(n, fmt.Sprintf("%s %q is under a second", key, s), hint)
	default:
		return d
	}
	return time.Minute // any valid one, so that no second mistake follows from the first
}

func (r *reader) versions(n *yaml.Node) Range {
	s := r.text(n, "versions")
	v, err := ParseRange(s)
	if err != nil && n.Kind == yaml.ScalarNode {
		r.fail(n, fmt.Sprintf("versions %q: %s", s, err), "Write bounds such as \">=13\", \"<17\" or \">=14 <17\".")
	}
	return v
}

// resolve follows a YAML alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
