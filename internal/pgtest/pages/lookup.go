package pages

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pg-reliability/pg_reliability_exporter/alerts"
	"github.com/pg-reliability/pg_reliability_exporter/internal/declared"
)

// targetLabels come from Prometheus' configuration, and alerts' from rules.
var (
	targetLabels = []string{"job", "instance", "cluster", "alertname"}
	alertLabels  = []string{"alertstate", "severity", "area"}
	recordLabels = []string{"slot_name", "slot_type", "volume", "system_identifier", "datname", "role", "scope", "url"}
)

// Lookup finds what expressions ask for: on real pages, among the recordings of rules, and, where Exotic says so, in
// what the code declares.
type Lookup struct {
	Pages   *Pages
	Records map[string]bool
	// Exotic are metrics, or metrics with matchers, that need what no test has beside it: a container engine, an object
	// store. They need to be declared only.
	Exotic *regexp.Regexp
	// Declared is every metric there is.
	Declared map[string]declared.Metric
	// Version of the server whose pages these are, such as 13; 0 where each name must be on a page.
	Version int
}

// NewLookup takes pages, what the code declares, and rules.
func NewLookup(p *Pages, rules []alerts.Rule) (*Lookup, error) {
	l := &Lookup{Pages: p, Records: map[string]bool{}}
	for _, r := range rules {
		l.Records[r.Record] = true
	}
	var err error
	l.Declared, err = declared.All()
	return l, err
}

// Type of a metric: the page's, and the catalogue's where that says untyped.
func (l *Lookup) Type(metric string) string {
	if t := l.Pages.Types[metric]; t != "" && t != "untyped" {
		return t
	}
	if d, ok := l.Declared[metric]; ok {
		return string(d.Type)
	}
	return ""
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
	is, known := l.Declared[s.Metric]
	if l.Exotic != nil && l.Exotic.MatchString(s.Metric+s.Matchers) || len(series) == 0 && known && l.Version > 0 && !is.On(l.Version) {
		if !known {
			return nil, fmt.Errorf("%s is declared nowhere", s.Metric)
		}
		return is.Labels, nil
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
