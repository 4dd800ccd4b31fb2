package definition

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
)

var (
	collectorName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	metricName    = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// Validate finds the mistakes that reading one collector can't see: bad names, names taken twice, a
// metric that two collectors describe differently. Pass embedded and users' definitions together,
// the embedded ones first. reserved are the metrics that do not come from definitions, with who
// makes them ("the prober"). The error holds every mistake, each a *FileError.
func Validate(defs []Definition, reserved map[string]string) error {
	v := validator{reserved: reserved, collectors: map[string]*Definition{}, metrics: map[string]use{}}
	for i := range defs {
		v.definition(&defs[i])
	}
	for i := range defs {
		v.prefixes(&defs[i])
	}
	return errors.Join(v.errs...)
}

type use struct {
	def    *Definition
	metric *Metric
}

type validator struct {
	reserved   map[string]string
	collectors map[string]*Definition
	metrics    map[string]use
	errs       []error
}

func (v *validator) fail(d *Definition, line int, what, hint string) {
	v.errs = append(v.errs, &FileError{File: d.File, Line: line, What: what, Hint: hint})
}

func (v *validator) definition(d *Definition) {
	if !collectorName.MatchString(d.Name) {
		v.fail(d, d.Line, fmt.Sprintf("%q can't be a collector's name", d.Name), "Use a-z, 0-9 and _, and begin with a letter.")
	}
	if first := v.collectors[d.Name]; first != nil {
		v.fail(d, d.Line, fmt.Sprintf("collector %s is already at %s:%d", d.Name, first.File, first.Line),
			"Choose another name; to replace one of ours, also switch it off with --no-collector."+d.Name+".")
		return
	}
	v.collectors[d.Name] = d
	for i, q := range d.Queries {
		if d.Requires.Extension == "" && strings.Contains(q.SQL, extensionSchema) {
			v.fail(d, q.Line, extensionSchema+" in the query of a collector that requires no extension", "Add \"requires: {extension: ...}\".")
		}
		for _, earlier := range d.Queries[:i] {
			if q.Versions.Overlaps(earlier.Versions) {
				v.fail(d, q.Line, fmt.Sprintf("versions overlap those of the query at line %d", earlier.Line),
					"Bound both, as in \">=13 <17\" and \">=17\".")
			}
		}
	}
	for i := range d.Metrics {
		v.metric(d, &d.Metrics[i])
	}
}

func (v *validator) metric(d *Definition, m *Metric) {
	name := m.Name + m.NamePrefix
	if !metricName.MatchString(name) {
		v.fail(d, m.Line, fmt.Sprintf("%q can't be a metric's name", name), "Use letters, digits and _, and don't begin with a digit.")
		return
	}
	seen := map[string]bool{}
	for _, l := range m.Labels {
		if !metricName.MatchString(l) || strings.HasPrefix(l, "__") {
			v.fail(d, m.Line, fmt.Sprintf("%q can't be a label's name", l), "Rename the column with AS: letters, digits and _, not __ at the "+
				"beginning.")
		}
		if seen[l] {
			v.fail(d, m.Line, fmt.Sprintf("label %q is there twice", l), "Remove one of the two.")
		}
		seen[l] = true
	}
	if m.Type == metric.Counter && m.NamePrefix == "" && strings.HasPrefix(name, "pg_reliability_") && !strings.HasSuffix(name, "_total") {
		v.fail(d, m.Line, fmt.Sprintf("counter %s does not end in _total", name), "Add _total, or make it a gauge.")
	}
	if by, taken := v.reserved[name]; taken {
		v.fail(d, m.Line, fmt.Sprintf("metric %s belongs to %s", name, by), "Choose another name.")
		return
	}
	first, taken := v.metrics[name]
	switch {
	case !taken:
		v.metrics[name] = use{d, m}
	case first.def == d && m.Versions.Overlaps(first.metric.Versions):
		v.fail(d, m.Line, fmt.Sprintf("metric %s is already at line %d", name, first.metric.Line),
			"Remove one of the two, or give them versions that don't overlap.")
	case !first.metric.sameFamily(m):
		v.fail(d, m.Line, fmt.Sprintf("metric %s has another type, help or labels at %s:%d", name, first.def.File, first.metric.Line),
			"Make type, help and labels the same, or choose another name.")
	}
}

// prefixes finds names that lie where a name_prefix may make one.
func (v *validator) prefixes(d *Definition) {
	for i := range d.Metrics {
		m := &d.Metrics[i]
		if m.NamePrefix == "" {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(v.reserved)) {
			if strings.HasPrefix(name, m.NamePrefix) {
				v.fail(d, m.Line, fmt.Sprintf("name_prefix %s can meet %s of %s", m.NamePrefix, name, v.reserved[name]), "Choose a longer prefix.")
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v.metrics)) {
			if u := v.metrics[name]; u.def != d && strings.HasPrefix(name, m.NamePrefix) {
				v.fail(u.def, u.metric.Line, fmt.Sprintf("metric %s begins with %s, whose names collector %s makes", name, m.NamePrefix, d.Name),
					"Choose another name.")
			}
		}
	}
}
