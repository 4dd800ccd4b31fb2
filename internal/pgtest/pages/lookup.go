package pages

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/backup/metrics"
)

// targetLabels come from Prometheus' configuration, and alerts' from rules.
var (
	targetLabels = []string{"job", "instance", "cluster", "alertname"}
	alertLabels  = []string{"alertstate", "severity", "area"}
	recordLabels = []string{"slot_name", "slot_type", "volume", "system_identifier", "datname", "role"}
)

// Lookup finds what expressions ask for: on real pages, among the recordings of rules, and, where Exotic says so, in
// what the code declares.
type Lookup struct {
	Pages   *Pages
	Records map[string]bool
	// Exotic are metrics, or metrics with matchers, that need what no test has beside it: a container engine, an object
	// store. They need to be declared only.
	Exotic *regexp.Regexp
	// Version of the server whose pages these are, such as 13; 0 where each name must be on a page.
	Version int

	declared map[string]declaration
}

// declaration is what the catalogue or the code says of a metric.
type declaration struct {
	typ     string
	labels  []string
	version int // the oldest that has it
}

var (
	row     = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([^|]*) \\| (.*) \\|$")
	since   = regexp.MustCompile(`PostgreSQL >=(\d+)\.$`)
	quoting = regexp.MustCompile("`(\\w+)`")
	desc    = regexp.MustCompile(`^Desc\{fqName: "(\w+)".*variableLabels: \{(.*)\}\}$`)
)

// NewLookup reads the catalogue docs/metrics.md below the repository's root, what backups declare, and rules.
func NewLookup(p *Pages, root string, rules []alerts.Rule) (*Lookup, error) {
	l := &Lookup{Pages: p, Records: map[string]bool{}, declared: map[string]declaration{}}
	for _, r := range rules {
		l.Records[r.Record] = true
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		return nil, fmt.Errorf("read the catalogue of metrics: %w", err)
	}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		d := declaration{typ: m[2]}
		for _, label := range quoting.FindAllStringSubmatch(m[3], -1) {
			d.labels = append(d.labels, label[1])
		}
		if v := since.FindStringSubmatch(m[4]); v != nil {
			d.version, _ = strconv.Atoi(v[1])
		}
		l.declared[m[1]] = d
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		metrics.New("", time.Now).Describe(descs)
	}()
	for d := range descs {
		if m := desc.FindStringSubmatch(d.String()); m != nil {
			l.declared[m[1]] = declaration{labels: strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })}
		}
	}
	return l, nil
}

// Type of a metric: the page's, and the catalogue's where that says untyped.
func (l *Lookup) Type(metric string) string {
	if t := l.Pages.Types[metric]; t != "" && t != "untyped" {
		return t
	}
	return l.declared[metric].typ
}

// Check returns the labels an expression's series have, and what it asks for that nobody exports.
func (l *Lookup) Check(expr string) (labels []string, errs []error) {
	labels = slices.Clone(targetLabels)
	for _, s := range Selectors(expr) {
		more, err := l.selector(s.Without("job", "instance", "cluster"))
		if err != nil {
			errs = append(errs, err)
		}
		labels = append(labels, more...)
	}
	if strings.Contains(expr, "label_replace") || strings.Contains(expr, "label_join") {
		return labels, errs // labels are made there
	}
	for _, g := range Grouped(expr) {
		if !slices.Contains(labels, g) {
			errs = append(errs, fmt.Errorf("no series it reads has the label %s", g))
		}
	}
	return labels, errs
}

func (l *Lookup) selector(s Selector) ([]string, error) {
	switch {
	case s.Metric == "up" || strings.HasPrefix(s.Metric, "scrape_"): // Prometheus makes them
		return nil, nil
	case strings.HasPrefix(s.Metric, "ALERTS"):
		return append(slices.Clone(alertLabels), recordLabels...), nil
	case strings.HasPrefix(s.Metric, "pgr:"):
		if !l.Records[s.Metric] {
			return nil, fmt.Errorf("no rule records %s", s.Metric)
		}
		return recordLabels, nil
	}
	series := l.Pages.Series[s.Metric]
	d, declared := l.declared[s.Metric]
	if l.Exotic != nil && l.Exotic.MatchString(s.Metric+s.Matchers) || len(series) == 0 && declared && d.version > l.Version && l.Version > 0 {
		if !declared {
			return nil, fmt.Errorf("%s is declared nowhere", s.Metric)
		}
		return d.labels, nil
	}
	if len(series) == 0 {
		return nil, fmt.Errorf("%s is on no real page", s.Metric)
	}
	var labels []string
	for _, one := range series {
		labels = append(labels, slices.Collect(maps.Keys(one))...)
	}
	if err := Select(series, s.Matchers); err != nil {
		return labels, fmt.Errorf("%s%s: %w", s.Metric, s.Matchers, err)
	}
	return labels, nil
}
